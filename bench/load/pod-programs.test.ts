import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { connect, createServer, type AddressInfo } from "node:net";
import { test } from "node:test";
import type { BenchPod } from "../pod.ts";
import { PodConversation, PodServers, runIn, settledBelow } from "./pod-programs.ts";
import { establishedTo, hexOf, listensOn, parseSockets } from "./pod-sockets.ts";

/** This machine as a pod. */
const pod: BenchPod = {
  key: "test/here",
  address: "127.0.0.1",
  run: async ([program = "", ...rest]) => spawn(program, rest, { stdio: "pipe" }),
  readProc: (path) => readFile(path, "utf8"),
};

const script = (text: string): string[] => [process.execPath, "-e", text];

test("a program's output is what it printed, and one that fails says why and where", async () => {
  assert.equal(await runIn(pod, script("console.log(42)"), 10_000), "42\n");
  await assert.rejects(runIn(pod, script("console.error('no way'); process.exit(3)"), 10_000), {
    message: /in test\/here: exit 3: no way$/,
  });
});

test("a program that does not end in time is ended", async () => {
  await assert.rejects(runIn(pod, script("setInterval(() => {}, 1000)"), 200), {
    message: /ended by SIGKILL after 200 ms/,
  });
});

test("a conversation is a line of JSON for each line, and ends with the program's input", async () => {
  const echo = "require('readline').createInterface({input: process.stdin}).on('line', (x) => console.log(x * 2))";
  const conversation = await PodConversation.start<number>(pod, script(echo));
  assert.equal(await conversation.ask("21", 10_000), 42);
  assert.equal(await conversation.ask("4", 10_000), 8);
  await conversation.close();
  await conversation.close();
});

test("a conversation with a program that has ended says what it said last", async () => {
  const conversation = await PodConversation.start<number>(pod, script("console.error('oh no'); process.exit(1)"));
  await assert.rejects(conversation.ask("1", 10_000), { message: /did not answer/ });
  await conversation.close();
});

test("a server is started once, is there when it listens, and is gone when all are closed", async () => {
  const reserved = createServer().listen(0, "127.0.0.1");
  await once(reserved, "listening");
  const { port } = reserved.address() as AddressInfo;
  await new Promise((resolve) => reserved.close(resolve));
  const servers = new PodServers();
  const command = script(`require('net').createServer((s) => s.end(String(process.pid))).listen(${port}, '127.0.0.1')`);
  const ask = async (): Promise<string> => {
    const [bytes] = (await once(connect(port, "127.0.0.1"), "data")) as [Buffer];
    return bytes.toString();
  };
  await servers.ensure(pod, port, command);
  const first = await ask();
  await servers.ensure(pod, port, command);
  assert.equal(await ask(), first);
  await servers.close();
  assert.equal(await listensOn(pod, port), false);
});

test("a server that ends instead of listening says why", async () => {
  const servers = new PodServers();
  const command = script("console.error('address in use'); process.exitCode = 1");
  await assert.rejects(servers.ensure(pod, 1, command), { message: /ended: address in use/ });
  await servers.close();
});

test("connections to an address are counted in a pod's sockets, those of IPv6 sockets, too", async (t) => {
  const server = createServer().listen(0, "127.0.0.44");
  t.after(() => server.close());
  await once(server, "listening");
  const client = connect((server.address() as AddressInfo).port, "127.0.0.44");
  await once(client, "connect");
  assert.equal(await establishedTo(pod, "127.0.0.44"), 1);
  assert.equal(await settledBelow(pod, "127.0.0.44", 1, 10_000), 1);
  client.destroy();
  assert.equal(await settledBelow(pod, "127.0.0.44", 0, 10_000), 0);
});

test("addresses stand in /proc/net/tcp backwards, and mapped ones end with the same octets", () => {
  assert.equal(hexOf("10.1.2.255"), "FF02010A");
  const text = `  sl  local_address rem_address   st tx_queue
   0: 0100007F:1F90 0200000A:C001 01 00000000:00000000
   1: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF0000FF02010A:0050 01 00000000:00000000
`;
  const [first, second] = parseSockets(text);
  assert.deepEqual(first, { local: "0100007F:1F90", remote: "0200000A:C001", state: "01" });
  assert(second?.remote.split(":")[0]?.endsWith(hexOf("10.1.2.255")));
});
