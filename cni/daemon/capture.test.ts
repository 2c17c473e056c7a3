/** What the rule set does to real packets: two namespaces, a veth between them, listeners where the agent's would be. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { closeSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { after, before, test } from "node:test";
import { formatEndpoint, type Endpoint } from "../../core/base/ip.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { createNetworkNamespace, inNamespace } from "../../core/linux/namespace.ts";
import { addAddress } from "../../core/linux/netlink/addresses.ts";
import { createVeth, setUp } from "../../core/linux/netlink/links.ts";
import { addRoute } from "../../core/linux/netlink/routes.ts";
import { addRule } from "../../core/linux/netlink/rules.ts";
import { applyTransaction } from "../../core/linux/nftables/apply.ts";
import { originalDestination } from "../../core/linux/original-destination.ts";
import { connectTcp, listenTcp, type ConnectOptions } from "../../core/linux/sockets.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { enrolRules, podRouting, proxyMark, releaseRules, removeRules, type PodRuleOptions } from "./rules.ts";

const skip = enterNamespaces() ?? false;

const families = [
  { name: "IPv4", pod: "10.0.0.1", peer: "10.0.0.2", loopback: "127.0.0.1", probe: "169.254.7.127" },
  {
    name: "IPv6",
    pod: "fd00::1",
    peer: "fd00::2",
    loopback: "::1",
    probe: "fd16:9254:7127:1337:ffff:ffff:ffff:ffff",
  },
];
const enrolled: PodRuleOptions = { dnsCapture: true, ipv6: true };
const appPort = 9000;
const agentPorts = [15001, 15006, 15008, 15053];
const mark = proxyMark.value;

let pod = -1;
let peer = -1;
const servers: Server[] = [];

before(async () => {
  if (skip !== false) return;
  pod = createNetworkNamespace();
  peer = createNetworkNamespace();
  await connectNamespaces();
  for (const port of agentPorts) serve(pod, port, `agent:${port}`, { mark, transparent: true });
  serve(pod, appPort, "app", {});
  for (const port of [80, 15008, 53]) serve(peer, port, `outside:${port}`, {});
});

after(() => {
  for (const server of servers) server.close();
  if (pod >= 0) closeSync(pod);
  if (peer >= 0) closeSync(peer);
});

for (const family of families) {
  const { name, loopback, probe } = family;
  const own = family.pod;
  const other = family.peer;

  test(`the packet matrix holds (${name})`, { skip }, async () => {
    await enrol(enrolled);
    const toAgent = (port: number, from: string, to: Endpoint): string => `agent:${port} ${from} ${formatEndpoint(to)}`;
    const rows: [what: string, dial: ConnectOptions, expected: string][] = [
      ["app to outside:80", outbound(other, 80), toAgent(15001, own, { address: other, port: 80 })],
      ["app to outside:15008", outbound(other, 15008), toAgent(15001, own, { address: other, port: 15008 })],
      ["app to outside:53", outbound(other, 53), toAgent(15053, own, { address: other, port: 53 })],
      ["app to loopback", outbound(loopback, appPort), `app ${loopback} ${at(loopback, appPort)}`],
      ["app to its own address", outbound(own, appPort), `app ${own} ${at(own, appPort)}`],
      ["app to the probe's address", outbound(probe, 80), `outside:80 ${own} ${at(probe, 80)}`],
      ["agent to outside:80", { ...outbound(other, 80), mark }, `outside:80 ${own} ${at(other, 80)}`],
      ["peer to the app", inbound(own, appPort), toAgent(15006, other, { address: own, port: appPort })],
      ["peer to a closed port", inbound(own, 9), toAgent(15006, other, { address: own, port: 9 })],
      ["peer to 15008", inbound(own, 15008), `agent:15008 ${other} ${at(own, 15008)}`],
      ["probe to the app", { ...inbound(own, appPort), local: { address: probe } }, `app ${probe} ${at(own, appPort)}`],
    ];
    const seen = await Promise.all(rows.map(async ([what, options]) => [what, await greeting(options)]));
    assert.deepEqual(
      seen,
      rows.map(([what, , expected]) => [what, expected]),
    );
  });

  test(`a connection with the client's own address reaches the app and comes back (${name})`, { skip }, async () => {
    await enrol(enrolled);
    const preserved = connectTcp({ ...outbound(own, appPort), mark, transparent: true, local: { address: other } });
    assert.equal(await nextLine(preserved), `app ${other} ${at(own, appPort)}`);
    assert.equal(await echo(preserved, "both ways"), "both ways");
    // More than one from the same address: ports are chosen at connect time.
    const second = connectTcp({ ...outbound(own, appPort), mark, transparent: true, local: { address: other } });
    assert.equal(await nextLine(second), `app ${other} ${at(own, appPort)}`);
    preserved.destroy();
    second.destroy();
  });

  test(`ingress mode leaves inbound alone (${name})`, { skip }, async () => {
    await enrol({ ...enrolled, ingressMode: true });
    assert.equal(await greeting(inbound(own, appPort)), `app ${other} ${at(own, appPort)}`);
    assert.equal(await greeting(outbound(other, 80)), `agent:15001 ${own} ${at(other, 80)}`);
  });

  test(`what comes in by a virtual interface counts as outbound (${name})`, { skip }, async () => {
    await enrol({ ...enrolled, virtualInterfaces: ["eth0"] });
    assert.equal(await greeting(inbound(own, appPort)), `agent:15001 ${other} ${at(own, appPort)}`);
  });

  test(`enrolling a running pod cuts no connection (${name})`, { skip }, async () => {
    await unenrol();
    const open = [
      { socket: connectTcp(inbound(own, appPort)), expected: `app ${other} ${at(own, appPort)}` },
      { socket: connectTcp(outbound(other, 80)), expected: `outside:80 ${own} ${at(other, 80)}` },
    ];
    for (const { socket, expected } of open) assert.equal(await nextLine(socket), expected);
    await enrol(enrolled);
    for (const { socket } of open) assert.equal(await echo(socket, "still here"), "still here");
    assert.equal(await greeting(outbound(other, 80)), `agent:15001 ${own} ${at(other, 80)}`, "new ones are captured");
    for (const { socket } of open) assert.equal(await echo(socket, "and now"), "and now");
    for (const { socket } of open) socket.destroy();
  });

  test(`releasing a pod keeps captured connections and captures no more (${name})`, { skip }, async () => {
    await enrol(enrolled);
    const open = [
      { socket: connectTcp(outbound(other, 80)), expected: `agent:15001 ${own} ${at(other, 80)}` },
      { socket: connectTcp(inbound(own, appPort)), expected: `agent:15006 ${other} ${at(own, appPort)}` },
      {
        socket: connectTcp({ ...outbound(own, appPort), mark, transparent: true, local: { address: other } }),
        expected: `app ${other} ${at(own, appPort)}`,
      },
    ];
    for (const { socket, expected } of open) assert.equal(await nextLine(socket), expected);
    assert.equal(await applyTransaction(pod, releaseRules()), undefined);
    for (const { socket } of open) assert.equal(await echo(socket, "still captured"), "still captured");
    assert.equal(await greeting(outbound(other, 80)), `outside:80 ${own} ${at(other, 80)}`);
    assert.equal(await greeting(inbound(own, appPort)), `app ${other} ${at(own, appPort)}`);
    for (const { socket } of open) assert.equal(await echo(socket, "to the end"), "to the end");
    for (const { socket } of open) socket.destroy();
    assert.equal(await applyTransaction(pod, removeRules()), undefined);
    assert.equal(await greeting(inbound(own, appPort)), `app ${other} ${at(own, appPort)}`);
  });
}

test("a DNS query over UDP goes to 15053 and its answer seems to come from where it was sent", { skip }, async () => {
  await enrol(enrolled);
  for (const { peer: resolver, loopback } of families) {
    const kind = resolver.includes(":") ? "udp6" : "udp4";
    const source = `
      const dgram = require("node:dgram");
      // On loopback, whereto REDIRECT leads: on the wildcard address the kernel would answer from the pod's own.
      const server = dgram.createSocket("${kind}").bind(15053, "${loopback}", () => client.send("query", 53, "${resolver}"));
      server.on("message", (_, from) => server.send("answer", from.port, from.address));
      const client = dgram.createSocket("${kind}");
      client.on("message", (text, from) => { console.log(text + " from " + from.address + " " + from.port); process.exit(); });`;
    const child = inNamespace(pod, () =>
      spawn(process.execPath, ["-e", source], { stdio: ["ignore", "pipe", "inherit"] }),
    );
    const answer = (await child.stdout.toArray()).join("").trim();
    assert.equal(answer, `answer from ${resolver} 53`);
  }
});

async function connectNamespaces(): Promise<void> {
  const done: (LinuxError | undefined)[] = [
    await createVeth({ name: "eth0", netns: pod, peer: { name: "eth0", netns: peer } }),
  ];
  for (const netns of [pod, peer]) for (const name of ["lo", "eth0"]) done.push(await setUp(name, { netns }));
  for (const { pod: own, peer: other, probe } of families) {
    const [prefix, whole] = own.includes(":") ? [64, 128] : [24, 32];
    done.push(await addAddress({ interface: "eth0", address: own, prefix, netns: pod }));
    done.push(await addAddress({ interface: "eth0", address: other, prefix, netns: peer }));
    done.push(await addAddress({ interface: "eth0", address: probe, prefix: whole, netns: peer }));
    done.push(await addRoute({ destination: { address: probe, prefix: whole }, via: other, netns: pod }));
  }
  const { rules, routes } = podRouting(true);
  for (const rule of rules) done.push(await addRule({ ...rule, netns: pod }));
  for (const route of routes) done.push(await addRoute({ ...route, netns: pod }));
  assert.deepEqual(
    done.filter((failure) => failure !== undefined),
    [],
  );
}

async function enrol(options: PodRuleOptions): Promise<void> {
  assert.equal(await applyTransaction(pod, enrolRules(options)), undefined);
}

async function unenrol(): Promise<void> {
  assert.equal(await applyTransaction(pod, removeRules()), undefined);
}

/** Says who it is, whom it sees and where the connection was going; then echoes. */
function serve(netns: number, port: number, label: string, options: { mark?: number; transparent?: boolean }): void {
  const listener = listenTcp({ netns, address: "::", port, ...options });
  if (listener instanceof LinuxError) throw listener;
  const server = createServer((socket) => {
    const to = originalDestination(socket);
    if (to instanceof LinuxError) throw to;
    const from = socket.remoteAddress!.replace("::ffff:", "");
    socket.write(`${label} ${from} ${formatEndpoint(to)}\n`);
    socket.on("error", () => {});
    socket.pipe(socket);
  });
  servers.push(server.listen({ fd: listener.fd }));
}

