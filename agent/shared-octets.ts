/**
 * Octets that all threads of the process read and none copies: resources one after the other in a few large buffers. What is in a
 * buffer never changes. A resource that is replaced is written anew, and so is what is left in a buffer that is mostly out of date.
 */

interface Chunk {
  readonly shared: SharedArrayBuffer;
  readonly view: Buffer;
  readonly resources: StoredResource[];
  /** Octets written, and those of them that are in force. */
  used: number;
  live: number;
}

/** One resource in force. */
export class StoredResource {
  readonly name: string;
  #chunk: Chunk;
  #at: number;

  constructor(name: string, chunk: Chunk, at: number) {
    this.name = name;
    this.#chunk = chunk;
    this.#at = at;
  }

  /** Where it is now, for other threads. */
  get octets(): SharedArrayBuffer {
    return this.#chunk.shared;
  }

  /** Where in there its length stands, in four octets, big end first; then it follows itself. */
  get at(): number {
    return this.#at;
  }

  /** A look at it, good until the next resource is put or dropped. */
  get bytes(): Buffer {
    const from = this.#at + lengthOctets;
    return this.#chunk.view.subarray(from, from + this.length);
  }

  get length(): number {
    return this.#chunk.view.readUInt32BE(this.#at);
  }

  /** For SharedOctets alone. */
  isIn(chunk: Chunk): boolean {
    return this.#chunk === chunk;
  }

  /** For SharedOctets alone. @returns where it was. */
  moveTo(chunk: Chunk, at: number): Chunk {
    const before = this.#chunk;
    this.#chunk = chunk;
    this.#at = at;
    return before;
  }
}

export class SharedOctets {
  #current = newChunk(0);
  #chunks = 0;

  /** How many buffers hold something that is in force. */
  get chunks(): number {
    return this.#chunks;
  }

  put(name: string, bytes: Uint8Array): StoredResource {
    const chunk = this.#roomFor(bytes.length);
    const stored = new StoredResource(name, chunk, chunk.used);
    write(chunk, stored, bytes);
    return stored;
  }

  /** It says something else from now on. Who was told of its place still reads there what it said then. */
  replace(stored: StoredResource, bytes: Uint8Array): void {
    const size = stored.length + lengthOctets;
    const to = this.#roomFor(bytes.length);
    const from = stored.moveTo(to, to.used);
    write(to, stored, bytes);
    this.#forget(from, size);
  }

  /** It is not in force any more. */
  drop(stored: StoredResource): void {
    const size = stored.length + lengthOctets;
    this.#forget(stored.moveTo(nowhere, 0), size);
  }

  #forget(chunk: Chunk, size: number): void {
    chunk.live -= size;
    if (chunk !== this.#current) this.#tidy(chunk);
  }

  /** Of a buffer that is not written to any more. Half a buffer's worth at most is moved. */
  #tidy(chunk: Chunk): void {
    if (chunk.live >= chunk.used / 2) return;
    for (const stored of chunk.live === 0 ? [] : chunk.resources) {
      if (!stored.isIn(chunk)) continue;
      const { bytes } = stored;
      const to = this.#roomFor(bytes.length);
      stored.moveTo(to, to.used);
      write(to, stored, bytes);
    }
    chunk.live = 0;
    this.#chunks -= 1;
  }

  #roomFor(length: number): Chunk {
    const needed = length + lengthOctets;
    // What is left in the buffer that was written to until now may take up the new one.
    while (this.#current.view.length - this.#current.used < needed) {
      const full = this.#current;
      this.#current = newChunk(Math.max(chunkOctets, needed));
      this.#chunks += 1;
      if (full.used > 0) this.#tidy(full);
    }
    return this.#current;
  }
}

function write(chunk: Chunk, stored: StoredResource, bytes: Uint8Array): void {
  chunk.view.writeUInt32BE(bytes.length, chunk.used);
  chunk.view.set(bytes, chunk.used + lengthOctets);
  chunk.used += bytes.length + lengthOctets;
  chunk.live += bytes.length + lengthOctets;
  chunk.resources.push(stored);
}

function newChunk(length: number): Chunk {
  const shared = new SharedArrayBuffer(length);
  return { shared, view: Buffer.from(shared), resources: [], used: 0, live: 0 };
}

const lengthOctets = 4;
const chunkOctets = 262_144;
const nowhere = newChunk(0);
