/** Delta ADS: who may subscribe, all the streams there are, and the word to them that something has changed. */
import { availableParallelism } from "node:os";
import type { Metadata } from "@grpc/grpc-js";
import type { Clock } from "../../../core/base/clock.ts";
import type { Log } from "../../../core/base/log.ts";
import type { ResourceLog } from "../../../core/protocol/xds/resource-log.ts";
import { authenticate, CallerError, refusalOf, type CallerCheck } from "../ca/authenticate.ts";
import { nodeOf, type ImpersonationRules } from "../ca/impersonate.ts";
import { closing, notReady, overloaded, tooManyStreams, type Refusal } from "../refusal.ts";
import { Admission } from "./admission.ts";
import { SubscriberStream, type DeltaCall, type StreamStatus } from "./stream.ts";
import type { Subscriber } from "./subscriber.ts";

export interface XdsServerModules extends CallerCheck {
  readonly logs: ReadonlyMap<string, ResourceLog>;
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
  /** Streams by node, with those that wait to be admitted. */
  readonly #places = new Map<string, number>();
  #isClosing = false;

  constructor(modules: XdsServerModules) {
    this.#modules = modules;
    const perSecond = Math.min(15 + 5 * availableParallelism(), 100);
    this.#admission = new Admission({ clock: modules.clock, perSecond, longestWaitMs: 10_000 });
  }

  /** Serves one call. Nothing is read from it before its token has been found good. */
  async serve(call: DeltaCall): Promise<void> {
    const subscriber = await this.#identify(call.metadata);
    if ("code" in subscriber) return refuse(call, subscriber);
    if (!this.#takePlace(subscriber)) return refuse(call, tooManyStreams);
    const mayEnter = await this.#admission.enter();
    if (!mayEnter || this.#isClosing || call.cancelled) {
      this.#leavePlace(subscriber);
      return refuse(call, this.#isClosing ? closing : overloaded);
    }
    const stream = new SubscriberStream(subscriber, call, this.#modules, () => {
      this.#streams.delete(stream);
      this.#leavePlace(subscriber);
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

  async #identify(metadata: Metadata): Promise<Subscriber | Refusal> {
    const { rules, isReady, log } = this.#modules;
    const refuse = (error: CallerError): Refusal => {
      log.warn({ error: error.type }, "stream refused");
      return refusalOf(error);
    };
    const caller = await authenticate(metadata, this.#modules);
    if (caller instanceof CallerError) return refuse(caller);
    if (!isReady()) return notReady;
    const node = nodeOf(caller, rules);
    if (node instanceof CallerError) return refuse(node);
    const { namespace, serviceAccount } = caller.identity;
    return { namespace, serviceAccount, node };
  }

  #takePlace(subscriber: Subscriber): boolean {
    const taken = this.#places.get(subscriber.node) ?? 0;
    if (taken >= mostStreamsPerNode) {
      this.#modules.log.error({ subscriber, streams: taken, abuse: "XDS_ABUSE" }, "too many streams of one node");
      return false;
    }
    this.#places.set(subscriber.node, taken + 1);
    return true;
  }

  #leavePlace({ node }: Subscriber): void {
    const left = (this.#places.get(node) ?? 1) - 1;
    if (left === 0) this.#places.delete(node);
    else this.#places.set(node, left);
  }
}

function refuse(call: DeltaCall, refusal: Refusal): void {
  if (!call.cancelled) call.emit("error", refusal);
}

/** An agent has one, for a moment two; a person who looks has one more. */
const mostStreamsPerNode = 16;
