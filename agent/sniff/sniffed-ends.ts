/**
 * Stands between a relay and its two ends, hands everything on before it looks at it, and steps out of the way for good as soon as
 * there is nothing to be understood: from then on the ends talk to their relay as if nobody had ever listened.
 */
import type { ByteEnd, EndListener, ResetCause } from "../relay/byte-end.ts";
import type { Conversation } from "./conversation.ts";

export interface SniffHost {
  /** Monotonic milliseconds. */
  nowMs(): number;
  /** A bug of ours: the connection goes on, and nobody listens to it any more. */
  failed(thrown: unknown): void;
  /** Nobody listens to that connection any more. Called once. */
  stopped(): void;
}

export class SniffedEnds implements EndListener {
  readonly #client: ByteEnd;
  readonly #server: ByteEnd;
  /** The relay. */
  readonly #listener: EndListener;
  readonly #host: SniffHost;
  /** undefined: it is over. */
  #conversation: Conversation | undefined;

  /** To be made before bytes flow. @param client, server joined already: who listens to them now goes on hearing everything. */
  constructor(client: ByteEnd, server: ByteEnd, conversation: Conversation, host: SniffHost) {
    this.#client = client;
    this.#server = server;
    this.#listener = client.listener;
    this.#host = host;
    this.#conversation = conversation;
    client.listener = this;
    server.listener = this;
  }

  data(from: ByteEnd, chunk: Uint8Array): void {
    this.#listener.data(from, chunk);
    const conversation = this.#conversation;
    if (conversation === undefined) return;
    try {
      const nowMs = this.#host.nowMs();
      if (!(from === this.#client ? conversation.client(chunk, nowMs) : conversation.server(chunk, nowMs)))
        this.#stop();
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  ended(from: ByteEnd): void {
    this.#listener.ended(from);
    if (from !== this.#server) return;
    try {
      this.#conversation?.serverEnded(this.#host.nowMs());
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  drained(from: ByteEnd): void {
    this.#listener.drained(from);
  }

  reset(from: ByteEnd, cause: ResetCause): void {
    this.#listener.reset(from, cause);
    // Its server may have said all there was to say, and be heard to the end.
    if (this.#isLost(cause)) this.#over();
  }

  closed(from: ByteEnd): void {
    this.#listener.closed(from);
    this.#over();
  }

  /** The relay makes an exception of the same: agent/relay/relay.ts. */
  #isLost(cause: ResetCause): boolean {
    return cause.kind !== "stream" || cause.code !== 0;
  }

  #over(): void {
    try {
      this.#conversation?.over(this.#host.nowMs());
      this.#stop();
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  #fail(thrown: unknown): void {
    this.#stop();
    this.#host.failed(thrown);
  }

  #stop(): void {
    if (this.#conversation === undefined) return;
    this.#conversation = undefined;
    this.#client.listener = this.#listener;
    this.#server.listener = this.#listener;
    this.#host.stopped();
  }
}
