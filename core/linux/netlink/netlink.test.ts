import assert from "node:assert/strict";
import { closeSync, readdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { Worker } from "node:worker_threads";
import { enterNamespaces } from "../../../test/support/namespaced.ts";
import { until } from "../../../test/support/until.ts";
import { LinuxError } from "../errno.ts";
import { createNetworkNamespace, inNamespace } from "../namespace.ts";
import { addAddress, deleteAddress, listAddresses } from "./addresses.ts";
import { createVeth, deleteLink, listLinks, setDown, setMtu, setUp } from "./links.ts";
import { addRoute, deleteRoute, listRoutes, type RouteInfo } from "./routes.ts";
import { addRule, deleteRule, listRules } from "./rules.ts";

const skip = enterNamespaces() ?? false;
let a = -1;
let b = -1;

before(async () => {
  if (skip !== false) return;
  [a, b] = [createNetworkNamespace(), createNetworkNamespace()];
  await ok(createVeth({ name: "eth0", netns: a, mtu: 1400, peer: { name: "pod1", netns: b } }));
});
after(() => [a, b].forEach((fd) => fd >= 0 && closeSync(fd)));

test("a veth has an end in each namespace, with the same MTU", { skip }, async () => {
  const [left, right] = [await listed(listLinks({ netns: a })), await listed(listLinks({ netns: b }))];
  assert.deepEqual(
    [left, right].map((links) => links.map(({ name, kind, mtu, up }) => [name, kind, mtu, up])),
    [
      [
        ["lo", "", 65536, false],
        ["eth0", "veth", 1400, false],
      ],
      [
        ["lo", "", 65536, false],
        ["pod1", "veth", 1400, false],
      ],
    ],
  );
  assert.match(left[1]!.address, /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
  assert.equal(errnoOfFailure(await createVeth({ name: "eth0", netns: a, peer: { name: "x", netns: b } })), "EEXIST");
});

test("links go up and down and change their MTU", { skip }, async () => {
  await ok(setUp("eth0", { netns: a }));
  await ok(setUp("eth0", { netns: a }), "twice");
  await ok(setUp("pod1", { netns: b }));
  await ok(setMtu("pod1", 9000, { netns: b }));
  const eth0 = async (): Promise<unknown> =>
    (await listed(listLinks({ netns: a }))).find(({ name }) => name === "eth0");
  assert.equal(((await eth0()) as { up: boolean }).up, true);
  await ok(setDown("eth0", { netns: a }));
  assert.equal(((await eth0()) as { up: boolean }).up, false);
  await ok(setUp("eth0", { netns: a }));
  const missing = await setUp("eth7", { netns: a });
  assert.deepEqual(missing?.type, { code: "linux.no-interface", name: "eth7" });
});

test("addresses are there at once, in both families", { skip }, async () => {
  for (const [address, prefix] of [
    ["10.244.1.2", 32],
    ["fd00:244:1::2", 128],
  ] as const) {
    const options = { interface: "eth0", address, prefix, netns: a };
    await ok(addAddress(options));
    assert.equal(errnoOfFailure(await addAddress(options)), "EEXIST");
    const has = async (): Promise<boolean> =>
      (await listed(listAddresses({ netns: a }))).some((each) => each.address === address && each.prefix === prefix);
    assert.equal(await has(), true);
    await ok(deleteAddress(options));
    assert.equal(await has(), false);
    assert.equal(errnoOfFailure(await deleteAddress(options)), "EADDRNOTAVAIL");
    await ok(addAddress(options));
  }
  const nonsense = await addAddress({ interface: "eth0", address: "10.0.0", prefix: 8, netns: a });
  assert.deepEqual(nonsense?.type, { code: "linux.not-an-address", address: "10.0.0" });
});

test("routes by interface, by next hop and to this host", { skip }, async () => {
  const route = (address: string, prefix: number, rest: object) =>
    addRoute({ destination: { address, prefix }, netns: a, ...rest });
  await ok(setUp("lo", { netns: a }));
  await ok(route("169.254.1.1", 32, { interface: "eth0" }));
  await ok(route("0.0.0.0", 0, { via: "169.254.1.1", interface: "eth0" }));
  await ok(route("0.0.0.0", 0, { via: "169.254.1.1", interface: "eth0" }), "twice is once");
  await ok(route("10.9.0.0", 16, { via: "169.254.9.9", interface: "eth0", onlink: true }));
  await ok(route("10.8.0.0", 16, { type: "blackhole" }));
  await ok(route("::", 0, { via: "fe80::1", interface: "eth0" }));
  await ok(route("::", 0, { type: "local", interface: "lo", table: 100 }));
  await ok(route("10.0.0.0", 8, { type: "local", interface: "lo", table: 1000 }));
  assert.equal(errnoOfFailure(await route("10.7.0.0", 16, { via: "192.0.2.1" })), "ENETUNREACH");

  const main = await listed(listRoutes({ netns: a, table: 254 }));
  const shown = ({ destination, via, type }: RouteInfo): string =>
    `${type} ${destination.address}/${destination.prefix} ${via ?? "-"}`;
  for (const expected of [
    "unicast 169.254.1.1/32 -",
    "unicast 0.0.0.0/0 169.254.1.1",
    "unicast 10.9.0.0/16 169.254.9.9",
    "blackhole 10.8.0.0/16 -",
    "unicast ::/0 fe80::1",
  ])
    assert.ok(main.map(shown).includes(expected), `${expected} in ${main.map(shown).join(", ")}`);
  assert.deepEqual((await listed(listRoutes({ netns: a, table: 100 }))).map(shown), ["local ::/0 -"]);
  assert.deepEqual((await listed(listRoutes({ netns: a, table: 1000 }))).map(shown), ["local 10.0.0.0/8 -"]);

  const blackhole = { destination: { address: "10.8.0.0", prefix: 16 }, type: "blackhole" as const, netns: a };
  await ok(deleteRoute(blackhole));
  assert.equal(errnoOfFailure(await deleteRoute(blackhole)), "ESRCH");
});

test("a rule exists once however often it is added, and is removed by its own description", { skip }, async () => {
  for (const family of ["ipv4", "ipv6"] as const) {
    const rule = { mark: 0x111, mask: 0xfff, table: 100, priority: 32764, family };
    await ok(addRule({ ...rule, netns: a }));
    await ok(addRule({ ...rule, netns: a }));
    assert.deepEqual(
      (await listed(listRules({ netns: a }))).filter((each) => each.family === family),
      [rule],
    );
    await ok(deleteRule({ ...rule, netns: a }));
    assert.equal(errnoOfFailure(await deleteRule({ ...rule, netns: a })), "ENOENT");
  }
});

test("the namespace's descriptor may be closed as soon as the call has returned", { skip }, async () => {
  const netns = createNetworkNamespace();
  const calls = [setUp("lo", { netns }), listLinks({ netns })] as const;
  closeSync(netns);
  await ok(calls[0]);
  assert.equal((await listed(calls[1])).length, 1);
});

test("operations leave no descriptor behind, in success and in failure", { skip }, async () => {
  const count = (): number => readdirSync("/proc/self/fd").length;
  await setUp("lo", { netns: a });
  const before = count();
  for (let i = 0; i < 50; i++) {
    await setUp("lo", { netns: a });
    await deleteRule({ mark: 1, mask: 1, table: 9, priority: 9, family: "ipv4", netns: a });
  }
  await until("all sockets closed", 5_000, () => count() <= before);
});

test("a link goes with both of its ends", { skip }, async () => {
  await ok(deleteLink("eth0", { netns: a }));
  for (const netns of [a, b]) assert.equal((await listed(listLinks({ netns }))).length, 1);
});

test("in a worker, rtnetlink refuses before it can end the process", { skip }, async () => {
  const source = `
    import { parentPort } from "node:worker_threads";
    const { setUp } = await import(${JSON.stringify(import.meta.resolve("./links.ts"))});
    parentPort.postMessage(await setUp("lo").then(() => "done", (error) => error.message));`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
  const answer = await new Promise((resolve) => worker.once("message", resolve));
  assert.equal(answer, "rtnetlink is for main threads only");
  await worker.terminate();
});

test("without a namespace given it is the thread's own", { skip }, async () => {
  await ok(createVeth({ name: "here0", peer: { name: "here1" } }));
  assert.equal((await listed(listLinks())).length, 3);
  await ok(deleteLink("here0"));
  assert.equal(
    inNamespace(a, () => 1),
    1,
  );
});

async function ok(operation: Promise<LinuxError | undefined>, message?: string): Promise<void> {
  assert.equal(await operation, undefined, message);
}

async function listed<T>(operation: Promise<T[] | LinuxError>): Promise<T[]> {
  const answer = await operation;
  if (answer instanceof LinuxError) throw answer;
  return answer;
}

function errnoOfFailure(failure: LinuxError | undefined): string | undefined {
  return failure?.errno;
}
