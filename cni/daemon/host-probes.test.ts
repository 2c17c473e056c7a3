import assert from "node:assert/strict";
import { createSocket, type Socket } from "node:dgram";
import { test, type TestContext } from "node:test";
import { LinuxError } from "../../core/linux/errno.ts";
import { addAddress } from "../../core/linux/netlink/addresses.ts";
import { bindUdp } from "../../core/linux/udp-sockets.ts";
import { until } from "../../test/support/until.ts";
import { addRoute } from "../../core/linux/netlink/routes.ts";
import { applyTransaction } from "../../core/linux/nftables/apply.ts";
import { replaceTables } from "../../core/linux/nftables/model.ts";
import { readBack, readSet } from "../../core/linux/nftables/read-back.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { HostProbes } from "./host-probes.ts";
import { hostFamily, hostTable, probeSets } from "./host-rules.ts";
import { defaultProbeAddresses } from "./rules.ts";
import { addresses, PodPair } from "./test-support/pod-pair.ts";

const skip = enterNamespaces() ?? false;
const uid = "u-1";
const both = [addresses.ipv4.pod, addresses.ipv6.pod];
const root = 0;

test(
  "the kubelet's connections to a captured pod come from the probe address, all others from where they are",
  { skip },
  async (t) => {
    const { pair, probes } = await world(t);
    // What kube-proxy and network plugins put there wants the same connections, and comes too late.
    const masquerade = {
      family: "inet",
      name: "others",
      chains: [
        {
          name: "post",
          hook: { type: "nat", hook: "postrouting", priority: 100 },
          rules: [[{ kind: "masquerade" }]],
        },
      ],
    } as const;
    assert.equal(await applyTransaction(pair.netns.neighbour, replaceTables([masquerade])), undefined);
    for (const family of ["ipv4", "ipv6"] as const)
      assert.equal(await sourceSeen(pair, family), addresses[family].neighbour);
    assert.equal(await probes.allow(uid, both), undefined);
    for (const family of ["ipv4", "ipv6"] as const)
      assert.equal(await sourceSeen(pair, family), defaultProbeAddresses[family]);
    assert.equal(await probes.forget(uid), undefined);
    for (const family of ["ipv4", "ipv6"] as const)
      assert.equal(await sourceSeen(pair, family), addresses[family].neighbour);
  },
);

test("H036 what comes to a node from the probe address is a forgery, and gets nowhere", { skip }, async (t) => {
  const { pair } = await world(t);
  const { pod, neighbour } = pair.netns;
  for (const family of ["ipv4", "ipv6"] as const) {
    const address = defaultProbeAddresses[family];
    assert.equal(
      await addAddress({ interface: "eth0", address, prefix: family === "ipv4" ? 32 : 128, netns: pod }),
      undefined,
    );
    const remote = { address: addresses[family].neighbour, port: 7_000 };
    const receiver = await datagrams(t, neighbour, remote.address, remote.port);
    const heard: string[] = [];
    receiver.on("message", (message) => heard.push(message.toString()));
    const [forger, honest] = [
      await datagrams(t, pod, address, 7_001),
      await datagrams(t, pod, addresses[family].pod, 7_002),
    ];
    forger.send("forged", remote.port, remote.address);
    honest.send("honest", remote.port, remote.address);
    await until("the honest one is heard", 5_000, () => heard.includes("honest"));
    assert.deepEqual(heard, ["honest"]);
  }
});

test("another user of the node is no kubelet", { skip }, async (t) => {
  const { pair, probes } = await world(t, 12_345);
  assert.equal(await probes.allow(uid, both), undefined);
  assert.equal(await sourceSeen(pair, "ipv4"), addresses.ipv4.neighbour);
});

test("an address that a new pod got is the new one's: the old one's end takes nothing away", { skip }, async (t) => {
  const { pair, probes } = await world(t);
  assert.equal(await probes.allow("old", ["10.0.0.1", "fd00::1"]), undefined);
  assert.equal(await probes.allow("new", ["10.0.0.1"]), undefined);
  assert.deepEqual(held(pair), ["10.0.0.1 new", "fd00::1 old"]);
  assert.equal(await probes.forget("old"), undefined);
  assert.deepEqual(held(pair), ["10.0.0.1 new"]);
  // Addresses that the pod no longer has go when it gets others.
  assert.equal(await probes.allow("new", ["10.0.0.2"]), undefined);
  assert.equal(await probes.allow("new", ["10.0.0.2"]), undefined);
  assert.deepEqual(held(pair), ["10.0.0.2 new"]);
  assert.equal(await probes.forget("never"), undefined);
});

