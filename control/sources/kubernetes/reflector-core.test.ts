import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { seededRandom } from "../../../core/base/random.ts";
import { KubeError, type KubeErrorData } from "./errors.ts";
import { identityOf, keyOf, type RawObject } from "./raw-object.ts";
import { ReflectorCore, type RawDelta } from "./reflector-core.ts";
import { FakeCluster, type FakeEvent } from "./test-support/fake-cluster.ts";

const pods = "/api/v1/pods";

test("a list is followed by a watch from where it ended", () => {
  const core = newCore();
  assert.deepEqual(core.next(), { do: "list", limit: 500, continue: undefined });
  assert.equal(core.isSynced, false);
  assert.deepEqual(summary(core.page(list("7", [pod("a", "1", "5")]))), ["put /a 5"]);
  assert.equal(core.isSynced, true);
  assert.deepEqual(core.next(), { do: "watch", resourceVersion: "7" });
});

test("a watch that was ended or cut goes on where its last event or bookmark was", () => {
  const core = watching();
  core.event({ type: "ADDED", object: pod("b", "2", "12") });
  core.event({ type: "BOOKMARK", object: { metadata: { resourceVersion: "40" } } });
  core.watchEnded(undefined, 290_000);
  assert.deepEqual(core.next(), { do: "watch", resourceVersion: "40" });
  core.watchEnded(unreachable(), 5_000);
  assert.equal(core.next().do, "wait");
  core.waited();
  assert.deepEqual(core.next(), { do: "watch", resourceVersion: "40" });
});

test("a list after a gap tells of what was deleted and what was replaced under the same name", () => {
  const core = newCore();
  core.page(list("9", [pod("a", "1", "5"), pod("b", "2", "6"), pod("c", "3", "7")]));
  core.event({ type: "ERROR", object: { kind: "Status", code: 410, reason: "Expired" } });
  assert.equal(core.next().do, "list", "at once");
  const deltas = core.page(list("30", [pod("b", "2", "6"), pod("c", "4", "20")]));
  assert.deepEqual(summary(deltas), ["removed /c", "put /c 20", "removed /a"]);
});

test("an event that was seen before, or is older than what is held, changes nothing", () => {
  const core = watching();
  const change = { type: "MODIFIED", object: pod("a", "1", "15") };
  assert.deepEqual(summary(core.event(change)), ["put /a 15"]);
  assert.deepEqual(core.event(change), []);
  assert.deepEqual(core.event({ type: "MODIFIED", object: pod("a", "1", "14") }), []);
  assert.deepEqual(core.event({ type: "ADDED", object: pod("a", "1", "5") }), [], "older than the list");
  assert.deepEqual(summary(core.event({ type: "DELETED", object: pod("a", "1", "16") })), ["removed /a"]);
  assert.deepEqual(core.event({ type: "DELETED", object: pod("a", "1", "16") }), []);
  assert.deepEqual(core.event({ type: "MODIFIED", object: pod("a", "1", "15") }), [], "a deleted one stays deleted");
});

test("the end of an object does not take its namesake away", () => {
  const core = watching();
  assert.deepEqual(summary(core.event({ type: "ADDED", object: pod("a", "2", "15") })), ["removed /a", "put /a 15"]);
  assert.deepEqual(core.event({ type: "DELETED", object: pod("a", "1", "14") }), []);
  assert.deepEqual(core.event({ type: "MODIFIED", object: pod("a", "1", "16") }), []);
});

test("versions are compared as numbers of any length, and never where they are none", () => {
  const core = newCore();
  core.page(list("99999999999999999998", [pod("a", "1", "99999999999999999997")]));
  assert.deepEqual(core.event({ type: "MODIFIED", object: pod("a", "1", "9") }), []);
  assert.equal(core.event({ type: "MODIFIED", object: pod("a", "1", "99999999999999999999") }).length, 1);
  assert.equal(core.event({ type: "MODIFIED", object: pod("a", "1", "opaque") }).length, 1);
  assert.equal(core.event({ type: "MODIFIED", object: pod("a", "1", "opaque") }).length, 0);
});

