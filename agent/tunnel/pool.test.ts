import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ManualClock } from "../../core/base/clock.ts";
import { TunnelPool, type CreateTunnel, type Lease, type TunnelTarget } from "./pool.ts";
import { TunnelError, type ClientTunnel, type TunnelPhase } from "./tunnel.ts";

/** A tunnel without a wire: as much room as the test gives it. */
class FakeTunnel implements ClientTunnel {
  readonly peerIdentity = "spiffe://cluster.local/ns/default/sa/bob";
  readonly bornMs = 0;
  changed: (() => void) | undefined;
  phase: TunnelPhase = "open";
  streams = 0;
  capacity: number;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  get room(): number {
    return this.phase === "open" ? this.capacity - this.streams : 0;
  }

  reserve(): void {
    this.streams += 1;
    this.changed?.();
  }

  release(): void {
    this.streams -= 1;
    if (this.phase === "retired" && this.streams === 0) this.phase = "closed";
    this.changed?.();
  }

  open(): void {}

  retire(): void {
    if (this.phase !== "open") return;
    this.phase = this.streams === 0 ? "closed" : "retired";
    this.changed?.();
  }

  destroy(): void {
    this.phase = "closed";
    this.changed?.();
  }

  tick(): void {}
}

const target: TunnelTarget = {
  source: "spiffe://cluster.local/ns/default/sa/alice",
  accepted: ["spiffe://cluster.local/ns/default/sa/bob"],
  endpoint: { address: "10.0.0.2", port: 15_008 },
  pod: "uid-1",
};

function newPool(clock = new ManualClock()): TunnelPool {
  return new TunnelPool({ clock });
}

/** What a connection does: room that is there, or what it waits for. */
async function ask(
  pool: TunnelPool,
  to: TunnelTarget,
  create: CreateTunnel,
  withinMs = 10_000,
  after = 0,
): Promise<Lease | TunnelError> {
  return pool.take(to, after) ?? pool.acquire(to, create, withinMs, after);
}

function never(): Promise<ClientTunnel> {
  throw new Error("there is one");
}

function leased(result: Lease | TunnelError): Lease {
  assert.ok(!(result instanceof TunnelError), "no tunnel");
  return result;
}

test("F-103 those who ask while a tunnel is being made share it; only its maker says that it is new", async () => {
  const pool = newPool();
  const made = Promise.withResolvers<ClientTunnel>();
  let creations = 0;
  const create = (): Promise<ClientTunnel> => ((creations += 1), made.promise);
  const waiting = Array.from({ length: 5 }, () => ask(pool, target, create));
  made.resolve(new FakeTunnel(100));
  const leases = (await Promise.all(waiting)).map(leased);
  assert.equal(creations, 1);
  assert.equal(new Set(leases.map(({ tunnel }) => tunnel)).size, 1);
  assert.deepEqual(
    leases.map(({ reused }) => reused),
    [false, true, true, true, true],
  );
});

test("H033 B1 a creation that fails fails everybody who waits for it, at once and with the same error", async () => {
  const pool = newPool();
  const made = Promise.withResolvers<TunnelError>();
  let creations = 0;
  const create = (): Promise<TunnelError> => ((creations += 1), made.promise);
  const waiting = Array.from({ length: 1_000 }, () => ask(pool, target, create));
  const error = new TunnelError({ code: "tunnel.connect-failed", errno: "ECONNREFUSED" });
  made.resolve(error);
  const results = await Promise.all(waiting);
  assert.equal(creations, 1);
  assert.ok(results.every((result) => result === error));
  // It is not remembered: the next one tries again.
  const next = leased(await ask(pool, target, () => Promise.resolve(new FakeTunnel(1))));
  assert.equal(next.reused, false);
});

test("F-100 a tunnel is shared only by those who agree on everything: identity, accepted identities in order, place, pod", async () => {
  const pool = newPool();
  const [carol, bob] = ["spiffe://cluster.local/ns/default/sa/carol", "spiffe://cluster.local/ns/default/sa/bob"];
  const targets: TunnelTarget[] = [
    target,
    { ...target, source: carol },
    { ...target, accepted: [bob, carol] },
    { ...target, accepted: [carol, bob] },
    { ...target, endpoint: { address: "10.0.0.3", port: 15_008 } },
    { ...target, endpoint: { address: "10.0.0.2", port: 15_009 } },
    { ...target, pod: "uid-2" },
  ];
  const tunnels = new Set<ClientTunnel>();
  for (const one of targets) {
    tunnels.add(leased(await ask(pool, one, () => Promise.resolve(new FakeTunnel(100)))).tunnel);
  }
  assert.equal(tunnels.size, targets.length);
  for (const one of targets) {
    const { tunnel } = leased(await ask(pool, one, never));
    assert.ok(tunnels.has(tunnel));
  }
});

