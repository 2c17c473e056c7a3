import assert from "node:assert/strict";
import { closeSync, openSync, readdirSync } from "node:fs";
import { test, type TestContext } from "node:test";
import { silentLog } from "../../core/base/log.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { createNetworkNamespace } from "../../core/linux/namespace.ts";
import { setUp } from "../../core/linux/netlink/links.ts";
import { connectSeqpacket, listenSeqpacket, type SeqpacketConnection } from "../../core/linux/seqpacket.ts";
import { closeDescriptor, connectTcp, duplicateDescriptor, listenTcp } from "../../core/linux/sockets.ts";
import { bindUdp } from "../../core/linux/udp-sockets.ts";
import {
  decodeStoreResponse,
  encodeStoreRequest,
  ListenerStoreError,
  type StoreRequest,
  type StoreResponse,
} from "../../core/protocol/listener-store/messages.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { ListenerStore, maxListenersPerPod } from "./listener-store.ts";

const skip = enterNamespaces() ?? false;
const uid = "pod-1";

test(
  "sockets that one agent put are there for the next, also when the first is dead; clients never notice",
  { skip },
  async (t) => {
    const world = await makeWorld(t);
    const first = world.agent();
    for (const port of [15_001, 15_008]) assert.deepEqual(await first.put(world.listener(port), port), { kind: "ok" });
    first.kill();
    // Nobody accepts, and nobody is refused.
    const waiting = connectTcp({ netns: world.pod, remote: { address: "127.0.0.1", port: 15_008 } });
    t.after(() => waiting.destroy());
    await new Promise((resolve, reject) => waiting.once("connect", resolve).once("error", reject));
    const second = world.agent();
    const taken = await second.take();
    assert.deepEqual(
      taken.map(({ port }) => port),
      [15_001, 15_008],
    );
    // A take copies.
    assert.equal((await second.take()).length, 2);
    assert.equal(world.store.size, 2);
  },
);

test(
  "a pod that leaves takes its sockets with it, and of a pod that isn't served nothing is kept",
  { skip },
  async (t) => {
    const world = await makeWorld(t);
    const agent = world.agent();
    await agent.put(world.listener(15_001), 15_001);
    world.store.drop(uid);
    assert.equal(world.store.size, 0);
    assert.deepEqual(await agent.take(), []);
    await agent.put(world.listener(15_001), 15_001);
    assert.deepEqual(await agent.ask({ kind: "drop", uid }), { kind: "ok" });
    assert.equal(world.store.size, 0);
    world.served.delete(uid);
    const refused = await agent.put(world.listener(15_002), 15_002);
    assert.deepEqual(refused, { kind: "error", reason: "no such pod is served here" });
  },
);

test(
  "what isn't a listening socket of that pod and port is refused, with a reason and no descriptor left",
  { skip },
  async (t) => {
    const world = await makeWorld(t);
    const agent = world.agent();
    const elsewhere = createNetworkNamespace();
    await setUp("lo", { netns: elsewhere });
    await agent.put(world.listener(15_001), 15_001);
    const before = readdirSync("/proc/self/fd").length;
    const cases: [fd: number, port: number, transparent: boolean, reason: RegExp][] = [
      [openSync("/dev/null", "r"), 15_006, false, /not a listening/],
      [world.listener(15_006), 15_007, false, /port 15006/],
      [world.listener(15_009), 15_009, true, /transparency/],
      [world.listener(15_006, elsewhere), 15_006, false, /namespace/],
      [elsewhere, 15_006, false, /not a listening/],
    ];
    for (const [fd, port, transparent, reason] of cases) {
      const answer = await agent.put(fd, port, transparent);
      assert.ok(answer.kind === "error" && reason.test(answer.reason), JSON.stringify(answer));
    }
    assert.equal(
      readdirSync("/proc/self/fd").length,
      before - 1,
      "that of the other namespace is closed here, and nothing was added",
    );
    let another = -1;
    for (let i = 1; i < maxListenersPerPod; i += 1) {
      const fd = world.listener(16_000 + i);
      if (i === 1) another = Number(duplicateDescriptor(fd));
      assert.equal((await agent.put(fd, 16_000 + i)).kind, "ok");
    }
    const full = await agent.put(world.listener(17_000), 17_000);
    assert.ok(full.kind === "error" && /8 already/.test(full.reason));
    // One in the place of an earlier one is none more.
    assert.equal((await agent.put(another, 16_001)).kind, "ok");
    assert.equal(world.store.size, maxListenersPerPod);
  },
);

