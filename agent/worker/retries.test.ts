import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { application, LoopbackMesh, ownAddresses, type LoopbackPod } from "../../test/support/loopback-mesh.ts";
import { backs, pod, port, service } from "../../test/support/mesh.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { echo, endOf } from "../../test/support/sockets.ts";
import { until } from "../../test/support/until.ts";

const skip = enterNamespaces() ?? false;
const addresses = ["10.99.0.3", "10.99.0.4", "10.99.0.5", "10.99.0.6"];
const appPort = 8_080;
const web = service("default/web", "10.96.0.1", [port(80, appPort)]);
const vip = { address: "10.96.0.1", port: 80 };
let mesh: LoopbackMesh;
let client: LoopbackPod;
const closers: (() => void)[] = [];

beforeEach(async () => {
  if (skip !== false) return;
  await ownAddresses();
  mesh = new LoopbackMesh();
  mesh.apply({ services: [web], workloads: [pod("default/alice", "10.99.0.2")] });
  client = await mesh.serve("default/alice", "10.99.0.2");
});
afterEach(() => {
  if (skip !== false) return;
  mesh.close();
  for (const close of closers.splice(0)) close();
});

/** Endpoints of the service at the first addresses; those in `up` have an application. */
async function endpoints(tunnel: "tcp" | "hbone", up: readonly number[]): Promise<void> {
  const services = backs([web, port(80, appPort)]);
  mesh.apply({ workloads: addresses.map((address, i) => pod(`default/w${i}`, address, { tunnel, services })) });
  for (const [i, address] of addresses.entries()) {
    if (tunnel === "hbone") await mesh.serve(`default/w${i}`, address);
    if (!up.includes(i)) continue;
    const app = await application(address, (socket) => socket.pipe(socket), appPort);
    closers.push(app.close);
  }
}

for (const tunnel of ["tcp", "hbone"] as const) {
  test(
    `a connection to a service reaches the endpoint that is up, of those that take ${tunnel}`,
    { skip },
    async () => {
      await endpoints(tunnel, [1, 2]);
      for (let i = 0; i < 12; i++) {
        const socket = client.connectOut(vip);
        assert.equal(await echo(socket, `n${i}`), `n${i}`);
        socket.destroy();
      }
      const retried = await mesh.line("outbound", (line) => Number(line["retries"]) > 0);
      const reason = tunnel === "tcp" ? "CONNECT_REFUSED" : "PEER_UNAVAILABLE";
      assert.deepEqual([retried["retry_reason"], Number(retried["retries"]) <= 2], [reason, true]);
    },
  );

  test(
    `a connection to a service of which every endpoint refuses is given up after three (${tunnel})`,
    { skip },
    async () => {
      await endpoints(tunnel, []);
      const socket = client.connectOut(vip);
      assert.equal(await endOf(socket), "ECONNRESET");
      const line = await mesh.line("outbound");
      assert.equal(line["retries"], 2);
    },
  );
}

test("an endpoint's agent that is away for a moment is waited for", { skip }, async () => {
  mesh.apply({ workloads: [pod("default/w0", "10.99.0.3", { services: backs([web, port(80, appPort)]) })] });
  const app = await application("10.99.0.3", (socket) => socket.pipe(socket), appPort);
  closers.push(app.close);
  const socket = client.connectOut(vip);
  const answer = echo(socket, "patience");
  await until("it has been refused a few times", 5_000, () => mesh.connects >= 3);
  await mesh.serve("default/w0", "10.99.0.3");
  assert.equal(await answer, "patience");
  socket.destroy();
  const line = await mesh.line("outbound", (one) => Number(one["retries"]) > 0);
  assert.equal(line["retry_reason"], "CONNECT_REFUSED");
});

test("a pod that leaves the mesh while its agent is waited for is connected to in plain TCP", { skip }, async () => {
  mesh.apply({ workloads: [pod("default/w0", "10.99.0.3")] });
  const app = await application("10.99.0.3", (socket) => socket.pipe(socket), appPort);
  closers.push(app.close);
  const socket = client.connectOut({ address: "10.99.0.3", port: appPort });
  const answer = echo(socket, "plain");
  await until("it has been refused", 5_000, () => mesh.connects >= 2);
  mesh.apply({ workloads: [pod("default/w0", "10.99.0.3", { tunnel: "tcp" })] });
  assert.equal(await answer, "plain");
  socket.destroy();
  const line = await mesh.line("outbound", (one) => one["reason"] !== undefined);
  assert.deepEqual([line["protocol"], line["dst.hbone_addr"], line["dst.identity"]], ["tcp", undefined, undefined]);
});