function outbound(address: string, port: number): ConnectOptions {
  return { netns: pod, remote: { address, port } };
}

function inbound(address: string, port: number): ConnectOptions {
  return {
    netns: peer,
    remote: { address, port },
    local: { address: families.find(({ pod: own }) => own === address)!.peer },
  };
}

function at(address: string, port: number): string {
  return formatEndpoint({ address, port });
}

async function greeting(options: ConnectOptions): Promise<string> {
  const socket = connectTcp(options);
  const line = await nextLine(socket);
  socket.destroy();
  return line;
}

async function echo(socket: Socket, text: string): Promise<string> {
  socket.write(`${text}\n`);
  return nextLine(socket);
}

/** The next line, or why there is none. */
function nextLine(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const settle = (line: string): void => {
      socket.pause().off("data", onData).off("error", onError).off("close", onClose);
      resolve(line);
    };
    const onData = (bytes: Buffer): void => {
      text += bytes.toString();
      if (text.endsWith("\n")) settle(text.trimEnd());
    };
    const onError = (error: Error): void => settle(error.message);
    const onClose = (): void => settle("closed");
    socket
      .on("data", onData)
      .on("error", onError)
      .on("close", onClose)
      .setTimeout(10_000, () => settle("silence"));
    socket.resume();
  });
}