test("a kind that the server does not know is no failure, and counts from the moment it is known", () => {
  const core = newCore();
  assert.deepEqual(core.listFailed(error({ code: "kube.not-found", status: 404 })), []);
  assert.equal(core.isSynced, true);
  assert.deepEqual(core.trouble, { kind: "absent" });
  for (let round = 0; round < 10; round++) {
    const step = core.next();
    assert.ok(step.do === "wait" && step.ms <= 30_000, JSON.stringify(step));
    core.waited();
    core.listFailed(error({ code: "kube.not-found", status: 404 }));
  }
  core.waited();
  assert.deepEqual(summary(core.page(list("50", [pod("a", "1", "45")]))), ["put /a 45"]);
  assert.equal(core.trouble, undefined);
});

test("a kind that goes takes its objects along, once the server has said so twice", () => {
  const core = watching();
  core.watchEnded(error({ code: "kube.not-found", status: 404 }), 0);
  assert.equal(core.next().do, "list");
  assert.deepEqual(core.listFailed(error({ code: "kube.not-found", status: 404 })), []);
  assert.equal(core.next().do, "wait");
  core.waited();
  assert.deepEqual(summary(core.listFailed(error({ code: "kube.not-found", status: 404 }))), ["removed /a"]);
});

test("a server that refuses is asked ever more seldom, and no sooner than it wants", () => {
  const core = newCore();
  const waits: number[] = [];
  for (let attempt = 0; attempt < 12; attempt++) {
    core.listFailed(unreachable());
    const step = core.next();
    assert.ok(step.do === "wait");
    waits.push(step.ms);
    core.waited();
  }
  assert.ok((waits[0] ?? 0) < 300 && (waits.at(-1) ?? 0) > 20_000 && Math.max(...waits) <= 36_000, String(waits));
  core.listFailed(error({ code: "kube.status", status: 429, retryAfterMs: 40_000 }));
  const step = core.next();
  assert.ok(step.do === "wait" && step.ms >= 40_000 && step.ms <= 48_000);
});

test("a server that lists well and refuses every watch is not asked in a loop", () => {
  const core = watching();
  let waitedMs = 0;
  let lists = 0;
  for (let round = 0; round < 40; round++) {
    const step = core.next();
    if (step.do === "watch") core.watchEnded(error({ code: "kube.gone", status: 410 }), 0);
    else if (step.do === "wait") {
      waitedMs += step.ms;
      core.waited();
    } else {
      lists++;
      core.page(list("11", [pod("a", "1", "5")]));
    }
  }
  assert.ok(lists > 5 && waitedMs > lists * 2_000, `${lists} lists in ${waitedMs} ms`);
});

test("a server that ends every watch at once is not asked in a loop", () => {
  const core = watching();
  let waitedMs = 0;
  for (let round = 0; round < 20; round++) {
    const step = core.next();
    if (step.do === "watch") core.watchEnded(undefined, 3);
    else if (step.do === "wait") {
      waitedMs += step.ms;
      core.waited();
    }
  }
  assert.ok(waitedMs > 60_000, String(waitedMs));
});

test("pages that expire half-way begin anew, and the second time come all at once", () => {
  const core = newCore();
  const half = { ...list("9", [pod("a", "1", "5")]), metadata: { resourceVersion: "9", continue: "token" } };
  for (const limit of [500, 500, 0]) {
    assert.deepEqual(core.next(), { do: "list", limit, continue: undefined });
    core.page(half);
    assert.deepEqual(core.next(), { do: "list", limit, continue: "token" });
    core.listFailed(error({ code: "kube.gone", status: 410 }));
    core.waited();
  }
  assert.deepEqual(summary(core.page(list("12", [pod("b", "2", "8")]))), ["put /b 8", "removed /a"]);
});

test("an answer that is too large is asked for in smaller pages", () => {
  const core = newCore();
  core.listFailed(new KubeError({ code: "kube.too-large", method: "GET", path: "", limitBytes: 1 }));
  core.waited();
  assert.deepEqual(core.next(), { do: "list", limit: 125, continue: undefined });
});

test("a line that cannot be understood leads to a new list, for nobody knows what it said", () => {
  for (const line of [undefined, 7, {}, { type: "ADDED" }, { type: "ADDED", object: { metadata: {} } }]) {
    const core = watching();
    assert.deepEqual(core.event(line), []);
    core.waited();
    assert.equal(core.next().do, "list", JSON.stringify(line));
  }
});

