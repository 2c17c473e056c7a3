/**
 * DER read where it lies, value by value and without a tree: for what may be large (a CRL has hundreds of thousands of values) or is read
 * with every handshake. Strict: definite lengths in their shortest form, small tag numbers.
 */

/** What a stranger's bytes can be; caught by whoever began to read. */
export class DerError extends Error {
  override readonly name = "DerError";
}

/** Tags as their identifier octet (X.690 8.1.2). */
export const derTags = {
  boolean: 0x01,
  integer: 0x02,
  bits: 0x03,
  octets: 0x04,
  oid: 0x06,
  utf8: 0x0c,
  printable: 0x13,
  teletex: 0x14,
  ia5: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** The values of one level, one after the other. */
export class DerReader {
  readonly bytes: Uint8Array;
  /** Of the value that `next` came to: its identifier octet, where it begins, where its content begins, and where both end. */
  tag = 0;
  from = 0;
  start = 0;
  end = 0;
  #at: number;
  #limit: number;

  constructor(bytes: Uint8Array, from = 0, limit = bytes.length) {
    this.bytes = bytes;
    this.#at = from;
    this.#limit = limit;
  }

  /** Begins again elsewhere in the same bytes. */
  reset(from: number, limit: number): void {
    this.#at = from;
    this.#limit = limit;
  }

  get isDone(): boolean {
    return this.#at >= this.#limit;
  }

  /** Identifier octet of the next value; 0 at the end. */
  get ahead(): number {
    return this.isDone ? 0 : (this.bytes[this.#at] ?? 0);
  }

  /** Steps to the next value. @returns false at the end. @throws DerError */
  next(): boolean {
    if (this.#at >= this.#limit) return false;
    const { bytes } = this;
    this.from = this.#at;
    this.tag = bytes[this.#at] ?? 0;
    if ((this.tag & 0x1f) === 0x1f) throw new DerError("a tag of several octets");
    let at = this.#at + 1;
    let length = bytes[at++] ?? 0x80;
    if (length >= 0x80) {
      const octets = length & 0x7f;
      if (octets === 0 || octets > 4) throw new DerError("a length that cannot be");
      length = 0;
      for (let i = 0; i < octets; i++) length = length * 256 + (bytes[at++] ?? 0);
      if (length < 0x80 || length < 256 ** (octets - 1)) throw new DerError("a length that is not as short as can be");
    }
    this.start = at;
    this.end = at + length;
    if (this.end > this.#limit) throw new DerError("a value that is longer than what holds it");
    this.#at = this.end;
    return true;
  }

  /** Steps to the next value, which must be of this tag. @throws DerError */
  expect(tag: number): void {
    if (!this.next() || this.tag !== tag) throw new DerError(`no value of tag ${tag}`);
  }

  /** The values inside the present one. */
  inside(): DerReader {
    return new DerReader(this.bytes, this.start, this.end);
  }

  /** Content of the present value: a view. */
  content(): Uint8Array {
    return this.bytes.subarray(this.start, this.end);
  }

  /** The present value, header and all: a view. */
  whole(): Uint8Array {
    return this.bytes.subarray(this.from, this.end);
  }

  /** @throws DerError where anything is left. */
  done(): void {
    if (!this.isDone) throw new DerError("more values than there should be");
  }
}
