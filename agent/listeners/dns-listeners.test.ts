/** A pod's sockets for DNS: opened beside the others, kept and handed on like them. */
import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { ManualClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import { createNetworkNamespace } from "../../core/linux/namespace.ts";
import { setUp } from "../../core/linux/netlink/links.ts";
import { closeDescriptor, duplicateDescriptor } from "../../core/linux/sockets.ts";
import { bindUdp, UdpExchange } from "../../core/linux/udp-sockets.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { startTinyStore } from "../../test/support/tiny-store.ts";
import { until } from "../../test/support/until.ts";
import { Pods } from "../pods.ts";
import type { PodDelivery } from "../worker-messages.ts";
import type { DnsListenSettings } from "./pod-listeners.ts";
import { StoreClient } from "./store-client.ts";

const skip = enterNamespaces() ?? false;
const path = "/run/listeners.sock";
const info = { name: "web-1", namespace: "shop", serviceAccount: "web" };
const both = { addresses: ["127.0.0.1", "::1"], port: 15_053 };
const captures = ["tcp * 15001", "tcp * 15006", "tcp * 15008"];
const queries = ["tcp 127.0.0.1 15053", "tcp ::1 15053", "udp 127.0.0.1 15053", "udp ::1 15053"];

/** An agent's main thread with one worker that keeps what it is given. */
class Generation {
  readonly deliveries: PodDelivery[] = [];
  readonly store: StoreClient;
  readonly pods: Pods;

  constructor(dns: DnsListenSettings | undefined) {
    const modules = { clock: new ManualClock(), log: silentLog };
    this.store = new StoreClient({ ...modules, path, held: (uid) => this.pods.held(uid), onConnected: () => {} });
    this.pods = new Pods(
      { packetMark: 1337, ipv6: true, originalSource: undefined, lingerMs: 0, dns },
      {
        ...modules,
        store: this.store,
        workers: () => [0],
        broadcast: () => {},
        serve: (_worker, delivery) => {
          this.deliveries.push(delivery);
          queueMicrotask(() => this.pods.receive({ kind: "pod-serving", uid: delivery.uid }, 0));
        },
        onChange: () => {},
      },
    );
    this.store.start();
  }

  async serve(netns: number): Promise<PodDelivery> {
    const copy = duplicateDescriptor(netns);
    assert.ok(typeof copy === "number");
    assert.equal(await this.pods.serve("a", info, copy), undefined);
    const [delivery] = this.deliveries;
    assert.ok(delivery);
    return delivery;
  }

  /** As kill -9 leaves things. */
  die(): void {
    this.store.close();
    for (const { descriptors } of this.deliveries) {
      const { outbound, plaintext, hbone, dns = [] } = descriptors;
      [outbound, plaintext, hbone, ...dns.map(({ fd }) => fd)].forEach(closeDescriptor);
    }
    this.deliveries.length = 0;
    this.pods.stopOthers(new Set());
    this.pods.workerLost(0);
  }
}

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
      const store = startTinyStore(path);
      const netns = createNetworkNamespace();
      if (lo === "up") await setUp("lo", { netns });
      const before = readdirSync("/proc/self/fd").length;
      const agent = new Generation(dns);
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
    const store = startTinyStore(path);
    const netns = createNetworkNamespace();
    await setUp("lo", { netns });
    const first = new Generation(both);
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
    const second = new Generation(both);
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
  const store = startTinyStore(path);
  const netns = createNetworkNamespace();
  await setUp("lo", { netns });
  const first = new Generation(both);
  await first.serve(netns);
  await until("the store keeps all", 5_000, () => store.kept.size === 7);
  first.die();
  const second = new Generation(undefined);
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
  const store = startTinyStore(path);
  const netns = createNetworkNamespace();
  await setUp("lo", { netns });
  const squatter = bindUdp({ netns, address: "127.0.0.1", port: 15_053 });
  assert.ok(typeof squatter === "number");
  const agent = new Generation(both);
  const copy = duplicateDescriptor(netns);
  assert.ok(typeof copy === "number");
  const error = await agent.pods.serve("a", info, copy);
  assert.ok(
    error?.type.code === "pods.listen" && error.type.port === 15_053 && error.type.reason.includes("EADDRINUSE"),
  );
  agent.die();
  store.close();
  [squatter, netns].forEach(closeDescriptor);
});
