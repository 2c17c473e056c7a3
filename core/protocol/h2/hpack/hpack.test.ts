import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { tryHpack } from "../../../../test/fuzz/hpack.ts";
import { HpackDecoder, type DecodedBlock } from "./decoder.ts";
import { HpackEncoder } from "./encoder.ts";
import type { HeaderField } from "./field.ts";
import { HpackError } from "./hpack-error.ts";

const octets = fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes).toString("latin1"));
const usualNames = [":method", ":authority", ":status", ":path", "cookie", "baggage", "traceparent", "x-a", "x-b"];
const name = fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...usualNames) }, octets);
const value = fc.oneof(fc.constantFrom("", "GET", "200", "a", "b", "c".repeat(1_000), "d".repeat(3_500)), octets);
const field: fc.Arbitrary<HeaderField> = fc.record({ name, value }, { noNullPrototype: true });
const fields = fc.array(field, { maxLength: 12 });

suite("HPACK, both ways", () => {
  test("any fields come back in order, whatever limits the decoder's end announces between blocks", () => {
    const step = fc.oneof(fields, fc.constantFrom(0, 31, 40, 100, 1_000, 4_096, 100_000));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const encoder = new HpackEncoder();
        const decoder = new HpackDecoder({ tableSize: 4_096, listSize: Infinity });
        for (const next of steps) {
          if (typeof next === "number") {
            encoder.limitTable(next);
            decoder.limitTable(next);
          } else {
            assert.deepEqual(decoded(decoder, encoder.encode(next)).fields, next);
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  test("the decoder never throws, and says what a naive one says, on octets that mean nothing", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 5 }), fc.nat(255), (blocks, limit) => {
        const parts = blocks.flatMap((block) => [Buffer.of(0, block.length), block]);
        tryHpack(Buffer.concat([Buffer.of(limit), ...parts]));
      }),
      { numRuns: 1_000 },
    );
  });

  test("the same on blocks that were valid before one octet of them was changed", () => {
    fc.assert(
      fc.property(fc.array(fields, { minLength: 1, maxLength: 4 }), fc.nat(), fc.nat(255), (lists, where, octet) => {
        const encoder = new HpackEncoder();
        const parts = lists.flatMap((list) => {
          const block = encoder.encode(list);
          return [Buffer.of(block.length >>> 8, block.length & 0xff), block];
        });
        const input = Buffer.concat([Buffer.of(255), ...parts]);
        input[where % input.length] = octet;
        tryHpack(input);
      }),
      { numRuns: 500 },
    );
  });

  test("a block may lie anywhere in a larger buffer, and may be overwritten once it is read", () => {
    const block = new HpackEncoder().encode([{ name: "x-name", value: "\x00\x01\x02 not Huffman coded" }]);
    const buffer = new Uint8Array(block.length + 40);
    buffer.set(block, 13);
    const decoder = new HpackDecoder(limits);
    const { fields: read } = decoded(decoder, buffer.subarray(13, 13 + block.length));
    buffer.fill(0);
    assert.deepEqual(read, [{ name: "x-name", value: "\x00\x01\x02 not Huffman coded" }]);
    assert.deepEqual(decoded(decoder, Buffer.of(0xbe)).fields, read);
  });
});

suite("the HPACK decoder", () => {
  test("each way to break a block is told apart, and none is recovered from", () => {
    for (const [hex, code] of [
      ["80", "hpack.bad-index"],
      ["be", "hpack.bad-index"],
      ["7e00", "hpack.bad-index"],
      ["ff", "hpack.truncated"],
      ["0001610562", "hpack.truncated"],
      ["ff81ffffff07", "hpack.integer-overflow"],
      ["00016184ffffffff", "hpack.bad-huffman"],
      ["0001618100", "hpack.bad-huffman"],
      ["3fe21f", "hpack.bad-table-size"],
      ["8220", "hpack.bad-table-size"],
    ] as const) {
      const decoder = new HpackDecoder(limits);
      const error = failed(decoder, hex);
      assert.equal(error.type.code, code, hex);
      assert.equal(decoder.decode(Buffer.of(0x82)), error);
    }
  });

  test("a limit that was lowered under the peer's table is owed an answer, to the lowest it ever was", () => {
    for (const [blocks, fault] of [
      [["82"], "missing"],
      [["3fe11f82"], "above-limit"],
      [["2082"], undefined],
      [["203fe11f82"], undefined],
      [["2082", "3fe11f82"], undefined],
      [["2082", "3fe21f82"], "above-limit"],
    ] as const) {
      const decoder = new HpackDecoder(limits);
      decoder.limitTable(0);
      decoder.limitTable(4_096);
      const answer = blocks.map((hex) => decoder.decode(Buffer.from(hex, "hex"))).at(-1);
      const said = answer instanceof HpackError && "fault" in answer.type ? answer.type.fault : undefined;
      assert.equal(said, fault, blocks.join());
    }
  });

  test("a limit over the peer's table owes nothing, and a table of 4,096 octets holds until a lower one is acknowledged", () => {
    const decoder = new HpackDecoder({ tableSize: 100, listSize: 1_000 });
    decoded(decoder, Buffer.from("4001610162", "hex"));
    decoded(decoder, Buffer.from("3f2182", "hex")); // 64 octets
    decoder.limitTable(100);
    assert.deepEqual(decoded(decoder, Buffer.of(0xbe)).fields, [{ name: "a", value: "b" }]);
  });

  test("a list over the limit is read to its end: what it drops is counted, and what it adds to the table is there", () => {
    const decoder = new HpackDecoder({ tableSize: 4_096, listSize: 100 });
    const encoder = new HpackEncoder();
    const list = [
      { name: "x-first", value: "1" },
      { name: "x-second", value: "v".repeat(100) },
      { name: "x-third", value: "3" },
    ];
    const { fields: kept, size, tooLarge } = decoded(decoder, encoder.encode(list));
    assert.deepEqual(kept, list.slice(0, 1));
    assert.ok(tooLarge);
    assert.equal(size, 40 + 140 + 40);
    assert.deepEqual(decoded(decoder, encoder.encode(list.slice(2))).fields, list.slice(2));
    const exact = [{ name: "x", value: "v".repeat(67) }];
    assert.deepEqual(decoded(decoder, encoder.encode(exact)), { fields: exact, size: 100, tooLarge: false });
  });
});

