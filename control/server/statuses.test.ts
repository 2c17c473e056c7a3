import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import { MemorySource } from "../../test/support/memory-source.ts";
import type { StatusRow } from "../sources/conditions.ts";
import type { Condition } from "../sources/objects.ts";
import { SourceError, type MergePatch, type ObjectDelta, type ObjectRef } from "../sources/source.ts";
import { StatusReporter } from "./statuses.ts";

const bound: Condition = { type: "istio.io/WaypointBound", status: "True", reason: "WaypointAccepted", message: "ok" };

test("a replica that doesn't lead writes nothing, and what lacks once it does", async () => {
  const { source, statuses } = reporting();
  source.service("a");
  source.service("b", [bound]);
  statuses.report([row("a"), row("b")], []);
  await turns();
  assert.deepEqual(source.writes, []);
  statuses.lead(true);
  await turns();
  assert.deepEqual(source.writes, ["Service/shop/a"], "b says so already");
  statuses.lead(false);
  source.service("c");
  statuses.report([row("c")], []);
  await turns();
  assert.equal(source.writes.length, 1);
});

test("what another replica failed to say is said by the next leader, and nothing twice", async () => {
  const { source, statuses } = reporting();
  for (let index = 0; index < 40; index++) source.service(`s${index}`, index % 2 === 0 ? [bound] : []);
  statuses.report(
    Array.from({ length: 40 }, (_, index) => row(`s${index}`)),
    [],
  );
  statuses.lead(true);
  await turns(40);
  assert.equal(source.writes.length, 20);
  assert.ok(source.most <= 8, "a few at a time");
  statuses.lead(true);
  await turns(40);
  assert.equal(source.writes.length, 20);
});

test("a status that somebody wipes is said again", async () => {
  const { source, statuses } = reporting();
  statuses.lead(true);
  source.service("a");
  statuses.report([row("a")], []);
  await turns();
  const wiped = source.service("a");
  statuses.report([], [wiped]);
  await turns();
  assert.deepEqual(source.writes, ["Service/shop/a", "Service/shop/a"]);
});

test("a status that can't be written is tried again until it is", async () => {
  const { source, statuses, clock } = reporting();
  statuses.lead(true);
  source.service("a");
  source.failing = true;
  statuses.report([row("a")], []);
  await turns();
  clock.advance(clock.nextTimerMs() ?? 0);
  await turns();
  assert.equal(source.writes.length, 2);
  source.failing = false;
  clock.advance(clock.nextTimerMs() ?? 0);
  await turns();
  assert.equal(source.writes.length, 3);
  assert.equal(clock.nextTimerMs(), undefined);
});

test("what is no longer to be said is taken back", async () => {
  const { source, statuses } = reporting();
  statuses.lead(true);
  source.service("a", [bound]);
  statuses.report([{ ...row("a"), conditions: [] }], []);
  await turns();
  assert.deepEqual(source.patches.at(-1), { status: { conditions: [] } });
});

test("an object that is gone is told nothing, where its status went with it", async () => {
  const { source, statuses } = reporting();
  statuses.lead(true);
  const delta = source.service("a", [bound]);
  statuses.report([row("a")], [delta]);
  source.remove("a");
  statuses.report([], [{ op: "removed", object: delta.object }]);
  await turns();
  assert.deepEqual(source.writes, []);
});

test("where a status outlives its object it is taken back", async () => {
  const { source, statuses } = reporting(true);
  statuses.lead(true);
  const delta = source.service("a");
  statuses.report([row("a")], [delta]);
  await turns();
  source.remove("a");
  statuses.report([], [{ op: "removed", object: delta.object }]);
  await turns();
  assert.deepEqual(source.patches, [source.patches[0], null]);
});

test("one object is never written by two writes at once", async () => {
  const { source, statuses } = reporting();
  statuses.lead(true);
  source.service("a");
  for (let index = 0; index < 20; index++) {
    statuses.report([{ ...row("a"), conditions: [{ ...bound, message: `${index}` }] }], []);
  }
  await turns(20);
  assert.equal(source.most, 1);
  assert.match(JSON.stringify(source.patches.at(-1)), /"message":"19"/);
});

/** Services of one namespace whose conditions are what was last written. */
class Services extends MemorySource {
  readonly writes: string[] = [];
  readonly patches: (MergePatch | null)[] = [];
  failing = false;
  most = 0;
  #running = 0;
  #delta: ObjectDelta | undefined;

  constructor() {
    super();
    this.subscribe((deltas) => (this.#delta = deltas[0]));
  }

  service(name: string, conditions: readonly Condition[] = []): ObjectDelta {
    this.#delta = undefined;
    const stamp = `creationTimestamp: "2026-01-01T00:00:${String(this.writes.length).padStart(2, "0")}Z"`;
    const status = JSON.stringify({ conditions });
    this.put(
      name,
      `{ apiVersion: v1, kind: Service, metadata: { name: ${name}, namespace: shop, ${stamp} }, spec: { ports: [] }, status: ${status} }`,
    );
    assert.ok(this.#delta !== undefined, "nothing changed");
    return this.#delta;
  }

  remove(name: string): void {
    this.put(name, undefined);
  }

  override async writeStatus(ref: ObjectRef, _writer: string, patch: MergePatch | null): Promise<undefined> {
    this.most = Math.max(this.most, ++this.#running);
    await new Promise((resolve) => setImmediate(resolve));
    this.#running -= 1;
    this.writes.push(`${ref.kind}/${ref.namespace}/${ref.name}`);
    this.patches.push(patch);
    // The type of what the base returns admits no error, the contract does.
    if (this.failing)
      return new SourceError({ code: "source.write-status", file: "", reason: "no" }) as unknown as undefined;
    const { conditions } = (patch?.["status"] ?? {}) as { conditions?: Condition[] };
    if (conditions !== undefined) this.service(ref.name, conditions);
    return undefined;
  }
}

function reporting(outlivesObjects = false) {
  const source = new Services();
  const clock = new ManualClock();
  const random = (): number => 0.5;
  const statuses = new StatusReporter({ source, writer: "control", outlivesObjects, clock, random, log: silentLog });
  return { source, statuses, clock };
}

function row(name: string): StatusRow {
  return { ref: { kind: "Service", namespace: "shop", name }, owned: [bound.type], conditions: [bound] };
}

async function turns(count = 6): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}
