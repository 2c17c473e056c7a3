import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { createServer } from "node:net";
import { afterEach, beforeEach, test } from "node:test";
import { inspectListener, isSocketIn } from "../../core/linux/listening-socket.ts";
import { createNetworkNamespace, inNamespace } from "../../core/linux/namespace.ts";
import { setUp } from "../../core/linux/netlink/links.ts";
import { closeDescriptor, connectTcp, duplicateDescriptor, listenTcp } from "../../core/linux/sockets.ts";
import { AgentGeneration, storePath } from "../../test/support/agent-generation.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { startTinyStore, type TinyStore } from "../../test/support/tiny-store.ts";
import { until } from "../../test/support/until.ts";

const skip = enterNamespaces() ?? false;
const ports = [15_001, 15_006, 15_008];

let store: TinyStore;
let netns: number;
let before: number;

beforeEach(async () => {
  if (skip !== false) return;
  createNetworkNamespace(); // the first one opens what this thread keeps for good
  before = readdirSync("/proc/self/fd").length;
  store = startTinyStore(storePath);
  netns = createNetworkNamespace();
  await setUp("lo", { netns });
});

afterEach(async () => {
  if (skip !== false) return;
  store.close();
  closeDescriptor(netns);
  await until("every descriptor has been given back", 5_000, () => readdirSync("/proc/self/fd").length === before);
});

test(
  "H105 H106 what an agent listens on is kept, and a connection that came between two agents is served by the second",
  { skip },
  async () => {
    const first = new AgentGeneration();
    await first.serve(netns);
    await until("three sockets are kept", 5_000, () => store.kept.size === 3);
    for (const { listener, fd } of store.kept.values()) {
      assert.equal(inspectListener(fd)?.port, listener.port);
      assert.ok(isSocketIn(fd, netns));
    }
    first.die();

    const waiting = connectTcp({ netns, remote: { address: "127.0.0.1", port: 15_008 } });
    await once(waiting, "connect");
    const second = new AgentGeneration();
    await second.serve(netns);
    assert.equal(store.heard.filter(({ kind }) => kind === "put").length, 3, "nothing is put that was taken");
    const server = createServer((socket) => socket.end("served")).listen({
      fd: second.deliveries[0]?.descriptors.hbone,
    });
    const [chunk] = (await once(waiting, "data")) as [Buffer];
    assert.equal(chunk.toString(), "served");
    server.close();
    waiting.destroy();
    second.deliveries[0] = {
      ...second.deliveries[0]!,
      descriptors: { ...second.deliveries[0]!.descriptors, hbone: -1 },
    };
    second.die();
  },
);

test("H106 two agents listen on the same sockets at once", { skip }, async () => {
  const [first, second] = [new AgentGeneration(), new AgentGeneration()];
  await first.serve(netns);
  await until("three sockets are kept", 5_000, () => store.kept.size === 3);
  await second.serve(netns);
  assert.deepEqual(second.pods.rows()[0]?.state, "Up");
  first.die();
  second.die();
});

test(
  "H082 a socket that is not what it is said to be is not used, and what is missing is opened",
  { skip },
  async () => {
    const elsewhere = createNetworkNamespace();
    const foreign = listenTcp({ netns: elsewhere, address: "::", port: 15_006 });
    const wrongPort = listenTcp({ netns, address: "::", port: 8_080 });
    assert.ok("fd" in foreign && "fd" in wrongPort);
    const bound = inNamespace(netns, () => createServer());
    const keep = (port: number, fd: number): void => {
      store.kept.set(`a ${port}`, { listener: { uid: "a", port, transparent: true }, fd });
    };
    keep(15_001, wrongPort.fd);
    keep(15_006, foreign.fd);
    keep(15_008, Number(duplicateDescriptor(netns)));
    const agent = new AgentGeneration();
    await agent.serve(netns);
    await until(
      "the agent's own sockets are kept instead",
      5_000,
      () => store.heard.filter(({ kind }) => kind === "put").length === 3,
    );
    for (const { listener, fd } of store.kept.values()) {
      assert.equal(inspectListener(fd)?.port, listener.port);
      assert.ok(isSocketIn(fd, netns));
    }
    assert.ok(store.heard.some(({ kind }) => kind === "drop"));
    bound.close();
    closeDescriptor(elsewhere);
    agent.die();
  },
);

test("a store that does not answer delays a pod by a second and fails nothing", { skip }, async () => {
  store.answers = false;
  const agent = new AgentGeneration();
  const serving = agent.serve(netns);
  await until("the store is asked", 5_000, () => store.heard.some(({ kind }) => kind === "take"));
  agent.clock.advance(999);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(agent.deliveries.length, 0);
  agent.clock.advance(1);
  await serving;
  agent.die();
});

test("without a store pods are served at once", { skip }, async () => {
  store.close();
  const agent = new AgentGeneration();
  await agent.serve(netns);
  agent.die();
});

test("a store that starts anew is given every socket again, and told that the agent serves", { skip }, async () => {
  const agent = new AgentGeneration();
  await agent.serve(netns);
  agent.store.sayServing(true);
  await until("the store has been told", 5_000, () => store.heard.some(({ kind }) => kind === "serving"));
  store.close();
  store = startTinyStore(storePath);
  await until("everything has been put again", 5_000, () => {
    agent.clock.advance(1_000);
    return store.heard.some(({ kind }) => kind === "serving");
  });
  assert.deepEqual(
    [...store.kept.values()].map(({ listener }) => listener.port),
    ports,
  );
  agent.die();
});

test("an agent learns of its successor once that one serves, and not of one that has gone", { skip }, async () => {
  const old = new AgentGeneration();
  await until("the first is connected", 5_000, () => store.connections.length === 1);
  const young = new AgentGeneration();
  assert.equal(await old.store.hasSuccessor(), false);
  young.store.sayServing(true);
  await until("it has said so", 5_000, () => store.heard.some(({ kind }) => kind === "serving"));
  assert.equal(await old.store.hasSuccessor(), true);
  assert.equal(await young.store.hasSuccessor(), false);
  young.die();
  await until("it is gone", 5_000, async () => !(await old.store.hasSuccessor()));
  store.close();
  assert.equal(await old.store.hasSuccessor(), false);
  old.die();
});

test(
  "a store that speaks out of turn, or of more sockets than there are, is hung up on and leaves nothing open",
  { skip },
  async () => {
    const agent = new AgentGeneration();
    await until("it is connected", 5_000, () => store.connections.length === 1);
    store.answers = false;
    const taking = agent.store.take("a");
    await until("the store is asked", 5_000, () => store.heard.length === 1);
    const listener = JSON.stringify({ listener: { uid: "a", port: 15_001, transparent: true } });
    for (let i = 0; i < 20; i++) store.connections[0]?.send(Buffer.from(listener), [netns]);
    assert.deepEqual(await taking, []);
    agent.clock.advance(1_000);
    await until("it is back", 5_000, () => store.connections.length === 2);
    store.connections[1]?.send(Buffer.from('{"ok":true}'), [netns]);
    await until("it has hung up again", 5_000, () => {
      agent.clock.advance(1_000);
      return store.connections.length === 3;
    });
    agent.die();
  },
);
