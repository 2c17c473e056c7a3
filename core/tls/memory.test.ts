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
import { until } from "../../test/support/until.ts";

const client = contextOf("client", alice);
const server = contextOf("server", bob);
const heapOctets = allocated();
const options = { skip: heapOctets === undefined && "only glibc tells what it has allocated" };

// V8 gives its part of the memory back when it likes, so what is expected is waited for.

test("two thousand connections that break at any point leave nothing behind", options, async () => {
  let seed = 1;
  const random = (below: number): number => {
    seed = (seed * 48_271) % 0x7fff_ffff;
    return seed % below;
  };
  const rounds = (count: number): void => {
    for (let round = 0; round < count; round++) breakSomewhere(random);
  };
  rounds(300);
  const before = await settled();
  rounds(2_000);
  // One connection has more than 30,000 while it lives, one certificate 2,000.
  await until("it is no more than before", 10_000, () => grownSince(before) < 2_000 * 50);
  assert.equal(openssl().calls.peekError(), 0);
});

test("contexts give all back when they are released, those that could not be made as well", options, async () => {
  const broken = `${bob.chain}-----BEGIN CERTIFICATE-----`;
  const bad = [{ key: alice.key }, { groups: "none" }, { roots: "none" }, { chain: broken }];
  const rounds = (count: number): void => {
    for (let round = 0; round < count; round++) {
      contextOf("server", bob).release();
      contextOf("client", alice).release();
      for (const change of bad) assert.throws(() => contextOf("server", bob, change));
    }
  };
  rounds(30);
  const before = await settled();
  rounds(200);
  await until("it is no more than before", 10_000, () => grownSince(before) < 200 * 300);
});

test("a connection at rest holds no record buffers, and gets them again when it has work", options, async () => {
  const pairs = Array.from({ length: 200 }, () => securedPair(client, server));
  const payload = Buffer.alloc(40_000);
  let received = 0;
  for (const heard of pairs.flat()) {
    heard.received = (plaintext): boolean => {
      received += plaintext.length;
      return false;
    };
  }
  const carry = (): void => {
    for (const pair of pairs) {
      for (const { machine } of pair) machine.write([payload]);
      exchange(...pair);
    }
  };
  const rest = (): void => {
    for (const { machine } of pairs.flat()) machine.rest();
  };
  carry();
  const busy = await settled();
  rest();
  assert.ok(grownSince(busy) > -400 * 1_000, "they have only just worked");
  for (let round = 0; round < 3; round++) {
    rest();
    await until("33 KB each are given back", 10_000, () => grownSince(busy) < -400 * 32_000);
    carry();
    rest();
    assert.ok(grownSince(busy) > -400 * 1_000, "they work again");
  }
  // A record of which a part has come is not lost.
  const [ours, theirs] = pairs[0]!;
  ours.machine.write([payload.subarray(0, 1_000)]);
  const octets = Buffer.concat(ours.sent.splice(0));
  feed(theirs.machine, octets.subarray(0, 500), uncut);
  rest();
  rest();
  feed(theirs.machine, octets.subarray(500), uncut);
  assert.equal(received, 4 * 400 * payload.length + 1_000);
  for (const heard of pairs.flat()) heard.machine.free();
});

function grownSince(before: number): number {
  return heapOctets!() - before;
}

/** What is allocated once V8 has given back what it will. */
async function settled(): Promise<number> {
  let last = heapOctets!();
  await until("memory has settled", 10_000, () => {
    const before = last;
    last = heapOctets!();
    return Math.abs(last - before) < 2_000;
  });
  return last;
}

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
