import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { ManualClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { namespaceIdentity } from "../../core/linux/namespace.ts";
import {
  connectSeqpacket,
  listenSeqpacket,
  type SeqpacketConnection,
  type SeqpacketListener,
} from "../../core/linux/seqpacket.ts";
import { closeDescriptor } from "../../core/linux/sockets.ts";
import { decodeRequest, encodeResponse, hello, ZdsError, type ZdsRequest } from "../../core/protocol/zds/messages.ts";
import { until } from "../../test/support/until.ts";
import { ZdsServer } from "./zds-server.ts";

const info = { name: "cart", namespace: "shop", serviceAccount: "default" };

test("an agent gets every offered pod with its descriptor, one at a time, and the end of the snapshot", async (t) => {
  const world = new World(t);
  world.offer("a");
  world.offer("b");
  assert.deepEqual(world.news, []);
  await world.hears(["refused a cni.no-agent", "refused b cni.no-agent"]);
  const agent = world.connect();
  assert.equal(describe(await agent.next()), "add a with the namespace");
  await quiet(agent);
  agent.answer();
  assert.equal(describe(await agent.next()), "add b with the namespace");
  agent.answer();
  assert.equal(describe(await agent.next()), "snapshot-sent");
  agent.answer();
  await world.hears(["served a", "served b"]);
  await until("the link to be live", 5000, () => world.server.links()[0]?.live);
  assert.deepEqual(world.server.links(), [{ pid: process.pid, live: true, pods: 2 }]);
});

test("after the snapshot an add goes to the newest agent, a del to all, and withdraw waits for all", async (t) => {
  const world = new World(t);
  const old = world.connect();
  await old.answerAll("snapshot-sent");
  const young = world.connect();
  await young.answerAll("snapshot-sent");
  world.offer("a");
  assert.equal(describe(await young.next()), "add a with the namespace");
  young.answer();
  await world.hears(["served a"]);
  await quiet(old);

  let withdrawn = false;
  const done = world.server.withdraw("a").then(() => (withdrawn = true));
  assert.equal(describe(await young.next()), "del a");
  assert.equal(describe(await old.next()), "del a");
  young.answer();
  await until("the young one's answer", 5000, () => !world.server.serves("a"));
  assert.equal(withdrawn, false);
  old.answer();
  await done;
});

test("when the newest agent leaves, the one before is told what it has missed", async (t) => {
  const world = new World(t);
  const old = world.connect();
  await old.answerAll("snapshot-sent");
  const young = world.connect();
  await young.answerAll("snapshot-sent");
  world.offer("a");
  await young.answerAll("add a with the namespace");
  await world.hears(["served a"]);
  young.close();
  assert.equal(describe(await old.next()), "add a with the namespace");
  old.answer();
  await world.hears(["served a"]);
});

test("an answer that comes too late closes the link, and can't be taken for the next one's", async (t) => {
  const world = new World(t);
  const agent = world.connect();
  await agent.answerAll("snapshot-sent");
  world.offer("a");
  world.offer("b");
  assert.equal(describe(await agent.next()), "add a with the namespace");
  world.clock.advance(4999);
  assert.equal(world.server.links().length, 1);
  world.clock.advance(1);
  await agent.closed;
  await world.hears(["refused a cni.no-agent", "refused b cni.no-agent"]);
  const again = world.connect();
  await again.answerAll("add a with the namespace", "add b with the namespace", "snapshot-sent");
  await world.hears(["served a", "served b"]);
});

test("an agent that says nothing is dropped after 5 s and holds up nobody meanwhile", async (t) => {
  const world = new World(t);
  const talker = world.connect();
  await talker.answerAll("snapshot-sent");
  const silent = world.connect({ hello: false });
  await until("two links", 5000, () => world.server.links().length === 2);
  world.offer("a");
  await talker.answerAll("add a with the namespace");
  await world.hears(["served a"]);
  world.clock.advance(5000);
  await silent.closed;
});

test("a refused pod is reported with the agent's words and offered again, less and less often", async (t) => {
  const world = new World(t);
  const agent = world.connect();
  await agent.answerAll("snapshot-sent");
  world.offer("a");
  assert.equal(describe(await agent.next()), "add a with the namespace");
  agent.answer("port 15008 is taken");
  await world.hears(["refused a cni.agent-refused: port 15008 is taken"]);
  world.clock.advance(499);
  await quiet(agent);
  world.clock.advance(1);
  assert.equal(describe(await agent.next()), "add a with the namespace");
  agent.answer("still");
  await world.hears(["refused a cni.agent-refused: still"]);
  world.clock.advance(999);
  await quiet(agent);
  world.clock.advance(1);
  await agent.answerAll("add a with the namespace");
  await world.hears(["served a"]);
});

test("a pod withdrawn while its add was on the way is not announced as served", async (t) => {
  const world = new World(t);
  const agent = world.connect();
  await agent.answerAll("snapshot-sent");
  world.offer("a");
  assert.equal(describe(await agent.next()), "add a with the namespace");
  const done = world.server.withdraw("a");
  agent.answer();
  assert.equal(describe(await agent.next()), "del a");
  agent.answer();
  await done;
  assert.deepEqual(world.news, []);
  assert.equal(world.server.serves("a"), false);
});

test("a link that breaks lets go of whoever waits for its answer", async (t) => {
  const world = new World(t);
  const agent = world.connect();
  await agent.answerAll("snapshot-sent");
  const done = world.server.withdraw("a");
  assert.equal(describe(await agent.next()), "del a");
  agent.close();
  await done;
});

test("garbage, chatter and descriptors from an agent close its link, and nothing stays open here", async (t) => {
  const world = new World(t);
  const offences: ((agent: Agent) => void)[] = [
    (agent) => agent.send(Uint8Array.of(0xff, 0xff, 0xff)),
    (agent) => agent.send(encodeResponse({})),
    (agent) => agent.send(hello(), [world.descriptor]),
  ];
  for (const offence of offences) {
    const agent = world.connect({ hello: false });
    if (offence !== offences[2]) agent.send(hello());
    if (offence !== offences[2]) await agent.answerAll("snapshot-sent");
    offence(agent);
    await agent.closed;
    assert.equal(world.server.links().length, 0);
  }
});

test("another user's process is sent away before it can say anything", async (t) => {
  const world = new World(t, { ownUid: (process.getuid?.() ?? 0) + 1 });
  const agent = world.connect();
  await agent.closed;
  assert.equal(world.server.links().length, 0);
});

/** Nothing more comes: what was said has been heard, and the answer to it would have come before that of a later packet. */
async function quiet(agent: Agent): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(agent.inbox.length, 0);
}

