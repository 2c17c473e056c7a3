/**
 * What HTTP/2 says in one turn of the loop, put together for TLS: small pieces are copied side by side, large ones are left where they
 * lie. A link that takes what is written at once gives the memory back with each flush, so that it serves all tunnels of a thread.
 */
import { keep } from "../../relay/lending.ts";
import type { SecureLink } from "../secure-link.ts";

export class GatheredWrites {
  readonly #link: SecureLink;
  #pieces: Uint8Array[] = [];
  /** Small pieces since the last large one. */
  #block: Buffer | undefined;
  #from = 0;
  #to = 0;
  #octets = 0;
  /** One of the pieces is a view of what its owner may write over. */
  #isLent = false;

  constructor(link: SecureLink) {
    this.#link = link;
  }

  /** Octets that wait for a flush. */
  get octets(): number {
    return this.#octets;
  }

  /** Some of them are valid for as long as the call lasts in which they came. */
  get isLent(): boolean {
    return this.#isLent;
  }

  add(bytes: Uint8Array): void {
    this.#octets += bytes.length;
    if (!this.#link.takesAtOnce) return void this.#pieces.push(keep(bytes));
    if (bytes.length > mostCopied) {
      this.#endBlock();
      this.#pieces.push(bytes);
      this.#isLent = true;
      return;
    }
    if (this.#block !== undefined && this.#to + bytes.length > blockOctets) this.#endBlock(true);
    this.#block ??= blocks.pop() ?? Buffer.allocUnsafeSlow(blockOctets);
    this.#block.set(bytes, this.#to);
    this.#to += bytes.length;
  }

  flush(): void {
    if (this.#octets === 0) return;
    const block = this.#block;
    this.#endBlock(true);
    const pieces = this.#pieces;
    this.forget();
    this.#link.write(pieces);
    // A block that was full before is not worth the search for it.
    if (block !== undefined && blocks.length < mostBlocks) blocks.push(block);
  }

  /** Nobody is going to send it. */
  forget(): void {
    this.#pieces = [];
    this.#block = undefined;
    this.#from = this.#to = this.#octets = 0;
    this.#isLent = false;
  }

  #endBlock(isFull = false): void {
    if (this.#block === undefined) return;
    if (this.#to > this.#from) this.#pieces.push(this.#block.subarray(this.#from, this.#to));
    this.#from = this.#to;
    if (!isFull) return;
    this.#block = undefined;
    this.#from = this.#to = 0;
  }
}

/** Of a thread, for whichever tunnel is written to. */
const blocks: Buffer[] = [];
const mostBlocks = 16;
const blockOctets = 32 << 10;
/** Above, a piece of its own is cheaper than its copy. */
const mostCopied = 4 << 10;
