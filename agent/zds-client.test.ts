import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { afterEach, beforeEach, test } from "node:test";
import { systemClock } from "../core/base/clock.ts";
import { silentLog } from "../core/base/log.ts";
import { LinuxError } from "../core/linux/errno.ts";
import { createNetworkNamespace } from "../core/linux/namespace.ts";
import { listenSeqpacket, type SeqpacketConnection, type SeqpacketListener } from "../core/linux/seqpacket.ts";
import { closeDescriptor } from "../core/linux/sockets.ts";
import { decodeResponse, encodeRequest, ZdsError, type ZdsRequest } from "../core/protocol/zds/messages.ts";
import { enterNamespaces } from "../test/support/namespaced.ts";
import { until } from "../test/support/until.ts";
import { ZdsClient, type ZdsPhase } from "./zds-client.ts";

const skip = enterNamespaces() ?? false;
const path = "/run/zds.sock";
const info = { name: "web-1", namespace: "shop", serviceAccount: "web" };
const add: ZdsRequest = { kind: "add", uid: "a", info };

let listener: SeqpacketListener;
let connections: SeqpacketConnection[];
let packets: Uint8Array[];
let served: Map<string, number>;
let refusal: string | undefined;
let phases: ZdsPhase[];
let client: ZdsClient;

beforeEach(async () => {
  if (skip !== false) return;
  [connections, packets, phases, refusal] = [[], [], [], undefined];
  served = new Map();
  const listening = listenSeqpacket(path);
  assert.ok(!(listening instanceof LinuxError));
  listener = listening;
  listener.onConnection((connection) => {
    connections.push(connection);
    connection.onPacket((bytes) => packets.push(bytes));
  });
  client = new ZdsClient({
    path,
    clock: systemClock,
    log: silentLog,
    onPhase: (phase) => phases.push(phase),
    pods: {
      serve: async (uid, _info, netns) => {
        if (refusal === undefined) served.set(uid, netns);
        else closeDescriptor(netns);
        return refusal;
      },
      has: (uid) => served.has(uid),
      stop,
      stopOthers: (named) => [...served.keys()].filter((uid) => !named.has(uid)).forEach(stop),
    },
  });
  await until("the agent says hello", 5_000, () => packets.length === 1);
});

afterEach(() => {
  if (skip !== false) return;
  client.close();
  for (const connection of connections) connection.close();
  listener.close();
  for (const uid of [...served.keys()]) stop(uid);
});

test(
  "F-150 F-151 F-152 the agent greets, takes a snapshot in lock-step, and is live when it is complete",
  { skip },
  async () => {
    assert.deepEqual([...(packets[0] ?? [])], [8, 1]);
    assert.equal(await ask(add, createNetworkNamespace()), undefined);
    assert.ok(served.has("a"));
    assert.deepEqual(phases, ["snapshot"]);
    assert.equal(await ask({ kind: "snapshot-sent" }), undefined);
    assert.deepEqual(phases, ["snapshot", "live"]);
    assert.equal(await ask({ kind: "del", uid: "a" }), undefined);
    assert.equal(served.size, 0);
    assert.equal(await ask({ kind: "del", uid: "a" }), undefined, "an unknown one is gone already");
  },
);

test("F-155 a pod that cannot be served is refused, and the conversation goes on", { skip }, async () => {
  refusal = "the port is taken";
  assert.equal(await ask(add, createNetworkNamespace()), "the port is taken");
  refusal = undefined;
  assert.equal(await ask(add, createNetworkNamespace()), undefined);
});

test(
  "F-154 F-156 a daemon that comes back finds the pods served, and its snapshot ends those it no longer knows",
  { skip },
  async () => {
    await ask(add, createNetworkNamespace());
    await ask({ ...add, uid: "b" }, createNetworkNamespace());
    await ask({ kind: "snapshot-sent" });
    connections[0]?.close();
    await until("the agent is back", 5_000, () => connections.length === 2);
    assert.deepEqual([...served.keys()], ["a", "b"]);
    assert.deepEqual(phases, ["snapshot", "live", "disconnected", "snapshot"]);
    assert.equal(await ask({ kind: "keep", uid: "a" }), undefined);
    assert.match(String(await ask({ kind: "keep", uid: "c" })), /not served/);
    assert.equal(await ask({ kind: "snapshot-sent" }), undefined);
    assert.deepEqual([...served.keys()], ["a"]);
  },
);

test(
  "F-151 F-157 what breaks the protocol ends the conversation and not the process: its descriptors are closed, and the agent connects anew",
  { skip },
  async () => {
    const violations: [Uint8Array, number][] = [
      [Uint8Array.of(0xff, 0xff), 0], // no message
      [encoded(add), 0], // an add without a namespace
      [encoded(add), 2], // with two
      [encoded({ kind: "del", uid: "a" }), 1], // a descriptor where none belongs
    ];
    const before = descriptors();
    for (const [bytes, count] of violations) {
      const round = connections.length;
      const fds = Array.from({ length: count }, () => createNetworkNamespace());
      assert.ok((await answer(bytes, fds)) !== undefined);
      fds.forEach(closeDescriptor);
      await until("the agent is back", 5_000, () => connections.length === round + 1);
      connections[round - 1]?.close();
    }
    assert.equal(descriptors(), before);
    await ask({ kind: "snapshot-sent" });
    assert.match(String(await ask({ kind: "snapshot-sent" })), /second-snapshot/);
  },
);

test("F-151 a descriptor that is no network namespace is refused", { skip }, async () => {
  assert.match(String(await ask(add, 0)), /no network namespace/);
});

function stop(uid: string): void {
  const netns = served.get(uid);
  served.delete(uid);
  if (netns !== undefined) closeDescriptor(netns);
}

async function ask(request: ZdsRequest, descriptor?: number): Promise<string | undefined> {
  const error = await answer(encoded(request), descriptor === undefined ? [] : [descriptor]);
  if (descriptor !== undefined && descriptor > 2) closeDescriptor(descriptor);
  return error;
}

/** Sends one packet on the newest connection; the error in the agent's answer. */
async function answer(bytes: Uint8Array, fds: number[]): Promise<string | undefined> {
  await until("the hello of this connection is here", 5_000, () => packets.length >= 1);
  const seen = packets.length;
  assert.equal(connections.at(-1)?.send(bytes, fds), undefined);
  await until("the agent answers", 5_000, () => packets.slice(seen).some(([first]) => first === 10));
  const response = decodeResponse(packets.slice(seen).find(([first]) => first === 10) ?? new Uint8Array());
  assert.ok(!(response instanceof ZdsError));
  return response.error;
}

function encoded(request: ZdsRequest): Uint8Array {
  const bytes = encodeRequest(request);
  assert.ok(!(bytes instanceof ZdsError));
  return bytes;
}

function descriptors(): number {
  return readdirSync("/proc/self/fd").length;
}
