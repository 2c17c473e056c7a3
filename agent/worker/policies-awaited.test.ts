/** Between the first word about a pod and the first about policies: nobody can be told yet whether he may enter. */
import assert from "node:assert/strict";
import { before, test, type TestContext } from "node:test";
import { alice, bob } from "../../test/support/hbone-pair.ts";
import { application, LoopbackMesh, ownAddresses, type LoopbackPod } from "../../test/support/loopback-mesh.ts";
import { pod, policy, ruleOf } from "../../test/support/mesh.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { echo, endOf } from "../../test/support/sockets.ts";
import { TunnelClient } from "../../test/support/tunnel-client.ts";
import { until } from "../../test/support/until.ts";

const skip = enterNamespaces() ?? false;
const [aliceAddress, bobAddress] = ["10.99.0.2", "10.99.0.3"];
const workloads = [pod("default/alice", aliceAddress), pod("default/bob", bobAddress)];
/** Of the namespace: no workload lists it. */
const onlyAlice = policy("default/only-alice", {
  action: "deny",
  rules: [ruleOf({ notServiceAccounts: [{ namespace: "default", serviceAccount: "alice" }] })],
});

before(async () => {
  if (skip === false) await ownAddresses();
});

async function scene(t: TestContext, deadlineMs: number) {
  let accepted = 0;
  const app = await application(bobAddress, (socket) => {
    accepted += 1;
    socket.pipe(socket);
  });
  t.after(app.close);
  const mesh = new LoopbackMesh({ awaitsPolicies: true, deadlineMs });
  t.after(() => mesh.close());
  mesh.apply({ workloads });
  const pods = [await mesh.serve("default/alice", aliceAddress), await mesh.serve("default/bob", bobAddress)];
  const [client, server] = pods as [LoopbackPod, LoopbackPod];
  return { mesh, client, server, target: { address: bobAddress, port: app.port }, accepted: () => accepted };
}

test(
  "H040 a connection to a known pod waits for policies, and is judged by those of the namespace that come with them",
  { skip },
  async (t) => {
    const { mesh, client, server, target, accepted } = await scene(t, 60_000);
    const plain = server.connectIn(target);
    const refused = endOf(plain);
    const allowed = echo(client.connectOut(target), "hello");
    const tunnel = new TunnelClient({ address: bobAddress, port: server.hbonePort }, alice, aliceAddress);
    t.after(() => tunnel.close());
    const stranger = new TunnelClient({ address: bobAddress, port: server.hbonePort }, bob, "10.99.0.9");
    t.after(() => stranger.close());
    const authority = `${target.address}:${target.port}`;
    const answers = [tunnel.status(authority), stranger.status(authority)];
    const waiting = async (): Promise<number> => {
      const id = mesh.messages.length;
      mesh.send({ kind: "dump", id });
      const dumped = mesh.messages.find((message) => message.kind === "dumped" && message.id === id);
      return dumped?.kind === "dumped"
        ? dumped.dump.connections.filter(({ phase }) => phase === "deciding").length
        : Number.NaN;
    };
    await until("all four wait: the application's own, two tunnels' and one in clear text", 5_000, async () => {
      return (await waiting()) === 4;
    });
    // What belongs to others is not what they wait for.
    mesh.apply({ workloads: [pod("default/other", "10.99.0.30")] });
    mesh.apply({ policies: [onlyAlice] });
    assert.equal(await waiting(), 4);
    assert.equal(accepted(), 0, "nobody has been let in");
    mesh.apply({ policiesComplete: true });
    assert.equal(await refused, "ECONNRESET");
    assert.equal(await allowed, "hello");
    assert.deepEqual(await Promise.all(answers), [200, 401]);
    const line = await mesh.line("inbound", (one) => one["protocol"] === "tcp");
    assert.deepEqual([line["reason"], line["policy"]], ["POLICY_DENIED", onlyAlice.key]);
    assert.equal(accepted(), 2);
  },
);

test(
  "H040 without policies nobody is let in or out when the wait is over, and the reason is not the pod",
  { skip },
  async (t) => {
    const { mesh, client, server, target, accepted } = await scene(t, 300);
    assert.equal(await endOf(server.connectIn(target)), "ECONNRESET");
    assert.equal((await mesh.line("inbound"))["reason"], "NO_POLICIES");
    assert.equal(await endOf(client.connectOut(target)), "ECONNRESET");
    assert.equal((await mesh.line("outbound"))["reason"], "NO_POLICIES");
    const tunnel = new TunnelClient({ address: bobAddress, port: server.hbonePort }, alice, aliceAddress);
    t.after(() => tunnel.close());
    assert.equal(await tunnel.status(`${target.address}:${target.port}`), 503);
    assert.equal(accepted(), 0);
  },
);

test("what is inherited from another agent stays with it until there are policies", { skip }, async (t) => {
  const { mesh } = await scene(t, 60_000);
  const uid = "uid-carol";
  const isServed = (): boolean =>
    mesh.messages.some((message) => message.kind === "pod-serving" && message.uid === uid);
  await mesh.serve("default/carol", "10.99.0.31", undefined, { inherited: true });
  mesh.apply({ workloads: [pod("default/carol", "10.99.0.31")] });
  await new Promise(setImmediate);
  assert.equal(isServed(), false);
  mesh.apply({ policiesComplete: true });
  await until("it is served", 5_000, isServed);
});
