import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import fc from "fast-check";
import { ManualClock } from "../../../core/base/clock.ts";
import { silentLog } from "../../../core/base/log.ts";
import { seededRandom } from "../../../core/base/random.ts";
import { KubeError } from "./errors.ts";
import { LeaderElection } from "./leader.ts";
import { collectionPath } from "./paths.ts";
import { FakeCluster, Refusal, type FakeObject } from "./test-support/fake-cluster.ts";

const leases = collectionPath("Lease");

test("the first replica leads, the second waits, and takes over when the first goes in order", async () => {
  const world = new World();
  const [first, second] = [world.replica("a"), world.replica("b")];
  first.election.start();
  await world.pass(100);
  second.election.start();
  await world.pass(10_000);
  assert.deepEqual(world.leaders(), ["a"]);
  assert.equal(second.election.leader, "a");
  await first.election.close();
  assert.deepEqual(first.calls, ["started", "stopped"]);
  await world.pass(3_000);
  assert.deepEqual(world.leaders(), ["b"]);
  assert.equal(world.spec()["leaseTransitions"], 1);
});

test("a replica that is closed while it takes the lease does not keep it", async () => {
  const holders: unknown[] = [];
  for (let turns = 0; turns < 12; turns++) {
    const world = new World();
    const { election, calls } = world.replica("a");
    election.start();
    for (let turn = 0; turn < turns; turn++) await Promise.resolve();
    await election.close();
    const holder = world.cluster.get(leases, "ambient-system/control") && world.spec()["holderIdentity"];
    assert.ok(holder === undefined || holder === "", `${turns} turns: ${String(holder)}`);
    assert.equal(calls.length % 2, 0);
    holders.push(holder);
  }
  assert.ok(holders.includes(""), "some had taken it");
});

test("a leader that is cut off stops before anybody else may start", async () => {
  const world = new World();
  const [first, second] = [world.replica("a"), world.replica("b")];
  first.election.start();
  await world.pass(5_000);
  second.election.start();
  first.line = "cut";
  let stoppedMs = 0;
  for (let ms = 0; ms < 40_000 && world.leaders()[0] !== "b"; ms += 250) {
    await world.pass(250);
    if (stoppedMs === 0 && !first.election.isLeader) stoppedMs = ms;
  }
  assert.deepEqual(world.leaders(), ["b"]);
  assert.ok(stoppedMs > 0 && stoppedMs <= 10_000, String(stoppedMs));
  assert.deepEqual(first.calls, ["started", "stopped"]);
});

test("a lease whose holder is gone is taken once it was not renewed for as long as it says", async () => {
  const world = new World();
  world.cluster.put(leases, {
    metadata: { namespace: "ambient-system", name: "control" },
    // Their clock may be wrong by years: it does not matter.
    spec: { holderIdentity: "dead", leaseDurationSeconds: 15, renewTime: "2001-01-01T00:00:00.000000Z" },
  });
  const replica = world.replica("a");
  replica.election.start();
  await world.pass(14_000);
  assert.deepEqual(world.leaders(), []);
  await world.pass(6_000);
  assert.deepEqual(world.leaders(), ["a"]);
});

test("a lease that is deleted or stolen is noticed at the next renewal", async () => {
  const world = new World();
  const replica = world.replica("a");
  replica.election.start();
  await world.pass(1_000);
  world.cluster.remove(leases, "ambient-system/control");
  await world.pass(6_000);
  assert.deepEqual(world.leaders(), ["a"], "made again");
  const lease = world.cluster.get(leases, "ambient-system/control")!;
  world.cluster.put(leases, { ...lease, spec: { ...world.spec(), holderIdentity: "thief" } });
  await world.pass(6_000);
  assert.deepEqual(world.leaders(), []);
  assert.deepEqual(replica.calls, ["started", "stopped"]);
});

test("times in a lease have the six decimals that the API server insists on", async () => {
  const world = new World();
  world.replica("a").election.start();
  await world.pass(1_000);
  for (const field of ["renewTime", "acquireTime"])
    assert.match(String(world.spec()[field]), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
});

test("whatever is cut off and started, never do two lead at once", async (t: TestContext) => {
  const step = fc.record({
    who: fc.constantFrom(0, 1, 2),
    what: fc.constantFrom("cut", "deafen", "mend", "nothing", "nothing"),
    ms: fc.integer({ min: 50, max: 9_000 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30, size: "max" }), async (steps) => {
      const world = new World();
      const replicas = ["a", "b", "c"].map((identity) => world.replica(identity));
      for (const { election } of replicas) election.start();
      for (const { who, what, ms } of steps) {
        if (what !== "nothing") replicas[who]!.line = what === "mend" ? "good" : what === "cut" ? "cut" : "deaf";
        await world.pass(ms);
      }
      for (const replica of replicas) replica.line = "good";
      await world.pass(60_000);
      assert.equal(world.leaders().length, 1);
    }),
    { numRuns: 25 },
  );
  t.diagnostic("leaders were counted every 250 ms");
});

interface Replica {
  readonly election: LeaderElection;
  readonly calls: string[];
  /** Requests get lost, or only their answers. */
  line: "good" | "cut" | "deaf";
}

class World {
  readonly cluster = new FakeCluster();
  readonly clock = new ManualClock();
  readonly #replicas: (Replica & { readonly identity: string })[] = [];

  replica(identity: string): Replica {
    const calls: string[] = [];
    const ask = async <T>(act: () => FakeObject | Refusal): Promise<T | KubeError> => {
      await Promise.resolve();
      const lost = new KubeError({ code: "kube.unreachable", method: "", path: "", server: "", reason: "ENETUNREACH" });
      if (replica.line === "cut") return lost;
      const answer = act();
      if (replica.line === "deaf") return lost;
      if (!(answer instanceof Refusal)) return structuredClone(answer) as T;
      const { code, reason, message } = answer;
      const kind = code === 404 ? "kube.not-found" : "kube.conflict";
      return new KubeError({ code: kind, method: "", path: "", status: code, reason, message });
    };
    const key = "ambient-system/control";
    const client = {
      get: <T>() => ask<T>(() => this.cluster.get(leases, key) ?? new Refusal(404, "NotFound", "")),
      create: <T>(_path: string, body: unknown) => ask<T>(() => this.cluster.create(leases, body as FakeObject)),
      replace: <T>(_path: string, body: unknown) => ask<T>(() => this.cluster.replace(leases, key, body as FakeObject)),
    };
    const election = new LeaderElection({
      client,
      namespace: "ambient-system",
      name: "control",
      identity,
      log: silentLog,
      clock: this.clock,
      random: seededRandom(this.#replicas.length),
      onStarted: () => calls.push("started"),
      onStopped: () => calls.push("stopped"),
    });
    const replica: Replica & { identity: string } = { election, calls, line: "good", identity };
    this.#replicas.push(replica);
    return replica;
  }

  leaders(): string[] {
    return this.#replicas.filter(({ election }) => election.isLeader).map(({ identity }) => identity);
  }

  spec(): Record<string, unknown> {
    return this.cluster.get(leases, "ambient-system/control")?.["spec"] as Record<string, unknown>;
  }

  /** Time passes, and everything that is to happen in it happens. */
  async pass(ms: number): Promise<void> {
    for (let rest = ms; rest > 0; rest -= 250) {
      this.clock.advance(Math.min(250, rest));
      for (let turn = 0; turn < 12; turn++) await Promise.resolve();
      assert.ok(this.leaders().length <= 1, `two lead: ${this.leaders().join(", ")}`);
    }
  }
}
