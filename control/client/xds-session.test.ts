import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ManualClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import { seededRandom } from "../../core/base/random.ts";
import type { DeltaDiscoveryRequest, DeltaDiscoveryResponse } from "../../core/protocol/generated/discovery.ts";
import type { DeltaUpdate, Rejection } from "../../core/protocol/xds/delta-client.ts";
import type { DeltaStream } from "./delta-stream.ts";
import { ControlError } from "./grpc-errors.ts";
import { agentTypes, runXdsSession } from "./xds-session.ts";

const [address = "", authorization = ""] = agentTypes;

test("F-110 F-121 a stream begins with one request per type, addresses first, each with the node", async () => {
  const { streams, session } = start();
  assert.deepEqual(
    streams[0]!.sent.map(({ typeUrl, node, resourceNamesSubscribe }) => [typeUrl, node?.id, resourceNamesSubscribe]),
    [
      [address, "me", []],
      [authorization, "me", []],
    ],
  );
  session.close();
});

test("H071 an update is acknowledged after it has been applied, and the next one comes after that", async () => {
  const { streams, updates, session, finish } = start({ holds: true });
  const [stream] = streams;
  stream!.respond(address, "1", ["a"]);
  stream!.respond(address, "2", ["b"]);
  await settle();
  assert.equal(updates.length, 1);
  assert.equal(stream!.sent.length, 2, "nothing is acknowledged yet");
  finish();
  await settle();
  assert.equal(updates.length, 2);
  assert.equal(stream!.sent.at(-1)?.responseNonce, "1");
  session.close();
});

test("F-111 F-126 a refused resource is named in a NACK, the session is ready all the same, and status says so", async () => {
  const { streams, session } = start({ rejects: [{ name: "a", reason: "nonsense" }] });
  let ready = false;
  void session.ready.then(() => (ready = true));
  streams[0]!.respond(authorization, "1", []);
  streams[0]!.respond(address, "2", ["a"]);
  await settle();
  assert.equal(streams[0]!.sent.at(-1)?.errorDetail?.message, "a: nonsense");
  assert.equal(ready, true);
  assert.deepEqual(session.status().types.find(({ typeUrl }) => typeUrl === address)?.rejected, [
    { name: "a", reason: "nonsense" },
  ]);
  session.close();
});

test("the session is not ready before each type has been answered", async () => {
  const { streams, session } = start();
  let ready = false;
  void session.ready.then(() => (ready = true));
  streams[0]!.respond(address, "1", ["a"]);
  await settle();
  assert.equal(ready, false);
  session.close();
});

test("F-112 F-114 after a disconnect the next stream begins with what is held; nothing is taken back", async () => {
  const { streams, updates, clock, session } = start();
  streams[0]!.respond(address, "1", ["a", "b"]);
  await settle();
  streams[0]!.fail();
  await settle();
  clock.advance(1_000);
  await settle();
  assert.equal(streams.length, 2);
  assert.deepEqual(streams[1]!.sent[0]?.initialResourceVersions, { a: "v1", b: "v1" });
  assert.deepEqual(
    updates.flatMap(({ removed }) => removed),
    [],
  );
  session.close();
});

test("F-113 H067 control that refuses at once is asked with doubling, jittered pauses up to 15 s, for a day, and never in a loop", async () => {
  const { streams, clock, session } = start({ dead: true });
  await settle();
  const pauses: number[] = [];
  for (let elapsed = 0; elapsed < 86_400_000;) {
    const pause = clock.nextTimerMs() ?? 0;
    pauses.push(pause);
    elapsed += pause;
    clock.advance(pause);
    await settle();
  }
  assert.ok(pauses.length < 6_000, `${pauses.length} attempts in a day`);
  assert.ok(pauses.every((pause) => pause >= 16 && pause <= 18_000));
  for (const [attempt, pause] of pauses.slice(0, 12).entries()) {
    const nominal = Math.min(20 * 2 ** attempt, 15_000);
    assert.ok(pause >= nominal * 0.79 && pause <= nominal * 1.21, `attempt ${attempt}: ${pause}`);
  }
  assert.ok(new Set(pauses.slice(-100).map(Math.round)).size > 50, "no herd");
  assert.equal(streams.length, 0);
  session.close();
});

