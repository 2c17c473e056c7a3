/**
 * How many streams a peer may take back before they were answered. Each costs us a decision and a connect, and costs the peer
 * nothing (CVE-2023-44487). Streams that are reset once they carry bytes don't count: that is how a client's TCP reset travels, and
 * a limit on those, like nghttp2's own, would cut everybody else's connections in the tunnel.
 */
export class ResetBudget {
  #left: number = burst;
  #sinceMs: number;

  constructor(nowMs: number) {
    this.#sinceMs = nowMs;
  }

  /** @returns false once the peer has taken back more than any honest one would. */
  spend(nowMs: number): boolean {
    this.#left = Math.min(burst, this.#left + ((nowMs - this.#sinceMs) * perSecond) / 1_000) - 1;
    this.#sinceMs = nowMs;
    return this.#left >= 0;
  }
}

/** nghttp2's numbers (NGHTTP2_DEFAULT_STREAM_RESET_BURST and _RATE). */
const burst = 1_000;
const perSecond = 33;
