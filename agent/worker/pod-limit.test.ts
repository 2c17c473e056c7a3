import assert from "node:assert/strict";
import { test } from "node:test";
import type { Socket } from "node:net";
import { application, LoopbackMesh, ownAddresses } from "../../test/support/loopback-mesh.ts";
import { pod } from "../../test/support/mesh.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { until } from "../../test/support/until.ts";
import { PodConnections, podConnectionCells } from "../pod-connections.ts";

const skip = enterNamespaces() ?? false;

test("H037 a pod that holds as many connections as one may gets no more, and the others do", { skip }, async () => {
  await ownAddresses();
  const app = await application("10.99.0.9", (socket) => socket.pipe(socket));
  const mesh = new LoopbackMesh({ settings: { podConnections: 3 } });
  mesh.apply({
    workloads: [pod("default/greedy", "10.99.0.2"), pod("default/other", "10.99.0.4")],
  });
  const greedy = await mesh.serve("default/greedy", "10.99.0.2");
  const other = await mesh.serve("default/other", "10.99.0.4");
  const target = { address: "10.99.0.9", port: app.port };
  const held: Socket[] = [];
  for (let i = 0; i < 3; i++) {
    held.push(greedy.connectOut(target));
    assert.equal(await echo(held[i]!), "ping");
  }
  const refused = greedy.connectOut(target);
  await new Promise((resolve) => refused.once("close", resolve));
  await mesh.line("outbound", (line) => line["reason"] === "POD_CONN_LIMIT");
  const plaintext = greedy.connectIn({ address: "10.99.0.2", port: app.port });
  await new Promise((resolve) => plaintext.once("close", resolve));
  await mesh.line("inbound", (line) => line["reason"] === "POD_CONN_LIMIT");
  held.push(other.connectOut(target));
  assert.equal(await echo(held[3]!), "ping");
  // One that ends makes room.
  held[0]!.end();
  await mesh.line("outbound", (line) => line["reason"] === "OK");
  held.push(greedy.connectOut(target));
  assert.equal(await echo(held[4]!), "ping");
  for (const socket of held) socket.destroy();
  await until("all are over", 5_000, () => mesh.lines.filter((line) => line["direction"] === "outbound").length === 6);
  mesh.close();
  app.close();
});

test("H037 the limit is over all workers, and a lost worker's share is nobody's", () => {
  const cells = podConnectionCells();
  const [first, second] = [new PodConnections(cells, 0), new PodConnections(cells, 1)];
  for (let i = 0; i < 5; i++) first.began();
  second.began();
  second.ended();
  second.began();
  assert.deepEqual([first.total, second.total], [6, 6]);
  first.clear();
  assert.equal(second.total, 1);
});

async function echo(socket: Socket): Promise<string> {
  socket.write("ping");
  return new Promise((resolve) => socket.once("data", (chunk) => resolve(String(chunk))));
}