test("F-113 H067 control that answers once and fails is not asked ever faster", async () => {
  const { streams, clock, session } = start();
  for (let attempt = 0; attempt < 12; attempt++) {
    streams.at(-1)!.respond(address, "1", ["a"]);
    await settle();
    streams.at(-1)!.fail();
    await settle();
    clock.advance(clock.nextTimerMs() ?? 0);
    await settle();
  }
  streams.at(-1)!.fail();
  await settle();
  const status = session.status();
  assert.ok(status.phase === "waiting" && status.retryMs > 10_000);
  session.close();
});

test("F-113 after a stream that was of use for a while the pause is short again", async () => {
  const { streams, clock, session } = start();
  for (let attempt = 0; attempt < 8; attempt++) {
    streams.at(-1)!.fail();
    await settle();
    clock.advance(clock.nextTimerMs() ?? 0);
    await settle();
  }
  streams.at(-1)!.respond(address, "1", ["a"]);
  await settle();
  clock.advance(60_000);
  streams.at(-1)!.fail();
  await settle();
  const status = session.status();
  assert.ok(status.phase === "waiting" && status.retryMs < 25);
  session.close();
});

test("an onUpdate that throws is our bug: nothing is acknowledged, and a new stream begins with what is held", async () => {
  const { streams, session, clock } = start({ throws: true });
  streams[0]!.respond(address, "1", ["a"]);
  await settle();
  assert.equal(streams[0]!.isClosed, true);
  assert.equal(streams[0]!.sent.length, 2);
  assert.equal(session.status().lastError?.code, "control.internal-bug");
  clock.advance(1_000);
  await settle();
  assert.deepEqual(streams[1]!.sent[0]?.initialResourceVersions, {});
  session.close();
});

test("H068 when more than half of the world is missing after a reconnect the removals wait a minute, then are obeyed", async () => {
  const { streams, updates, session, clock } = await heldThenReconnected(100);
  streams[1]!.respond(address, "9", [], names(0, 60));
  await settle();
  assert.deepEqual(updates.at(-1)?.removed, []);
  assert.equal(streams[1]!.sent.at(-1)?.responseNonce, "9");
  assert.equal(waiting(session), 60);
  clock.advance(59_000);
  await settle();
  assert.equal(waiting(session), 60);
  clock.advance(1_000);
  await settle();
  assert.deepEqual([...(updates.at(-1)?.removed ?? [])].sort(), names(0, 60).sort());
  assert.equal(waiting(session), 0);
  session.close();
});

test("H068 what control names again while its removal waits stays", async () => {
  const { streams, updates, session, clock } = await heldThenReconnected(100);
  streams[1]!.respond(address, "9", [], names(0, 60));
  await settle();
  streams[1]!.respond(address, "10", names(0, 59));
  await settle();
  clock.advance(60_000);
  await settle();
  assert.deepEqual(updates.at(-1)?.removed, ["n59"]);
  session.close();
});

test("H068 half of the world going while the stream is open is what control means", async () => {
  const { streams, updates, session } = start();
  streams[0]!.respond(address, "1", names(0, 100));
  await settle();
  streams[0]!.respond(address, "2", [], names(0, 100));
  await settle();
  assert.equal(updates.at(-1)?.removed.length, 100);
  session.close();
});

test("H068 in a small mesh, or for less than half, removals after a reconnect are obeyed at once", async () => {
  for (const [held, removed] of [
    [5, 5],
    [100, 50],
  ] as const) {
    const { streams, updates, session } = await heldThenReconnected(held);
    streams[1]!.respond(address, "9", [], names(0, removed));
    await settle();
    assert.equal(updates.at(-1)?.removed.length, removed);
    session.close();
  }
});

test("closing ends the stream, the pause and every timer", async () => {
  const open = start();
  open.session.close();
  await settle();
  assert.equal(open.streams[0]!.isClosed, true);
  const waiting = start({ dead: true });
  await settle();
  waiting.session.close();
  await settle();
  for (const { session, clock } of [open, waiting]) {
    assert.equal(session.status().phase, "closed");
    assert.equal(clock.nextTimerMs(), undefined);
  }
});