test("a server restored from a backup is believed, though its versions went back", () => {
  const core = newCore();
  core.page(list("900", [pod("a", "1", "850"), pod("b", "2", "860")]));
  core.relist();
  assert.deepEqual(summary(core.page(list("400", [pod("a", "1", "350"), pod("c", "3", "360")]))), [
    "put /a 350",
    "put /c 360",
    "removed /b",
  ]);
  assert.deepEqual(summary(core.event({ type: "MODIFIED", object: pod("a", "1", "401") })), ["put /a 401"]);
  assert.deepEqual(core.next(), { do: "watch", resourceVersion: "401" });
});

test("our own write counts at once, and its echo changes nothing", () => {
  const core = watching();
  assert.deepEqual(summary(core.written(pod("a", "1", "20"))), ["put /a 20"]);
  assert.deepEqual(core.event({ type: "MODIFIED", object: pod("a", "1", "20") }), []);
  assert.deepEqual(core.written(pod("a", "other", "21")), [], "that is another object");
  assert.deepEqual(core.written(pod("unknown", "9", "22")), []);

  const listing = watching();
  listing.written(pod("a", "1", "20"));
  listing.relist();
  assert.deepEqual(listing.page(list("18", [pod("a", "1", "12")])), [], "the list was taken before the write");
});

test("a change that the watch had passed over without a word is counted", () => {
  const core = watching();
  core.event({ type: "BOOKMARK", object: { metadata: { resourceVersion: "90" } } });
  core.relist();
  core.page(list("95", [pod("a", "1", "80"), pod("b", "2", "94")]));
  assert.equal(core.counts.missed, 1);
});

test("whatever becomes of lists, watches and events, what is held ends as what the server has", () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 80, size: "max" }), fc.integer(), (actions, seed) => {
      const world = new World(seed);
      for (const next of actions) world.act(next);
      world.settle();
      assert.deepEqual(world.mirror(), world.truth());
    }),
    { numRuns: 1_000 },
  );
});

type Action =
  | { readonly do: "put" | "remove" | "recreate"; readonly name: string }
  | { readonly do: "deliver" | "repeat" | "page"; readonly count: number }
  | {
      readonly do:
        "cut" | "refuse" | "expire" | "end" | "compact" | "relist" | "bookmark" | "garble" | "absent" | "write";
    };

const name = fc.constantFrom("a", "b", "c", "d", "e");
const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom("put", "remove", "recreate"), name }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constantFrom("deliver", "repeat", "page"), count: fc.integer({ min: 1, max: 4 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constantFrom(
        "cut",
        "refuse",
        "expire",
        "end",
        "compact",
        "relist",
        "bookmark",
        "garble",
        "absent",
        "write",
      ),
    }),
  },
);

/** A server, a reflector, and a line between them on which everything happens that can. */
class World {
  readonly #cluster = new FakeCluster();
  readonly #core: ReflectorCore;
  readonly #mirror = new Map<string, string>();
  /** The rest of the list that is being read. */
  #pages: { rest: RawObject[]; version: number } | undefined;
  /** Up to which version the open watch has told. */
  #told = 0;
  #lastAnswer: RawObject | undefined;

  constructor(seed: number) {
    this.#core = new ReflectorCore(seededRandom(seed), 2);
  }

