import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import { seededRandom } from "../../core/base/random.ts";
import { desiredPods, type DesiredPod } from "./desired.ts";
import type { KernelTruth, Redirection } from "./enrolment.ts";
import { CniError } from "./errors.ts";
import { Reconciler } from "./reconcile.ts";
import type { PodKernel } from "./reconciler-ports.ts";
import { dataplaneModeLabel, defaultSelectionRules } from "./selectors.ts";
import { HandSource, namespace, pod, type PodSketch } from "./test-support/objects.ts";

const ambient = { [dataplaneModeLabel]: "ambient" };

test("a row says what is wanted, what is, and why it isn't yet", async () => {
  const world = await World.make({ uid: "a", name: "cart" });
  world.kernel.missing.add("a");
  world.label(true);
  await world.turns();
  const [row] = world.reconciler.status();
  assert.deepEqual(
    { ...row, phaseMs: 0 },
    {
      uid: "a",
      namespace: "shop",
      name: "cart",
      want: "enrol",
      because: "selected",
      phase: "inspecting",
      phaseMs: 0,
      status: "error",
      reason: { code: "cni.netns-missing", path: "a" },
      served: false,
    },
  );
  world.kernel.missing.clear();
  await world.pass(100);
  assert.equal(world.phase("a"), "enrolled");
  assert.equal(world.reconciler.status()[0]?.status, "done");
});

test("a failing kernel change is tried again with growing pauses, and its error stays on the row", async () => {
  const world = await World.make({ uid: "a", name: "cart" });
  world.kernel.failing.add("route");
  world.label(true);
  await world.turns();
  const pauses: number[] = [];
  for (let i = 0; i < 10; i += 1) {
    const pause = world.clock.nextTimerMs() ?? Number.NaN;
    pauses.push(pause);
    await world.pass(pause);
  }
  assert.ok((pauses[0] ?? 0) < 70 && (pauses[3] ?? 0) > 250 && pauses.every((pause) => pause <= 6000), pauses.join());
  assert.deepEqual(world.reconciler.status()[0]?.reason, { code: "cni.kernel", step: "route", cause: "test" });
  world.kernel.failing.clear();
  await world.pass(6000);
  assert.equal(world.phase("a"), "enrolled");
});

test("a namespace that can't be found holds up neither the start nor the other pods", async () => {
  const world = await World.make({ uid: "a", name: "a" }, { uid: "b", name: "b" });
  world.kernel.missing.add("a");
  world.label(true);
  await world.turns();
  assert.equal(world.phase("a"), "inspecting");
  assert.equal(world.phase("b"), "enrolled");
});

test("a pod that gets its address is looked for at once, whatever pause was being made", async () => {
  const world = await World.make({ uid: "a", name: "cart" });
  world.kernel.missing.add("a");
  world.label(true);
  for (let i = 0; i < 8; i += 1) await world.pass(world.clock.nextTimerMs() ?? 0);
  assert.ok((world.clock.nextTimerMs() ?? 0) > 3000);
  world.kernel.missing.clear();
  world.source.put(pod({ uid: "a", name: "cart", addresses: ["10.0.0.2"] }));
  world.update();
  await world.turns();
  assert.equal(world.phase("a"), "enrolled");
});

test("the annotation that can't be written keeps the pod captured on its way out, and the row says so", async () => {
  const world = await World.make({ uid: "a", name: "cart" });
  world.label(true);
  await world.turns();
  world.annotationError = new CniError({ code: "cni.annotation-not-written", reason: "read-only" });
  world.label(false);
  await world.turns();
  const [row] = world.reconciler.status();
  assert.equal(row?.phase, "unannotating");
  assert.equal(row.status, "error");
  assert.equal(row.reason?.code, "cni.annotation-not-written");
  assert.equal(world.kernel.truth("a").capture, "redirecting");
});

