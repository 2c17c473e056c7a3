import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SharedOctets, type StoredResource } from "./shared-octets.ts";

test("whatever is put and dropped, what is in force reads as it was written, and as it was sent to others", () => {
  const steps = fc.array(fc.record({ name: fc.nat(40), length: fc.oneof(fc.nat(9_000), fc.nat(300_000)) }), {
    maxLength: 300,
  });
  fc.assert(
    fc.property(steps, (all) => {
      const octets = new SharedOctets();
      const held = new Map<
        number,
        { readonly stored: StoredResource; readonly fill: number; readonly length: number }
      >();
      const sent: { readonly from: SharedArrayBuffer; readonly at: number; readonly fill: number }[] = [];
      for (const [fill, { name, length }] of all.entries()) {
        const before = held.get(name);
        const bytes = Buffer.alloc(length, fill & 255);
        if (before !== undefined && length % 3 !== 2) octets.drop(before.stored);
        else if (before !== undefined) octets.replace(before.stored, bytes);
        held.delete(name);
        if (length % 3 === 0) continue;
        const stored = before !== undefined && length % 3 === 2 ? before.stored : octets.put(`${name}`, bytes);
        held.set(name, { stored, fill: fill & 255, length });
        sent.push({ from: stored.octets, at: stored.at, fill: fill & 255 });
      }
      for (const [name, { stored, fill, length }] of held) {
        assert.equal(stored.name, `${name}`);
        assert.equal(stored.bytes.length, length);
        assert.ok(stored.bytes.every((octet) => octet === fill));
      }
      // What is on its way to a worker stays what it was, wherever it has been moved to since.
      for (const { from, at, fill } of sent) {
        const view = Buffer.from(from);
        const length = view.readUInt32BE(at);
        assert.ok(view.subarray(at + 4, at + 4 + length).every((octet) => octet === fill));
      }
    }),
    { numRuns: 60 },
  );
});

test("what is replaced over and over takes no more room than twice what is in force, and a buffer", () => {
  const octets = new SharedOctets();
  const held = Array.from({ length: 1_000 }, (_, at) => octets.put(`${at}`, Buffer.alloc(1_000)));
  const full = octets.chunks;
  for (let round = 0; round < 20_000; round++) {
    const at = (round * 7_919) % held.length;
    octets.drop(held[at]!);
    held[at] = octets.put(`${at}`, Buffer.alloc(1_000));
  }
  assert.ok(octets.chunks <= full * 2 + 1, `${full} buffers became ${octets.chunks}`);
  for (const stored of held) octets.drop(stored);
  assert.ok(octets.chunks <= 1, `${octets.chunks} buffers hold nothing`);
});

test("a buffer that is mostly out of date by the time it is full goes then", () => {
  const octets = new SharedOctets();
  const [kept, ...others] = Array.from({ length: 250 }, (_, at) => octets.put(`${at}`, Buffer.alloc(1_000, at)));
  for (const stored of others) octets.drop(stored);
  octets.put("large", Buffer.alloc(200_000, 7));
  assert.equal(octets.chunks, 1);
  assert.deepEqual(kept?.bytes, Buffer.alloc(1_000, 0));
});
