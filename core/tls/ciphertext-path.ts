/**
 * How ciphertext gets into OpenSSL and out of it, the same way for all connections of a thread: what has been received is read where it
 * lies, and what is to be sent gathers in one ring. Both are empty between two calls, so that a connection holds no memory for either:
 * OpenSSL keeps the part of a record that has come, and nobody else's octets are ever in the way.
 */
import { addressOf, type Address, type Bindings, type Bio, type Ssl } from "./bindings.ts";
import { BIO_RESET, BIO_SET_BUF_MEM } from "./constants.ts";

export class CiphertextPath {
  readonly #openssl: Bindings;
  readonly #in: Bio;
  /** OpenSSL writes to this one, */
  readonly #near: Bio;
  /** and here we read it. */
  readonly #far: Bio;
  /** A BUF_MEM (buffer.h): length, data, capacity, flags. The memory BIO works on a copy of it, made by BIO_SET_BUF_MEM. */
  readonly #words: Uint32Array;
  readonly #sourceAt: Address;
  /** Where sockets read into one buffer for all, it is the same again and again. */
  #lastMemory: ArrayBufferLike | undefined;
  #lastAt: Address = 0;
  #isLoaded = false;

  constructor(openssl: Bindings) {
    this.#openssl = openssl;
    const memory = new ArrayBuffer(256);
    this.#words = new Uint32Array(memory, 0, 8);
    this.#sourceAt = addressOf(memory);
    this.#in = openssl.bioNew(openssl.bioInMemory());
    const ends = new BigUint64Array(memory, 64, 2);
    const made = openssl.bioPair(this.#sourceAt + 64, ringOctets, this.#sourceAt + 72, 0);
    if (this.#in === 0 || made !== 1) throw new Error("no memory for BIOs");
    this.#near = Number(ends[0]);
    this.#far = Number(ends[1]);
    // From here on it lets go of our memory without freeing it.
    this.unload();
  }

  /** A connection reads and writes here until it is freed, which gives both references back. */
  attach(ssl: Ssl): void {
    this.#openssl.bioUpRef(this.#in);
    this.#openssl.bioUpRef(this.#near);
    this.#openssl.sslReadsFrom(ssl, this.#in);
    this.#openssl.sslWritesTo(ssl, this.#near);
  }

  /** What OpenSSL reads next. The caller holds it and calls nobody until it has been read to its end, or {@link unload}ed. */
  load(ciphertext: Uint8Array): void {
    const { buffer, byteOffset, length } = ciphertext;
    if (buffer !== this.#lastMemory) {
      this.#lastMemory = buffer;
      this.#lastAt = addressOf(buffer);
    }
    const at = this.#lastAt + byteOffset;
    const words = this.#words;
    // Upper halves of what is no address stay 0: nobody has a view of 4 GiB.
    words[0] = length;
    words[2] = at;
    words[3] = at / 2 ** 32;
    words[4] = length;
    this.#openssl.bioCtrl(this.#in, BIO_SET_BUF_MEM, 0, this.#sourceAt);
    this.#isLoaded = true;
  }

  /** What was not read is forgotten. */
  unload(): void {
    this.#words.fill(0);
    this.#openssl.bioCtrl(this.#in, BIO_SET_BUF_MEM, 0, this.#sourceAt);
    this.#isLoaded = false;
  }

  /** It has been read to its end. */
  finished(): void {
    this.#isLoaded = false;
  }

  /** What OpenSSL has written moves to `into`. @returns octets; not positive where there are none. */
  drain(into: Address, most: number): number {
    return this.#openssl.bioRead(this.#far, into, most);
  }

  /** After one of our own bugs has ended a call in its middle: nobody else gets what it has left. */
  clean(): void {
    if (this.#isLoaded) this.unload();
    this.#openssl.bioCtrl(this.#near, BIO_RESET, 0, 0);
  }

  /** Only where no connection is attached any more. */
  free(): void {
    this.#openssl.bioFree(this.#in);
    this.#openssl.bioFree(this.#near);
    this.#openssl.bioFree(this.#far);
  }
}

/**
 * More than a connection writes before it drains: eight full records, and what OpenSSL has to say beside. Where a handshake has more to
 * say than this, it waits for us.
 */
const ringOctets = 144 << 10;
