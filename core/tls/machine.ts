/**
 * One end of a TLS connection without I/O: ciphertext goes in and plaintext comes out, and the other way round, in pieces of up to some
 * 128 KiB. What it has to say goes to its owner, from within the call that caused it and in order; the owner may call back, and free it,
 * from there: OpenSSL is not on the stack then, and holds nothing of ours.
 *
 * Order: `start` once; `receive` whatever comes; `write` from `secured` on; `close` says goodbye, in one direction: the peer may go on.
 * `free` always, at the latest when the transport is gone. After `failed` it has freed itself. What is called on a freed one does nothing.
 */
import type { Ssl } from "./bindings.ts";
import { FAILED_ENDED, FAILED_READ, FAILED_WRITE, KEY_UPDATE_BOTH, KEY_UPDATE_OURS } from "./constants.ts";
import type { TlsContext } from "./context.ts";
import { forgetErrors, takeFailure } from "./errors-of.ts";
import type { OpenSsl } from "./openssl.ts";
import { agreed, presented, protocolOf, type Agreed } from "./agreed.ts";
import { TlsError } from "./tls-error.ts";
import type { VerifiedChain } from "./verified-chains.ts";

/** Whom a machine belongs to. */
export interface TlsOwner {
  /**
   * For the transport, in this order.
   * @returns whether somebody still reads `ciphertext` after this call. Where it says no, something else is soon written over it, of
   * whichever connection: so only where it has been sent or copied. The same machine may be in the middle of a write: no other from here.
   */
  send(ciphertext: Buffer): boolean;
  /** The handshake is over, and the peer's chain holds. Once. Plaintext may follow at once: whom the peer proved to be is judged here. */
  secured(): void;
  /** @param records how many of TLS brought it. @returns as of `send`. */
  received(plaintext: Buffer, records: number): boolean;
  /** The peer's goodbye: no more will come, and nothing is missing. Once. */
  ended(): void;
  /** There is no connection any more. Once, and last. */
  failed(error: TlsError): void;
}

/** `secured` also where one of the ends, or both, have said goodbye. */
export type TlsPhase = "new" | "handshake" | "secured" | "freed";

export class TlsMachine {
  readonly #context: TlsContext;
  readonly #openssl: OpenSsl;
  readonly #owner: TlsOwner;
  #ssl: Ssl;
  #phase: TlsPhase = "new";
  #hasEnded = false;
  #isClosed = false;
  /** Whether it may have record buffers. */
  #isWarm = true;
  /** Since it was last asked to rest. */
  #hasWorked = true;
  /** Records that we have written under the present key. */
  #underKey = 0;
  /** While the handshake lasts. */
  #chain: VerifiedChain | undefined;

