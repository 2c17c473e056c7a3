import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { TlsOverhead } from "./tls-overhead.ts";

test("H022 records that carry something cost nothing, however small they are", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 16_384 }), { maxLength: 500 }), fc.nat(100_000), (sizes, before) => {
      const overhead = new TlsOverhead(before, 0);
      let received = before;
      for (const size of sizes) {
        received += size + tls13;
        overhead.carried(size, 1);
        assert.equal(overhead.isOverdrawn(received, 0), false);
      }
    }),
  );
  const overhead = new TlsOverhead(0, 0);
  for (let at = 1; at <= 1_000_000; at++) overhead.carried(1, 1);
  assert.equal(overhead.isOverdrawn(1_000_000 * (1 + tls12), 0), false);
});

test("H022 a record that has not arrived whole is not held against its sender", () => {
  const overhead = new TlsOverhead(0, 0);
  for (let at = 1; at <= 1_000; at++) {
    assert.equal(overhead.isOverdrawn(at * 16_406 - 1, 0), false);
    overhead.carried(16_384, 1);
  }
});

test("H022 a few thousand records without content overdraw the account, whatever was carried before", () => {
  const overhead = new TlsOverhead(0, 0);
  let received = 1_000_000 * (1_000 + tls13);
  for (let at = 0; at < 1_000_000; at++) overhead.carried(1_000, 1);
  assert.equal(overhead.isOverdrawn(received, 0), false);
  received += 2_400 * keyUpdate;
  assert.equal(overhead.isOverdrawn(received, 0), false);
  received += 100 * keyUpdate;
  assert.equal(overhead.isOverdrawn(received, 0), true);
});

test("H022 now and then a change of keys is nobody's concern", () => {
  const overhead = new TlsOverhead(0, 0);
  for (let second = 1; second <= 100_000; second++) {
    assert.equal(overhead.isOverdrawn(second * 100 * keyUpdate, second * 1_000), false);
  }
});

const tls13 = 22;
const tls12 = 29;
const keyUpdate = 27;