test("a pod that is gone leaves no row, no open namespace and no annotation", async () => {
  const world = await World.make({ uid: "a", name: "cart" });
  world.label(true);
  await world.turns();
  world.source.remove(pod({ uid: "a", name: "cart" }));
  world.update();
  await world.turns();
  assert.deepEqual(world.reconciler.status(), []);
  assert.equal(world.kernel.closed.at(-1), "a");
  assert.deepEqual(world.said.at(-1), ["a", undefined, "gone"]);
  assert.ok(!world.offered.has("a"));
});

test("a pod made anew under its name is another row; the old one ends by itself", async () => {
  const world = await World.make({ uid: "old", name: "cart" });
  world.label(true);
  await world.turns();
  world.source.put(pod({ uid: "new", name: "cart" }));
  world.update();
  await world.turns();
  assert.equal(world.phase("old"), undefined);
  assert.equal(world.phase("new"), "enrolled");
});

test("an option that changes on a captured pod is applied to it at once", async () => {
  const world = await World.make({ uid: "a", name: "cart" });
  world.label(true);
  await world.turns();
  const before = world.kernel.calls.length;
  world.source.put(pod({ uid: "a", name: "cart", annotations: { "ambient.istio.io/dns-capture": "true" } }));
  world.update();
  await world.turns();
  assert.deepEqual(world.kernel.calls.slice(before), ["route a", "redirect a"]);
  assert.equal(world.phase("a"), "enrolled");
});

test("a full round repairs what drifted, starts anew where the namespace was replaced, and counts both", async () => {
  const world = await World.make({ uid: "a", name: "a" }, { uid: "b", name: "b" }, { uid: "c", name: "c" });
  world.label(true);
  await world.turns();
  world.kernel.checks.set("a", "drifted");
  world.kernel.checks.set("b", "replaced");
  world.kernel.truths.set("b", { routing: "none", capture: "none" });
  const before = world.kernel.calls.length;
  await world.pass(30_000);
  const after = world.kernel.calls.slice(before);
  assert.deepEqual(
    after.filter((call) => call.endsWith(" a")),
    ["check a", "route a", "redirect a"],
  );
  assert.deepEqual(
    after.filter((call) => call.endsWith(" b")),
    ["check b", "inspect b", "route b", "redirect b"],
  );
  assert.deepEqual(
    after.filter((call) => call.endsWith(" c")),
    ["check c"],
  );
  assert.deepEqual(world.reconciler.counters, { driftCount: 2, rounds: 1 });
  for (const uid of ["a", "b", "c"]) assert.equal(world.phase(uid), "enrolled");
});

test("labels that flip a hundred times end where the last one says, with nothing left over", async () => {
  const world = await World.make({ uid: "a", name: "cart" });
  for (let flip = 0; flip < 100; flip += 1) {
    world.label(flip % 2 === 0);
    if (flip % 3 === 0) await world.turns(1);
    if (flip % 7 === 0) await world.pass(300);
  }
  for (let i = 0; i < 10; i += 1) await world.pass(2000);
  assert.equal(world.phase("a"), "absent");
  assert.deepEqual(world.kernel.truth("a"), { routing: "none", capture: "none" });
  assert.ok(!world.offered.has("a"));
});

test("250 pods at once are all enrolled, a few kernel changes at a time", async () => {
  const sketches = Array.from({ length: 250 }, (_, index) => ({ uid: `pod-${index}`, name: `pod-${index}` }));
  const world = await World.make(...sketches);
  world.label(true);
  await world.turns(2000);
  assert.ok(world.reconciler.status().every(({ status }) => status === "done"));
  assert.ok(world.kernel.mostAtOnce <= 16, `${world.kernel.mostAtOnce} at once`);
});

