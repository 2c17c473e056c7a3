/** A pod's sockets for DNS: opened beside the others, kept and handed on like them. */
import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { createNetworkNamespace } from "../../core/linux/namespace.ts";
import { setUp } from "../../core/linux/netlink/links.ts";
import { closeDescriptor, duplicateDescriptor } from "../../core/linux/sockets.ts";
import { bindUdp, UdpExchange } from "../../core/linux/udp-sockets.ts";
import { AgentGeneration, podInfo, storePath } from "../../test/support/agent-generation.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { startTinyStore } from "../../test/support/tiny-store.ts";
import { until } from "../../test/support/until.ts";

const skip = enterNamespaces() ?? false;
const both = { addresses: ["127.0.0.1", "::1"], port: 15_053 };
const captures = ["tcp * 15001", "tcp * 15006", "tcp * 15008"];
const queries = ["tcp 127.0.0.1 15053", "tcp ::1 15053", "udp 127.0.0.1 15053", "udp ::1 15053"];

test(
  "F-010 F-017 sockets for DNS are opened on every loopback address the pod has, and none where no queries are answered",
  { skip },
  async () => {
    for (const [dns, lo, expected] of [
      [both, "up", queries],
      [{ addresses: ["127.0.0.1"], port: 15_053 }, "up", queries.filter((name) => !name.includes("::1"))],
      // Loopback comes up later: the sockets are there before.
      [both, "down", queries],
      [undefined, "up", []],
    ] as const) {
      const store = startTinyStore(storePath);
      const netns = createNetworkNamespace();
      if (lo === "up") await setUp("lo", { netns });
      const before = readdirSync("/proc/self/fd").length;
      const agent = new AgentGeneration(dns);
      const { descriptors } = await agent.serve(netns);
      assert.equal(descriptors.dns?.length, expected.length);
      await until("the store keeps them", 5_000, () => store.kept.size === captures.length + expected.length);
      assert.deepEqual([...store.kept.keys()].map((key) => key.slice(2)).sort(), [...captures, ...expected]);
      agent.die();
      store.close();
      await until("everything is closed", 5_000, () => readdirSync("/proc/self/fd").length <= before);
      closeDescriptor(netns);
    }
  },
);

test(
  "a query that comes while no agent is there waits in the socket, and the next agent reads it",
  { skip },
  async () => {
    const store = startTinyStore(storePath);
    const netns = createNetworkNamespace();
    await setUp("lo", { netns });
    const first = new AgentGeneration(both);
    await first.serve(netns);
    await until("the store keeps all", 5_000, () => store.kept.size === 7);
    first.die();
    const answered = Promise.withResolvers<string>();
    const exchange = UdpExchange.open(Buffer.from("anybody?"), {
      netns,
      remote: { address: "::1", port: 15_053 },
      onMessage: (bytes) => answered.resolve(Buffer.from(bytes).toString()),
      onError: answered.reject,
    });
    assert.ok(exchange instanceof UdpExchange);
    const second = new AgentGeneration(both);
    const { descriptors, inherited } = await second.serve(netns);
    assert.equal(inherited, true);
    const udp = descriptors.dns?.find(({ protocol, address }) => protocol === "udp" && address === "::1");
    assert.ok(udp);
    const socket = createSocket("udp6").bind({ fd: udp.fd });
    const [bytes, from] = (await once(socket, "message")) as [Buffer, { port: number; address: string }];
    socket.send(`${String(bytes)} yes`, from.port, from.address);
    assert.equal(await answered.promise, "anybody? yes");
    exchange.close();
    socket.close();
    second.deliveries.length = 0;
    second.die();
    store.close();
    closeDescriptor(netns);
  },
);

test("an agent that answers no queries gives those sockets up, and keeps the others", { skip }, async () => {
  const store = startTinyStore(storePath);
  const netns = createNetworkNamespace();
  await setUp("lo", { netns });
  const first = new AgentGeneration(both);
  await first.serve(netns);
  await until("the store keeps all", 5_000, () => store.kept.size === 7);
  first.die();
  const second = new AgentGeneration(undefined);
  const { descriptors } = await second.serve(netns);
  assert.equal(descriptors.dns?.length, 0);
  await until("the store keeps three", 5_000, () => store.kept.size === 3);
  assert.deepEqual([...store.kept.keys()].map((key) => key.slice(2)).sort(), captures);
  const free = bindUdp({ netns, address: "127.0.0.1", port: 15_053 });
  assert.ok(typeof free === "number", "nobody holds the port any more");
  closeDescriptor(free);
  second.die();
  store.close();
  closeDescriptor(netns);
});

test("a pod in which somebody else has taken the port is not served, and says why", { skip }, async () => {
  const store = startTinyStore(storePath);
  const netns = createNetworkNamespace();
  await setUp("lo", { netns });
  const squatter = bindUdp({ netns, address: "127.0.0.1", port: 15_053 });
  assert.ok(typeof squatter === "number");
  const agent = new AgentGeneration(both);
  const copy = duplicateDescriptor(netns);
  assert.ok(typeof copy === "number");
  const error = await agent.pods.serve("a", podInfo, copy);
  assert.ok(
    error?.type.code === "pods.listen" && error.type.port === 15_053 && error.type.reason.includes("EADDRINUSE"),
  );
  agent.die();
  store.close();
  [squatter, netns].forEach(closeDescriptor);
});
