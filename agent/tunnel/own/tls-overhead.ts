/**
 * What a peer's TLS costs beside what it carries. OpenSSL takes KeyUpdates (RFC 8446 4.6.3) and session tickets without end, some
 * 15 microseconds each, and Node does not tell of them. But the octets of TCP are counted, and each record that carries something comes
 * as one piece: what neither accounts for is an account of its own, which fills slowly.
 */
export class TlsOverhead {
  /** Octets that may come for nothing. */
  #left = burst;
  /** Of TCP, accounted for so far. */
  #received: number;
  /** Of TCP, explained by what has been carried since. */
  #explained = 0;
  #sinceMs: number;

  /** @param received octets that TCP has delivered by now: the handshake has its own limits. */
  constructor(received: number, nowMs: number) {
    this.#received = received;
    this.#sinceMs = nowMs;
  }

  /** So many records have brought so many octets. */
  carried(octets: number, records: number): void {
    this.#explained += octets + records * mostPerRecord;
  }

  /** @param received octets that TCP has delivered by now. @returns whether the peer has overdrawn its account. */
  isOverdrawn(received: number, nowMs: number): boolean {
    const unexplained = received - this.#received - this.#explained;
    const earned = ((nowMs - this.#sinceMs) * perSecond) / 1_000;
    this.#left = Math.min(burst, this.#left + earned - unexplained);
    this.#received = received;
    this.#explained = 0;
    this.#sinceMs = nowMs;
    return this.#left < 0;
  }
}

/** 2,400 KeyUpdates, or three records that have not arrived whole. Nobody whom we know pads records; a little of it is borne. */
const burst = 64 << 10;
/** 150 KeyUpdates: a few thousandths of a core. */
const perSecond = 4 << 10;
/** Header, type and tag are 22 octets in TLS 1.3, 29 in 1.2. */
const mostPerRecord = 32;