test("probes are let pass before peers are told, and while they can't be, peers are not told", async () => {
  const world = await World.make({ uid: "a", name: "cart", addresses: ["10.0.0.2"] });
  world.probeError = new CniError({ code: "cni.kernel", step: "probes", cause: "test" });
  world.label(true);
  await world.turns();
  assert.equal(world.phase("a"), "acknowledged");
  assert.deepEqual(world.said, []);
  assert.deepEqual(world.reconciler.status()[0]?.reason, world.probeError.type);
  world.probeError = undefined;
  await world.pass(100);
  assert.deepEqual(world.said, [["a", "enabled"]]);
  assert.deepEqual([...world.probed], [["a", ["10.0.0.2"]]]);
  // Others than before.
  world.source.put(pod({ uid: "a", name: "cart", addresses: ["10.0.0.3"] }));
  world.update();
  await world.turns();
  assert.deepEqual([...world.probed], [["a", ["10.0.0.3"]]]);
  world.label(false);
  for (let i = 0; i < 5; i += 1) await world.pass(2000);
  assert.equal(world.probed.size, 0);
});

test("what belongs to no captured pod is pruned, unless an announced pod's address isn't known yet", async () => {
  const announced = { "ambient.istio.io/redirection": "enabled" };
  const world = await World.make();
  assert.deepEqual(world.pruned, [true]);
  world.kernel.missing.add("a");
  world.source.put(pod({ uid: "a", name: "a", labels: ambient, annotations: announced }));
  await world.pass(30_000);
  await world.pass(30_000);
  assert.deepEqual(world.pruned.slice(2), [false]);
  world.source.put(pod({ uid: "a", name: "a", labels: ambient, annotations: announced, addresses: ["10.0.0.2"] }));
  await world.pass(1);
  await world.pass(30_000);
  assert.deepEqual(world.pruned.slice(3), [true]);
});

test("a node that is given up waits for captured connections and for annotations, and then no longer", async () => {
  const world = await World.make({ uid: "a", name: "a" }, { uid: "b", name: "b" });
  world.label(true);
  await world.turns();
  world.kernel.open = 3;
  world.annotationError = new CniError({ code: "cni.annotation-not-written", reason: "403" });
  world.label(false);
  const released = world.reconciler.release({ annotationMs: 1000, drainMs: 10_000 });
  await world.pass(900);
  assert.equal(world.phase("a"), "unannotating");
  await world.pass(200);
  assert.equal(world.phase("a"), "settling");
  await world.pass(1000);
  assert.equal(world.phase("b"), "draining");
  for (let i = 0; i < 8; i += 1) await world.pass(2000);
  await released;
  for (const uid of ["a", "b"]) assert.deepEqual(world.kernel.truth(uid), { routing: "none", capture: "none" });
});

/** A kernel that does as it is told, or as the test tells it. */
class FakeKernel implements PodKernel {
  readonly truths = new Map<string, KernelTruth>();
  readonly checks = new Map<string, "drifted" | "replaced">();
  readonly missing = new Set<string>();
  readonly failing = new Set<string>();
  readonly calls: string[] = [];
  readonly closed: string[] = [];
  mostAtOnce = 0;
  /** Captured connections. */
  open = 0;
  #now = 0;

  truth(uid: string): KernelTruth {
    return this.truths.get(uid) ?? { routing: "none", capture: "none" };
  }

  async inspect(uid: string): Promise<KernelTruth | CniError> {
    const failure = await this.#do("inspect", uid, {});
    if (this.missing.has(uid)) return new CniError({ code: "cni.netns-missing", path: uid });
    return failure ?? this.truth(uid);
  }

  route(uid: string): Promise<CniError | undefined> {
    return this.#do("route", uid, { routing: "whole" });
  }

  redirect(uid: string): Promise<CniError | undefined> {
    return this.#do("redirect", uid, { capture: "redirecting" });
  }

  release(uid: string): Promise<CniError | undefined> {
    return this.#do("release", uid, { capture: "released" });
  }

