/** PING every 10 s, dead after 20 s without PONG (agent-wire 2.3). No timer of its own: the worker's one-second tick asks. */
import type { Http2Session } from "node:http2";
import { tunnelLimits } from "../tunnel.ts";

export class Keepalive {
  readonly #session: Http2Session;
  #state: { readonly kind: "idle" | "awaiting"; readonly sinceMs: number };

  constructor(session: Http2Session, nowMs: number) {
    this.#session = session;
    this.#state = { kind: "idle", sinceMs: nowMs };
  }

  /** @returns false once the peer has been silent for too long. */
  tick(nowMs: number): boolean {
    const elapsedMs = nowMs - this.#state.sinceMs;
    if (this.#state.kind === "awaiting") return elapsedMs < tunnelLimits.pongWithinMs;
    if (elapsedMs < tunnelLimits.pingEveryMs || this.#session.destroyed) return true;
    const sent = this.#session.ping((error) => this.#answered(error, nowMs));
    if (sent) this.#state = { kind: "awaiting", sinceMs: nowMs };
    return true;
  }

  /** The next PING is due 10 s after this one was sent, or at the tick after its PONG. */
  #answered(error: Error | null, sentMs: number): void {
    if (error === null) this.#state = { kind: "idle", sinceMs: sentMs };
  }
}
