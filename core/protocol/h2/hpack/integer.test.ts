import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { integerOverflow, integerTruncated, longestInteger, readInteger, writeInteger } from "./integer.ts";

suite("HPACK integers (RFC 7541 5.1)", () => {
  test("the examples of appendix C.1 are written and read", () => {
    assert.equal(hexOf(0, 5, 10), "0a");
    assert.equal(hexOf(0, 5, 1337), "1f9a0a");
    assert.equal(hexOf(0, 8, 42), "2a");
    assert.equal(valueOf("e0", 5), 0);
    assert.equal(valueOf("ff9a0a", 5), 1337);
  });

  test("what is written is read again, behind any pattern, in no more octets than are set aside for it", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 8 }), fc.nat(2 ** 31 - 1), fc.nat(255), (prefixBits, value, noise) => {
        const pattern = (noise << prefixBits) & 0xff;
        const out = new Uint8Array(longestInteger + 1);
        const end = writeInteger(out, 1, pattern, prefixBits, value);
        assert.ok(end - 1 <= longestInteger);
        const cursor = { bytes: out.subarray(0, end), at: 1 };
        assert.equal(readInteger(cursor, prefixBits), value);
        assert.equal(cursor.at, end);
        const missing = { bytes: out.subarray(0, end - 1), at: 1 };
        assert.equal(readInteger(missing, prefixBits), integerTruncated);
      }),
    );
  });

  test("2^31 and more is refused, and so is a small number in more octets than one could need", () => {
    assert.equal(valueOf("1fe0ffffff07", 5), 2 ** 31 - 1);
    assert.equal(valueOf("1fe1ffffff07", 5), integerOverflow);
    assert.equal(valueOf("1fffffffff7f", 5), integerOverflow);
    assert.equal(valueOf("1f8080808000", 5), 31);
    assert.equal(valueOf("1f808080808000", 5), integerOverflow);
    assert.equal(valueOf("ff".repeat(40), 7), integerOverflow);
  });
});

function hexOf(pattern: number, prefixBits: number, value: number): string {
  const out = Buffer.alloc(longestInteger);
  return out.toString("hex", 0, writeInteger(out, 0, pattern, prefixBits, value));
}

function valueOf(hex: string, prefixBits: number): number {
  return readInteger({ bytes: Buffer.from(hex, "hex"), at: 0 }, prefixBits);
}
