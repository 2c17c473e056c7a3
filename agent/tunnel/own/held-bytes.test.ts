import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { HeldBytes } from "./held-bytes.ts";

test("bytes come out as they went in, however they were cut", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 5_000 }), { maxLength: 40 }), fc.nat(10), (pieces, every) => {
      const held = new HeldBytes();
      const out: Uint8Array[] = [];
      pieces.forEach((piece, i) => {
        held.add(piece);
        const taken = i % (every + 1) === every ? held.take() : undefined;
        if (taken !== undefined) out.push(Uint8Array.from(taken));
      });
      for (let bytes = held.take(); bytes !== undefined; bytes = held.take()) out.push(bytes);
      assert.equal(held.length, 0);
      assert.ok(Buffer.concat(out).equals(Buffer.concat(pieces)));
    }),
  );
});

test("a mebibyte that comes byte by byte is held in little more than a mebibyte", () => {
  const held = new HeldBytes();
  const read = Buffer.alloc(16_384, 7);
  for (let i = 0; i < 1 << 20; i++) held.add(read.subarray(i % 16_384, (i % 16_384) + 1));
  let room = 0;
  for (let bytes = held.take(); bytes !== undefined; bytes = held.take()) room += bytes.buffer.byteLength;
  assert.ok(room < (1 << 20) + 2 * 65_536, `${room} octets`);
});