interface Heard {
  readonly request: ZdsRequest;
  readonly isNamespace: boolean;
}

function describe({ request, isNamespace }: Heard): string {
  const uid = "uid" in request ? ` ${request.uid}` : "";
  return `${request.kind}${uid}${isNamespace ? " with the namespace" : ""}`;
}

class World {
  readonly clock = new ManualClock();
  readonly news: string[] = [];
  readonly server: ZdsServer;
  /** Stands for a pod's namespace. */
  readonly descriptor = openSync("/proc/self/ns/net", "r");
  readonly #path: string;

  constructor(t: TestContext, over: { ownUid?: number } = {}) {
    const folder = mkdtempSync(join(tmpdir(), "ambientd-zds-"));
    this.#path = join(folder, "zds.sock");
    this.server = new ZdsServer({
      descriptorOf: () => this.descriptor,
      onServed: (uid) => this.news.push(`served ${uid}`),
      onRefused: (uid, { type }) => {
        const reason = type.code === "cni.agent-refused" ? `: ${type.reason}` : "";
        this.news.push(`refused ${uid} ${type.code}${reason}`);
      },
      clock: this.clock,
      log: silentLog,
      ownUid: over.ownUid ?? process.getuid?.() ?? -1,
    });
    const listener: SeqpacketListener | LinuxError = listenSeqpacket(this.#path);
    assert.ok(!(listener instanceof LinuxError));
    listener.onConnection((connection) => this.server.accept(connection));
    t.after(() => {
      this.server.close();
      listener.close();
      closeSync(this.descriptor);
      rmSync(folder, { recursive: true });
    });
  }

  offer(uid: string): void {
    this.server.offer({ uid, info });
  }

  connect(options: { hello: boolean } = { hello: true }): Agent {
    const connection = connectSeqpacket(this.#path);
    assert.ok(!(connection instanceof LinuxError));
    const agent = new Agent(connection, this.descriptor);
    if (options.hello) agent.send(hello());
    return agent;
  }

  /** Exactly these news, in any order, since the last time. */
  async hears(expected: readonly string[]): Promise<void> {
    await until(`${expected.join()}`, 5000, () => this.news.length >= expected.length);
    assert.deepEqual(this.news.splice(0).sort(), [...expected].sort());
  }
}

/** The far end, a packet at a time. */
class Agent {
  readonly inbox: Heard[] = [];
  readonly closed: Promise<void>;
  readonly #connection: SeqpacketConnection;

  constructor(connection: SeqpacketConnection, expected: number) {
    this.#connection = connection;
    connection.onPacket((bytes, descriptors) => {
      const request = decodeRequest(bytes, descriptors.length);
      if (request instanceof ZdsError) throw request;
      const own = namespaceIdentity(expected);
      this.inbox.push({ request, isNamespace: descriptors.some((fd) => namespaceIdentity(fd).ino === own.ino) });
      descriptors.forEach(closeDescriptor);
    });
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    connection.onClose(() => resolve());
  }

  send(bytes: Uint8Array, descriptors: number[] = []): void {
    this.#connection.send(bytes, descriptors);
  }

  answer(error?: string): void {
    this.send(encodeResponse(error === undefined ? {} : { error }));
  }

  async next(): Promise<Heard> {
    return until("a request", 5000, () => this.inbox.shift());
  }

  async answerAll(...expected: readonly string[]): Promise<void> {
    for (const each of expected) {
      assert.equal(describe(await this.next()), each);
      this.answer();
    }
  }

  close(): void {
    this.#connection.close();
  }
}