test(
  "sockets of one port are kept apart by protocol and address, and each must be what it is said to be",
  { skip },
  async (t) => {
    const world = await makeWorld(t);
    const agent = world.agent();
    const udp = (address: string): number => {
      const fd = bindUdp({ netns: world.pod, address, port: 15_053 });
      assert.ok(typeof fd === "number");
      return fd;
    };
    const put = (fd: number, more: object): Promise<StoreResponse> =>
      agent.ask({ kind: "put", listener: { uid, port: 15_053, transparent: false, ...more } }, fd);
    const [first, second] = [udp("127.0.0.1"), udp("::1")];
    assert.equal((await put(first, { protocol: "udp", address: "127.0.0.1" })).kind, "ok");
    assert.equal((await put(second, { protocol: "udp", address: "::1" })).kind, "ok");
    assert.equal((await agent.put(world.listener(15_053), 15_053)).kind, "ok");
    assert.equal(world.store.size, 3);
    for (const [more, reason] of [
      [{ protocol: "udp" }, /at 127.0.0.1/],
      [{ protocol: "udp", address: "::1" }, /at 127.0.0.1/],
      [{ address: "127.0.0.1" }, /speaks udp/],
    ] as const) {
      const answer = await put(first, more);
      assert.ok(answer.kind === "error" && reason.test(answer.reason), JSON.stringify(answer));
    }
    assert.equal((await put(first, { protocol: "udp", address: "127.0.0.1" })).kind, "ok", "again: in its own place");
    assert.equal(world.store.size, 3);
    assert.deepEqual(await agent.take(), [
      { uid, port: 15_053, transparent: false, protocol: "udp", address: "::1" },
      { uid, port: 15_053, transparent: false },
      { uid, port: 15_053, transparent: false, protocol: "udp", address: "127.0.0.1" },
    ]);
    [first, second].forEach(closeDescriptor);
  },
);

test("an agent is told of a successor only when a later one serves", { skip }, async (t) => {
  const world = await makeWorld(t);
  const asks = async (agent: Agent) => {
    const answer = await agent.ask({ kind: "successor" });
    return answer.kind === "successor" && answer.serving;
  };
  const [old, next] = [world.agent(), world.agent()];
  await old.ask({ kind: "serving" });
  assert.equal(await asks(old), false);
  assert.equal(await asks(next), false, "an earlier one is none");
  await next.ask({ kind: "serving" });
  assert.equal(await asks(old), true);
  next.kill();
  await world.links(1);
  assert.equal(await asks(old), false);
});

test("garbage ends the link and nothing else", { skip }, async (t) => {
  const world = await makeWorld(t);
  const agent = world.agent();
  await agent.put(world.listener(15_001), 15_001);
  const stranger = world.agent();
  stranger.connection.send(Buffer.from("{}"), [0, 1]);
  await stranger.ended;
  assert.equal((await agent.take()).length, 1);
});

interface Agent {
  readonly connection: SeqpacketConnection;
  readonly ended: Promise<void>;
  ask(request: StoreRequest, fd?: number): Promise<StoreResponse>;
  /** The descriptor is this function's to close. */
  put(fd: number, port: number, transparent?: boolean): Promise<StoreResponse>;
  take(): Promise<{ readonly port: number }[]>;
  kill(): void;
}

async function makeWorld(t: TestContext) {
  const pod = createNetworkNamespace();
  await setUp("lo", { netns: pod });
  const served = new Map([[uid, pod]]);
  const store = new ListenerStore({
    namespaceOf: (name) => served.get(name),
    log: silentLog,
    ownUid: process.getuid?.() ?? -1,
  });
  const path = `/run/listeners-${process.hrtime.bigint()}.sock`;
  const listener = listenSeqpacket(path);
  assert.ok(!(listener instanceof LinuxError));
  let links = 0;
  listener.onConnection((connection) => {
    links += 1;
    store.accept(connection);
    const end = connection.close.bind(connection);
    connection.close = () => {
      links -= 1;
      end();
    };
  });
  const agents: Agent[] = [];
  t.after(() => {
    for (const agent of agents) agent.kill();
    listener.close();
    store.close();
    closeDescriptor(pod);
  });
  return {
    pod,
    store,
    served,
    listener(port: number, netns = pod): number {
      const made = listenTcp({ netns, address: "::", port });
      assert.ok(!(made instanceof LinuxError));
      return made.fd;
    },
    agent(): Agent {
      const agent = connectAgent(path);
      agents.push(agent);
      return agent;
    },
    async links(count: number): Promise<void> {
      while (links > count) await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

function connectAgent(path: string): Agent {
  const connection = connectSeqpacket(path);
  assert.ok(!(connection instanceof LinuxError));
  const heard: StoreResponse[] = [];
  const ended = Promise.withResolvers<void>();
  let wake = Promise.withResolvers<void>();
  connection.onPacket((bytes, descriptors) => {
    const response = decodeStoreResponse(bytes, descriptors.length);
    assert.ok(!(response instanceof ListenerStoreError));
    descriptors.forEach(closeDescriptor);
    heard.push(response);
    wake.resolve();
    wake = Promise.withResolvers();
  });
  connection.onClose(() => ended.resolve());
  const next = async (): Promise<StoreResponse> => {
    for (;;) {
      const response = heard.shift();
      if (response !== undefined) return response;
      await wake.promise;
    }
  };
  const say = (request: StoreRequest, fd?: number): void => {
    const bytes = encodeStoreRequest(request);
    assert.ok(!(bytes instanceof ListenerStoreError));
    assert.equal(connection.send(bytes, fd === undefined ? [] : [fd]), undefined);
  };
  return {
    connection,
    ended: ended.promise,
    ask: (request, fd) => {
      say(request, fd);
      return next();
    },
    async put(fd, port, transparent = false) {
      say({ kind: "put", listener: { uid, port, transparent } }, fd);
      closeSync(fd);
      return next();
    },
    async take() {
      say({ kind: "take", uid });
      const listeners: { port: number }[] = [];
      for (;;) {
        const response = await next();
        if (response.kind !== "listener") return listeners;
        listeners.push(response.listener);
      }
    },
    kill: () => connection.close(),
  };
}
