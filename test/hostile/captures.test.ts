/** What is captured and cannot, may not or must not yet go on: clear text, no destination, nobody known. */
import assert from "node:assert/strict";
import { before } from "node:test";
import { alice } from "../support/hbone-pair.ts";
import { ownAddresses } from "../support/loopback-mesh.ts";
import { pod, policy, ruleOf } from "../support/mesh.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { until } from "../support/until.ts";
import { aliceAddress, bobAddress, MeshScene } from "./mesh-scene.ts";
import { firstEngine, onEngines } from "./on-engines.ts";

const skip = enterNamespaces() ?? false;
const once = { skip, only: firstEngine };
before(() => (skip === false ? ownAddresses() : undefined));

/** As control converts PeerAuthentication STRICT. */
const strict = policy("default/strict", { action: "deny", rules: [ruleOf({ notPrincipals: [{ kind: "presence" }] })] });

onEngines(
  "H035 clear text to a STRICT pod is refused whoever it comes from, and not an octet reaches the application",
  once,
  async (t, engine) => {
    const update = { policies: [strict], workloads: [pod("default/plain", "10.99.0.5", { tunnel: "tcp" })] };
    const scene = await MeshScene.open(t, engine, { update });
    // A stranger, a meshed pod that goes around its agent, one of the mesh without tunnel, the node, the pod itself.
    const sources = ["10.99.0.9", aliceAddress, "10.99.0.5", "10.99.0.1", bobAddress];
    for (const from of sources) {
      const way = { kind: "plaintext", pod: bobAddress, from, port: scene.appPort } as const;
      const number = await scene.victim.call("dial", { way, text: "let me in" });
      const { state, length } = await until("an end", 5_000, async () => {
        const one = await scene.victim.call("dialled", { number });
        return one.state !== "open" && one;
      });
      assert.deepEqual([state, length], ["reset", 0], from);
    }
    await scene.lines("POLICY_MTLS_REQUIRED", sources.length);
    assert.equal(scene.accepted.length, 1, "the bystander's alone");
    await scene.unharmed(t);
  },
);

for (const by of ["outbound", "plaintext"] as const) {
  onEngines(
    `H038 a connection whose destination the kernel has lost (${by}) is refused, not guessed`,
    once,
    async (t, engine) => {
      const scene = await MeshScene.open(t, engine);
      const { connects } = await scene.victim.call("meshCounts");
      const number = await scene.victim.call("dial", { way: { kind: "lost", pod: bobAddress, by }, text: "hello" });
      const { state } = await until("an end", 5_000, async () => {
        const one = await scene.victim.call("dialled", { number });
        return one.state !== "open" && one;
      });
      assert.equal(state, "reset");
      await scene.lineOf("NO_ORIGINAL_DST");
      assert.equal((await scene.victim.call("meshCounts")).connects, connects);
      await scene.victim.call("hangUp");
      await scene.unharmed(t);
    },
  );
}

onEngines("H038 connections that are gone when they are accepted throw nothing", once, async (t, engine) => {
  const scene = await MeshScene.open(t, engine);
  for (const by of ["outbound", "plaintext"] as const) {
    await scene.victim.call("resetAtAccept", { pod: bobAddress, by, count: 200 });
  }
  await scene.victim.call("hangUp");
  await scene.unharmed(t);
});

onEngines(
  "H040 a burst before the certificate is there asks for it once, waits, and is served when it comes",
  { skip },
  async (t, engine) => {
    const scene = await MeshScene.open(t, engine, { manualClock: true, deadlineMs: 10_000 });
    await scene.victim.call("servePod", { path: "default/alice", address: aliceAddress });
    const way = { kind: "outbound", pod: aliceAddress, to: bobAddress, port: scene.appPort } as const;
    const numbers = await Promise.all(
      Array.from({ length: 100 }, () => scene.victim.call("dial", { way, text: "hello" })),
    );
    await until("they wait", 5_000, async () => (await scene.victim.call("meshCounts")).connections === 101);
    await scene.victim.call("advanceMesh", { ms: 9_000 });
    assert.equal(await scene.victim.call("certificatesWanted"), 1);
    await scene.victim.call("certify", { identity: alice });
    for (const number of numbers) {
      await until("an echo", 10_000, async () => (await scene.victim.call("dialled", { number })).text === "hello");
    }
    await scene.victim.call("hangUp");
  },
);

const unready = [
  ["without a certificate", "NO_CERTIFICATE", pod("default/alice", aliceAddress)],
  ["that control has not told of", "NO_WORKLOAD", pod("default/other", "10.99.0.77")],
] as const;

for (const [what, code, workload] of unready) {
  onEngines(`H040 a connection of a pod ${what} waits ten seconds and is refused`, once, async (t, engine) => {
    const options = { manualClock: true, deadlineMs: 10_000, withoutBystander: true };
    const scene = await MeshScene.open(t, engine, {
      ...options,
      workloads: [workload, pod("default/bob", bobAddress)],
    });
    await scene.victim.call("servePod", { path: "default/alice", address: aliceAddress });
    const way = { kind: "outbound", pod: aliceAddress, to: bobAddress, port: scene.appPort } as const;
    const number = await scene.victim.call("dial", { way, text: "hello" });
    await until("it waits", 5_000, async () => (await scene.victim.call("meshCounts")).connections === 1);
    await scene.victim.call("advanceMesh", { ms: 9_999 });
    assert.equal((await scene.victim.call("dialled", { number })).state, "open");
    await scene.victim.call("advanceMesh", { ms: 2 });
    await scene.lineOf(code);
    assert.equal(scene.accepted.length, 0);
    await scene.victim.call("hangUp");
  });
}