  /** Throws where the context has been released, or there is no memory. */
  constructor(context: TlsContext, owner: TlsOwner) {
    this.#context = context;
    this.#openssl = context.openssl;
    this.#owner = owner;
    const { calls, path } = this.#openssl;
    this.#ssl = calls.sslNew(context.handle);
    if (this.#ssl === 0) throw new Error("no memory for a TLS connection");
    path.attach(this.#ssl);
    if (context.role === "server") calls.sslAccepts(this.#ssl);
    else calls.sslConnects(this.#ssl);
  }

  get phase(): TlsPhase {
    return this.#phase;
  }

  /** The peer has said goodbye. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** A client says hello, a server waits for it. */
  start(): void {
    if (this.#phase !== "new") return;
    this.#phase = "handshake";
    if (this.#context.role === "client") this.#round(nothing);
  }

  /** @param ciphertext of any length; read during the call, and the caller's own again afterwards. */
  receive(ciphertext: Uint8Array): void {
    if (this.#phase === "new") this.start();
    if (ciphertext.length <= mostReceived) return this.#round(ciphertext);
    for (let at = 0; at < ciphertext.length; at += mostReceived) {
      this.#round(ciphertext.subarray(at, at + mostReceived));
    }
  }

  /** The transport brings no more. Where the peer has not said goodbye before, that is a failure. */
  receiveEnd(): void {
    if (this.#ssl === 0 || this.#hasEnded) return;
    this.#fail(new TlsError({ code: "tls.truncated", within: this.#phase === "secured" ? "stream" : "handshake" }));
  }

  /** All of it is sent when this returns, in records as full as can be. After `close` nothing is. Throws before `secured`. */
  write(pieces: readonly Uint8Array[]): void {
    if (this.#ssl === 0 || this.#isClosed) return;
    if (this.#phase !== "secured") throw new Error("written to before TLS was up");
    this.#works();
    forgetErrors(this.#openssl.calls);
    if (this.#underKey >= mostUnderKey) this.#updateKeys(KEY_UPDATE_OURS);
    let isWhole = false;
    try {
      this.#writeRecords(pieces);
      isWhole = true;
    } finally {
      if (!isWhole) this.#openssl.path.clean();
    }
  }

  /** Says goodbye: nothing more will be written. What the peer still has to say is received. */
  close(): void {
    if (this.#ssl === 0 || this.#isClosed) return;
    this.#isClosed = true;
    if (this.#phase !== "secured") return;
    const { calls } = this.#openssl;
    forgetErrors(calls);
    // Where it fails there is nobody to say it to, and reading says why.
    if (calls.shutdown(this.#ssl) < 0) calls.clearErrors();
    this.#sendAll(this.#collect());
  }

  /**
   * To be called now and then, once a second say: record buffers, 34 KB, are given back where nothing has been carried since the last
   * call. To have them anew for each record (SSL_MODE_RELEASE_BUFFERS) takes a tenth of what TLS costs.
   */
  rest(): void {
    if (this.#ssl === 0 || !this.#isWarm) return;
    if (this.#hasWorked) this.#hasWorked = false;
    // Not where part of a record has come.
    else this.#isWarm = this.#openssl.calls.freeBuffers(this.#ssl) !== 1;
  }

  /** Gives everything back. Again is nothing. */
  free(): void {
    const ssl = this.#ssl;
    if (ssl === 0) return;
    this.#ssl = 0;
    this.#phase = "freed";
    this.#openssl.calls.sslFree(ssl);
  }

  /** What both ends agreed on. From `secured` until it is freed. */
  agreed(): Agreed {
    return agreed(this.#openssl, this.#secured());
  }

  /** Of {@link agreed}, what is asked of every connection. */
  get protocol(): string | undefined {
    return protocolOf(this.#openssl, this.#secured());
  }

  get isResumed(): boolean {
    return this.#openssl.calls.isReused(this.#secured()) === 1;
  }

  /** What the peer presented, its own certificate first: DER. From `secured` until it is freed. */
  peerCertificates(): Buffer[] {
    return presented(this.#openssl, this.#secured());
  }

  /** The same, while the owner is told that it is secured; undefined where it is not one that is remembered. */
  get peerChain(): VerifiedChain | undefined {
    return this.#chain;
  }

  /** New keys for what is written next, and the peer is asked for the same (RFC 8446 4.6.3). TLS 1.2 has no such thing. */
  updateKeys(): void {
    this.#secured();
    this.#updateKeys(KEY_UPDATE_BOTH);
  }

  /** One call's worth of what came: all of it goes through OpenSSL before anybody hears of it. */
  #round(ciphertext: Uint8Array): void {
    const ssl = this.#ssl;
    if (ssl === 0 || this.#hasEnded) return;
    this.#works();
    const { calls, path, octets, words, wordsAt, chains } = this.#openssl;
    const wasSecured = this.#phase === "secured";
    let isSecured = wasSecured;
    let out: Buffer[] = none;
    let error: TlsError | undefined;
    let failure: number;
    let got = 0;
    let records = 0;
    forgetErrors(calls);
    // Whatever a bug of ours may have left there is somebody else's.
    if (!wasSecured) chains.last = undefined;
    // A record of which the larger part has come before, and its end now, may bring more than came now.
    const room = ciphertext.length + mostHeld;
    const into = octets.room(room);
    if (ciphertext.length > 0) path.load(ciphertext);
    let isWhole = false;
    try {
      for (;;) {
        const result = isSecured ? calls.read(ssl, into + got, room - got, wordsAt) : calls.handshake(ssl);
        if (result === 1) {
          if (isSecured) {
            got += words[0]!;
            records++;
          } else isSecured = true;
          continue;
        }
        failure = calls.failure(ssl, result);
        if (failure !== FAILED_WRITE) break;
        // More than one ring of it.
        out = out.concat(this.#collect());
      }
      if (failure !== FAILED_READ) {
        if (failure !== FAILED_ENDED) error = takeFailure(calls, ssl);
        path.unload();
      } else path.finished();
      const rest = this.#collect();
      out = out.length === 0 ? rest : out.concat(rest);
      isWhole = true;
    } finally {
      if (!isWhole) path.clean();
    }
    const plaintext = got > 0 ? octets.take(got) : undefined;
    if (!wasSecured) {
      this.#chain = chains.last ?? this.#chain;
      chains.last = undefined;
      if (isSecured) this.#phase = "secured";
    }
    if (failure === FAILED_ENDED) {
      if (isSecured) this.#hasEnded = true;
      // A goodbye before anything was said: nobody waits for the transport to end as well.
      else error = new TlsError({ code: "tls.truncated", within: "handshake" });
    }
    // From here on our owner may do anything.
    if (this.#sendAll(out) && !wasSecured && isSecured) {
      this.#owner.secured();
      this.#chain = undefined;
    }
    if (plaintext !== undefined && (this.#ssl === 0 || !this.#owner.received(plaintext, records))) {
      octets.release(plaintext);
    }
    if (this.#ssl === 0) return;
    if (error !== undefined) this.#fail(error);
    else if (failure === FAILED_ENDED) this.#owner.ended();
  }

  #works(): void {
    this.#isWarm = true;
    this.#hasWorked = true;
  }

  #updateKeys(kind: number): void {
    const { calls } = this.#openssl;
    this.#underKey = 0;
    forgetErrors(calls);
    if (calls.keyUpdate(this.#ssl, kind) !== 1) calls.clearErrors();
  }

  /** One record after the other; their ciphertext leaves in pieces of eight. */
  #writeRecords(pieces: readonly Uint8Array[]): void {
    const { staging } = this.#openssl;
    let staged = 0;
    let records = 0;
    const last = pieces.length - 1;
    for (let index = 0; index <= last; index++) {
      const piece = pieces[index]!;
      let at = 0;
      while (at < piece.length) {
        const left = piece.length - at;
        if (staged === 0 && (left >= recordOctets || index === last)) {
          // Whole records go as they lie, and at the end what is left of them.
          const room = (mostRecords - records) * recordOctets;
          const whole = index === last ? left : left - (left % recordOctets);
          const octets = Math.min(room, whole);
          if (!this.#encrypt(at === 0 ? piece : piece.subarray(at), octets)) return;
          at += octets;
          records += Math.ceil(octets / recordOctets);
        } else {
          const octets = Math.min(recordOctets - staged, left);
          staging.set(octets === piece.length ? piece : piece.subarray(at, at + octets), staged);
          at += octets;
          staged += octets;
          if (staged < recordOctets) continue;
          if (!this.#encrypt(staging, staged)) return;
          staged = 0;
          records++;
        }
        if (records < mostRecords) continue;
        // Nothing is staged now: whoever is called may write to others.
        if (!this.#sendRecords(records)) return;
        records = 0;
      }
    }
    if (staged > 0) {
      if (!this.#encrypt(staging, staged)) return;
      records++;
    }
    if (records > 0) this.#sendRecords(records);
  }

  /** @returns false where it has failed. */
  #encrypt(bytes: Uint8Array, octets: number): boolean {
    const { calls, words, wordsAt } = this.#openssl;
    let written = 0;
    for (;;) {
      const rest = written === 0 ? bytes : bytes.subarray(written);
      const result = calls.write(this.#ssl, rest, octets - written, wordsAt);
      if (result === 1) {
        written += words[0]!;
        if (written === octets) return true;
        continue;
      }
      const error = takeFailure(calls, this.#ssl);
      this.#sendAll(this.#collect());
      if (this.#ssl !== 0) this.#fail(error);
      return false;
    }
  }

  /** What has just been encrypted. @returns false where there is no connection any more. */
  #sendRecords(records: number): boolean {
    const { path, octets } = this.#openssl;
    this.#underKey += records;
    const most = records * mostPerRecord + mostBeside;
    const got = path.drain(octets.room(most), most);
    if (got <= 0) return true;
    const piece = octets.take(got);
    // There is none, unless OpenSSL had more to say than we know of. But nothing may stay behind: it would go to somebody else.
    const rest = got === most ? this.#collect() : none;
    if (!this.#owner.send(piece)) octets.release(piece);
    return this.#sendAll(rest);
  }

  /** What OpenSSL has to say of its own accord. */
  #collect(): Buffer[] {
    const { path, staging, stagingAt } = this.#openssl;
    let got = path.drain(stagingAt, staging.length);
    if (got <= 0) return none;
    const out: Buffer[] = [];
    for (; got > 0; got = path.drain(stagingAt, staging.length)) out.push(Buffer.from(staging.subarray(0, got)));
    return out;
  }

  /** @returns false where there is no connection any more. */
  #sendAll(out: readonly Buffer[]): boolean {
    for (const piece of out) {
      if (this.#ssl === 0) return false;
      this.#owner.send(piece);
    }
    return this.#ssl !== 0;
  }

  #fail(error: TlsError): void {
    this.free();
    this.#owner.failed(error);
  }

  #secured(): Ssl {
    if (this.#phase !== "secured") throw new Error(`asked while TLS was ${this.#phase}`);
    return this.#ssl;
  }
}

const nothing = new Uint8Array(0);
const none: Buffer[] = [];
/** Of plaintext (RFC 8446 5.1). */
export const recordOctets = 16 << 10;
/** Header, type and tag are 22 octets in TLS 1.3, 29 in 1.2. */
const mostPerRecord = recordOctets + 32;
/** Beside the records that were written: a KeyUpdate that the peer has asked for. */
const mostBeside = 1 << 10;
/** In one piece of ciphertext. */
const mostRecords = 8;
/**
 * Less than AES-GCM is safe for (RFC 8446 5.5: 2^24.5), also where a peer has asked for fragments of 512 octets (RFC 6066 4), of which
 * 32 are one of those that we count: 4 GiB in full records.
 */
const mostUnderKey = 2 ** 18;
const mostReceived = 128 << 10;
/** A record that has come but for its end. */
const mostHeld = 17 << 10;
