/** Enrolment in real namespaces, with an agent that relays plainly: capture comes and goes under open connections. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { systemClock } from "../../core/base/clock.ts";
import { TypedError } from "../../core/base/errors.ts";
import { silentLog } from "../../core/base/log.ts";
import { seededRandom } from "../../core/base/random.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { until } from "../../test/support/until.ts";
import type { DaemonConfig } from "./config.ts";
import { startDaemon, type Daemon, type DaemonModules } from "./daemon.ts";
import type { KernelTruth } from "./enrolment.ts";
import { readTruth } from "./kernel-truth.ts";
import type { PodKernel } from "./reconciler-ports.ts";
import { dataplaneModeLabel, defaultSelectionRules } from "./selectors.ts";
import { HandSource, namespace, pod } from "./test-support/objects.ts";
import { PlainAgent } from "./test-support/plain-agent.ts";
import { addresses, PodPair, type Conversation, type Side } from "./test-support/pod-pair.ts";

const uid = "3a6e7c9e-0000-4000-8000-000000000001";
const ambient = { [dataplaneModeLabel]: "ambient" };
const skip = enterNamespaces() ?? false;

for (const family of ["ipv4", "ipv6"] as const) {
  test(
    `a running pod is enrolled and un-enrolled over ${family}: no connection is cut, no request fails, nothing is left`,
    { skip },
    async (t) => {
      const world = await World.make(t);
      const agent = world.agent();
      const before = await world.conversations(family);

      const loop = world.loop(family);
      world.label(true);
      await world.phase("enrolled");
      assert.equal(world.source.redirectionOf("shop", "cart"), "enabled");
      await world.allStillTalk(before);

      // New ones are captured, both ways, and the server still sees who it is that calls.
      const captured = await world.conversations(family);
      assert.ok(agent.captured.outbound > 0 && agent.captured.inbound > 0);
      await loop.rounds(5);

      world.label(false);
      await world.phase("draining");
      await loop.rounds(5);
      await world.allStillTalk([...before, ...captured]);
      assert.deepEqual(await world.truth(), { routing: "whole", capture: "released" });
      const { outbound, inbound } = agent.captured;
      const after = await world.conversations(family);
      assert.deepEqual(agent.captured, { outbound, inbound }, "no new connection is captured");

      for (const conversation of captured) await conversation.end();
      await world.phase("absent");
      assert.deepEqual(await world.truth(), { routing: "none", capture: "none" });
      assert.equal(world.source.redirectionOf("shop", "cart"), undefined);
      await world.allStillTalk([...before, ...after]);
      await loop.stop();
      assert.deepEqual(loop.failures, []);
      t.diagnostic(
        `${loop.done} requests in the loop, the slowest ${loop.slowestMs.toFixed(0)} ms, ${outbound + inbound} connections captured`,
      );
    },
  );
}

test(
  "labelled again while captured connections drain: captured again, and the open ones go on",
  { skip },
  async (t) => {
    const world = await World.make(t);
    const agent = world.agent();
    world.label(true);
    await world.phase("enrolled");
    const captured = await world.conversations("ipv4");
    world.label(false);
    await world.phase("draining");
    world.label(true);
    await world.phase("enrolled");
    await world.allStillTalk(captured);
    const { outbound } = agent.captured;
    await world.conversations("ipv4");
    assert.equal(agent.captured.outbound, outbound + 1);
  },
);

for (const family of ["ipv4", "ipv6"] as const) {
  test(
    `enrolled anew over ${family}, a connection goes on that was opened meanwhile from a port that a captured one had had`,
    { skip },
    async (t) => {
      const world = await World.make(t);
      const agent = world.agent();
      world.label(true);
      await world.phase("enrolled");
      const connect = async (from: Side): Promise<Conversation> => {
        const conversation = world.pair.connect(from, family, 45_000);
        assert.equal(await conversation.readLine(), addresses[family][from]);
        return conversation;
      };
      for (const side of ["pod", "neighbour"] as const) await (await connect(side)).reset();
      assert.deepEqual(agent.captured, { outbound: 1, inbound: 1 });
      world.label(false);
      await world.phase("absent");
      const open = [await connect("pod"), await connect("neighbour")];
      world.label(true);
      await world.phase("enrolled");
      await world.allStillTalk(open);
    },
  );
}

test(
  "without an agent the pod is pending and goes out freely; the agent that comes gets it in its snapshot",
  { skip },
  async (t) => {
    const world = await World.make(t);
    world.label(true);
    await until("the pending annotation", 5000, () => world.source.redirectionOf("shop", "cart") === "pending");
    await world.conversations("ipv4");
    assert.equal((await world.truth()).capture, "none");
    const agent = world.agent();
    await world.phase("enrolled");
    await until("the whole snapshot", 5000, () => agent.heard.length === 2);
    assert.deepEqual(agent.heard, [`add ${uid}`, "snapshot-sent"]);
  },
);

test("an agent that dies leaves the pod captured; the next one is told of it at once", { skip }, async (t) => {
  const world = await World.make(t);
  const first = world.agent();
  world.label(true);
  await world.phase("enrolled");
  first.kill();
  await until("the row to say so", 5000, () => world.daemon.reconciler.status()[0]?.served === false);
  assert.equal((await world.truth()).capture, "redirecting");
  assert.equal(world.source.redirectionOf("shop", "cart"), "enabled");
  const second = world.agent();
  await until("the snapshot", 5000, () => second.serves(uid));
  await world.conversations("ipv4");
  assert.equal(second.captured.outbound, 1);
});

test("a rule that somebody in the pod removed is seen in the next full round and put back", { skip }, async (t) => {
  const world = await World.make(t);
  world.agent();
  world.label(true);
  await world.phase("enrolled");
  const { applyTransaction } = await import("../../core/linux/nftables/apply.ts");
  const { removeRules } = await import("./rules.ts");
  assert.equal(await applyTransaction(world.pair.netns.pod, removeRules()), undefined);
  await world.daemon.reconciler.fullRound();
  await until("the repair", 5000, async () => (await world.truth()).capture === "redirecting");
  assert.equal(world.daemon.reconciler.counters.driftCount, 1);
  await world.phase("enrolled");
  await world.daemon.reconciler.fullRound();
  assert.equal(world.daemon.reconciler.counters.driftCount, 1);
});

const steps = ["inspect", "route", "redirect", "release", "count", "remove"] as const;
for (const when of ["before", "after"] as const) {
  for (const step of steps) {
    test(
      `a daemon killed just ${when} it does ${step} is followed by one that finishes the work, and nothing is cut`,
      { skip },
      async (t) => {
        const world = await World.make(t, { killAt: { step, when } });
        world.agent();
        const open = await world.conversations("ipv4");
        world.label(true);
        const incoming = step === "inspect" || step === "route" || step === "redirect";
        if (!incoming) {
          await world.phase("enrolled");
          open.push(...(await world.conversations("ipv4")));
          world.label(false);
          if (step === "remove") {
            await world.phase("draining");
            for (const conversation of open.splice(2)) await conversation.end();
          }
        }
        await world.killed();
        await world.restart();
        if (incoming) {
          await world.phase("enrolled");
          assert.deepEqual(await world.truth(), { routing: "whole", capture: "redirecting" });
        } else {
          if (step !== "remove") await world.phase("draining");
          await world.allStillTalk(open);
          for (const conversation of open.splice(2)) await conversation.end();
          await world.phase("absent");
          assert.deepEqual(await world.truth(), { routing: "none", capture: "none" });
        }
        await world.allStillTalk(open);
      },
    );
  }
}

test("coming and going ten times leaves no descriptor open that wasn't open after the first", { skip }, async (t) => {
  const world = await World.make(t);
  world.agent();
  const open: number[] = [];
  for (let round = 0; round < 10; round += 1) {
    world.label(true);
    await world.phase("enrolled");
    const captured = await world.conversations("ipv4");
    world.label(false);
    for (const conversation of captured) await conversation.end();
    await world.phase("absent");
    open.push(readdirSync("/proc/self/fd").length);
  }
  // The agent and the echo servers close in their own time.
  await until("the descriptors to be closed", 5000, () => readdirSync("/proc/self/fd").length <= (open[0] ?? 0));
});

test("the sockets are the owner's alone", { skip }, async (t) => {
  const world = await World.make(t);
  for (const path of ["zds.sock", "daemon.sock", "pluginevent.sock"])
    assert.equal(statSync(join(world.pair.folder, path)).mode & 0o777, 0o600, path);
  await world.daemon.close();
  for (const path of ["zds.sock", "daemon.sock", "pluginevent.sock"])
    assert.equal(existsSync(join(world.pair.folder, path)), false, path);
});

interface KillAt {
  readonly step: (typeof steps)[number];
  readonly when: "before" | "after";
}

/** A pod and its neighbour, a daemon that looks after the pod, and agents that come and go. */
class World {
  readonly pair: PodPair;
  readonly source = new HandSource();
  daemon!: Daemon;
  readonly #agents: PlainAgent[] = [];
  #killed = Promise.withResolvers<void>();

