/** What header blocks may cost, however they are made. The collector is asked to run, so that only what is held counts. */
import assert from "node:assert/strict";
import { suite, test, type TestContext } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { HpackDecoder } from "./decoder.ts";
import { HpackEncoder } from "./encoder.ts";
import { HpackError } from "./hpack-error.ts";
import { huffmanLength, writeHuffman } from "./huffman.ts";
import { writeInteger } from "./integer.ts";

const kib = 1024;

suite("memory of HPACK", () => {
  test("H005 a 4 KB entry referenced 8,000 times costs a pointer for each that the limit lets through, and none behind", (t) => {
    const decoder = new HpackDecoder({ tableSize: 4_096, listSize: 64 * kib });
    const entry = Buffer.concat([Buffer.from([0x40, 1, 0x61]), text("v".repeat(4_063))]);
    const block = Buffer.concat([entry, Buffer.alloc(8_000, 0xbe)]);
    const held = heldBy(t, 100, () => {
      const answer = decoder.decode(block);
      assert.ok(!(answer instanceof HpackError));
      assert.ok(answer.tooLarge);
      assert.equal(answer.size, 8_001 * 4_096);
      assert.equal(answer.fields.length, 16);
      assert.equal(new Set(answer.fields).size, 1);
      return answer;
    });
    assert.ok(held < 6 * kib, `${held} octets a block`); // its own entry of 4 KB, and the list
    const made = madeBy(t, 10, () => decoder.decode(block));
    assert.ok(made < 16 * kib, `${made} octets a block`);
  });

  test("H005 nothing is made of literals behind the limit, Huffman coded or not", (t) => {
    const decoder = new HpackDecoder({ tableSize: 4_096, listSize: 1 * kib });
    const literal = Buffer.concat([Buffer.from([0, 1, 0x61]), text("v".repeat(30_000))]);
    const coded = Buffer.concat([Buffer.from([0, 1, 0x61]), huffmanText("v".repeat(30_000))]);
    const block = Buffer.concat([literal, coded, Buffer.from([0x40, 0, 0]), literal, coded]);
    const made = madeBy(t, 10, () => {
      const answer = decoder.decode(block);
      assert.ok(!(answer instanceof HpackError));
      assert.equal(answer.fields.length, 0);
      assert.equal(answer.size, 4 * 30_033 + 32);
    });
    assert.ok(made < 8 * kib, `${made} octets a block`);
  });

  test("a pair that has seen nothing takes less than a KiB", (t) => {
    const held = heldBy(t, 500, () => [new HpackDecoder({ tableSize: 4_096, listSize: 1 }), new HpackEncoder()]);
    assert.ok(held < 1 * kib, `${held} octets a pair`);
  });

  test("a table full of the smallest entries, or of the largest, takes less than 16 KiB", (t) => {
    for (const entry of [Buffer.from([0x40, 0, 0]), Buffer.from([0x40, 2, 0x61, 0x62, 2, 0x63, 0x64]), largest()]) {
      const block = Buffer.concat(Array.from({ length: 200 }, () => entry));
      const held = heldBy(t, 100, () => {
        const decoder = new HpackDecoder({ tableSize: 4_096, listSize: 1 });
        assert.ok(!(decoder.decode(block) instanceof HpackError));
        return decoder;
      });
      assert.ok(held < 16 * kib, `${held} octets a table`);
    }
  });

  test("a decoder holds nothing of the blocks that it has read", (t) => {
    const decoder = new HpackDecoder({ tableSize: 4_096, listSize: 64 * kib });
    const held = heldBy(t, 20, () => {
      const buffer = new Uint8Array(1024 * kib);
      buffer.set(new HpackEncoder().encode([{ name: "x-name", value: "a value of some length, to be sure" }]));
      return decoder.decode(buffer.subarray(0, 40));
    });
    assert.ok(held < 4 * kib, `${held} octets a block`);
  });
});

/** Octets that each of so many things keeps, in V8's heap and outside. */
function heldBy(t: TestContext, times: number, make: () => unknown): number {
  make();
  const kept: unknown[] = [];
  const before = usedNow();
  for (let i = 0; i < times; i++) kept.push(make());
  const each = (usedNow() - before) / times;
  t.diagnostic(`${Math.round(each)} octets each`);
  kept.length = 0;
  return each;
}

/** Octets of V8's heap that each run of so few asks for, whether it keeps them or not: nothing is collected meanwhile. */
function madeBy(t: TestContext, times: number, run: () => void): number {
  for (let i = 0; i < 3; i++) run();
  usedNow();
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < times; i++) run();
  const each = (process.memoryUsage().heapUsed - before) / times;
  t.diagnostic(`${Math.round(each)} octets made each`);
  return each;
}

function usedNow(): number {
  // Buffers are let go of while the collection goes on; a second one waits for the first.
  for (let i = 0; i < 3; i++) collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

function text(value: string): Buffer {
  const head = Buffer.alloc(6);
  return Buffer.concat([head.subarray(0, writeInteger(head, 0, 0, 7, value.length)), Buffer.from(value, "latin1")]);
}

function huffmanText(value: string): Buffer {
  const head = Buffer.alloc(6);
  const body = Buffer.alloc(huffmanLength(value));
  writeHuffman(body, 0, value);
  return Buffer.concat([head.subarray(0, writeInteger(head, 0, 0x80, 7, body.length)), body]);
}

function largest(): Buffer {
  return Buffer.concat([Buffer.from([0x40, 1, 0x61]), text("v".repeat(4_063))]);
}

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;
