/** A pod that goes while its clients have not heard yet. */
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { before, test, type TestContext } from "node:test";
import { engines, engineOf, type EngineName } from "../../test/support/engines.ts";
import { alice } from "../../test/support/hbone-pair.ts";
import { application, LoopbackMesh, ownAddresses, type LoopbackPod } from "../../test/support/loopback-mesh.ts";
import { pod } from "../../test/support/mesh.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { TunnelClient } from "../../test/support/tunnel-client.ts";
import { until } from "../../test/support/until.ts";

const skip = enterNamespaces() ?? false;
const [aliceAddress, bobAddress] = ["10.99.0.2", "10.99.0.3"];
const bobUid = "Kubernetes//Pod/default/bob";

before(() => (skip === false ? ownAddresses() : undefined));

interface Scene {
  readonly mesh: LoopbackMesh;
  readonly bob: LoopbackPod;
  readonly port: number;
  readonly stopApplication: () => void;
  readonly tunnel: TunnelClient;
}

async function scene(t: TestContext, engine: EngineName): Promise<Scene> {
  const app = await application(bobAddress, (socket) => socket.pipe(socket));
  t.after(app.close);
  const mesh = new LoopbackMesh(engineOf(engine).meshOptions);
  t.after(() => mesh.close());
  mesh.apply({ workloads: [pod("default/alice", aliceAddress), pod("default/bob", bobAddress)] });
  const bob = await mesh.serve("default/bob", bobAddress);
  const tunnel = new TunnelClient({ address: bobAddress, port: bob.hbonePort }, alice, aliceAddress);
  t.after(() => tunnel.close());
  assert.equal(await tunnel.status(`${bobAddress}:${app.port}`), 200);
  return { mesh, bob, port: app.port, stopApplication: app.close, tunnel };
}

for (const engine of engines) {
  test(`a pod that control knows no more says at once that it is gone (${engine})`, { skip }, async (t) => {
    const { mesh, port, tunnel } = await scene(t, engine);
    mesh.apply({ removed: { addresses: [bobUid] } });
    const { status, isGone } = await tunnel.connect(`${bobAddress}:${port}`);
    assert.deepEqual([status, isGone], [503, true]);
    await mesh.line("inbound", (line) => line["reason"] === "WORKLOAD_GONE");
  });

  test(
    `a pod that leaves is served as long as its application serves, and then says so (${engine})`,
    { skip },
    async (t) => {
      const { mesh, bob, port, stopApplication, tunnel } = await scene(t, engine);
      mesh.send({ kind: "leave", uid: bob.uid, lingerMs: 60_000 });
      assert.equal(await tunnel.status(`${bobAddress}:${port}`), 200);
      stopApplication();
      const { status, isGone } = await tunnel.connect(`${bobAddress}:${port}`);
      assert.deepEqual([status, isGone], [503, true]);
      const line = await mesh.line("inbound", (one) => one["reason"] === "WORKLOAD_GONE");
      assert.equal(line["detail"], "ECONNREFUSED");
      mesh.send({ kind: "hurry", uid: bob.uid });
    },
  );

  test(`an application that refuses in a pod that stays is not gone (${engine})`, { skip }, async (t) => {
    const { mesh, port, stopApplication, tunnel } = await scene(t, engine);
    stopApplication();
    const { status, isGone } = await tunnel.connect(`${bobAddress}:${port}`);
    assert.deepEqual([status, isGone], [503, false]);
    await mesh.line("inbound", (line) => line["reason"] === "CONNECT_REFUSED");
  });

  test(
    `a client that is told that a pod at its own address is gone does not come again (${engine})`,
    { skip },
    async (t) => {
      const { mesh, bob, port, stopApplication } = await scene(t, engine);
      const client = await mesh.serve("default/alice", aliceAddress);
      mesh.send({ kind: "leave", uid: bob.uid, lingerMs: 60_000 });
      stopApplication();
      const socket = client.connectOut({ address: bobAddress, port });
      const line = await mesh.line("outbound", (one) => one["reason"] === "WORKLOAD_GONE");
      assert.equal(line["retries"], undefined);
      await until("it is reset", 5_000, () => socket.destroyed || socket.errored !== null);
      mesh.send({ kind: "hurry", uid: bob.uid });
    },
  );

  test(`whoever gets a gone pod's address is reached by a tunnel of its own (${engine})`, { skip }, async (t) => {
    const { mesh, port } = await scene(t, engine);
    const client = await mesh.serve("default/alice", aliceAddress);
    const target = { address: bobAddress, port };
    assert.equal(await echoed(client.connectOut(target)), "x");
    const before = mesh.tunnelsOpened;
    assert.equal(await echoed(client.connectOut(target)), "x");
    assert.equal(mesh.tunnelsOpened, before);
    mesh.apply({ removed: { addresses: [bobUid] } });
    mesh.apply({ workloads: [pod("default/bob", bobAddress)] });
    assert.equal(await echoed(client.connectOut(target)), "x");
    assert.equal(mesh.tunnelsOpened, before + 1);
  });
}

function echoed(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    socket.once("data", (chunk: Buffer) => {
      socket.destroy();
      resolve(chunk.toString());
    });
    socket.once("error", reject);
    socket.write("x");
  });
}
