import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { huffmanLength, longestDecoded, readHuffman, writeHuffman } from "./huffman.ts";

suite("HPACK's Huffman code (RFC 7541 5.2 and appendix B)", () => {
  test("codes of the appendix, the shortest and the longest among them", () => {
    for (const [octet, code] of [
      ["0", "00000"],
      ["t", "01001"],
      [" ", "010100"],
      ["Z", "11111101"],
      ["!", "1111111000"],
      ["<", "111111111111100"],
      ["\\", "1111111111111110000"],
      ["\0", "1111111111000"],
      ["\x80", "11111111111111100110"],
      ["\xff", "11111111111111111111101110"],
      ["\n", "111111111111111111111111111100"],
      ["\x16", "111111111111111111111111111110"],
    ] as const) {
      assert.equal(bitsOf(octet), code.padEnd(Math.ceil(code.length / 8) * 8, "1"));
      assert.equal(decode(fromBits(code)), octet);
    }
  });

  test("any octets come back, in as many as were announced", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (octets) => {
        const text = Buffer.from(octets).toString("latin1");
        const encoded = encode(text);
        assert.equal(encoded.length, huffmanLength(text));
        assert.ok(text.length <= longestDecoded(encoded.length));
        assert.equal(decode(encoded), text);
      }),
    );
  });

  test("every octet follows every other", () => {
    for (let first = 0; first < 256; first++) {
      for (let second = 0; second < 256; second++) {
        const pair = String.fromCharCode(first, second);
        assert.equal(decode(encode(pair)), pair);
      }
    }
  });

  test("EOS, padding of eight bits, and padding of anything but ones are refused", () => {
    const eos = "1".repeat(30);
    assert.equal(decode(fromBits(eos)), undefined);
    assert.equal(decode(fromBits(`00000${eos}00000`)), undefined);
    assert.equal(decode(fromBits("11111111")), undefined);
    assert.equal(decode(fromBits("00000111")), "0");
    assert.equal(decode(Buffer.concat([fromBits("00000"), Buffer.of(0xff)])), undefined);
    assert.equal(decode(fromBits("00000000")), undefined);
    assert.equal(decode(fromBits("00000110")), undefined);
  });

  test("a text for which there is no room is counted, and written as far as there is room", () => {
    const encoded = encode("abcdefgh");
    const out = Buffer.alloc(8);
    assert.equal(readHuffman(encoded, 0, encoded.length, out, 3), 8);
    assert.equal(out.toString("latin1"), "abc\0\0\0\0\0");
  });

  test("a character that is no octet is never cut down to one", () => {
    assert.throws(() => huffmanLength("a\u010a"), RangeError);
  });
});

function encode(text: string): Buffer {
  const out = Buffer.alloc(huffmanLength(text) + 1);
  assert.equal(writeHuffman(out, 0, text), out.length - 1);
  return out.subarray(0, out.length - 1);
}

function decode(encoded: Uint8Array): string | undefined {
  const out = Buffer.alloc(longestDecoded(encoded.length));
  const length = readHuffman(encoded, 0, encoded.length, out, out.length);
  return length < 0 ? undefined : out.toString("latin1", 0, length);
}

function bitsOf(text: string): string {
  return [...encode(text)].map((octet) => octet.toString(2).padStart(8, "0")).join("");
}

/** Padded with ones. */
function fromBits(bits: string): Buffer {
  const octets = bits.padEnd(Math.ceil(bits.length / 8) * 8, "1").match(/.{8}/g) ?? [];
  return Buffer.from(octets.map((octet) => parseInt(octet, 2)));
}
