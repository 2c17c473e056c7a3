import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../core/base/ip.ts";
import { FrameCounter } from "./frame-counter.ts";

test("a TCP segment between pods is counted under 15008 where either end has it, else under its lower port", () => {
  const counter = new FrameCounter([]);
  counter.count(tcp("10.244.1.2", "10.244.2.2", 40_000, 15_008));
  counter.count(tcp("10.244.2.2", "10.244.1.2", 15_008, 40_000));
  counter.count(tcp("10.244.2.2", "10.244.1.2", 80, 15_008));
  counter.count(tcp("fd00:244:1::2", "fd00:244:2::2", 40_000, 8080));
  assert.deepEqual(counter.counts(0).podSegments, { "15008": 3, "8080": 1 });
});

test("what is not between two pods is a frame, but no pod's segment", () => {
  const counter = new FrameCounter([]);
  counter.count(tcp("10.244.1.2", "172.30.0.1", 40_000, 15_012));
  counter.count(tcp("fd00:245::1", "fd00:244:2::2", 40_000, 80));
  counter.count(new Uint8Array(3));
  const { frames, podSegments, podOther } = counter.counts(0);
  assert.deepEqual({ frames, podSegments, podOther }, { frames: 3, podSegments: {}, podOther: {} });
});

test("other protocols and later fragments between pods don't hide", () => {
  const counter = new FrameCounter([]);
  const udp = tcp("10.244.1.2", "10.244.2.2", 1, 2);
  udp[14 + 9] = 17;
  const fragment = tcp("10.244.1.2", "10.244.2.2", 1, 2);
  fragment[14 + 7] = 1;
  const fragment6 = tcp("fd00:244:1::2", "fd00:244:2::2", 1, 2);
  fragment6[14 + 6] = 44;
  for (const frame of [udp, fragment, fragment6]) counter.count(frame);
  assert.deepEqual(counter.counts(0).podOther, { "17": 1, fragment: 2 });
});

test("a marker is found in any byte of any frame, and drops are passed on", () => {
  const counter = new FrameCounter(["needle", "thread"]);
  counter.count(Buffer.from("no ip at all: needle"));
  counter.count(Buffer.concat([tcp("10.244.1.2", "10.244.2.2", 1, 2), Buffer.from("needle needle")]));
  assert.deepEqual(counter.counts(4), {
    frames: 2,
    bytes: 20 + 34 + 20 + 13,
    marked: { needle: 2, thread: 0 },
    podSegments: { "1": 1 },
    podOther: {},
    dropped: 4,
  });
});

/** Ethernet, IP and TCP headers without a payload. */
function tcp(source: string, destination: string, from: number, to: number): Buffer {
  const addresses = Buffer.concat([parseIp(source)!, parseIp(destination)!]);
  const v6 = addresses.length === 32;
  const ethernet = Buffer.alloc(14);
  ethernet.writeUInt16BE(v6 ? 0x86dd : 0x0800, 12);
  const ip = Buffer.alloc(v6 ? 8 : 12);
  ip[0] = v6 ? 0x60 : 0x45;
  ip[v6 ? 6 : 9] = 6;
  const segment = Buffer.alloc(20);
  segment.writeUInt16BE(from, 0);
  segment.writeUInt16BE(to, 2);
  return Buffer.concat([ethernet, ip, addresses, segment]);
}
