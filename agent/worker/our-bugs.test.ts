/** Mistakes of ours, made on purpose: what throws where nothing may ends its one connection, with a record, and nothing is left open. */
import assert from "node:assert/strict";
import { afterEach, before, test } from "node:test";
import type { Log } from "../../core/base/log.ts";
import { systemClock } from "../../core/base/clock.ts";
import { application, LoopbackMesh, ownAddresses } from "../../test/support/loopback-mesh.ts";
import { backs, pod, port, service } from "../../test/support/mesh.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { HostResolver } from "./resolver.ts";

const skip = enterNamespaces() ?? false;
const [alice, bob] = ["10.99.0.2", "10.99.0.3"];
const closers: (() => void)[] = [];

before(() => (skip === false ? ownAddresses() : undefined));
afterEach(() => closers.splice(0).forEach((close) => close()));

test("a connection that we fail at on its way out is reset, and recorded as our mistake", { skip }, async () => {
  const resolver = new HostResolver({ clock: systemClock, lookup: () => Promise.resolve([]), deadlineMs: 1_000 });
  resolver.known = bug;
  const mesh = meshWith({ resolver });
  const web = service("default/web", "10.96.0.1", [port(80, 80)]);
  const named = pod("default/far", "", {
    hostname: "far.example",
    tunnel: "tcp",
    services: backs([web, port(80, 80)]),
  });
  mesh.apply({ services: [web], workloads: [pod("default/alice", alice), named] });
  const client = await mesh.serve("default/alice", alice);
  const socket = client.connectOut({ address: "10.96.0.1", port: 80 });
  await new Promise((resolve) => socket.once("close", resolve));
  assert.equal((await mesh.line("outbound"))["reason"], "INTERNAL_BUG");
  assert.equal(connections(mesh), 0);
});

for (const way of ["plaintext", "hbone"] as const) {
  test(
    `a connection that we fail at on its way in is reset, and recorded as our mistake (${way})`,
    { skip },
    async () => {
      const mesh = meshWith({ policyLog: { isLevelEnabled: bug } as unknown as Log });
      mesh.apply({ workloads: [pod("default/alice", alice), pod("default/bob", bob)] });
      const server = await mesh.serve("default/bob", bob);
      const app = await application(bob, (socket) => socket.pipe(socket));
      closers.push(app.close);
      const target = { address: bob, port: app.port };
      const client = way === "hbone" ? await mesh.serve("default/alice", alice) : undefined;
      const socket = client === undefined ? server.connectIn(target) : client.connectOut(target);
      await new Promise((resolve) => socket.once("close", resolve));
      assert.equal((await mesh.line("inbound"))["reason"], "INTERNAL_BUG");
      assert.equal(connections(mesh), 0);
    },
  );
}

function meshWith(options: ConstructorParameters<typeof LoopbackMesh>[0]): LoopbackMesh {
  const mesh = new LoopbackMesh(options);
  closers.push(() => mesh.close());
  return mesh;
}

/** Of the worker, still open. */
function connections(mesh: LoopbackMesh): number {
  mesh.send({ kind: "dump", id: 1 });
  const dump = mesh.messages.findLast((message) => message.kind === "dumped");
  return dump?.kind === "dumped" ? dump.dump.connections.length : -1;
}

function bug(): never {
  throw new Error("a mistake");
}
