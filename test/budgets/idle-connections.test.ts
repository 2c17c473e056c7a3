/** What a connection keeps while nothing happens in it, at both of its ends together: counted, on a heap without garbage. */
import assert from "node:assert/strict";
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { getHeapStatistics } from "node:v8";
import { collectGarbage } from "../../agent/garbage.ts";
import { LoopbackMesh, ownAddresses, type LoopbackPod } from "../support/loopback-mesh.ts";
import { backs, pod, port, service } from "../support/mesh.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import type { Order } from "./idle-peers.ts";

const skip = enterNamespaces() ?? false;
const destination = { address: "10.96.0.1", port: 80 };
let peers: ChildProcess;
let mesh: LoopbackMesh;
let client: LoopbackPod;

before(async () => {
  if (skip !== false) return;
  await ownAddresses();
  peers = fork(join(import.meta.dirname, "idle-peers.ts"));
  const application = await ask({ kind: "listen", address: "10.99.0.3" });
  mesh = new LoopbackMesh();
  const web = service("default/web", destination.address, [port(destination.port, application)]);
  const services = backs([web, port(destination.port, application)]);
  mesh.apply({
    services: [web],
    workloads: [pod("default/alice", "10.99.0.2"), pod("default/bob", "10.99.0.3", { services })],
  });
  client = await mesh.serve("default/alice", "10.99.0.2");
  await mesh.serve("default/bob", "10.99.0.3");
  // What is made once is made.
  await open(300);
});
after(() => {
  peers?.disconnect();
  mesh?.close();
});

test("an idle connection keeps 8 KB of heap at both ends together, no buffer and no timer", { skip }, async () => {
  const first = await weigh();
  const connections = 1_500;
  await open(connections);
  const second = await weigh();
  const heap = (second.heap - first.heap) / connections;
  // Seen: 6,000 bytes, of which a third is Node's own sockets.
  assert.ok(heap < 8_000, `${Math.round(heap)} bytes of heap`);
  assert.ok(heap > 2_000, `${Math.round(heap)} bytes of heap: were there any connections?`);
  const buffers = (second.buffers - first.buffers) / connections;
  assert.ok(buffers < 100, `${Math.round(buffers)} bytes of buffers`);
  assert.equal(second.timers, first.timers);
  const sockets = second.sockets - first.sockets;
  const tunnels = sockets - 2 * connections;
  assert.ok(tunnels >= 0 && tunnels <= connections / 20, `${sockets} sockets for ${connections} connections`);
});

interface Weight {
  readonly heap: number;
  readonly buffers: number;
  readonly timers: number;
  readonly sockets: number;
}

async function weigh(): Promise<Weight> {
  // What the first collection finds nobody refers to may be what refers to more.
  for (let round = 0; round < 3; round++) {
    collectGarbage();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const active = process.getActiveResourcesInfo();
  return {
    heap: getHeapStatistics().used_heap_size,
    buffers: process.memoryUsage().arrayBuffers,
    timers: active.filter((one) => one === "Timeout").length,
    sockets: active.filter((one) => one === "TCPSocketWrap").length,
  };
}

/** Resolves when each has had an answer. */
async function open(count: number): Promise<void> {
  const { address } = client;
  const at = client.portOut(destination, count);
  assert.equal(await ask({ kind: "connect", count, address, port: at, from: address }), count);
}

async function ask(order: Order): Promise<number> {
  peers.send(order);
  const [answer] = (await once(peers, "message")) as [number];
  return answer;
}