test("F-101 B2 a full tunnel is used again when its streams end", async () => {
  const pool = newPool();
  const create = (): Promise<ClientTunnel> => Promise.resolve(new FakeTunnel(2));
  const [a, b, c] = [
    leased(await ask(pool, target, create)),
    leased(await ask(pool, target, create)),
    leased(await ask(pool, target, create)),
  ];
  assert.equal(a.tunnel, b.tunnel);
  assert.notEqual(a.tunnel, c.tunnel);
  a.tunnel.release();
  c.tunnel.reserve();
  const again = leased(await ask(pool, target, create));
  assert.equal(again.tunnel, a.tunnel);
  assert.equal(again.reused, true);
});

test("H027 a peer that allows no stream is waited for, ten seconds, in the one tunnel there is", async () => {
  const clock = new ManualClock();
  const pool = newPool(clock);
  let creations = 0;
  const barren = new FakeTunnel(0);
  const create = (): Promise<ClientTunnel> => ((creations += 1), Promise.resolve(barren));
  const asked = [ask(pool, target, create), ask(pool, target, create)];
  await turn();
  clock.advance(9_999);
  // Whoever comes late waits for as long as he may himself.
  const late = ask(pool, target, create);
  clock.advance(1);
  for (const one of await Promise.all(asked)) assert.equal(codeOf(one), "tunnel.no-room");
  barren.capacity = 1;
  barren.changed?.();
  assert.equal(leased(await late).tunnel, barren);
  assert.equal(creations, 1);
});

test("H027 when the only tunnel goes that allowed no stream, who waited for room hears it and no other is made", async () => {
  const pool = newPool();
  let creations = 0;
  const barren = new FakeTunnel(0);
  const asked = ask(pool, target, () => ((creations += 1), Promise.resolve(barren)));
  await turn();
  barren.destroy();
  assert.equal(codeOf(await asked), "tunnel.lost");
  assert.equal(creations, 1);
  assert.equal(pool.tunnels, 0);
});

test("B1 whoever's time is up is answered, and the tunnel is made for the others", async () => {
  const clock = new ManualClock();
  const pool = newPool(clock);
  const made = Promise.withResolvers<ClientTunnel>();
  const hurried = ask(pool, target, () => made.promise, 1_000);
  clock.advance(500);
  const patient = ask(pool, target, never, 1_000);
  clock.advance(500);
  assert.deepEqual(await hurried, new TunnelError({ code: "tunnel.connect-timeout", afterMs: 1_000 }));
  made.resolve(new FakeTunnel(1));
  assert.equal(leased(await patient).reused, false);
});

test("whose time is up hears how far the tunnel had come", async () => {
  const clock = new ManualClock();
  const pool = newPool(clock);
  const asked = ask(pool, target, (creation) => ((creation.stage = "tls"), new Promise(() => {})), 3_000);
  clock.advance(3_000);
  assert.deepEqual(await asked, new TunnelError({ code: "tunnel.tls-timeout", afterMs: 3_000 }));
});

test("a creation that runs out of its time is begun again for who came later", async () => {
  const clock = new ManualClock();
  const pool = newPool(clock);
  const first = Promise.withResolvers<TunnelError>();
  const early = ask(pool, target, () => first.promise, 1_000);
  clock.advance(999);
  const late = ask(pool, target, () => Promise.resolve(new FakeTunnel(1)), 1_000);
  clock.advance(1);
  first.resolve(new TunnelError({ code: "tunnel.connect-timeout", afterMs: 1_000 }));
  assert.equal(codeOf(await early), "tunnel.connect-timeout");
  leased(await late);
});

test("F-101 F-103 B3 who finds a tunnel full gets the next one, one handshake after the other and no more than needed", async () => {
  const pool = newPool();
  let underWay = 0;
  let creations = 0;
  const create = async (): Promise<ClientTunnel> => {
    creations += 1;
    assert.equal((underWay += 1), 1, "one at a time");
    await turn();
    underWay -= 1;
    return new FakeTunnel(100);
  };
  const leases = await Promise.all(Array.from({ length: 1_000 }, () => ask(pool, target, create)));
  assert.equal(creations, 10);
  const streams = new Map<ClientTunnel, number>();
  for (const lease of leases) streams.set(leased(lease).tunnel, (streams.get(leased(lease).tunnel) ?? 0) + 1);
  assert.deepEqual([...streams.values()], new Array(10).fill(100));
});

