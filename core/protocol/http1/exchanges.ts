/** Both directions of an HTTP/1 connection put together: which answer is whose (RFC 9112 9.3), and how long it took. */
import { requestBody, responseBody, type BodyFraming } from "./framing.ts";
import type { BodyFields, RequestLine, StatusLine } from "./head.ts";
import { MessageReader, type MessageSink } from "./message-reader.ts";

export interface ExchangeSink {
  /** An answer is over, or will not come. @param status 0: none came. @param durationMs since the request's first octet. */
  exchanged(status: number, durationMs: number): void;
}

/** A request whose answer is not over. */
interface Open {
  readonly startMs: number;
  readonly method: RequestLine["method"];
  /** Of its final answer, once that has begun. */
  status: number;
}

/** Both `requests` and `responses` take what passes, in the order in which it passed, until one of them says false. */
export class Exchanges {
  readonly #sink: ExchangeSink;
  readonly #requests: MessageReader;
  readonly #responses: MessageReader;
  readonly #open: Open[] = [];
  #nowMs = 0;
  #startMs = 0;

  constructor(sink: ExchangeSink) {
    this.#sink = sink;
    const requests: MessageSink = {
      began: () => (this.#startMs = this.#nowMs),
      head: (line, fields) => this.#asked(line, fields),
      ended: () => {},
    };
    const responses: MessageSink = {
      began: () => {},
      head: (line, fields) => this.#answered(line, fields),
      ended: () => this.#over(),
    };
    this.#requests = new MessageReader("request", requests);
    this.#responses = new MessageReader("response", responses);
  }

  /** @param nowMs monotonic milliseconds. */
  requests(bytes: Uint8Array, nowMs: number): boolean {
    this.#nowMs = nowMs;
    return this.#requests.read(bytes);
  }

  responses(bytes: Uint8Array, nowMs: number): boolean {
    this.#nowMs = nowMs;
    return this.#responses.read(bytes);
  }

  /** The server sends no more. */
  responsesEnded(nowMs: number): void {
    this.#nowMs = nowMs;
    this.#responses.finish();
  }

  /** The connection is gone: what is open stays without an answer, or with half of one. */
  over(nowMs: number): void {
    for (const { status, startMs } of this.#open.splice(0)) this.#sink.exchanged(status, nowMs - startMs);
  }

  /** Requests without an answer, or with half of one. */
  get open(): number {
    return this.#open.length;
  }

  /** Octets that are kept of both directions. */
  get held(): number {
    return this.#requests.held + this.#responses.held;
  }

  #asked(line: RequestLine | StatusLine, fields: BodyFields): BodyFraming | undefined {
    if (line.kind !== "request" || this.#open.length >= mostOpen) return undefined;
    const { method } = line;
    this.#open.push({ startMs: this.#startMs, method, status: 0 });
    return requestBody(line, fields);
  }

  #answered(line: RequestLine | StatusLine, fields: BodyFields): BodyFraming | undefined {
    const open = this.#open[0];
    if (line.kind !== "response" || open === undefined) return undefined;
    if (line.status >= 200) open.status = line.status;
    return responseBody(line, fields, open.method);
  }

  #over(): void {
    const open = this.#open[0];
    // Interim answers are not what was asked for.
    if (open === undefined || open.status === 0) return;
    this.#open.shift();
    this.#sink.exchanged(open.status, this.#nowMs - open.startMs);
  }
}

/** Requests sent ahead of their answers. */
export const mostOpen = 32;