  private constructor(pair: PodPair) {
    this.pair = pair;
  }

  static async make(t: TestContext, options: { killAt?: KillAt } = {}): Promise<World> {
    const world = new World(await PodPair.make(uid));
    world.source.put(
      namespace("shop"),
      pod({ uid, name: "cart", addresses: [addresses.ipv4.pod, addresses.ipv6.pod] }),
    );
    t.after(async () => {
      await world.daemon.close();
      for (const agent of world.#agents) agent.kill();
      world.pair.close();
    });
    const { killAt } = options;
    await world.#start(killAt === undefined ? {} : { wrapKernel: (kernel) => world.#mortal(kernel, killAt) });
    return world;
  }

  agent(): PlainAgent {
    const agent = new PlainAgent(join(this.pair.folder, "zds.sock"));
    this.#agents.push(agent);
    return agent;
  }

  label(on: boolean): void {
    this.source.put(namespace("shop", on ? ambient : {}));
  }

  async phase(phase: string): Promise<void> {
    await until(`phase ${phase}`, 10_000, () => this.daemon.reconciler.phaseOf(uid) === phase);
  }

  /** The daemon has died at the step it was to die at. */
  async killed(): Promise<void> {
    await this.#killed.promise;
    await this.daemon.close();
    // The link went with the process; the agent's listeners did not.
    for (const agent of this.#agents) agent.hangUp();
  }

  /** A new daemon, and the agent comes back to it. */
  async restart(): Promise<void> {
    await this.#start({});
    for (const agent of this.#agents) agent.reconnect();
  }

  async truth(): Promise<KernelTruth> {
    const truth = await readTruth(this.pair.netns.pod, true);
    if (truth instanceof LinuxError) throw truth;
    return truth;
  }

  /** One new conversation from each side; both servers see their client's own address. */
  async conversations(family: "ipv4" | "ipv6"): Promise<Conversation[]> {
    const sides: Side[] = ["pod", "neighbour"];
    return Promise.all(
      sides.map(async (from) => {
        const conversation = this.pair.connect(from, family);
        assert.equal(await conversation.readLine(), addresses[family][from]);
        return conversation;
      }),
    );
  }

  async allStillTalk(conversations: readonly Conversation[]): Promise<void> {
    for (const conversation of conversations) assert.equal(await conversation.say("still there"), "still there");
  }

  /** Requests one after another from both sides, each on a connection of its own. */
  loop(family: "ipv4" | "ipv6"): Loop {
    return new Loop(async () => {
      for (const conversation of await this.conversations(family)) {
        assert.equal(await conversation.say("request"), "request");
        await conversation.end();
      }
    });
  }

  async #start(over: Partial<DaemonModules>): Promise<void> {
    const { folder } = this.pair;
    const config: DaemonConfig = {
      node: "node1",
      runDir: folder,
      zds: join(folder, "zds.sock"),
      netnsDir: folder,
      dnsCapture: false,
      selection: defaultSelectionRules,
    };
    const daemon = await startDaemon(config, {
      source: this.source,
      clock: systemClock,
      random: seededRandom(1),
      log: silentLog,
      reconcilerOptions: { settleMs: 50, fullRoundMs: 3_600_000 },
      ...over,
    });
    if (daemon instanceof TypedError) throw daemon;
    this.daemon = daemon;
  }

  /** A kernel whose daemon dies at one step: that call, and every later one, is never answered. */
  #mortal(kernel: PodKernel, { step, when }: KillAt): PodKernel {
    let dead = false;
    // The first inspection is the daemon's own look at its start; the one that counts is the pod's.
    let inspections = 0;
    const wrap = async <T>(name: string, act: () => T | Promise<T>): Promise<T> => {
      const fatal = name === step && (name !== "inspect" || ++inspections > 1);
      if (dead) return new Promise<never>(() => {});
      if (!fatal) return act();
      dead = true;
      if (when === "after") await act();
      this.#killed.resolve();
      return new Promise<never>(() => {});
    };
    return {
      inspect: (pod) => wrap("inspect", () => kernel.inspect(pod)),
      route: (pod) => wrap("route", () => kernel.route(pod)),
      redirect: (pod, capture) => wrap("redirect", () => kernel.redirect(pod, capture)),
      release: (pod) => wrap("release", () => kernel.release(pod)),
      count: (pod, own) => wrap("count", () => kernel.count(pod, own)),
      remove: (pod) => wrap("remove", () => kernel.remove(pod)),
      check: (pod, capture) => kernel.check(pod, capture),
      close: (pod) => kernel.close(pod),
    };
  }
}

class Loop {
  done = 0;
  slowestMs = 0;
  readonly failures: unknown[] = [];
  #going = true;
  readonly #ended: Promise<void>;

  constructor(request: () => Promise<void>) {
    this.#ended = this.#run(request);
  }

  /** Settles when so many more have been made. */
  async rounds(count: number): Promise<void> {
    const target = this.done + this.failures.length + count;
    await until(`${count} more requests`, 10_000, () => this.done + this.failures.length >= target);
  }

  async stop(): Promise<void> {
    this.#going = false;
    await this.#ended;
  }

  async #run(request: () => Promise<void>): Promise<void> {
    while (this.#going) {
      const startMs = performance.now();
      await request().then(
        () => (this.done += 1),
        (failure: unknown) => this.failures.push(failure),
      );
      this.slowestMs = Math.max(this.slowestMs, performance.now() - startMs);
    }
  }
}