test("who lost a stream with its tunnel is given only one that was made since", async () => {
  const pool = newPool();
  const [old, made] = [new FakeTunnel(1), new FakeTunnel(2)];
  leased(await ask(pool, target, () => Promise.resolve(old)));
  const lost = leased(await ask(pool, target, () => Promise.resolve(made)));
  old.release();
  assert.equal(pool.take(target, lost.newest), undefined, "neither the one that was lost nor the older one");
  const next = new FakeTunnel(2);
  const again = leased(await ask(pool, target, () => Promise.resolve(next), 10_000, lost.newest));
  assert.equal(again.tunnel, next);
  assert.equal(pool.take(target, lost.newest)?.tunnel, next, "and it serves the others who lost theirs");
  assert.equal(pool.take(target)?.tunnel, old);
});

test("a tunnel that was being made when our certificate was replaced serves who waited for it, and nobody else", async () => {
  const pool = newPool();
  const made = Promise.withResolvers<ClientTunnel>();
  const waiting = [ask(pool, target, () => made.promise), ask(pool, target, never)];
  pool.retireAll();
  made.resolve(new FakeTunnel(100));
  const [a, b] = (await Promise.all(waiting)).map(leased);
  assert.equal(a?.tunnel, b?.tunnel);
  assert.equal(a?.tunnel.phase, "retired");
  const next = leased(await ask(pool, target, () => Promise.resolve(new FakeTunnel(100))));
  assert.notEqual(next.tunnel, a?.tunnel);
});

test("tunnels to addresses whose workloads are gone take nobody: whoever comes next there is somebody else", async () => {
  const pool = newPool();
  const old = leased(await ask(pool, target, () => Promise.resolve(new FakeTunnel(100)))).tunnel;
  const elsewhere = { ...target, endpoint: { address: "10.0.0.20", port: 15_008 } };
  const other = leased(await ask(pool, elsewhere, () => Promise.resolve(new FakeTunnel(100)))).tunnel;
  pool.retireTo(new Set(["10.0.0.2"]));
  assert.deepEqual([old.phase, other.phase], ["retired", "open"]);
  assert.equal(pool.take(target), undefined);
});

test("a bug in the making of a tunnel is thrown at all who wait for it", async () => {
  const pool = newPool();
  const asked = [1, 2].map(() => ask(pool, target, () => Promise.reject(new Error("a bug"))));
  for (const one of asked) await assert.rejects(one, /a bug/);
  leased(await ask(pool, target, () => Promise.resolve(new FakeTunnel(1))));
});

test("F-102 a tunnel without streams is let go after five minutes, one with a stream is not", async () => {
  const clock = new ManualClock();
  const pool = new TunnelPool({ clock });
  const create = (): Promise<ClientTunnel> => Promise.resolve(new FakeTunnel(100));
  const idle = leased(await ask(pool, target, create)).tunnel;
  const busy = leased(await ask(pool, { ...target, pod: "other" }, create)).tunnel;
  clock.advance(10);
  idle.release();
  clock.advance(299_999);
  pool.tick(clock.nowMs());
  assert.deepEqual([idle.phase, busy.phase], ["open", "open"]);
  pool.tick(300_010);
  assert.deepEqual([idle.phase, busy.phase], ["closed", "open"]);
  assert.equal(pool.tunnels, 1);
});

test("a retired tunnel takes nobody, is still counted, and is gone with its last stream", async () => {
  let gone = 0;
  const pool = new TunnelPool({ clock: new ManualClock(), onGone: () => (gone += 1) });
  const first = leased(await ask(pool, target, () => Promise.resolve(new FakeTunnel(100))));
  pool.retireAll();
  const second = leased(await ask(pool, target, () => Promise.resolve(new FakeTunnel(100))));
  assert.notEqual(first.tunnel, second.tunnel);
  assert.equal(pool.tunnels, 2);
  first.tunnel.release();
  assert.equal(pool.tunnels, 1);
  assert.equal(gone, 1);
});

