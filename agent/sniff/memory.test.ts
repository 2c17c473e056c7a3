/** What a sniffed connection may hold, however it is made to. The collector is asked to run, so that only what is held counts. */
import assert from "node:assert/strict";
import { suite, test, type TestContext } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { clientPreface, frameTypes } from "../../core/protocol/h2/frame.ts";
import { frameHeader, settingsFrame } from "../../core/protocol/h2/frame-writer.ts";
import { mostOpen } from "../../core/protocol/http1/exchanges.ts";
import { mostHeldOctets, type Conversation } from "./conversation.ts";
import { UnknownConversation } from "./unknown-conversation.ts";

suite("memory of sniffing", () => {
  test("a connection of which nothing is known takes next to nothing", (t) => {
    const held = heldBy(t, 2_000, () => begun());
    assert.ok(held < 256, `${held} octets`);
  });

  test("HTTP/1 takes less than 20 KiB, whatever its heads and unanswered requests", (t) => {
    for (const length of [100, 3_000, 8_150]) {
      let open = mostOpen;
      while (open > 0 && unanswered(open, length) === undefined) open -= 1;
      assert.ok(open > 10, "that is more than anybody needs");
      const held = heldBy(t, 100, () => unanswered(open, length));
      assert.ok(held < mostHeldOctets, `${held} octets: ${open} requests, ${length} octets of a line`);
    }
  });

  test("HTTP/1 between two requests takes less than 2 KiB", (t) => {
    const held = heldBy(t, 500, () => {
      const conversation = begun();
      assert.ok(conversation.client(Buffer.from("GET / HTTP/1.1\r\nhost: a\r\n\r\n"), 0));
      assert.ok(conversation.server(Buffer.from("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"), 0));
      return conversation;
    });
    assert.ok(held < 2_048, `${held} octets`);
  });

  test("HTTP/2 takes less than 20 KiB, whatever its tables, its streams and its unfinished frames are filled with", (t) => {
    const entries: readonly [name: string, literal: Uint8Array][] = [
      ["the smallest", Buffer.from([0x40, 0, 0])],
      ["small", Buffer.from([0x40, 2, 0x61, 0x62, 2, 0x63, 0x64])],
      [
        "usual",
        Buffer.concat([
          Buffer.from([0x40, 8]),
          Buffer.from("x-header"),
          Buffer.from([20]),
          Buffer.from("v".repeat(20)),
        ]),
      ],
      ["large", Buffer.concat([Buffer.from([0x40, 1, 0x61, 0x7f, 0xe1, 0x06]), Buffer.from("v".repeat(992))])],
    ];
    for (const [name, entry] of entries) {
      let most = { entries: 0, streams: 0, octets: 0 };
      // As much as is let through of each, in several mixtures.
      for (const streams of [0, 400, 1_000]) {
        for (const octets of [0, 4_000]) {
          const fits = (count: number): boolean => filled(entry, count, streams, octets) !== undefined;
          let count = 200;
          while (count > 0 && !fits(count)) count -= 5;
          if (!fits(count)) continue;
          const held = heldBy(t, 200, () => filled(entry, count, streams, octets));
          assert.ok(
            held < mostHeldOctets,
            `${held} octets: ${name}, ${count} entries, ${streams} streams, ${octets} octets`,
          );
          most = { entries: count, streams, octets };
        }
      }
      assert.notDeepEqual(most, { entries: 0, streams: 0, octets: 0 });
    }
  });
});

/** An HTTP/1 conversation with so many requests, and two lines of that length that are not over; undefined: given up. */
function unanswered(requests: number, length: number): Conversation | undefined {
  const conversation = begun();
  const line = `x: ${"y".repeat(length)}`;
  const said = [
    conversation.client(Buffer.from("GET / HTTP/1.1\r\n\r\n".repeat(requests)), 0),
    conversation.server(Buffer.from(`HTTP/1.1 200 OK\r\n${line}`), 0),
    conversation.client(Buffer.from(`GET / HTTP/1.1\r\n${line}`), 0),
  ];
  return said.every(Boolean) ? conversation : undefined;
}

/** An HTTP/2 conversation with so many entries sent in both directions, streams open, and octets of a frame; undefined: given up. */
function filled(entry: Uint8Array, entries: number, streams: number, octets: number): Conversation | undefined {
  const conversation = begun();
  const said = [
    conversation.client(clientPreface, 0),
    conversation.client(settingsFrame([]), 0),
    conversation.server(settingsFrame([]), 0),
  ];
  const block = Buffer.concat(Array.from({ length: entries }, () => entry));
  for (let at = 0, id = 1; at < Math.max(1, block.length); at += entry.length * 10, id += 2) {
    const part = block.subarray(at, at + entry.length * 10);
    said.push(conversation.client(headers(id, part), 0), conversation.server(headers(id, part, 1), 0));
  }
  for (let i = 0; i < streams; i++) said.push(conversation.client(headers(10_001 + 2 * i, Buffer.from([0x82])), 0));
  if (octets > 0) {
    const begins = Buffer.concat([frameHeader(frameTypes.HEADERS, 0x4, 90_001, octets + 1), Buffer.alloc(octets)]);
    said.push(conversation.client(begins, 0));
  }
  return said.every(Boolean) ? conversation : undefined;
}

function headers(id: number, block: Uint8Array, endStream = 0): Uint8Array {
  return Buffer.concat([frameHeader(frameTypes.HEADERS, 0x4 | endStream, id, block.length), block]);
}

function begun(): Conversation {
  return new UnknownConversation({ request: () => {} });
}

/** Octets that each of so many things keeps, in V8's heap and outside. */
function heldBy(t: TestContext, times: number, make: () => unknown): number {
  // What is compiled and cached on the way is nobody's.
  for (let i = 0; i < 50; i++) make();
  const kept: unknown[] = [];
  const before = usedNow();
  for (let i = 0; i < times; i++) kept.push(make());
  const each = (usedNow() - before) / times;
  t.diagnostic(`${Math.round(each)} octets each`);
  kept.length = 0;
  return each;
}

function usedNow(): number {
  // Buffers are let go of while the collection goes on; a second one waits for the first.
  for (let i = 0; i < 3; i++) collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;
