import assert from "node:assert/strict";
import { createServer, type AddressInfo } from "node:net";
import { after, test } from "node:test";
import { until } from "../test/support/until.ts";
import { Readiness } from "./readiness.ts";
import { ReadinessServer } from "./worker/readiness-server.ts";

const port = await freePort();
let changes = 0;
const readiness = new Readiness(() => {
  changes += 1;
  server.gates = readiness.gates;
});
const server = new ReadinessServer({ port, address: "127.0.0.1" }, (error) => {
  throw error;
});
server.gates = readiness.gates;
after(() => server.close());

test("F-014 F-223 the body names every gate that is shut, with its reason, and readiness goes again with the daemon or a pod", async () => {
  await until("it can be asked", 5_000, () => ask().then(() => true));
  assert.deepEqual(await ask(), [
    500,
    "not ready, pending: state manager (control has not sent every type yet), proxy (workers are starting), " +
      "workload proxy manager (not connected to the node daemon)\n",
  ]);
  readiness.open("proxy");
  readiness.open("state manager");
  const pods = (phase: Parameters<Readiness["podsAre"]>[0], ...pending: string[]): Promise<[number, string]> => {
    readiness.podsAre(phase, pending);
    return ask();
  };
  const notReady = (reason: string): [number, string] => [
    500,
    `not ready, pending: workload proxy manager (${reason})\n`,
  ];
  assert.deepEqual(await pods("snapshot"), notReady("the node daemon is still naming pods"));
  assert.deepEqual(await pods("live"), [200, "ready\n"]);
  assert.deepEqual(await pods("live", "uid-1", "uid-2"), notReady("not served: uid-1 uid-2"));
  assert.deepEqual(await pods("live"), [200, "ready\n"]);
  assert.deepEqual(await pods("disconnected"), notReady("not connected to the node daemon"));
  const before = changes;
  await pods("disconnected");
  assert.equal(changes, before, "what is known is not told again");
  assert.deepEqual(await pods("live"), [200, "ready\n"]);
});

test("F-014 only GET is answered, and nothing else is there", async () => {
  assert.equal((await fetch(`http://127.0.0.1:${port}/healthz/ready`, { method: "POST" })).status, 405);
  assert.equal((await fetch(`http://127.0.0.1:${port}/metrics`)).status, 404);
});

async function ask(): Promise<[number, string]> {
  const answer = await fetch(`http://127.0.0.1:${port}/healthz/ready`);
  return [answer.status, await answer.text()];
}

async function freePort(): Promise<number> {
  const held = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => held.once("listening", resolve));
  const { port: free } = held.address() as AddressInfo;
  await new Promise((resolve) => held.close(resolve));
  return free;
}