test("whatever is cut whenever, each response that was answered is applied once and held versions are what was applied", async () => {
  const step = fc.oneof(
    fc.record({
      kind: fc.constant("respond" as const),
      add: fc.array(fc.nat(9), { maxLength: 4 }),
      remove: fc.array(fc.nat(9), { maxLength: 3 }),
    }),
    fc.record({ kind: fc.constant("cut" as const) }),
    fc.record({ kind: fc.constant("wait" as const), ms: fc.nat(20_000) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const { streams, updates, clock, session } = start();
      let version = 0;
      for (const item of steps) {
        const stream = streams.at(-1);
        if (item.kind === "cut" && stream?.isClosed === false) stream.fail();
        if (item.kind === "wait") clock.advance(item.ms);
        if (item.kind === "respond" && stream?.isClosed === false) {
          version += 1;
          stream.respond(
            address,
            String(version),
            item.add.map((n) => `n${n}`),
            item.remove.filter((n) => !item.add.includes(n)).map((n) => `n${n}`),
            `v${version}`,
          );
        }
        await settle();
      }
      streams.at(-1)?.fail();
      await settle();
      clock.advance(20_000);
      await settle();
      const applied = new Map<string, string>();
      for (const { resources, removed } of updates) {
        for (const name of removed) applied.delete(name);
        for (const resource of resources) applied.set(resource.name, resource.version);
      }
      assert.deepEqual(streams.at(-1)?.sent[0]?.initialResourceVersions, Object.fromEntries(applied));
      session.close();
    }),
    { numRuns: 50 },
  );
});

/** Control's end of a stream, in the test's hands. */
class FakeStream implements DeltaStream {
  readonly sent: DeltaDiscoveryRequest[] = [];
  isClosed = false;
  readonly #queue: (DeltaDiscoveryResponse | ControlError)[] = [];
  #deliver: ((next: DeltaDiscoveryResponse | ControlError) => void) | undefined;

  send(request: DeltaDiscoveryRequest): void {
    this.sent.push(request);
  }

  receive(): Promise<DeltaDiscoveryResponse | ControlError> {
    const next = this.#queue.shift();
    if (next !== undefined) return Promise.resolve(next);
    return new Promise((resolve) => (this.#deliver = resolve));
  }

  close(): void {
    this.isClosed = true;
    this.#put(new ControlError({ code: "control.closed" }));
  }

  fail(): void {
    this.#put(new ControlError({ code: "control.unreachable", address: "x", detail: "cut" }));
  }

  respond(
    typeUrl: string,
    nonce: string,
    put: readonly string[],
    removed: readonly string[] = [],
    version = "v1",
  ): void {
    const resources = put.map((name) => ({
      name,
      version,
      aliases: [],
      ttl: undefined,
      resource: { typeUrl, value: Buffer.from(name) },
    }));
    this.#put({ typeUrl, nonce, resources, removedResources: [...removed], systemVersionInfo: "" });
  }

  #put(next: DeltaDiscoveryResponse | ControlError): void {
    const deliver = this.#deliver;
    this.#deliver = undefined;
    if (deliver === undefined) this.#queue.push(next);
    else deliver(next);
  }
}

function start(options: { dead?: boolean; holds?: boolean; throws?: boolean; rejects?: Rejection[] } = {}) {
  const clock = new ManualClock();
  const streams: FakeStream[] = [];
  const updates: DeltaUpdate[] = [];
  const waiting: (() => void)[] = [];
  const session = runXdsSession(
    {
      node: { id: "me", cluster: "", metadata: undefined },
      async onUpdate(update) {
        updates.push(update);
        if (options.throws === true) throw new Error("oops");
        if (options.holds === true) await new Promise<void>((resolve) => waiting.push(resolve));
        return (options.rejects ?? []).filter(({ name }) =>
          update.resources.some((resource) => resource.name === name),
        );
      },
    },
    {
      clock,
      random: seededRandom(7),
      log: silentLog,
      open() {
        if (options.dead === true)
          return new ControlError({ code: "control.unreachable", address: "x", detail: "dead" });
        const stream = new FakeStream();
        streams.push(stream);
        return stream;
      },
    },
  );
  return { clock, streams, updates, session, finish: () => waiting.shift()?.() };
}

async function heldThenReconnected(count: number) {
  const started = start();
  started.streams[0]!.respond(address, "1", names(0, count));
  await settle();
  started.streams[0]!.fail();
  await settle();
  started.clock.advance(1_000);
  await settle();
  return started;
}

function waiting(session: ReturnType<typeof start>["session"]): number | undefined {
  return session.status().types.find(({ typeUrl }) => typeUrl === address)?.removalsWaiting;
}

function names(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, index) => `n${from + index}`);
}

/** Lets promises that are settled run their callbacks. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
