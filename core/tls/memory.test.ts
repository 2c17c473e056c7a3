import assert from "node:assert/strict";
import { test } from "node:test";
import { allocated, breakSomewhere, drawFrom } from "../../test/support/broken-tls.ts";
import { alice, bob, contextOf, exchange, feed, openssl, securedPair, uncut } from "../../test/support/tls-machines.ts";
import { until } from "../../test/support/until.ts";

const client = contextOf("client", alice);
const server = contextOf("server", bob);
const heapOctets = allocated();
const options = { skip: heapOctets === undefined && "only glibc tells what it has allocated" };

// V8 gives its part of the memory back when it likes, so what is expected is waited for.

test("two thousand connections that break at any point leave nothing behind", options, async () => {
  const random = drawFrom(1);
  const rounds = (count: number): void => {
    for (let round = 0; round < count; round++) breakSomewhere(client, server, random);
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
