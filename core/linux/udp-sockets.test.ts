import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { test } from "node:test";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { until } from "../../test/support/until.ts";
import { originalUdpDestination } from "./conntrack.ts";
import { LinuxError } from "./errno.ts";
import { createNetworkNamespace } from "./namespace.ts";
import { addAddress } from "./netlink/addresses.ts";
import { setUp } from "./netlink/links.ts";
import { addRoute, listRoutes } from "./netlink/routes.ts";
import { applyTransaction } from "./nftables/apply.ts";
import { replaceTables } from "./nftables/model.ts";
import { closeDescriptor } from "./sockets.ts";
import { bindUdp, UdpExchange } from "./udp-sockets.ts";

const skip = enterNamespaces() ?? false;

for (const [own, client, server] of [
  ["127.0.0.1", "10.1.0.1", "10.9.9.9"],
  ["::1", "fd01::1", "fd09::9"],
] as const) {
  test(
    `a redirected datagram is answered, and its first destination is known, in the family of ${own}`,
    { skip },
    async () => {
      const netns = createNetworkNamespace();
      await redirecting(netns, client, server);
      const fd = bound(netns, own);
      const receiver = createSocket(own.includes(":") ? "udp6" : "udp4").bind({ fd });
      const seen: unknown[] = [];
      receiver.on("message", (bytes, from) => {
        const answer = {
          source: { address: own, port: 15_053 },
          destination: { address: from.address, port: from.port },
        };
        seen.push(String(bytes), originalUdpDestination(netns, answer));
        receiver.send(`${String(bytes)} back`, from.port, from.address);
      });
      const answered = Promise.withResolvers<string>();
      const exchange = UdpExchange.open(Buffer.from("there"), {
        netns,
        remote: { address: server, port: 53 },
        onMessage: (bytes) => answered.resolve(String(Buffer.from(bytes))),
        onError: (error) => answered.reject(error),
      });
      assert.ok(exchange instanceof UdpExchange);
      assert.equal(await answered.promise, "there back");
      assert.deepEqual(seen, ["there", { address: server, port: 53 }]);

      const nobody = { source: { address: own, port: 15_053 }, destination: { address: client, port: 9 } };
      assert.equal(originalUdpDestination(netns, nobody), undefined);
      exchange.close();
      receiver.close();
      closeDescriptor(netns);
    },
  );
}

test("what bears the mark is not redirected", { skip }, async () => {
  const netns = createNetworkNamespace();
  await redirecting(netns, "10.1.0.1", "10.9.9.9");
  const failed = Promise.withResolvers<LinuxError>();
  const exchange = UdpExchange.open(Buffer.from("x"), {
    netns,
    remote: { address: "10.9.9.9", port: 53 },
    mark: 1337,
    onMessage: () => assert.fail("nobody is there"),
    onError: failed.resolve,
  });
  // It arrives at itself: the address is this host's, and nobody listens.
  if (exchange instanceof LinuxError) throw exchange;
  assert.equal((await failed.promise).errno, "ECONNREFUSED");
  closeDescriptor(netns);
});

test("a second one on the same port is refused, and an address may come later", { skip }, () => {
  const netns = createNetworkNamespace();
  const fd = bound(netns, "127.0.0.1");
  const second = bindUdp({ netns, address: "127.0.0.1", port: 15_053 });
  assert.equal((second as LinuxError).errno, "EADDRINUSE");
  const other = bound(netns, "::1");
  assert.ok(bindUdp({ netns, address: "nowhere", port: 1 }) instanceof LinuxError);
  for (const one of [fd, other, netns]) closeDescriptor(one);
});

test("H089 every exchange has a port of its own, and hears nobody but its server", { skip }, async () => {
  const netns = createNetworkNamespace();
  assert.equal(await setUp("lo", { netns }), undefined);
  const fd = bound(netns, "127.0.0.1");
  const server = createSocket("udp4").bind({ fd });
  const intruder = createSocket("udp4").bind({ fd: bindingAt(netns, 9) });
  const ports: number[] = [];
  server.on("message", (_, from) => {
    ports.push(from.port);
    intruder.send("forged", from.port, from.address, () => server.send("true", from.port, from.address));
  });
  const open: UdpExchange[] = [];
  const heard: string[] = [];
  for (let i = 0; i < 50; i++) {
    const exchange = UdpExchange.open(Buffer.from("?"), {
      netns,
      remote: { address: "127.0.0.1", port: 15_053 },
      onMessage: (bytes) => void heard.push(String(Buffer.from(bytes))),
      onError: (error) => assert.fail(error.message),
    });
    assert.ok(exchange instanceof UdpExchange);
    open.push(exchange);
  }
  await until("fifty answers", 5_000, () => heard.length === 50);
  assert.deepEqual(new Set(heard), new Set(["true"]));
  assert.equal(new Set(ports).size, 50);
  const steps = ports.slice(1).map((port, i) => port - (ports[i] ?? 0));
  assert.ok(new Set(steps).size > 25, "ports are not counted up");
  for (const exchange of open) exchange.close();
  server.close();
  intruder.close();
  await once(intruder, "close");
  closeDescriptor(netns);
});

async function redirecting(netns: number, client: string, server: string): Promise<void> {
  const ipv6 = client.includes(":");
  assert.equal(await setUp("lo", { netns }), undefined);
  assert.equal(await addAddress({ interface: "lo", address: client, prefix: ipv6 ? 128 : 32, netns }), undefined);
  // IPv6 leads to an address of its own a moment after it has been given it (addrconf_dad_work).
  await until(`${client} is led to`, 5_000, async () => {
    const local = await listRoutes({ netns, table: 255 });
    return !(local instanceof LinuxError) && local.some(({ destination }) => destination?.address === client);
  });
  const destination = { address: server, prefix: ipv6 ? 128 : 32 };
  assert.equal(await addRoute({ destination, interface: "lo", type: "local", table: 255, netns }), undefined);
  const redirected = [
    { kind: "mark", value: 1337, mask: 0xfff, not: true },
    { kind: "port", protocol: "udp", side: "destination", port: 53 },
    { kind: "redirect", port: 15_053 },
  ] as const;
  const output = {
    name: "output",
    hook: { type: "nat", hook: "output", priority: -100 },
    rules: [redirected],
  } as const;
  assert.equal(
    await applyTransaction(netns, replaceTables([{ family: "inet", name: "t", chains: [output] }])),
    undefined,
  );
}

function bound(netns: number, address: string): number {
  const fd = bindUdp({ netns, address, port: 15_053, mark: 1337 });
  if (fd instanceof LinuxError) throw fd;
  return fd;
}

function bindingAt(netns: number, port: number): number {
  const fd = bindUdp({ netns, address: "127.0.0.1", port });
  if (fd instanceof LinuxError) throw fd;
  return fd;
}