suite("the HPACK decoder of somebody who passes by", () => {
  test("of what is not wanted only names and lengths are right, and tables stay in step all the same", () => {
    fc.assert(
      fc.property(fc.array(fields, { maxLength: 20 }), (lists) => {
        const encoder = new HpackEncoder();
        const all = new HpackDecoder(limits);
        const some = new HpackDecoder(limits, (name) => name === ":status" || name === "x-a");
        for (const list of lists) {
          const block = encoder.encode(list);
          const [expected, got] = [decoded(all, block), decoded(some, block)];
          const shape = ({ name, value }: HeaderField): unknown[] => [name, value.length];
          assert.deepEqual(got.fields.map(shape), expected.fields.map(shape));
          assert.deepEqual(
            [got.size, got.tooLarge, some.table.size],
            [expected.size, expected.tooLarge, all.table.size],
          );
          got.fields.forEach(({ name, value }, at) => {
            if (name === ":status" || name === "x-a") assert.equal(value, expected.fields[at]?.value);
          });
        }
      }),
      { numRuns: 300 },
    );
    const broken = new HpackDecoder(limits, () => false);
    assert.equal(failed(broken, "0001618100").type.code, "hpack.bad-huffman");
  });
});

suite("the HPACK encoder", () => {
  test("a field that repeats takes one octet, and one that does not leaves nothing in the table", () => {
    const encoder = new HpackEncoder();
    const authority = { name: ":authority", value: "10.0.0.1:80" };
    encoder.encode([authority]);
    assert.equal(encoder.encode([authority]).length, 1);
    for (let port = 0; port < 1_000; port++) {
      encoder.encode([
        { name: "traceparent", value: `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-${port}` },
        { name: "forwarded", value: `for="10.0.0.2:${port}"` },
        { name: "x-large", value: "v".repeat(4_000) },
      ]);
    }
    assert.equal(encoder.encode([authority]).length, 1);
  });

  test("secrets are marked as never to be indexed", () => {
    for (const name of ["authorization", "cookie", "proxy-authorization", "set-cookie"]) {
      const encoder = new HpackEncoder();
      const first = encoder.encode([{ name, value: "secret" }]);
      assert.equal((first[0] ?? 0) & 0xf0, 0x10, name);
      assert.deepEqual(encoder.encode([{ name, value: "secret" }]), first);
    }
  });

  test("the peer's limit is told in the next block, with the lowest it was meanwhile, and never over 4,096", () => {
    const encoder = new HpackEncoder();
    const get = [{ name: ":method", value: "GET" }];
    const next = (): string => Buffer.from(encoder.encode(get)).toString("hex");
    encoder.limitTable(65_536);
    assert.equal(next(), "82");
    encoder.limitTable(100);
    assert.equal(next(), "3f4582");
    for (const limit of [1_000, 0, 65_536]) encoder.limitTable(limit);
    assert.equal(next(), "203fe11f82");
    for (const limit of [0, 10]) encoder.limitTable(limit);
    assert.equal(next(), "202a82");
    assert.equal(next(), "82");
  });

  test("a character that is no octet is our own mistake, and thrown", () => {
    for (const bad of [
      { name: "x-a", value: "\u010d\u010aset-cookie: forged" },
      { name: "x-\u{1f600}", value: "" },
    ]) {
      assert.throws(() => new HpackEncoder().encode([bad]), RangeError);
    }
  });
});

const limits = { tableSize: 4_096, listSize: 65_536 };

function decoded(decoder: HpackDecoder, block: Uint8Array): DecodedBlock {
  const answer = decoder.decode(block);
  if (answer instanceof HpackError) throw answer;
  return answer;
}

function failed(decoder: HpackDecoder, hex: string): HpackError {
  const answer = decoder.decode(Buffer.from(hex, "hex"));
  assert.ok(answer instanceof HpackError, hex);
  return answer;
}
