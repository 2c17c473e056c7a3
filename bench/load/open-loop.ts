/**
 * Requests at a fixed rate, whatever the answers do: a machine without I/O. Request n is due n intervals after the start and belongs
 * to connection n modulo their number; one that falls due while its connection still waits for an answer is sent as soon as that comes,
 * and its latency counts from when it was due. So a stall is seen by all requests that it held up, not by one of each connection.
 */
import type { Histogram } from "../measure/histogram.ts";

export interface OpenLoopOptions {
  readonly connections: number;
  readonly perSecond: number;
  /** Of the clock that is handed in later, microseconds. */
  readonly startUs: number;
  /** Sent but not counted: code gets warm. */
  readonly warmUp: number;
  /** That count, after those. */
  readonly requests: number;
  readonly latencies: Histogram;
  /** How long after it was due a request was sent whose connection was free: what the client itself adds. */
  readonly lateness: Histogram;
  /** Sends one request. Only one is on its way on a connection. */
  readonly send: (connection: number) => void;
}

export class OpenLoop {
  readonly #options: OpenLoopOptions;
  readonly #intervalUs: number;
  readonly #total: number;
  /** By connection: requests that were due by now, were sent, and were answered. */
  readonly #due: Uint32Array;
  readonly #sent: Uint32Array;
  readonly #answered: Uint32Array;
  /** The first request that was not due yet. */
  #next = 0;
  #answers = 0;

  constructor(options: OpenLoopOptions) {
    this.#options = options;
    this.#intervalUs = 1e6 / options.perSecond;
    this.#total = options.warmUp + options.requests;
    this.#due = new Uint32Array(options.connections);
    this.#sent = new Uint32Array(options.connections);
    this.#answered = new Uint32Array(options.connections);
  }

  /** When to call {@link advance} next; Infinity when all are due. */
  get nextDueUs(): number {
    return this.#next < this.#total ? this.#dueUs(this.#next) : Number.POSITIVE_INFINITY;
  }

  get isDone(): boolean {
    return this.#answers === this.#total;
  }

  /** Requests without an answer, of those that were due. */
  get unanswered(): number {
    return this.#next - this.#answers;
  }

  /** Sends what has become due on connections that are free. */
  advance(nowUs: number): void {
    const { connections, lateness, warmUp } = this.#options;
    while (this.#next < this.#total && this.#dueUs(this.#next) <= nowUs) {
      const request = this.#next++;
      const connection = request % connections;
      this.#due[connection] = (this.#due[connection] ?? 0) + 1;
      if (this.#sent[connection] !== this.#answered[connection]) continue;
      if (request >= warmUp) lateness.record(nowUs - this.#dueUs(request));
      this.#send(connection);
    }
  }

  /** The whole answer to the connection's request has come. @returns false where none was asked for. */
  answered(connection: number, nowUs: number): boolean {
    const { connections, warmUp, latencies } = this.#options;
    const ordinal = this.#answered[connection] ?? 0;
    if (ordinal === this.#sent[connection]) return false;
    const request = ordinal * connections + connection;
    if (request >= warmUp) latencies.record(nowUs - this.#dueUs(request));
    this.#answered[connection] = ordinal + 1;
    this.#answers += 1;
    if ((this.#due[connection] ?? 0) > (this.#sent[connection] ?? 0)) this.#send(connection);
    return true;
  }

  #send(connection: number): void {
    this.#sent[connection] = (this.#sent[connection] ?? 0) + 1;
    this.#options.send(connection);
  }

  #dueUs(request: number): number {
    return this.#options.startUs + request * this.#intervalUs;
  }
}
