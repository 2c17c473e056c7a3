import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { after, before, test } from "node:test";
import { alice } from "../../test/support/hbone-pair.ts";
import { application, LoopbackMesh, ownAddresses, type LoopbackPod } from "../../test/support/loopback-mesh.ts";
import { pod } from "../../test/support/mesh.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { TunnelClient } from "../../test/support/tunnel-client.ts";
import { until } from "../../test/support/until.ts";

const skip = enterNamespaces() ?? false;
let mesh: LoopbackMesh;
let client: LoopbackPod;
let server: LoopbackPod;
let app: { port: number; close: () => void };

before(async () => {
  if (skip !== false) return;
  await ownAddresses();
  app = await application("10.99.0.3", (socket) => socket.pipe(socket));
  mesh = new LoopbackMesh();
  mesh.apply({ workloads: [pod("default/alice", "10.99.0.2"), pod("default/bob", "10.99.0.3")] });
  client = await mesh.serve("default/alice", "10.99.0.2");
  server = await mesh.serve("default/bob", "10.99.0.3");
});
after(() => {
  app?.close();
  mesh?.close();
});

test(
  "F-084 every connection has a trace of its own, the same at both ends, though they share a tunnel",
  { skip },
  async () => {
    for (let i = 0; i < 3; i++) await finished(client.connectOut({ address: "10.99.0.3", port: app.port }));
    const lines = await until("all are told of at both ends", 5_000, () => mesh.lines.length === 6 && mesh.lines);
    const traces = (direction: string): unknown[] =>
      lines
        .filter((line) => line["direction"] === direction)
        .map((line) => line["trace"])
        .sort();
    assert.deepEqual(traces("outbound"), traces("inbound"));
    assert.equal(new Set(traces("outbound")).size, 3);
    for (const trace of traces("outbound")) assert.match(String(trace), /^(?!0{32})[0-9a-f]{32}$/);
  },
);

test("F-084 a peer's traceparent is continued where it is one, and replaced where it is none", { skip }, async () => {
  const given = "4bf92f3577b34da6a3ce929d0e0e4736";
  mesh.lines.length = 0;
  const tunnel = new TunnelClient({ address: server.address, port: server.hbonePort }, alice, "10.99.0.2");
  for (const traceparent of [
    `00-${given}-00f067aa0ba902b7-01`,
    "not one",
    `00-${"0".repeat(32)}-00f067aa0ba902b7-01`,
  ]) {
    const { status, stream } = await tunnel.connect(`10.99.0.3:${app.port}`, { traceparent });
    assert.equal(status, 200);
    stream.resume();
    stream.end();
    await new Promise((resolve) => stream.once("close", resolve));
  }
  tunnel.close();
  const lines = await until("all are told of", 5_000, () => mesh.lines.length === 3 && mesh.lines);
  const [first, second, third] = lines.map((line) => String(line["trace"]));
  assert.equal(first, given);
  assert.equal(new Set([first, second, third]).size, 3);
  for (const trace of [second, third]) assert.match(trace ?? "", /^(?!0{32})[0-9a-f]{32}$/);
});

function finished(socket: Socket): Promise<void> {
  socket.resume();
  socket.end("x");
  return new Promise((resolve) => socket.once("close", () => resolve()));
}