  act(next: Action): void {
    switch (next.do) {
      case "put":
        this.#lastAnswer = this.#cluster.put(pods, { metadata: { name: next.name }, value: this.#cluster.version });
        return;
      case "remove":
        this.#cluster.remove(pods, `/${next.name}`);
        return;
      case "recreate":
        this.#cluster.remove(pods, `/${next.name}`);
        this.#cluster.put(pods, { metadata: { name: next.name } });
        return;
      case "deliver":
        for (let count = 0; count < next.count; count++) this.#deliver();
        return;
      case "repeat":
        // The last events once more, in the wrong order.
        for (const event of this.#events()
          .filter(({ version }) => version <= this.#told)
          .slice(-next.count)
          .reverse())
          if (this.#core.isWatching) this.#take(this.#core.event(event));
        return;
      case "page":
        for (let count = 0; count < next.count; count++) this.#step();
        return;
      case "compact":
        this.#cluster.compact();
        return;
      case "relist":
        return this.#core.relist();
      case "bookmark":
        if (this.#core.isWatching && this.#told >= this.#cluster.version)
          this.#core.event({ type: "BOOKMARK", object: { metadata: { resourceVersion: String(this.#told) } } });
        return;
      case "garble":
        if (this.#core.isWatching) this.#core.event(undefined);
        return;
      case "write":
        // The server's answer to a write of ours, however late.
        if (this.#lastAnswer !== undefined) this.#take(this.#core.written(this.#lastAnswer));
        return;
      case "end":
        return this.#core.watchEnded(undefined, 2_000);
      case "cut":
        return this.#fail(unreachable());
      case "refuse":
        return this.#fail(error({ code: "kube.status", status: 503 }));
      case "expire":
        return this.#fail(error({ code: "kube.gone", status: 410 }));
      case "absent":
        // A server that is only starting knows nothing yet.
        if (this.#core.next().do === "list") this.#fail(error({ code: "kube.not-found", status: 404 }));
    }
  }

  /** Nothing goes wrong any more, for long enough. */
  settle(): void {
    for (let round = 0; round < 200; round++) {
      this.#step();
      this.#deliver();
    }
  }

  mirror(): Record<string, string> {
    return Object.fromEntries([...this.#mirror].sort());
  }

  truth(): Record<string, string> {
    const entries = this.#cluster
      .all(pods)
      .map((object): [string, string] => [keyOf(identityOf(object)!), mark(object)]);
    return Object.fromEntries(entries.sort());
  }

  /** Does what the reflector asks for, as far as one answer goes. */
  #step(): void {
    const step = this.#core.next();
    if (step.do === "wait") return this.#core.waited();
    if (step.do === "watch") {
      const from = Number(step.resourceVersion);
      if (from < this.#cluster.compacted) this.#core.watchEnded(error({ code: "kube.gone", status: 410 }), 0);
      else this.#told = from;
      return;
    }
    if (step.continue === undefined)
      this.#pages = { rest: structuredClone(this.#cluster.all(pods)), version: this.#cluster.version };
    const pages = this.#pages!;
    const limit = step.limit === 0 ? Infinity : step.limit;
    const items = pages.rest.slice(0, limit);
    pages.rest = pages.rest.slice(limit);
    const metadata = { resourceVersion: String(pages.version), ...(pages.rest.length > 0 ? { continue: "more" } : {}) };
    this.#take(this.#core.page({ metadata, items }));
    this.#told = pages.version;
  }

  #deliver(): void {
    const step = this.#core.next();
    if (step.do !== "watch") return this.#step();
    if (Number(step.resourceVersion) < this.#cluster.compacted && this.#told < this.#cluster.compacted) return;
    const event = this.#events().find(({ version }) => version > this.#told);
    if (event === undefined) return;
    this.#told = event.version;
    this.#take(this.#core.event(event));
  }

  #events(): readonly FakeEvent[] {
    return this.#cluster.history;
  }

  #fail(failure: KubeError): void {
    const { do: doing } = this.#core.next();
    if (doing === "list") this.#take(this.#core.listFailed(failure));
    else if (doing === "watch") this.#core.watchEnded(failure, 0);
  }

  #take(deltas: readonly RawDelta[]): void {
    for (const delta of deltas) {
      if (delta.op === "put") this.#mirror.set(delta.key, mark(delta.object));
      else assert.ok(this.#mirror.delete(delta.key), `${delta.key} was removed and never put`);
    }
  }
}

function mark(object: RawObject): string {
  const { uid, resourceVersion } = identityOf(object)!;
  return `${uid}@${resourceVersion}`;
}

function newCore(): ReflectorCore {
  return new ReflectorCore(seededRandom(1));
}

/** At version 10, with the pod `/a` of uid 1. */
function watching(): ReflectorCore {
  const core = newCore();
  core.page(list("10", [pod("a", "1", "5")]));
  return core;
}

function list(resourceVersion: string, items: RawObject[]) {
  return { metadata: { resourceVersion }, items };
}

function pod(name: string, uid: string, resourceVersion: string): RawObject {
  return { metadata: { name, uid, resourceVersion } };
}

function summary(deltas: readonly RawDelta[]): string[] {
  return deltas.map((delta) =>
    delta.op === "put" ? `put ${delta.key} ${identityOf(delta.object)?.resourceVersion}` : `removed ${delta.key}`,
  );
}

function unreachable(): KubeError {
  return new KubeError({ code: "kube.unreachable", method: "GET", path: "", server: "", reason: "ECONNREFUSED" });
}

function error(data: {
  code: "kube.status" | "kube.gone" | "kube.not-found";
  status: number;
  retryAfterMs?: number;
}): KubeError {
  return new KubeError({ reason: "", message: "", method: "GET", path: "", ...data } satisfies KubeErrorData);
}