  async count(uid: string): Promise<{ connections: number; listeners: number } | CniError> {
    return (await this.#do("count", uid, {})) ?? { connections: this.open, listeners: 0 };
  }

  remove(uid: string): Promise<CniError | undefined> {
    return this.#do("remove", uid, { routing: "none", capture: "none" });
  }

  async check(uid: string): Promise<"same" | "drifted" | "replaced" | CniError> {
    const seen = this.checks.get(uid) ?? "same";
    this.checks.delete(uid);
    return (await this.#do("check", uid, {})) ?? seen;
  }

  close(uid: string): void {
    this.closed.push(uid);
  }

  async #do(step: string, uid: string, change: Partial<KernelTruth>): Promise<CniError | undefined> {
    this.calls.push(`${step} ${uid}`);
    this.#now += 1;
    this.mostAtOnce = Math.max(this.mostAtOnce, this.#now);
    await new Promise((resolve) => setImmediate(resolve));
    this.#now -= 1;
    if (this.failing.has(step)) return new CniError({ code: "cni.kernel", step, cause: "test" });
    this.truths.set(uid, { ...this.truth(uid), ...change });
    return undefined;
  }
}

/** A reconciler whose agents say yes at once, and whose annotations stand at once unless told otherwise. */
class World {
  readonly source = new HandSource();
  readonly clock = new ManualClock();
  readonly kernel = new FakeKernel();
  readonly offered = new Set<string>();
  readonly said: [uid: string, redirection: Redirection, gone?: "gone"][] = [];
  annotationError: CniError | undefined;
  probeError: CniError | undefined;
  readonly probed = new Map<string, readonly string[]>();
  /** Whether each full round pruned. */
  readonly pruned: boolean[] = [];
  readonly reconciler: Reconciler;

  private constructor() {
    this.reconciler = new Reconciler({
      kernel: this.kernel,
      agents: {
        offer: ({ uid }) => {
          this.offered.add(uid);
          queueMicrotask(() => this.reconciler.served(uid));
        },
        withdraw: async (uid) => {
          this.offered.delete(uid);
          await Promise.resolve();
        },
        serves: (uid) => this.offered.has(uid),
      },
      probes: {
        allow: async (uid, addresses) => {
          if (this.probeError === undefined) this.probed.set(uid, addresses);
          return this.probeError;
        },
        forget: async (uid) => {
          this.probed.delete(uid);
          return undefined;
        },
        keep: async (_captured, prune) => {
          this.pruned.push(prune);
          return undefined;
        },
      },
      annotate: (row, redirection, gone) => this.#annotate(row, redirection, gone),
      clock: this.clock,
      random: seededRandom(7),
      log: silentLog,
    });
  }

  static async make(...sketches: readonly PodSketch[]): Promise<World> {
    const world = new World();
    world.source.put(namespace("shop"), ...sketches.map(pod));
    await world.reconciler.start(world.#desired());
    world.update();
    return world;
  }

  label(on: boolean): void {
    this.source.put(namespace("shop", on ? ambient : {}));
    this.update();
  }

  update(): void {
    this.reconciler.update(this.#desired());
  }

  phase(uid: string): string | undefined {
    return this.reconciler.phaseOf(uid);
  }

  async turns(count = 20): Promise<void> {
    for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }

  async pass(ms: number): Promise<void> {
    this.clock.advance(ms);
    await this.turns();
    this.update();
    await this.turns();
  }

  #desired(): Map<string, DesiredPod> {
    return desiredPods(this.source.list(), { node: "node1", dnsCapture: false, selection: defaultSelectionRules });
  }

  #annotate({ uid, ref }: DesiredPod, redirection: Redirection, gone: boolean): void {
    this.said.push(gone ? [uid, redirection, "gone"] : [uid, redirection]);
    const { annotationError } = this;
    if (annotationError !== undefined)
      return queueMicrotask(() => this.reconciler.annotationFailed(uid, annotationError));
    const patch = { metadata: { annotations: { "ambient.istio.io/redirection": redirection ?? null } } };
    void this.source.writeStatus(ref, "cni", gone ? null : patch).then(() => {
      this.update();
      this.reconciler.annotated(uid, redirection);
    });
  }
}
