/**
 * Listens to the connections that come to this node's pods and counts the requests in them: rate, errors and duration without anything
 * in the way. One per worker, and none where it is not asked for. Only the server's side listens, so that each request counts once.
 */
import type { Clock } from "../../core/base/clock.ts";
import type { Log } from "../../core/base/log.ts";
import type { ConnectionFacts } from "../connection/close-record.ts";
import type { Counters } from "../metrics/counters.ts";
import type { RequestGroup, RequestSeries } from "../metrics/request-series.ts";
import type { ByteEnd } from "../relay/byte-end.ts";
import type { Conversation, RequestSink, SniffedProtocol } from "./conversation.ts";
import { SniffedEnds, type SniffHost } from "./sniffed-ends.ts";
import { UnknownConversation } from "./unknown-conversation.ts";

export interface SnifferModules {
  readonly clock: Clock;
  readonly log: Log;
  readonly counters: Counters;
  readonly requests: RequestSeries;
  /** Default: what understands HTTP/1 and HTTP/2. */
  readonly conversation?: (sink: RequestSink) => Conversation;
}

export class Sniffer {
  readonly #modules: SnifferModules;
  #hasFailed = false;

  constructor(modules: SnifferModules) {
    this.#modules = modules;
  }

  /** To be called when both ends are joined and nothing has flowed. @param server the application's end. */
  watch(facts: ConnectionFacts, client: ByteEnd, server: ByteEnd): void {
    if (facts.direction !== "inbound") return;
    const { conversation = unknown } = this.#modules;
    const counted = new CountedConnection(facts, this.#modules, (thrown) => this.#failed(thrown));
    new SniffedEnds(client, server, conversation(counted), counted);
  }

  #failed(thrown: unknown): void {
    const { counters, log } = this.#modules;
    counters.count("ambientd_sniffing_failures");
    // The first one says it all, and there may be one for each connection.
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    log.error({ err: thrown }, "a bug in sniffing: that connection goes on, and its requests are not counted");
  }
}

/** What one connection's requests are counted by. */
class CountedConnection implements RequestSink, SniffHost {
  readonly #facts: ConnectionFacts;
  readonly #modules: SnifferModules;
  readonly #onFailed: (thrown: unknown) => void;
  /** Found with the first request: most connections have none. */
  #group: RequestGroup | undefined;

  constructor(facts: ConnectionFacts, modules: SnifferModules, onFailed: (thrown: unknown) => void) {
    this.#facts = facts;
    this.#modules = modules;
    this.#onFailed = onFailed;
  }

  request(protocol: SniffedProtocol, status: number, grpcStatus: number, durationMs: number): void {
    this.#group ??= this.#modules.requests.use(this.#facts);
    this.#group.observe(protocol, status, grpcStatus, durationMs);
  }

  nowMs(): number {
    return this.#modules.clock.nowMs();
  }

  failed(thrown: unknown): void {
    this.#onFailed(thrown);
  }

  stopped(): void {
    this.#group?.release(this.nowMs());
    this.#group = undefined;
  }
}

function unknown(sink: RequestSink): Conversation {
  return new UnknownConversation(sink);
}
