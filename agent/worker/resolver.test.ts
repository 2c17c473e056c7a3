import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { NameServer } from "../../test/support/name-server.ts";
import { until } from "../../test/support/until.ts";
import { ManualClock } from "../../core/base/clock.ts";
import { dnsLookup, HostResolver, type Lookup } from "./resolver.ts";

let server: NameServer;
let clock: ManualClock;
let resolver: HostResolver;

before(async () => {
  server = await NameServer.start();
});
after(() => server.close());
beforeEach(() => {
  server.entries.clear();
  server.asked.length = 0;
  clock = new ManualClock();
  resolver = resolving(dnsLookup([server.address]));
});

describe("a name that an endpoint goes by", () => {
  test("F-046 is asked for in both families, and known from then on", async () => {
    server.entries.set("db.example", { addresses: ["192.0.2.7", "2001:db8::7"], ttl: 30 });
    assert.equal(resolver.known("db.example"), undefined);
    assert.deepEqual(await resolver.resolve("db.example"), ["192.0.2.7", "2001:db8::7"]);
    assert.deepEqual(resolver.known("db.example"), ["192.0.2.7", "2001:db8::7"]);
    assert.deepEqual(server.asked.sort(), ["db.example A", "db.example AAAA"]);
  });

  test("F-046 is known for as long as DNS says, and no longer", async () => {
    server.entries.set("db.example", { addresses: ["192.0.2.7"], ttl: 30 });
    await resolver.resolve("db.example");
    clock.advance(29_999);
    assert.deepEqual(resolver.known("db.example"), ["192.0.2.7"]);
    clock.advance(1);
    assert.equal(resolver.known("db.example"), undefined);
    server.entries.set("db.example", { addresses: ["192.0.2.8"], ttl: 30 });
    assert.deepEqual(await resolver.resolve("db.example"), ["192.0.2.8"]);
  });

  test("F-046 that may not be kept still serves who asked", async () => {
    server.entries.set("db.example", { addresses: ["192.0.2.7"], ttl: 0 });
    assert.deepEqual(await resolver.resolve("db.example"), ["192.0.2.7"]);
    assert.equal(resolver.known("db.example"), undefined);
  });

  test("F-046 is the same name in capitals and with the dot of the root", async () => {
    server.entries.set("db.example", { addresses: ["192.0.2.7"], ttl: 30 });
    await resolver.resolve("DB.example.");
    assert.deepEqual(resolver.known("db.Example"), ["192.0.2.7"]);
  });

  test("F-046 is asked for once, however many want it at the same time", async () => {
    server.entries.set("db.example", { addresses: ["192.0.2.7"], ttl: 30 });
    server.hold();
    const answers = Array.from({ length: 50 }, () => resolver.resolve("db.example"));
    await until("both questions", 5_000, () => server.asked.length === 2);
    server.release();
    assert.deepEqual(new Set((await Promise.all(answers)).map(String)), new Set(["192.0.2.7"]));
    assert.equal(server.asked.length, 2);
  });

  test("F-046 has what one family answers when the other fails", async () => {
    const inner = dnsLookup([server.address]);
    server.entries.set("db.example", { addresses: ["192.0.2.7"], ttl: 30 });
    resolver = resolving((name, family) => (family === 6 ? Promise.reject(new Error("broken")) : inner(name, family)));
    assert.deepEqual(await resolver.resolve("db.example"), ["192.0.2.7"]);
  });
});

describe("a name without an address", () => {
  test("F-046 is remembered as such for a moment", async () => {
    assert.deepEqual(await resolver.resolve("gone.example"), []);
    assert.deepEqual(resolver.known("gone.example"), []);
    clock.advance(5_000);
    assert.equal(resolver.known("gone.example"), undefined);
    server.entries.set("gone.example", { addresses: ["192.0.2.9"], ttl: 30 });
    assert.deepEqual(await resolver.resolve("gone.example"), ["192.0.2.9"]);
  });

  test("F-046 because nobody could say is asked for again sooner", async () => {
    server.entries.set("db.example", "server-failure");
    assert.deepEqual(await resolver.resolve("db.example"), []);
    clock.advance(1_000);
    assert.equal(resolver.known("db.example"), undefined);
  });

  test("F-046 because nobody could say keeps the addresses it had", async () => {
    server.entries.set("db.example", { addresses: ["192.0.2.7"], ttl: 1 });
    await resolver.resolve("db.example");
    clock.advance(1_000);
    server.entries.set("db.example", "server-failure");
    assert.deepEqual(await resolver.resolve("db.example"), ["192.0.2.7"]);
    clock.advance(1_000);
    server.entries.set("db.example", "no-such-name");
    assert.deepEqual(await resolver.resolve("db.example"), [], "but not against DNS's own word");
  });

  test("F-046 is given up at the deadline where nobody answers", async () => {
    server.entries.set("db.example", "silence");
    const answer = resolver.resolve("db.example");
    await until("a question", 5_000, () => server.asked.length > 0);
    clock.advance(10_000);
    assert.deepEqual(await answer, []);
  });
});

test("F-046 a name outside does not lead into the pod that asks", async () => {
  server.entries.set("trap.example", {
    addresses: ["127.0.0.1", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "192.0.2.7"],
    ttl: 30,
  });
  assert.deepEqual(await resolver.resolve("trap.example"), ["192.0.2.7"]);
});

test("F-046 no more than 4,096 names are kept, the latest ones", async () => {
  let asked = 0;
  resolver = resolving((_name, family) => {
    asked += 1;
    return Promise.resolve(family === 4 ? [{ address: "192.0.2.7", ttl: 600 }] : []);
  });
  for (let at = 0; at < 4_100; at++) await resolver.resolve(`n${at}.example`);
  assert.equal(asked, 8_200);
  const kept = Array.from({ length: 4_100 }, (_, at) => resolver.known(`n${at}.example`) !== undefined);
  assert.equal(kept.filter(Boolean).length, 4_096);
  assert.deepEqual(kept.slice(0, 5), [false, false, false, false, true]);
});

function resolving(lookup: Lookup): HostResolver {
  return new HostResolver({ clock, lookup, deadlineMs: 10_000 });
}
