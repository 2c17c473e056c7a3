import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { TunnelPool, type Lease, type TunnelTarget } from "./pool.ts";
import { TunnelError, type ClientTunnel, type TunnelPhase } from "./tunnel.ts";

/** A tunnel without a wire: as much room as the test gives it. */
class FakeTunnel implements ClientTunnel {
  readonly peerIdentity = "spiffe://cluster.local/ns/default/sa/bob";
  readonly bornMs = 0;
  changed: (() => void) | undefined;
  phase: TunnelPhase = "open";
  streams = 0;
  readonly capacity: number;

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

function leased(result: Lease | TunnelError): Lease {
  assert.ok(!(result instanceof TunnelError), "no tunnel");
  return result;
}

test("those who ask while a tunnel is being made share it; only its maker says that it is new", async () => {
  const pool = new TunnelPool({ nowMs: () => 0 });
  const made = Promise.withResolvers<ClientTunnel>();
  let creations = 0;
  const create = (): Promise<ClientTunnel> => ((creations += 1), made.promise);
  const waiting = Array.from({ length: 5 }, () => pool.acquire(target, create));
  made.resolve(new FakeTunnel(100));
  const leases = (await Promise.all(waiting)).map(leased);
  assert.equal(creations, 1);
  assert.equal(new Set(leases.map(({ tunnel }) => tunnel)).size, 1);
  assert.deepEqual(
    leases.map(({ reused }) => reused),
    [false, true, true, true, true],
  );
});

test("H033 a creation that fails fails everybody who waits for it, at once and with the same error", async () => {
  const pool = new TunnelPool({ nowMs: () => 0 });
  const made = Promise.withResolvers<TunnelError>();
  let creations = 0;
  const create = (): Promise<TunnelError> => ((creations += 1), made.promise);
  const waiting = Array.from({ length: 1_000 }, () => pool.acquire(target, create));
  const error = new TunnelError({ code: "tunnel.connect-failed", errno: "ECONNREFUSED" });
  made.resolve(error);
  const results = await Promise.all(waiting);
  assert.equal(creations, 1);
  assert.ok(results.every((result) => result === error));
  // It is not remembered: the next one tries again.
  const next = leased(await pool.acquire(target, () => Promise.resolve(new FakeTunnel(1))));
  assert.equal(next.reused, false);
});

test("a tunnel is shared only by those who agree on everything: identity, accepted identities in order, place, pod", async () => {
  const pool = new TunnelPool({ nowMs: () => 0 });
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
    tunnels.add(leased(await pool.acquire(one, () => Promise.resolve(new FakeTunnel(100)))).tunnel);
  }
  assert.equal(tunnels.size, targets.length);
  for (const one of targets) {
    const { tunnel } = leased(await pool.acquire(one, () => Promise.reject(new Error("there is one"))));
    assert.ok(tunnels.has(tunnel));
  }
});

test("a full tunnel is used again when its streams end", async () => {
  const pool = new TunnelPool({ nowMs: () => 0 });
  const create = (): Promise<ClientTunnel> => Promise.resolve(new FakeTunnel(2));
  const [a, b, c] = [
    leased(await pool.acquire(target, create)),
    leased(await pool.acquire(target, create)),
    leased(await pool.acquire(target, create)),
  ];
  assert.equal(a.tunnel, b.tunnel);
  assert.notEqual(a.tunnel, c.tunnel);
  a.tunnel.release();
  c.tunnel.reserve();
  const again = leased(await pool.acquire(target, create));
  assert.equal(again.tunnel, a.tunnel);
  assert.equal(again.reused, true);
});

test("a peer that allows no stream costs one handshake, not one after the other", async () => {
  const pool = new TunnelPool({ nowMs: () => 0 });
  let creations = 0;
  const result = await pool.acquire(target, () => ((creations += 1), Promise.resolve(new FakeTunnel(0))));
  assert.equal(result instanceof TunnelError && result.type.code, "tunnel.no-room");
  assert.equal(creations, 1);
});

test("a tunnel without streams is let go after five minutes, one with a stream is not", async () => {
  const clock = { nowMs: 0 };
  const pool = new TunnelPool({ nowMs: () => clock.nowMs });
  const create = (): Promise<ClientTunnel> => Promise.resolve(new FakeTunnel(100));
  const idle = leased(await pool.acquire(target, create)).tunnel;
  const busy = leased(await pool.acquire({ ...target, pod: "other" }, create)).tunnel;
  clock.nowMs = 10;
  idle.release();
  clock.nowMs = 300_009;
  pool.tick(clock.nowMs);
  assert.deepEqual([idle.phase, busy.phase], ["open", "open"]);
  pool.tick(300_010);
  assert.deepEqual([idle.phase, busy.phase], ["closed", "open"]);
  assert.equal(pool.tunnels, 1);
});

test("a retired tunnel takes nobody, is still counted, and is gone with its last stream", async () => {
  let gone = 0;
  const pool = new TunnelPool({ nowMs: () => 0, onGone: () => (gone += 1) });
  const first = leased(await pool.acquire(target, () => Promise.resolve(new FakeTunnel(100))));
  pool.retireAll();
  const second = leased(await pool.acquire(target, () => Promise.resolve(new FakeTunnel(100))));
  assert.notEqual(first.tunnel, second.tunnel);
  assert.equal(pool.tunnels, 2);
  first.tunnel.release();
  assert.equal(pool.tunnels, 1);
  assert.equal(gone, 1);
});

test("a retired pool still makes a tunnel for who needs one, and it goes with its last stream", async () => {
  const pool = new TunnelPool({ nowMs: () => 0 });
  const made = Promise.withResolvers<ClientTunnel>();
  const waiting = pool.acquire(target, () => made.promise);
  pool.retire();
  const tunnel = new FakeTunnel(100);
  made.resolve(tunnel);
  leased(await waiting);
  const { tunnel: shared } = leased(await pool.acquire(target, () => Promise.resolve(new FakeTunnel(100))));
  assert.equal(shared, tunnel);
  tunnel.release();
  assert.equal(tunnel.phase, "open");
  tunnel.release();
  assert.equal(tunnel.phase, "closed");
  assert.equal(pool.tunnels, 0);
});

test("a destroyed pool serves nobody, those who wait included", async () => {
  const pool = new TunnelPool({ nowMs: () => 0 });
  const made = Promise.withResolvers<ClientTunnel>();
  const waiting = pool.acquire(target, () => made.promise);
  pool.destroy();
  const tunnel = new FakeTunnel(100);
  made.resolve(tunnel);
  assert.ok((await waiting) instanceof TunnelError);
  assert.equal(tunnel.phase, "closed");
  assert.ok((await pool.acquire(target, () => made.promise)) instanceof TunnelError);
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
      const pool = new TunnelPool({ nowMs: () => 0 });
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
          const asked = pool.acquire(target, create);
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