test("a retired pool still makes a tunnel for who needs one, and it goes with its last stream", async () => {
  const pool = newPool();
  const made = Promise.withResolvers<ClientTunnel>();
  const waiting = ask(pool, target, () => made.promise);
  pool.retire();
  const tunnel = new FakeTunnel(100);
  made.resolve(tunnel);
  leased(await waiting);
  const { tunnel: shared } = leased(await ask(pool, target, () => Promise.resolve(new FakeTunnel(100))));
  assert.equal(shared, tunnel);
  tunnel.release();
  assert.equal(tunnel.phase, "open");
  tunnel.release();
  assert.equal(tunnel.phase, "closed");
  assert.equal(pool.tunnels, 0);
});

test("a destroyed pool serves nobody, those who wait included", async () => {
  const pool = newPool();
  const made = Promise.withResolvers<ClientTunnel>();
  const waiting = ask(pool, target, () => made.promise);
  pool.destroy();
  const tunnel = new FakeTunnel(100);
  made.resolve(tunnel);
  assert.ok((await waiting) instanceof TunnelError);
  assert.equal(tunnel.phase, "closed");
  assert.ok((await ask(pool, target, () => made.promise)) instanceof TunnelError);
});

test("whatever order streams begin, end and tunnels die in, every request settles and no tunnel has more than its room", async () => {
  const step = fc.oneof(
    fc.constant("acquire" as const),
    fc.constant("release" as const),
    fc.constant("retire" as const),
    fc.constant("die" as const),
    fc.constant("fail" as const),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 4 }), async (steps, capacity) => {
      const pool = newPool();
      const all: FakeTunnel[] = [];
      const held: ClientTunnel[] = [];
      let failing = false;
      const create = (): Promise<ClientTunnel | TunnelError> => {
        if (failing) return Promise.resolve(new TunnelError({ code: "tunnel.lost", detail: "" }));
        const tunnel = new FakeTunnel(capacity);
        all.push(tunnel);
        return Promise.resolve(tunnel);
      };
      const pending: Promise<void>[] = [];
      for (const one of steps) {
        failing = one === "fail";
        if (one === "acquire" || one === "fail") {
          const asked = ask(pool, target, create);
          pending.push(asked.then((result) => void (result instanceof TunnelError || held.push(result.tunnel))));
        } else if (one === "release") held.pop()?.release();
        else if (one === "retire") all.at(-1)?.retire();
        else all.at(-1)?.destroy();
        if (one !== "acquire") await Promise.resolve();
      }
      failing = false;
      await Promise.all(pending);
      for (const tunnel of all) assert.ok(tunnel.streams <= tunnel.capacity, "a tunnel is overfull");
      for (const tunnel of held.splice(0)) tunnel.release();
      pool.destroy();
      assert.equal(pool.tunnels, 0);
    }),
  );
});

test("H033 F-100 whoever asks for whatever, no tunnel is shared by two who differ in identity, pod, place or whom they accept", async () => {
  const plain = { noNullPrototype: true };
  const name = fc.constantFrom("alice", "bob", "carol", "");
  const uri = name.map((one) => `spiffe://cluster.local/ns/default/sa/${one}`);
  const targets = fc.record(
    {
      source: uri,
      accepted: fc.array(uri, { minLength: 1, maxLength: 3 }),
      endpoint: fc.record(
        { address: fc.constantFrom("10.0.0.2", "10.0.0.20", "fd00::2"), port: fc.constantFrom(15_008, 1_500, 8) },
        plain,
      ),
      pod: fc.constantFrom("uid-1", "uid-11", "uid"),
    },
    plain,
  );
  const step = fc.record({ to: targets, then: fc.constantFrom("hold", "release", "retire", "replace") });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 80 }), async (steps) => {
      const pool = newPool();
      const madeFor = new Map<ClientTunnel, TunnelTarget>();
      await Promise.all(
        steps.map(async ({ to, then }) => {
          const create = async (): Promise<ClientTunnel> => {
            await turn();
            const tunnel = new FakeTunnel(3);
            madeFor.set(tunnel, to);
            return tunnel;
          };
          const { tunnel } = leased(await ask(pool, to, create));
          assert.deepEqual(madeFor.get(tunnel), to);
          if (then === "release") tunnel.release();
          else if (then === "retire") tunnel.retire();
          else if (then === "replace") pool.retireAll();
        }),
      );
      pool.destroy();
      assert.equal(pool.tunnels, 0);
    }),
  );
});

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function codeOf(result: Lease | TunnelError): string | undefined {
  return result instanceof TunnelError ? result.type.code : undefined;
}
