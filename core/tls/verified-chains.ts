/**
 * Chains that have been verified by the same roots before: the same octets lead to the same roots again, so what OpenSSL has found is
 * asked for by them, and only the time is looked at anew. That the peer has the key is proved in every handshake all the same. It is a
 * fifth of what TLS costs in one.
 */
import { registerJudge, type Bindings, type SslCtx, type X509 } from "./bindings.ts";
import { VERIFY_UNSPECIFIED } from "./constants.ts";

/** What a peer has presented, and when it holds. The same object for the same octets as long as it is remembered. */
export interface VerifiedChain {
  /** DER of each, the peer's own first, one after the other; an octet is a character. */
  readonly octets: string;
  /** How many octets each has. */
  readonly lengths: readonly number[];
  /** Of all certificates up to the root; seconds since 1970. Valid from the first one on and before the second (as OpenSSL counts). */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** By what chains are verified: whoever has the same shares what is remembered. */
export interface Trust {
  readonly role: "client" | "server";
  /** OpenSSL's names; they may set its level of security. */
  readonly ciphers: string;
  /** PEM. */
  readonly roots: string;
}

/** One for each thread. */
export class VerifiedChains {
  /** Of this thread; milliseconds since 1970. */
  wallMs: () => number = Date.now;
  /** The one that was last presented and holds: whoever takes part in a handshake looks here, and takes it away. */
  last: VerifiedChain | undefined;
  readonly #calls: Bindings;
  /** Where i2d_X509 writes to: no more than it has is remembered. */
  readonly #staging: Buffer;
  readonly #stagingAt: number;
  /** For pointers and a `struct tm`. */
  readonly #wide: BigUint64Array;
  readonly #tm: Int32Array;
  readonly #scratchAt: number;
  readonly #numbers = new Map<string, number>();
  readonly #byNumber = new Map<number, Map<string, VerifiedChain>>();
  #newest = 0;
  #judge: bigint | undefined;
  #verifications = 0;

  /** @param scratch of 128 octets, at `scratchAt`. */
  constructor(calls: Bindings, staging: Buffer, stagingAt: number, scratch: ArrayBuffer, scratchAt: number) {
    this.#calls = calls;
    this.#staging = staging;
    this.#stagingAt = stagingAt;
    this.#wide = new BigUint64Array(scratch, 0, 1);
    this.#tm = new Int32Array(scratch, 64, 16);
    this.#scratchAt = scratchAt;
  }

  /** Chains that OpenSSL had to verify. */
  get verifications(): number {
    return this.#verifications;
  }

  /** From here on a context's peers are judged here. */
  judgeFor(ctx: SslCtx, { role, ciphers, roots }: Trust): void {
    this.#judge ??= registerJudge((store, number) => this.#judgeSafely(store, number));
    const key = [role, ciphers, roots].join("\n");
    let number = this.#numbers.get(key);
    if (number === undefined) {
      this.#forgetOldest(key);
      number = this.#newest += 1;
      this.#numbers.set(key, number);
      this.#byNumber.set(number, new Map());
    }
    this.#calls.ctxJudge(ctx, this.#judge, number);
  }

  /** Called from within a handshake: nothing may be thrown here, and what goes wrong is a refusal. */
  #judgeSafely(store: number, number: number): number {
    try {
      return this.#holds(store, number);
    } catch {
      this.#calls.storeFault(store, VERIFY_UNSPECIFIED);
      return 0;
    }
  }

  /** @returns what OpenSSL's own X509_verify_cert(3) would. */
  #holds(store: number, number: number): number {
    const known = this.#byNumber.get(number);
    const lengths: number[] = [];
    const octets = known === undefined ? undefined : this.#presented(store, lengths);
    const chain = octets === undefined ? undefined : known?.get(octets);
    if (chain !== undefined) {
      const now = Math.floor(this.wallMs() / 1_000);
      if (chain.notBefore <= now && now < chain.notAfter) {
        this.last = chain;
        return 1;
      }
      known?.delete(chain.octets);
    }
    this.#verifications += 1;
    const result = this.#calls.verifyChain(store);
    if (result !== 1 || known === undefined || octets === undefined) return result;
    const validity = this.#validity(store);
    if (validity === undefined) return result;
    this.last = { octets, lengths, ...validity };
    if (known.size >= mostChains) known.delete(known.keys().next().value!);
    known.set(octets, this.last);
    return result;
  }

  /** DER of all that was presented, or undefined where it is more than anybody needs. @param lengths are written here. */
  #presented(store: number, lengths: number[]): string | undefined {
    const calls = this.#calls;
    const sent = calls.storePresented(store);
    const count = sent === 0 ? 0 : calls.stackSize(sent);
    if (count < 1 || count > mostCertificates || calls.stackAt(sent, 0) !== calls.storeLeaf(store)) return undefined;
    let total = 0;
    for (let index = 0; index < count; index++) {
      const certificate = calls.stackAt(sent, index);
      const length = calls.certificateDer(certificate, 0);
      if (length <= 0 || total + length > mostOctets) return undefined;
      this.#wide[0] = BigInt(this.#stagingAt + total);
      if (calls.certificateDer(certificate, this.#scratchAt) !== length) return undefined;
      lengths.push(length);
      total += length;
    }
    return this.#staging.toString("latin1", 0, total);
  }

  /** Of the chain that has just been found to hold. */
  #validity(store: number): Pick<VerifiedChain, "notBefore" | "notAfter"> | undefined {
    const calls = this.#calls;
    const chain = calls.storeChain(store);
    const count = chain === 0 ? 0 : calls.stackSize(chain);
    if (count < 1) return undefined;
    let notBefore = -Infinity;
    let notAfter = Infinity;
    for (let index = 0; index < count; index++) {
      const certificate: X509 = calls.stackAt(chain, index);
      const from = this.#secondsOf(calls.notBefore(certificate));
      const until = this.#secondsOf(calls.notAfter(certificate));
      if (from === undefined || until === undefined) return undefined;
      notBefore = Math.max(notBefore, from);
      notAfter = Math.min(notAfter, until);
    }
    return { notBefore, notAfter };
  }

  /** @returns undefined where it is no time that can be read. */
  #secondsOf(time: number): number | undefined {
    const tm = this.#tm;
    if (time === 0 || this.#calls.timeToTm(time, this.#scratchAt + tm.byteOffset) !== 1) return undefined;
    const [second, minute, hour, day, month, year] = tm as unknown as [number, number, number, number, number, number];
    const ms = new Date(0).setUTCFullYear(1_900 + year, month, day) + ((hour * 60 + minute) * 60 + second) * 1_000;
    return Number.isFinite(ms) ? ms / 1_000 : undefined;
  }

  /** Roots change seldom; whoever still verifies by forgotten ones does so without a memory. */
  #forgetOldest(key: string): void {
    if (this.#numbers.size < mostTrusts || this.#numbers.has(key)) return;
    const [oldest, number] = this.#numbers.entries().next().value!;
    this.#numbers.delete(oldest);
    this.#byNumber.delete(number);
  }
}

/** The certificates of a chain, DER. */
export function certificatesIn({ octets, lengths }: VerifiedChain): Buffer[] {
  const all = Buffer.from(octets, "latin1");
  let at = 0;
  return lengths.map((length) => all.subarray(at, (at += length)));
}

/** Of one trust: some kilobyte each. */
const mostChains = 1_024;
const mostTrusts = 16;
/** What is larger is verified every time. */
const mostCertificates = 4;
const mostOctets = 4 << 10;
