/** Delta ADS: who may subscribe, all the streams there are, and the word to them that something has changed. */
import { availableParallelism } from "node:os";
import { status, type Metadata } from "@grpc/grpc-js";
import type { Clock } from "../../../core/base/clock.ts";
import type { Log } from "../../../core/base/log.ts";
import type { ResourceLog } from "../../../core/protocol/xds/resource-log.ts";
import { authenticate, CallerError, type TokenReviewer } from "../ca/authenticate.ts";
import { nodeOf, type ImpersonationRules } from "../ca/impersonate.ts";
import { closing, notReady, overloaded, unauthenticated, type Refusal } from "../refusal.ts";
import { Admission } from "./admission.ts";
import { SubscriberStream, type DeltaCall, type StreamStatus } from "./stream.ts";
import type { Subscriber } from "./subscriber.ts";

export interface XdsServerModules {
  readonly logs: ReadonlyMap<string, ResourceLog>;
  readonly reviewer: TokenReviewer;
  readonly rules: ImpersonationRules;
  /** Whether the logs hold everything: half a world would be removals to whoever holds a whole one. */
  readonly isReady: () => boolean;
  readonly clock: Clock;
  readonly log: Log;
}

export class XdsServer {
  readonly #modules: XdsServerModules;
  readonly #admission: Admission;
  readonly #streams = new Set<SubscriberStream>();
  #isClosing = false;

  constructor(modules: XdsServerModules) {
    this.#modules = modules;
    const perSecond = Math.min(15 + 5 * availableParallelism(), 100);
    this.#admission = new Admission({ clock: modules.clock, perSecond, longestWaitMs: 10_000 });
  }

  /** Serves one call. Nothing is read from it before its token has been found good. */
  async serve(call: DeltaCall): Promise<void> {
    const subscriber = await this.#admit(call.metadata);
    if (call.cancelled) return;
    if ("code" in subscriber) {
      call.emit("error", subscriber);
      return;
    }
    const stream = new SubscriberStream(subscriber, call, this.#modules, () => {
      this.#streams.delete(stream);
      this.#modules.log.info({ subscriber, streams: this.#streams.size }, "stream closed");
    });
    this.#streams.add(stream);
  }

  /** The logs have changed. */
  push(): void {
    for (const stream of this.#streams) stream.push();
  }

  streams(): StreamStatus[] {
    return [...this.#streams].map((stream) => stream.status());
  }

  /** Ends every stream so that its client knows to come back. */
  close(): void {
    this.#isClosing = true;
    for (const stream of [...this.#streams]) stream.refuse(closing);
  }

  async #admit(metadata: Metadata): Promise<Subscriber | Refusal> {
    const { reviewer, rules, isReady, log } = this.#modules;
    const refuse = (error: CallerError): Refusal => {
      log.warn({ error: error.type }, "stream refused");
      return unauthenticated;
    };
    const caller = await authenticate(metadata, reviewer);
    if (caller instanceof CallerError) return refuse(caller);
    if (!isReady()) return notReady;
    const node = nodeOf(caller, rules);
    if (node instanceof CallerError) return refuse(node);
    const { namespace, serviceAccount } = caller.identity;
    const subscriber = { namespace, serviceAccount, node };
    const ofSame = [...this.#streams].filter((stream) => stream.subscriber.node === node).length;
    if (ofSame >= mostStreamsPerNode) {
      log.error({ subscriber, streams: ofSame, abuse: "XDS_ABUSE" }, "too many streams of one node");
      return { code: status.RESOURCE_EXHAUSTED, details: "too many streams" };
    }
    if (!(await this.#admission.enter())) return overloaded;
    return this.#isClosing ? closing : subscriber;
  }
}

/** An agent has one, for a moment two; a person who looks has one more. */
const mostStreamsPerNode = 16;
