/** A stream of bytes that both ends can compute: position-dependent, so that a lost, doubled or swapped piece changes the hash. */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";

const blockSize = 65_536;

/** A block of the pattern; every block differs from the others in its first eight bytes. */
function block(index: number, base: Buffer): Buffer {
  const copy = Buffer.from(base);
  copy.writeBigUInt64BE(BigInt(index));
  return copy;
}

export function pattern(bytes: number): Readable {
  const base = Buffer.alloc(blockSize, "ambientd-");
  let sent = 0;
  return new Readable({
    highWaterMark: 4 * blockSize,
    read() {
      if (sent >= bytes) return void this.push(null);
      const piece = block(sent / blockSize, base).subarray(0, Math.min(blockSize, bytes - sent));
      sent += piece.length;
      this.push(piece);
    },
  });
}

/** The SHA-256 of the first `bytes` of the pattern, in hex. */
export async function patternHash(bytes: number): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of pattern(bytes)) hash.update(piece as Buffer);
  return hash.digest("hex");
}
