/** A runtime makes pods: what the plugin is answered, and what stands in the pod when it is. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import type { KubeObject } from "../../control/sources/objects.ts";
import { refKey, refOf } from "../../control/sources/source.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { until } from "../../test/support/until.ts";
import { redirectionAnnotation } from "./desired.ts";
import { dataplaneModeLabel } from "./selectors.ts";
import { NodeWorld, type Sandbox } from "./test-support/node-world.ts";
import { HandSource, namespace, pod } from "./test-support/objects.ts";

const skip = enterNamespaces() ?? false;
const ambient = { [dataplaneModeLabel]: "ambient" };
const captured = { routing: "whole", capture: "redirecting" } as const;
const bare = { routing: "none", capture: "none" } as const;

test(
  "a pod that the watch doesn't show yet is enrolled before its ADD succeeds: rules, agent, probes, annotation",
  { skip },
  async (t) => {
    const world = await World.make(t);
    const agent = world.node.agent();
    const sandbox = await world.node.sandbox("cni-1", "10.9.0.2");
    const asked = world.watchIsBehind(namespace("shop", ambient), pod({ uid: "u-1", name: "cart", phase: "Pending" }));
    assert.deepEqual(await world.node.add(sandbox, { name: "cart", uid: "u-1" }), { status: 200, body: "" });
    assert.deepEqual(asked, ["Namespace//shop", "Pod/shop/cart"]);
    assert.deepEqual(await world.node.truth(sandbox), captured);
    assert.ok(agent.serves("u-1"));
    assert.deepEqual(world.node.probed(), ["10.9.0.2 u-1"]);
    assert.deepEqual(world.source.written.at(-1), { key: "Pod/shop/cart", redirection: "enabled" });
    // Repeated, as runtimes do.
    assert.equal((await world.node.add(sandbox, { name: "cart", uid: "u-1" })).status, 200);
  },
);

test("known to the watch, a pod needs no word from the API server, be it up or down", { skip }, async (t) => {
  const world = await World.make(t, namespace("shop", ambient), pod({ uid: "u-1", name: "cart", phase: "Pending" }));
  world.api = "down";
  world.node.agent();
  const sandbox = await world.node.sandbox("cni-1", "10.9.0.2");
  assert.equal((await world.node.add(sandbox, { name: "cart", uid: "u-1" })).status, 200);
  assert.deepEqual(await world.node.truth(sandbox), captured);
});

test("probes pass before peers are told: the set first, then the annotation", { skip }, async (t) => {
  const world = await World.make(t, namespace("shop", ambient), pod({ uid: "u-1", name: "cart" }));
  world.node.agent();
  const sandbox = await world.node.sandbox("cni-1", "10.9.0.2");
  const seen: (string[] | undefined)[] = [];
  const write = world.source.writeStatus.bind(world.source);
  world.source.writeStatus = (ref, writer, patch) => {
    seen.push(world.node.probed());
    return write(ref, writer, patch);
  };
  await world.node.add(sandbox, { name: "cart", uid: "u-1" });
  assert.deepEqual(seen.at(-1), ["10.9.0.2 u-1"]);
});

test("a pod that asks for nothing passes at once, with whatever namespace", { skip }, async (t) => {
  const world = await World.make(t, namespace("shop"), pod({ uid: "u-1", name: "cart" }));
  const sandbox = await world.node.sandbox("cni-1", "10.9.0.2");
  assert.equal((await world.node.add(sandbox, { name: "cart", uid: "u-1" })).status, 200);
  assert.equal((await world.node.add({ ...sandbox, name: "elsewhere" }, { name: "cart", uid: "u-1" })).status, 200);
  assert.deepEqual(await world.node.truth(sandbox), bare);
});

test("without an agent the pod is held, with the reason, and nothing redirects it", { skip }, async (t) => {
  const world = await World.make(t, namespace("shop", ambient), pod({ uid: "u-1", name: "cart" }));
  const sandbox = await world.node.sandbox("cni-1", "10.9.0.2");
  const { status, body } = await world.node.add(sandbox, { name: "cart", uid: "u-1" });
  assert.equal(status, 500);
  assert.match(body, /^pod shop\/cart is not enrolled yet: no ambientd-agent is connected on this node/);
  assert.equal((await world.node.truth(sandbox)).capture, "none");
  assert.equal((await world.node.ask("/cmdstatus", "")).status, 503);
  // The runtime takes the sandbox down and tries again with another; by then there is an agent.
  world.node.agent();
  const next = await world.node.sandbox("cni-2", "10.9.0.3");
  world.node.takeDown("cni-1");
  assert.equal((await world.node.add(next, { name: "cart", uid: "u-1" })).status, 200);
  assert.deepEqual(await world.node.truth(next), captured);
  assert.deepEqual(world.node.probed(), ["10.9.0.3 u-1"]);
  assert.equal((await world.node.ask("/cmdstatus", "")).status, 200);
});

test("a pod whose agent has gone since is not said to be in order", { skip }, async (t) => {
  const world = await World.make(t, namespace("shop", ambient), pod({ uid: "u-1", name: "cart" }));
  const agent = world.node.agent();
  const sandbox = await world.node.sandbox("cni-1", "10.9.0.2");
  assert.equal((await world.node.add(sandbox, { name: "cart", uid: "u-1" })).status, 200);
  agent.kill();
  await until("the agent's end", 5000, () => world.node.daemon.reconciler.status()[0]?.served === false);
  const { status, body } = await world.node.ask("/cmdcheck", eventOf(sandbox));
  assert.equal(status, 500);
  assert.match(body, /no ambientd-agent/);
  assert.deepEqual(
    await world.node.truth(sandbox),
    captured,
    "it stays captured: rather no connection than a plain one",
  );
});

test("made anew under its name and address, a pod inherits nothing", { skip }, async (t) => {
  const world = await World.make(
    t,
    namespace("shop", ambient),
    pod({ uid: "old", name: "db-0", addresses: ["10.9.0.2"] }),
  );
  const agent = world.node.agent();
  const first = await world.node.sandbox("cni-1", "10.9.0.2");
  assert.equal((await world.node.add(first, { name: "db-0", uid: "old" })).status, 200);
  // The watch still shows the old one, enrolled.
  world.watchIsBehind(pod({ uid: "new", name: "db-0" }));
  const second = await world.node.sandbox("cni-2", "10.9.0.2");
  assert.deepEqual(await world.node.add(second, { name: "db-0", uid: "new" }), { status: 200, body: "" });
  assert.deepEqual(await world.node.truth(second), captured);
  assert.ok(agent.serves("new"));
  await world.node.phase("old", undefined);
  assert.deepEqual(world.node.probed(), ["10.9.0.2 new"]);
  // What the watch says at last, changes nothing more.
  world.source.remove(pod({ uid: "old", name: "db-0" }));
  world.source.put(pod({ uid: "new", name: "db-0", addresses: ["10.9.0.2"] }));
  await world.node.phase("new", "enrolled");
  assert.deepEqual(world.node.probed(), ["10.9.0.2 new"]);
});

test("a plugin that says no UID is asked back at the API server, for a name is no proof", { skip }, async (t) => {
  const world = await World.make(
    t,
    namespace("shop", ambient),
    pod({ uid: "old", name: "db-0", addresses: ["10.9.0.2"] }),
  );
  world.node.agent();
  const first = await world.node.sandbox("cni-1", "10.9.0.2");
  world.watchIsBehind(pod({ uid: "old", name: "db-0" }));
  assert.equal((await world.node.add(first, { name: "db-0" })).status, 200);
  world.watchIsBehind(pod({ uid: "new", name: "db-0" }));
  const second = await world.node.sandbox("cni-2", "10.9.0.3");
  assert.equal((await world.node.add(second, { name: "db-0" })).status, 200);
  assert.deepEqual(await world.node.truth(second), captured);
  assert.equal(world.node.daemon.reconciler.phaseOf("new"), "enrolled");
});

test("a sandbox that the runtime made anew for the same pod is captured anew", { skip }, async (t) => {
  const world = await World.make(t, namespace("shop", ambient), pod({ uid: "u-1", name: "cart" }));
  const agent = world.node.agent();
  const first = await world.node.sandbox("cni-1", "10.9.0.2");
  assert.equal((await world.node.add(first, { name: "cart", uid: "u-1" })).status, 200);
  const second = await world.node.sandbox("cni-2", "10.9.0.3");
  assert.equal((await world.node.add(second, { name: "cart", uid: "u-1" })).status, 200);
  assert.deepEqual(await world.node.truth(second), captured);
  assert.deepEqual(world.node.probed(), ["10.9.0.3 u-1"]);
  assert.deepEqual(
    agent.heard.filter((line) => line.endsWith("u-1")),
    ["add u-1", "del u-1", "add u-1"],
  );
});

test(
  "after a reboot the status still has the address of the sandbox that is lost: the plugin's word counts",
  { skip },
  async (t) => {
    const rebooted = pod({
      uid: "u-1",
      name: "cart",
      addresses: ["10.9.0.2"],
      annotations: { [redirectionAnnotation]: "enabled" },
    });
    const world = await World.make(t, namespace("shop", ambient), rebooted);
    world.node.agent();
    const sandbox = await world.node.sandbox("cni-1", "10.9.0.7");
    assert.deepEqual(await world.node.add(sandbox, { name: "cart", uid: "u-1" }), { status: 200, body: "" });
    assert.deepEqual(await world.node.truth(sandbox), captured);
    assert.deepEqual(world.node.probed(), ["10.9.0.7 u-1"]);
    // While it was not captured, peers were not sent to it.
    assert.deepEqual(
      world.source.written.map(({ redirection }) => redirection),
      ["pending", "enabled"],
    );
    world.source.put(pod({ uid: "u-1", name: "cart", addresses: ["10.9.0.7"] }));
    assert.equal((await world.node.add(sandbox, { name: "cart", uid: "u-1" })).status, 200);
  },
);

test(
  "whoever isn't known, can't be asked about, or shows another's namespace, is held with the reason",
  { skip },
  async (t) => {
    const world = await World.make(
      t,
      namespace("shop", ambient),
      pod({ uid: "u-1", name: "cart" }),
      pod({ uid: "u-2", name: "till" }),
    );
    world.node.agent();
    const sandbox = await world.node.sandbox("cni-1", "10.9.0.2");
    assert.equal((await world.node.add(sandbox, { name: "cart", uid: "u-1" })).status, 200);
    world.watchIsBehind(pod({ uid: "u-9", name: "made-anew" }));
    const asks = [
      world.node.add(sandbox, { name: "nobody", uid: "u-3" }),
      world.node.add(sandbox, { name: "made-anew", uid: "u-8" }),
      // The namespace of another pod.
      world.node.add(sandbox, { name: "till", uid: "u-2" }),
      world.node.add({ ...sandbox, name: "not-there" }, { name: "till", uid: "u-2" }),
    ];
    const bodies = (await Promise.all(asks)).map(({ status, body }) => `${status} ${body}`);
    assert.match(bodies[0] ?? "", /^500 pod shop\/nobody is not known: .*missing=pod shop\/nobody/);
    assert.match(bodies[1] ?? "", /^500 .*that of this name now has UID u-9/);
    assert.match(bodies[2] ?? "", /^500 .*held-for-pod-u-1/);
    assert.match(bodies[3] ?? "", /^500 .*cni\.netns-missing/);
    world.api = "down";
    const { status, body } = await world.node.add(sandbox, { name: "somebody", uid: "u-4" });
    assert.equal(status, 500);
    assert.match(body, /cni\.api-unreachable.*ECONNREFUSED/);
  },
);

test("a hundred pods that are made at once are all enrolled before their ADDs succeed", { skip }, async (t) => {
  const world = await World.make(t, namespace("shop", ambient));
  world.node.agent();
  const pods = Array.from({ length: 100 }, (_, i) => pod({ uid: `u-${i}`, name: `p-${i}` }));
  world.source.put(...pods);
  const sandboxes = await Promise.all(pods.map((_, i) => world.node.sandbox(`cni-${i}`, `10.9.1.${i}`)));
  const add = async (sandbox: Sandbox, i: number): Promise<void> => {
    const asks = { name: `p-${i}`, uid: `u-${i}` };
    let answer = await world.node.add(sandbox, asks);
    // On a busy machine the kernel may need longer than the plugin waits: a runtime asks again.
    for (let again = 0; again < 5 && answer.status !== 200; again += 1) answer = await world.node.add(sandbox, asks);
    assert.deepEqual(answer, { status: 200, body: "" });
    assert.deepEqual(await world.node.truth(sandbox), captured);
  };
  const begun = performance.now();
  await Promise.all(sandboxes.map(add));
  t.diagnostic(`${pods.length} at once in ${(performance.now() - begun).toFixed(0)} ms`);
  assert.equal(world.node.probed()?.length, pods.length);
});

function eventOf({ name, address }: Sandbox): string {
  const IPs = [{ Address: { IP: address, Mask: "/////w==" } }];
  return JSON.stringify({ Netns: `/var/run/netns/${name}`, PodName: "cart", PodNamespace: "shop", PodUID: "u-1", IPs });
}

class World {
  readonly source = new HandSource();
  readonly node: NodeWorld;
  api: "up" | "down" = "up";
  readonly #behind = new Map<string, KubeObject>();
  readonly #asked: string[] = [];

  private constructor(t: TestContext) {
    this.node = new NodeWorld(t);
  }

  static async make(t: TestContext, ...objects: KubeObject[]): Promise<World> {
    const world = new World(t);
    world.source.put(...objects);
    await world.node.start({
      source: world.source,
      ask: async (ref) => {
        world.#asked.push(refKey(ref));
        if (world.api === "down") throw new Error("connect ECONNREFUSED");
        return world.#behind.get(refKey(ref)) ?? world.source.list().get(ref.kind, ref.namespace, ref.name);
      },
    });
    return world;
  }

  /** The API server has these; the watch has not told of them. @returns what is asked for from now on. */
  watchIsBehind(...objects: KubeObject[]): string[] {
    for (const object of objects) this.#behind.set(refKey(refOf(object)), object);
    this.#asked.length = 0;
    return this.#asked;
  }
}