test(
  "what is said in one turn is one transaction, and an address may go from pod to pod in it",
  { skip },
  async (t) => {
    const { pair, probes } = await world(t);
    await probes.allow("old", ["10.0.0.1", "10.0.0.9"]);
    const many = Array.from({ length: 200 }, (_, i) => probes.allow(`u-${i}`, [`10.0.1.${i}`]));
    const some = [
      probes.forget("old"),
      probes.allow("new", ["10.0.0.1"]),
      probes.allow("u-7", []),
      probes.allow("u-8", ["10.0.0.9"]),
    ];
    const [transaction, ...others] = new Set([...many, ...some]);
    assert.deepEqual([await transaction, others.length], [undefined, 0]);
    const there = held(pair);
    assert.equal(there.length, 200);
    assert.ok(["10.0.0.1 new", "10.0.0.9 u-8", "10.0.1.199 u-199"].every((line) => there.includes(line)));
    assert.ok(!there.some((line) => line.endsWith(" u-7") || line.endsWith(" old")));
  },
);

test("a daemon that starts finds the sets as they were, and prunes what belongs to no pod", { skip }, async (t) => {
  const { pair, probes } = await world(t);
  await probes.allow("stays", ["10.0.0.1", "fd00::1"]);
  await probes.allow("went", ["10.0.0.2"]);
  const next = new HostProbes(pair.netns.neighbour, () => root);
  assert.equal(await next.ensure(), undefined);
  assert.equal(held(pair).length, 3);
  const captured = new Map([["stays", ["10.0.0.1", "fd00::1"]]]);
  assert.equal(await next.keep(captured, false), undefined);
  assert.equal(held(pair).length, 3);
  assert.equal(await next.keep(captured, true), undefined);
  assert.deepEqual(held(pair), ["10.0.0.1 stays", "fd00::1 stays"]);
  // An address that went from one pod to another while nobody looked.
  assert.equal(await next.keep(new Map([["next", ["10.0.0.1"]]]), true), undefined);
  assert.deepEqual(held(pair), ["10.0.0.1 next"]);
});

test(
  "rules that somebody changed are put right without losing the sets; removed means nothing is left",
  { skip },
  async (t) => {
    const { pair, probes } = await world(t);
    const netns = pair.netns.neighbour;
    await probes.allow(uid, ["10.0.0.1"]);
    const counted = (): unknown => readBack(netns, hostFamily, hostTable);
    const before = counted();
    assert.equal(await probes.ensure(), undefined);
    assert.deepEqual(counted(), before, "what is right is left alone");
    await applyTransaction(netns, [{ kind: "flush-table", family: hostFamily, table: hostTable }]);
    assert.equal(await probes.ensure(), undefined);
    assert.deepEqual(counted(), before);
    assert.deepEqual(held(pair), ["10.0.0.1 u-1"]);
    assert.equal(await probes.remove(), undefined);
    assert.equal(counted(), undefined);
    assert.equal(await probes.remove(), undefined);
    // A pod that leaves afterwards finds nothing to do.
    assert.equal(await probes.forget(uid), undefined);
    // And a full round brings nothing back.
    assert.equal(await probes.keep(new Map(), true), undefined);
    assert.equal(await probes.allow(uid, ["10.0.0.1"]), undefined);
    assert.equal(counted(), undefined);
  },
);

async function world(t: TestContext, kubelet: number = root): Promise<{ pair: PodPair; probes: HostProbes }> {
  const pair = await PodPair.make(uid);
  t.after(() => pair.close());
  for (const family of ["ipv4", "ipv6"] as const) {
    const destination = { address: family === "ipv4" ? "0.0.0.0" : "::", prefix: 0 };
    const route = { destination, via: addresses[family].neighbour, interface: "eth0", netns: pair.netns.pod };
    assert.equal(await addRoute(route), undefined);
  }
  const probes = new HostProbes(pair.netns.neighbour, () => kubelet);
  assert.equal(await probes.ensure(), undefined);
  return { pair, probes };
}

async function datagrams(t: TestContext, netns: number, address: string, port: number): Promise<Socket> {
  const bound = bindUdp({ netns, address, port });
  if (bound instanceof LinuxError) throw bound;
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  t.after(() => socket.close());
  await new Promise<void>((resolve) => socket.bind({ fd: bound }, resolve));
  return socket;
}

async function sourceSeen(pair: PodPair, family: "ipv4" | "ipv6"): Promise<string> {
  const conversation = pair.connect("neighbour", family);
  const seen = await conversation.readLine();
  await conversation.end();
  return seen;
}

function held(pair: PodPair): string[] {
  return [probeSets.ipv4, probeSets.ipv6].flatMap((set) => {
    const elements = readSet(pair.netns.neighbour, hostFamily, hostTable, set);
    assert.ok(Array.isArray(elements));
    return elements.map(({ address, comment }) => `${address} ${comment}`).sort();
  });
}
