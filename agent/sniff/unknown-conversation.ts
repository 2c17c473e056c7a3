/** A connection of which nothing is known yet: the client's first octets say which protocol it is, if it is one of ours. */
import { clientPreface } from "../../core/protocol/h2/frame.ts";
import type { Conversation, RequestSink } from "./conversation.ts";
import { H2Conversation } from "./h2-conversation.ts";
import { Http1Conversation } from "./http1-conversation.ts";

export class UnknownConversation implements Conversation {
  readonly #sink: RequestSink;
  /** Octets of the client that are those of HTTP/2's preface. */
  #matched = 0;
  /** Once the client, or the way the server begins, has said what it is. */
  #known: Conversation | undefined;

  constructor(sink: RequestSink) {
    this.#sink = sink;
  }

  client(bytes: Uint8Array, nowMs: number): boolean {
    if (this.#matched < 0) return this.#known?.client(bytes, nowMs) ?? false;
    let at = 0;
    while (at < bytes.length && this.#matched < clientPreface.length && bytes[at] === clientPreface[this.#matched]) {
      at += 1;
      this.#matched += 1;
    }
    if (this.#matched === clientPreface.length) {
      this.#matched = decided;
      this.#known ??= new H2Conversation(this.#sink);
      return this.#known.client(bytes.subarray(at), nowMs);
    }
    if (at === bytes.length) return true;
    // The server has begun as HTTP/2, and this is something else.
    if (this.#known !== undefined) return false;
    const begun = clientPreface.subarray(0, this.#matched);
    this.#matched = decided;
    this.#known = new Http1Conversation(this.#sink);
    return this.#known.client(begun, nowMs) && this.#known.client(bytes.subarray(at), nowMs);
  }

  /** Only HTTP/2's servers may speak first: they need not wait for the preface (RFC 9113 3.4). */
  server(bytes: Uint8Array, nowMs: number): boolean {
    this.#known ??= new H2Conversation(this.#sink);
    return this.#known.server(bytes, nowMs);
  }

  serverEnded(nowMs: number): void {
    this.#known?.serverEnded(nowMs);
  }

  over(nowMs: number): void {
    this.#known?.over(nowMs);
  }

  get held(): number {
    return this.#known?.held ?? 0;
  }
}

const decided = -1;
