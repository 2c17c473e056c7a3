import assert from "node:assert/strict";
import { setFlagsFromString } from "node:v8";
import { test } from "node:test";
import { runInNewContext } from "node:vm";
import koffi from "koffi";
import {
  alice,
  bob,
  contextOf,
  each,
  exchange,
  feed,
  Heard,
  openssl,
  securedPair,
  uncut,
} from "../../test/support/tls-machines.ts";

const client = contextOf("client", alice);
const server = contextOf("server", bob);
const heapOctets = allocated();

test(
  "two thousand connections that break at any point leave nothing behind",
  { skip: heapOctets === undefined },
  () => {
    let seed = 1;
    const random = (below: number): number => {
      seed = (seed * 48_271) % 0x7fff_ffff;
      return seed % below;
    };
    const rounds = (count: number): void => {
      for (let round = 0; round < count; round++) breakSomewhere(random);
    };
    rounds(300);
    const before = heapOctets!();
    rounds(2_000);
    const grown = heapOctets!() - before;
    // One connection has more than 10,000 while it lives, one certificate 2,000.
    assert.ok(grown < 2_000 * 50, `${grown} octets more`);
    assert.equal(openssl().calls.peekError(), 0);
  },
);

test(
  "contexts give all back when they are released, those that could not be made as well",
  { skip: heapOctets === undefined },
  () => {
    const rounds = (count: number): void => {
      for (let round = 0; round < count; round++) {
        contextOf("server", bob).release();
        contextOf("client", alice).release();
        for (const change of [
          { key: alice.key },
          { groups: "none" },
          { roots: "none" },
          { chain: bob.chain + "-----BEGIN CERTIFICATE-----" },
        ]) {
          assert.throws(() => contextOf("server", bob, change));
        }
      }
    };
    rounds(30);
    const before = heapOctets!();
    rounds(200);
    const grown = heapOctets!() - before;
    assert.ok(grown < 200 * 300, `${grown} octets more`);
  },
);

test(
  "a connection at rest holds no record buffers, whatever it has carried",
  { skip: heapOctets === undefined },
  () => {
    const carry = (pairs: readonly (readonly [Heard, Heard])[]): void => {
      for (const pair of pairs) {
        for (const { machine } of pair) machine.write([Buffer.alloc(40_000)]);
        exchange(...pair);
        for (const heard of pair) heard.plaintext.length = 0;
      }
    };
    const pairs = Array.from({ length: 200 }, () => securedPair(client, server));
    carry(pairs.slice(0, 5));
    const before = heapOctets!();
    carry(pairs);
    const each = (heapOctets!() - before) / 400;
    // With buffers it would be 16,000 and more.
    assert.ok(each < 500, `${each} octets for one end`);
    for (const heard of pairs.flat()) heard.machine.free();
  },
);

function breakSomewhere(random: (below: number) => number): void {
  const [ours, theirs] = [new Heard(client), new Heard(server)];
  ours.onSecured = () => ours.machine.write([Buffer.alloc(random(40_000))]);
  if (random(4) === 0) theirs.onReceived = () => theirs.machine.free();
  const cut = random(2) === 0 ? uncut : each(1 + random(700));
  let left = 1 + random(12_000);
  ours.machine.start();
  for (const ends = [ours, theirs]; ours.sent.length + theirs.sent.length > 0 && left > 0; ends.reverse()) {
    const octets = Buffer.concat(ends[0]!.sent.splice(0)).subarray(0, left);
    left -= octets.length;
    if (left <= 0 && random(2) === 0 && octets.length > 0) octets[random(octets.length)]! ^= 1 + random(255);
    feed(ends[1]!.machine, octets, cut);
  }
  if (random(3) === 0) ours.machine.close();
  if (random(3) === 0) theirs.machine.receiveEnd();
  ours.machine.free();
  theirs.machine.free();
}

/** Octets that are allocated by the C library at this time; it is glibc that can tell. */
function allocated(): (() => number) | undefined {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const names = [
    "arena",
    "ordblks",
    "smblks",
    "hblks",
    "hblkhd",
    "usmblks",
    "fsmblks",
    "uordblks",
    "fordblks",
    "keepcost",
  ];
  try {
    const shape = koffi.struct(Object.fromEntries(names.map((name) => [name, "size_t"])));
    const mallinfo = koffi.load(null).func("mallinfo2", shape, []) as unknown as () => {
      uordblks: number;
      hblkhd: number;
    };
    return () => {
      collect();
      collect();
      const { uordblks, hblkhd } = mallinfo();
      return uordblks + hblkhd;
    };
  } catch {
    return undefined;
  }
}
