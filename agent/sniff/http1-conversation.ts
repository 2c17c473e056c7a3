/** HTTP/1: core/protocol/http1 does it all. */
import { Exchanges } from "../../core/protocol/http1/exchanges.ts";
import { mostHeldOctets, type Conversation, type RequestSink } from "./conversation.ts";

export class Http1Conversation implements Conversation {
  readonly #exchanges: Exchanges;

  constructor(sink: RequestSink) {
    this.#exchanges = new Exchanges({
      exchanged: (status, durationMs) => sink.request("http", status, -1, durationMs),
    });
  }

  client(bytes: Uint8Array, nowMs: number): boolean {
    return this.#exchanges.requests(bytes, nowMs) && this.held <= mostHeldOctets;
  }

  server(bytes: Uint8Array, nowMs: number): boolean {
    return this.#exchanges.responses(bytes, nowMs) && this.held <= mostHeldOctets;
  }

  serverEnded(nowMs: number): void {
    this.#exchanges.responsesEnded(nowMs);
  }

  over(nowMs: number): void {
    this.#exchanges.over(nowMs);
  }

  get held(): number {
    return ownOctets + this.#exchanges.held + this.#exchanges.open * requestOctets;
  }
}

/** What it takes without anything in it; and a request that is not answered. */
const ownOctets = 2_560;
const requestOctets = 80;
