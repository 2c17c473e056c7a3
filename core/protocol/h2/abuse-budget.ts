/**
 * What a peer may do that costs us more than it, although RFC 9113 allows it: each kind has an account that fills slowly, and who
 * overdraws one is disconnected. No timer: time comes with each withdrawal.
 */

export type AbuseAccount = keyof typeof accounts;

export class AbuseBudget {
  readonly #left: Record<string, number> = {};
  readonly #sinceMs: Record<string, number> = {};

  /** @returns false when the account is empty. */
  spend(account: AbuseAccount, nowMs: number, amount = 1): boolean {
    const { burst, perSecond } = accounts[account];
    const before = this.#left[account] ?? burst;
    const elapsedMs = nowMs - (this.#sinceMs[account] ?? nowMs);
    const left = Math.min(burst, before + (elapsedMs * perSecond) / 1_000) - amount;
    this.#left[account] = left;
    this.#sinceMs[account] = nowMs;
    return left >= 0;
  }

  /** Some accounts are also filled by what we do: a peer may acknowledge as much as it was sent. */
  earn(account: AbuseAccount, amount: number): void {
    const { burst } = accounts[account];
    const left = this.#left[account];
    if (left !== undefined) this.#left[account] = Math.min(burst, left + amount);
  }
}

const accounts = {
  /** Streams that the peer took back before they were answered (CVE-2023-44487). */
  "abandoned-streams": { burst: 1_000, perSecond: 100 },
  /** Streams that we had to reset because of what the peer sent in them (CVE-2025-8671), or whose headers were too many. */
  "stream-errors": { burst: 100, perSecond: 10 },
  /** Streams beyond what our SETTINGS allow, or after our last GOAWAY. */
  "refused-streams": { burst: 20_000, perSecond: 1_000 },
  /** PING and SETTINGS that want an answer (CVE-2019-9512, -9515). */
  "control-frames": { burst: 1_000, perSecond: 50 },
  /** DATA without data or end (CVE-2019-9518), PRIORITY (-9513), unknown types: nothing comes of them. */
  "empty-frames": { burst: 1_000, perSecond: 50 },
  /** WINDOW_UPDATE. Filled by the DATA that we send. */
  "window-updates": { burst: 4_000, perSecond: 100 },
  /** Answers before the answer, in one stream after the other. */
  "interim-answers": { burst: 10, perSecond: 1 },
  /** Announcements of what we never asked for: ALTSVC (RFC 7838), ORIGIN (RFC 8336), and the peer's GOAWAYs. */
  announcements: { burst: 100, perSecond: 1 },
  goaways: { burst: 10, perSecond: 1 },
} as const;
