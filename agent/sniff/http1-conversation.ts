/** HTTP/1: core/protocol/http1 does it all. */
import { Exchanges } from "../../core/protocol/http1/exchanges.ts";
import type { Conversation, RequestSink } from "./conversation.ts";

export class Http1Conversation implements Conversation {
  readonly #exchanges: Exchanges;

  constructor(sink: RequestSink) {
    this.#exchanges = new Exchanges({
      exchanged: (status, durationMs) => sink.request("http", status, -1, durationMs),
    });
  }

  client(bytes: Uint8Array, nowMs: number): boolean {
    return this.#exchanges.requests(bytes, nowMs);
  }

  server(bytes: Uint8Array, nowMs: number): boolean {
    return this.#exchanges.responses(bytes, nowMs);
  }

  serverEnded(nowMs: number): void {
    this.#exchanges.responsesEnded(nowMs);
  }

  over(nowMs: number): void {
    this.#exchanges.over(nowMs);
  }

  get held(): number {
    return this.#exchanges.held;
  }
}
