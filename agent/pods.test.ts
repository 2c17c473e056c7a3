import assert from "node:assert/strict";
import { openSync, readdirSync } from "node:fs";
import { afterEach, beforeEach, test } from "node:test";
import { ManualClock } from "../core/base/clock.ts";
import { silentLog } from "../core/base/log.ts";
import { createNetworkNamespace, inNamespace } from "../core/linux/namespace.ts";
import { createVeth, deleteLink, setUp } from "../core/linux/netlink/links.ts";
import { closeDescriptor, connectTcp, listenTcp } from "../core/linux/sockets.ts";
import { enterNamespaces } from "../test/support/namespaced.ts";
import { until } from "../test/support/until.ts";
import { Pods } from "./pods.ts";
import type { PodDelivery, PodDescriptors, ToWorker } from "./worker-messages.ts";

const skip = enterNamespaces() ?? false;
const info = { name: "web-1", namespace: "shop", serviceAccount: "web" };

/** Two workers that listen at once and keep what they are given, unless told to hold still. */
let deliveries: PodDelivery[][];
let sent: ToWorker[];
let clock: ManualClock;
let pods: Pods;
let answering: boolean;
let before: number;

beforeEach(() => {
  if (skip !== false) return;
  createNetworkNamespace(); // the first one opens what this thread keeps for good
  before = openDescriptors();
  deliveries = [[], []];
  sent = [];
  answering = true;
  clock = new ManualClock();
  pods = new Pods(
    { packetMark: 1337, ipv6: true, originalSource: undefined, lingerMs: 3_000 },
    {
      clock,
      log: silentLog,
      workers: () => [0, 1],
      broadcast: (message) => {
        sent.push(message);
        if (message.kind !== "leave") return;
        for (const [index, ofWorker] of deliveries.entries()) {
          for (const delivery of ofWorker.filter(({ uid }) => uid === message.uid)) closeAll(delivery.descriptors);
          deliveries[index] = ofWorker.filter(({ uid }) => uid !== message.uid);
          if (answering) pods.receive({ kind: "pod-closed", uid: message.uid }, index);
        }
      },
      serve: (worker, delivery) => {
        deliveries[worker]?.push(delivery);
        if (answering) queueMicrotask(() => pods.receive({ kind: "pod-serving", uid: delivery.uid }, worker));
      },
      onChange: () => {},
    },
  );
});

afterEach(async () => {
  if (skip !== false) return;
  pods.stopOthers(new Set());
  for (const uid of ["a", "b"])
    for (let i = 0; i < 4; i++) for (const w of [0, 1]) pods.receive({ kind: "pod-gone", uid }, w);
  // netlink closes its sockets a moment later.
  await until("every descriptor has been given back", 2_000, () => openDescriptors() === before);
});

test(
  "F-001 a pod is served once every worker has its own copy of three sockets in the pod's namespace",
  { skip },
  async () => {
    const netns = createNetworkNamespace();
    await setUp("lo", { netns });
    answering = false;
    let served = false;
    const serving = pods.serve("a", info, netns).then((error) => {
      served = true;
      return error;
    });
    await Promise.resolve();
    for (const port of [15_001, 15_006, 15_008]) await connected(netns, port);
    pods.receive({ kind: "pod-serving", uid: "a" }, 0);
    await Promise.resolve();
    assert.equal(served, false);
    pods.receive({ kind: "pod-serving", uid: "a" }, 1);
    assert.equal(await serving, undefined);
    const [[first], [second]] = deliveries as [[PodDelivery], [PodDelivery]];
    assert.equal(new Set([...fds(first), ...fds(second)]).size, 6);
    assert.equal(first.transparent, true);
  },
);

test("pods are at home with every worker, each with the one that has the fewest", { skip }, async () => {
  for (const uid of ["a", "b", "c", "d"]) await pods.serve(uid, info, createNetworkNamespace());
  const homes = (): (number | undefined)[] => deliveries[0]!.map(({ home }) => home);
  assert.deepEqual(homes(), [0, 1, 0, 1]);
  pods.stop("b");
  await pods.serve("e", info, createNetworkNamespace());
  assert.deepEqual(homes(), [0, 0, 1, 1]);
  assert.deepEqual(
    deliveries[1]!.map(({ home }) => home),
    homes(),
    "all are told the same",
  );
  for (const uid of ["c", "d", "e"]) {
    pods.stop(uid);
    for (const worker of [0, 1]) pods.receive({ kind: "pod-gone", uid }, worker);
  }
});

test(
  "F-153 the same pod in the same namespace is served already; in another one it is served anew",
  { skip },
  async () => {
    const netns = createNetworkNamespace();
    assert.equal(await pods.serve("a", info, netns), undefined);
    const same = inNamespace(netns, () => openSync("/proc/thread-self/ns/net", "r"));
    assert.equal(await pods.serve("a", info, same), undefined);
    assert.equal(deliveries[0]?.length, 1);
    assert.equal(await pods.serve("a", info, createNetworkNamespace()), undefined);
    assert.ok(sent.some((message) => message.kind === "leave" && message.uid === "a"));
    assert.deepEqual(
      pods.rows().map(({ state }) => state),
      ["Up", "Leaving"],
    );
  },
);

