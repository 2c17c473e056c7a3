import assert from "node:assert/strict";
import { createServer, request, type Server } from "node:http";
import type { Socket } from "node:net";
import { after, before, test } from "node:test";
import { systemClock } from "../core/base/clock.ts";
import { silentLog } from "../core/base/log.ts";
import { LinuxError } from "../core/linux/errno.ts";
import { closeDescriptor, listenTcp } from "../core/linux/sockets.ts";
import { LoopbackMesh, ownAddresses, type LoopbackPod } from "../test/support/loopback-mesh.ts";
import { pod, policy, ruleOf } from "../test/support/mesh.ts";
import { enterNamespaces } from "../test/support/namespaced.ts";
import { until } from "../test/support/until.ts";
import { SelfProxy, selfUid } from "./self-proxy.ts";

const skip = enterNamespaces() ?? false;
const own = "10.99.0.7";
let mesh: LoopbackMesh;
let self: SelfProxy;
let prometheus: LoopbackPod;
let stats: Server;
/** Addresses that metrics were asked from. */
const askers: (string | undefined)[] = [];

before(async () => {
  if (skip !== false) return;
  await ownAddresses();
  stats = createServer((asked, response) => {
    askers.push(asked.socket.remoteAddress);
    response.end("metrics\n");
  }).listen(15_020, own);
  mesh = new LoopbackMesh();
  mesh.apply({
    workloads: [
      pod("monitoring/prometheus", "10.99.0.2"),
      pod("istio-system/ztunnel-1", own, { serviceAccount: "ztunnel" }),
    ],
  });
  prometheus = await mesh.serve("monitoring/prometheus", "10.99.0.2");
  mesh.certifyPod("istio-system/ztunnel");
});
after(() => {
  self?.close();
  mesh?.close();
  stats?.close();
});

test(
  "F-015 metrics are had over mutual TLS by the agent's own identity, and nobody's address is taken on",
  { skip },
  async () => {
    const taken = listenTcp({ address: "::", port: 15_008 });
    assert.ok(!(taken instanceof LinuxError));
    self = new SelfProxy({
      info: { name: "ztunnel-1", namespace: "istio-system", serviceAccount: "ztunnel" },
      ipv6: true,
      clock: systemClock,
      log: silentLog,
      onOpen: () => {
        const delivery = self.delivery();
        if (delivery !== undefined) mesh.send({ kind: "serve", pod: delivery });
      },
    });
    self.open();
    assert.equal(self.delivery(), undefined, "somebody else has the port");
    closeDescriptor(taken.fd);
    await until("the agent is served", 10_000, () =>
      mesh.messages.some((message) => message.kind === "pod-serving" && message.uid === selfUid),
    );
    const { status, body } = await scrape();
    assert.deepEqual([status, body], [200, "metrics\n"]);
    assert.deepEqual(askers, [own], "the client is 10.99.0.2");
    const inbound = await mesh.line("inbound", (line) => line["dst.workload"] === "ztunnel-1");
    assert.equal(inbound["dst.identity"], "spiffe://cluster.local/ns/istio-system/sa/ztunnel");
    assert.equal(inbound["src.identity"], "spiffe://cluster.local/ns/monitoring/sa/prometheus");
  },
);

test("F-015 a policy says who may have them", { skip }, async () => {
  mesh.apply({
    policies: [policy("istio-system/nobody", { action: "deny", rules: [ruleOf({ destinationPorts: [15_020] })] })],
  });
  await assert.rejects(scrape());
  mesh.apply({ removed: { policies: ["istio-system/nobody"] } });
  assert.equal((await scrape()).status, 200);
});

test("F-015 nothing else of the agent is reached by tunnel: its capture ports are refused", { skip }, async () => {
  for (const port of [15_001, 15_006, 15_008, 15_053]) {
    const socket = prometheus.connectOut({ address: own, port });
    await new Promise<void>((resolve) => socket.on("close", () => resolve()));
    assert.equal(socket.bytesRead, 0);
  }
});

function scrape(): Promise<{ status: number; body: string }> {
  const socket: Socket = prometheus.connectOut({ address: own, port: 15_020 });
  return new Promise((resolve, reject) => {
    const asked = request({ host: own, path: "/metrics", createConnection: () => socket }, (response) => {
      let body = "";
      response.on("data", (chunk: Buffer) => (body += chunk.toString()));
      response.on("end", () => {
        resolve({ status: response.statusCode ?? 0, body });
        socket.destroy();
      });
    });
    asked.on("error", reject);
    asked.end();
  });
}
