/**
 * Kubernetes Events (events.k8s.io/v1): what `kubectl describe` shows beneath an object. The same thing said again within
 * five minutes is not written again, and nobody can make us flood the API server.
 */
import { randomUUID } from "node:crypto";
import { systemClock, type Clock } from "../../../core/base/clock.ts";
import type { Log } from "../../../core/base/log.ts";
import type { KubernetesClient } from "./client.ts";
import { KubeError } from "./errors.ts";
import { microTime } from "./micro-time.ts";
import { apiVersionOf, collectionPath, type ApiKind } from "./paths.ts";

export interface EventOptions {
  readonly client: Pick<KubernetesClient, "create">;
  /** e.g. `ambientd-cni` */
  readonly component: string;
  /** Which of them: the pod's or node's name. */
  readonly instance: string;
  readonly log: Log;
  readonly clock?: Clock;
}

export interface EventToSay {
  readonly ref: {
    readonly kind: ApiKind;
    /** Empty for cluster-scoped kinds: their events live in `default`. */
    readonly namespace: string;
    readonly name: string;
    readonly uid: string;
  };
  readonly type: "Normal" | "Warning";
  /** One word, CamelCase. */
  readonly reason: string;
  /** A sentence; cut at 1,024 bytes. */
  readonly message: string;
  /** What was being done, one word; the reason where absent. */
  readonly action?: string;
}

/** The same event is not repeated within this, in milliseconds. */
const repeatMs = 300_000;
const rememberedLimit = 4096;
/** So many at once, and then one a second. */
const burst = 50;

export class EventRecorder {
  readonly #options: Required<EventOptions>;
  /** What was said → when, oldest first. */
  readonly #said = new Map<string, number>();
  #allowance = burst;
  #allowanceMs: number;
  #dropped = 0;

  constructor(options: EventOptions) {
    this.#options = { clock: systemClock, ...options };
    this.#allowanceMs = this.#options.clock.nowMs();
  }

  /** Events that were not written because there were too many. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Settles when the event is written, or is not going to be; a caller need not wait. Failures are logged. */
  async say(event: EventToSay): Promise<void> {
    const { client, clock, log } = this.#options;
    const nowMs = clock.nowMs();
    const key = JSON.stringify([event.ref.kind, event.ref.uid, event.type, event.reason, event.message]);
    const saidMs = this.#said.get(key);
    if (saidMs !== undefined && nowMs - saidMs < repeatMs) return;
    if (!this.#mayWrite(nowMs)) {
      this.#dropped++;
      return;
    }
    this.#said.delete(key);
    this.#said.set(key, nowMs);
    const [oldest] = this.#said.keys();
    if (this.#said.size > rememberedLimit && oldest !== undefined) this.#said.delete(oldest);
    const namespace = event.ref.namespace === "" ? "default" : event.ref.namespace;
    const error = await client.create(collectionPath("Event", namespace), this.#body(event, namespace));
    // A namespace that is being deleted takes no events, nor does it need any.
    if (error instanceof KubeError && error.type.code !== "kube.not-found")
      log.debug({ ...error.type, event: event.reason }, "an event was not written");
  }

  #mayWrite(nowMs: number): boolean {
    this.#allowance = Math.min(burst, this.#allowance + (nowMs - this.#allowanceMs) / 1000);
    this.#allowanceMs = nowMs;
    if (this.#allowance < 1) return false;
    this.#allowance--;
    return true;
  }

  #body({ ref, type, reason, message, action }: EventToSay, namespace: string): unknown {
    const { component, instance, clock } = this.#options;
    return {
      apiVersion: apiVersionOf("Event"),
      kind: "Event",
      metadata: { namespace, name: `${ref.name.slice(0, 200).replace(/[-.]+$/, "")}.${randomUUID().slice(0, 18)}` },
      eventTime: microTime(clock.wallMs()),
      reportingController: component,
      reportingInstance: instance.slice(0, 128),
      action: action ?? reason,
      reason,
      type,
      note: cut(message, 1024),
      regarding: {
        apiVersion: apiVersionOf(ref.kind),
        kind: ref.kind,
        ...(ref.namespace === "" ? {} : { namespace: ref.namespace }),
        name: ref.name,
        uid: ref.uid,
      },
    };
  }
}

/** At most so many bytes of UTF-8, never half a character. */
function cut(text: string, limitBytes: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= limitBytes) return text;
  let end = limitBytes - 3;
  // Continuation bytes are 10xxxxxx.
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return `${bytes.toString("utf8", 0, end)}…`;
}