test(
  "F-155 H082 a pod whose port is taken is refused by name, kept, and served when the port is free",
  { skip },
  async () => {
    const netns = createNetworkNamespace();
    const squatter = listenTcp({ netns, address: "::", port: 15_006 });
    assert.ok("fd" in squatter);
    const error = await pods.serve("a", info, netns);
    assert.deepEqual(
      [error?.type.code, error?.type.code === "pods.listen" && error.type.port],
      ["pods.listen", 15_006],
    );
    assert.deepEqual(pods.pending(), ["a"]);
    clock.advance(5_000);
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(pods.pending(), ["a"]);
    closeDescriptor(squatter.fd);
    clock.advance(5_000);
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(pods.pending(), []);
    assert.equal(pods.rows()[0]?.state, "Up");
  },
);

test(
  "a pod that comes back while its 15008 lingers gets its ports without waiting for the linger",
  { skip },
  async () => {
    const netns = createNetworkNamespace();
    const again = inNamespace(netns, () => openSync("/proc/thread-self/ns/net", "r"));
    await pods.serve("a", info, netns);
    answering = false;
    pods.stop("a");
    const returning = pods.serve("a", info, again);
    assert.ok(sent.some((message) => message.kind === "hurry" && message.uid === "a"));
    answering = true;
    for (const worker of [0, 1]) pods.receive({ kind: "pod-closed", uid: "a" }, worker);
    assert.equal(await returning, undefined);
  },
);

test("H085 pods that come and go by the hundred leave nothing open", { skip }, async () => {
  for (let round = 0; round < 300; round++) {
    const serving = pods.serve("a", info, createNetworkNamespace());
    // Some go before they are served.
    if (round % 3 === 0) pods.stop("a");
    const error = await serving;
    if (round % 3 !== 0) assert.equal(error, undefined);
    pods.stop("a");
    for (const worker of [0, 1]) pods.receive({ kind: "pod-gone", uid: "a" }, worker);
  }
  assert.deepEqual(pods.rows(), []);
});

test("F-154 the snapshot's end stops those that it did not name", { skip }, async () => {
  await pods.serve("a", info, createNetworkNamespace());
  await pods.serve("b", info, createNetworkNamespace());
  pods.stopOthers(new Set(["b"]));
  assert.deepEqual(
    pods.rows().map(({ uid, state }) => [uid, state]),
    [
      ["b", "Up"],
      ["a", "Leaving"],
    ],
  );
});

test(
  "H103 a pod's namespace is let go when the last worker has nothing of it left, one that died included",
  { skip },
  async () => {
    await pods.serve("a", info, createNetworkNamespace());
    pods.stop("a");
    pods.receive({ kind: "pod-gone", uid: "a" }, 1);
    pods.receive({ kind: "pod-gone", uid: "a" }, 1);
    assert.equal(pods.rows().length, 1);
    pods.workerLost(0);
    assert.deepEqual(pods.rows(), []);
  },
);

test(
  "F-226 a pod that left and lost its network is dead: its workers end what is still open there",
  { skip },
  async () => {
    const [netns, node] = [createNetworkNamespace(), createNetworkNamespace()];
    assert.equal(await createVeth({ name: "eth0", netns, peer: { name: "veth1", netns: node } }), undefined);
    await pods.serve("a", info, netns);
    const ended = (): boolean => sent.some((message) => message.kind === "pod-dead" && message.uid === "a");
    clock.advance(10_000);
    pods.stop("a");
    clock.advance(10_000);
    assert.equal(ended(), false, "it only left the mesh: what is open goes on");
    await deleteLink("veth1", { netns: node });
    clock.advance(2_000);
    assert.equal(ended(), true);
    closeDescriptor(node);
  },
);

test(
  "H106 an agent that is relieved takes no more pods, and lets each namespace go with its last connection",
  { skip },
  async () => {
    await pods.serve("a", info, createNetworkNamespace());
    pods.letGo();
    assert.deepEqual([pods.held().next().done, pods.deliveries()], [true, []]);
    assert.deepEqual(pods.infos(), [info], "its certificate is still needed");
    const refused = await pods.serve("b", info, createNetworkNamespace());
    assert.equal(refused?.type.code, "pods.ending");
    for (const { descriptors } of deliveries.flat()) closeAll(descriptors);
    for (const worker of [0, 1]) pods.receive({ kind: "pod-gone", uid: "a" }, worker);
    assert.deepEqual(pods.infos(), []);
  },
);

test("H103 a worker that dies while a pod is being opened does not keep the daemon waiting", { skip }, async () => {
  answering = false;
  const serving = pods.serve("a", info, createNetworkNamespace());
  await Promise.resolve();
  pods.receive({ kind: "pod-serving", uid: "a" }, 0);
  pods.workerLost(1);
  assert.equal(await serving, undefined);
  const [copy] = pods.deliveries();
  assert.equal(copy?.uid, "a");
  if (copy) closeAll(copy.descriptors);
});

function connected(netns: number, port: number): Promise<void> {
  const socket = connectTcp({ netns, remote: { address: "127.0.0.1", port } });
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.destroy();
      resolve();
    });
  });
}

function fds({ descriptors }: PodDelivery): number[] {
  return [descriptors.outbound, descriptors.plaintext, descriptors.hbone];
}

function closeAll({ outbound, plaintext, hbone }: PodDescriptors): void {
  [outbound, plaintext, hbone].forEach(closeDescriptor);
}

function openDescriptors(): number {
  return readdirSync("/proc/self/fd").length;
}
