/** What every source of objects must do, shown of each: a folder of manifests, and a cluster behind a scripted API server. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import fc from "fast-check";
import { silentLog } from "../../core/base/log.ts";
import { until } from "../../test/support/until.ts";
import { statusPatch } from "./conditions.ts";
import { DirectorySource } from "./directory.ts";
import { KubernetesClient } from "./kubernetes/client.ts";
import { collectionPath } from "./kubernetes/paths.ts";
import { KubernetesSource } from "./kubernetes/source.ts";
import { FakeApiServer } from "./kubernetes/test-support/fake-api-server.ts";
import type { Kind } from "./objects.ts";
import { refKey, refOf, type ObjectDelta, type ObjectRef, type Source } from "./source.ts";

type Manifest = {
  kind: Kind;
  metadata: { name: string; namespace?: string; [field: string]: unknown };
  [field: string]: unknown;
};

/** A world that a source looks at. */
interface World {
  /** Before or after it is opened. */
  put(object: Manifest): void;
  remove(ref: ObjectRef): void;
  open(): Promise<Source>;
}

const kinds: readonly Kind[] = ["Namespace", "Pod", "Service", "AuthorizationPolicy", "PeerAuthentication"];
const worlds: Record<string, (t: TestContext) => Promise<World>> = {
  "a folder": folderWorld,
  "a cluster": clusterWorld,
};

for (const [place, build] of Object.entries(worlds)) {
  test(`${place}: what is there at the start is listed in order, and other kinds are not in the way`, async (t) => {
    const world = await build(t);
    for (const name of ["web", "cart"]) world.put(pod(name));
    world.put({ ...pod("api"), metadata: { name: "api", namespace: "bank" } });
    world.put({ kind: "Namespace", metadata: { name: "shop" } });
    const source = await world.open();
    const pods = source.list().all("Pod");
    assert.deepEqual(pods.map(place_), ["bank/api", "shop/cart", "shop/web"]);
    assert.equal(source.list().get("Namespace", "", "shop")?.metadata.name, "shop");
    assert.equal(source.list().get("Pod", "shop", "none"), undefined);
    assert.equal([...source.list().objects()].length, 4);
    assert.deepEqual(source.problems(), []);
  });

  test(`${place}: changes add up to the list, and a snapshot stays as it was`, async (t) => {
    const world = await build(t);
    world.put(pod("cart"));
    const source = await world.open();
    const before = source.list();
    const fold = folding(source);
    world.put(pod("web"));
    await until("the new pod is listed", 5_000, () => source.list().get("Pod", "shop", "web"));
    world.remove(ref("Pod", "cart"));
    await until("the old pod is gone", 5_000, () => source.list().get("Pod", "shop", "cart") === undefined);
    world.put(pod("web", { labels: { app: "web" } }));
    await until("the label is there", 5_000, () => source.list().get("Pod", "shop", "web")?.metadata.labels["app"]);
    assert.deepEqual(before.all("Pod").map(place_), ["shop/cart"]);
    assert.deepEqual(fold(), contents(source));
  });

  test(`${place}: whoever is told looks at a list that holds it already`, async (t) => {
    const world = await build(t);
    const source = await world.open();
    const seen: unknown[] = [];
    source.subscribe((deltas) => {
      for (const { object } of deltas) seen.push(source.list().get("Pod", "shop", object.metadata.name) === object);
    });
    world.put(pod("cart"));
    await until("somebody was told", 5_000, () => seen.length > 0);
    assert.deepEqual(seen, [true]);
  });

  test(`${place}: who has left is told nothing more`, async (t) => {
    const world = await build(t);
    const source = await world.open();
    let told = 0;
    const leave = source.subscribe(() => told++);
    leave();
    world.put(pod("cart"));
    await until("the pod is listed", 5_000, () => source.list().get("Pod", "shop", "cart"));
    assert.equal(told, 0);
  });

  test(`${place}: an update that cannot be understood leaves the last good one in force, says so, and hinders nobody`, async (t) => {
    const world = await build(t);
    world.put(policy("DENY", goodRules));
    const source = await world.open();
    const good = source.list().get("AuthorizationPolicy", "shop", "gate");
    world.put({
      ...policy("DENY", badRules),
      metadata: { name: "gate", namespace: "shop", labels: { edited: "yes" } },
    });
    world.put(pod("cart"));
    await until("the problem is listed", 5_000, () => source.problems().length > 0);
    const now = await until("the pod and the fault are seen", 5_000, () => {
      const found = source.list().get("AuthorizationPolicy", "shop", "gate");
      return source.list().get("Pod", "shop", "cart") !== undefined && found?.faults.length === 1 ? found : undefined;
    });
    assert.deepEqual(now.spec, good?.spec);
    const [problem] = source.problems();
    assert.deepEqual(problem?.ref, ref("AuthorizationPolicy", "gate"));
    assert.equal(problem?.field, "spec.rules[0].form");
    assert.match(problem?.message ?? "", /is not a field here.*; the last good version stays in force/);

    world.put(policy("DENY", []));
    await until("the fault is gone", 5_000, () => source.problems().length === 0);
    await until("the new rules are in force", 5_000, () => {
      const rules = source.list().get("AuthorizationPolicy", "shop", "gate")?.spec.rules;
      return rules !== "unusable" && rules?.length === 0;
    });
  });

  test(`${place}: a policy that never was good denies as a DENY, matches nothing as an ALLOW, and demands mutual TLS`, async (t) => {
    const world = await build(t);
    world.put({ ...policy("DENY", badRules), metadata: { name: "deny", namespace: "shop" } });
    world.put({ ...policy("ALLOW", badRules), metadata: { name: "allow", namespace: "shop" } });
    world.put({
      kind: "PeerAuthentication",
      metadata: { name: "peer", namespace: "shop" },
      spec: { mtls: { mode: "STRICTT" } },
    });
    const source = await world.open();
    const spec = (name: string) => source.list().get("AuthorizationPolicy", "shop", name)?.spec;
    assert.deepEqual([spec("deny")?.action, spec("deny")?.rules], ["DENY", "unusable"]);
    assert.deepEqual([spec("allow")?.action, spec("allow")?.rules], ["ALLOW", "unusable"]);
    assert.equal(source.list().get("PeerAuthentication", "shop", "peer")?.spec.mode, "STRICT");
    assert.equal(source.problems().length, 3);
  });

  test(`${place}: a bad object that was deleted leaves no problem and no heir`, async (t) => {
    const world = await build(t);
    world.put(policy("ALLOW", goodRules));
    const source = await world.open();
    world.remove(ref("AuthorizationPolicy", "gate"));
    await until("it is gone", 5_000, () => source.list().get("AuthorizationPolicy", "shop", "gate") === undefined);
    world.put(policy("ALLOW", badRules));
    await until("the namesake is there", 5_000, () => source.list().get("AuthorizationPolicy", "shop", "gate"));
    assert.equal(source.list().get("AuthorizationPolicy", "shop", "gate")?.spec.rules, "unusable");
    world.remove(ref("AuthorizationPolicy", "gate"));
    await until("the problem is gone", 5_000, () => source.problems().length === 0);
  });

  test(`${place}: an update that changes nothing we look at is no news`, async (t) => {
    const world = await build(t);
    world.put(pod("cart"));
    const source = await world.open();
    const told: string[] = [];
    source.subscribe((deltas) => told.push(...deltas.map(({ op, object }) => `${op} ${object.metadata.name}`)));
    world.put({ ...pod("cart"), spec: { nodeName: "node1", priority: 7 } });
    world.put(pod("web"));
    await until("the later one is told", 5_000, () => told.includes("put web"));
    assert.deepEqual(told, ["put web"]);
  });

  test(`${place}: an annotation that is written shows on the pod, once, and can be taken away`, async (t) => {
    const world = await build(t);
    world.put(pod("cart", { annotations: { theirs: "stays" } }));
    const source = await world.open();
    const fold = folding(source);
    const annotate = (value: string | null) =>
      source.writeStatus(ref("Pod", "cart"), "cni", { metadata: { annotations: { "ambient/redirection": value } } });
    assert.equal(await annotate("enabled"), undefined);
    const annotations = () => source.list().get("Pod", "shop", "cart")?.metadata.annotations;
    assert.deepEqual(annotations(), { theirs: "stays", "ambient/redirection": "enabled" }, "at once");
    let told = 0;
    source.subscribe(() => told++);
    assert.equal(await annotate("enabled"), undefined);
    assert.equal(told, 0);
    assert.equal(await annotate(null), undefined);
    assert.deepEqual(annotations(), { theirs: "stays" });
    assert.equal(await annotate("enabled"), undefined);
    assert.equal(await source.writeStatus(ref("Pod", "cart"), "cni", null), undefined);
    assert.deepEqual(annotations(), { theirs: "stays" }, "null takes all of it back");
    assert.deepEqual(fold(), contents(source));
  });

  test(`${place}: conditions are written beside those of others, once, and taken back`, async (t) => {
    const world = await build(t);
    const theirs = {
      type: "Theirs",
      status: "True",
      reason: "Other",
      message: "m",
      lastTransitionTime: "2030-01-01T00:00:00Z",
    };
    world.put({ ...policy("ALLOW", goodRules), status: { conditions: [theirs] } });
    const source = await world.open();
    const conditions = () => source.list().get("AuthorizationPolicy", "shop", "gate")?.status.conditions ?? [];
    const say = async (status: string | undefined) => {
      const own = { type: "ZtunnelAccepted", status: status ?? "", reason: "Accepted", message: "attached" };
      const [gate, owned] = [ref("AuthorizationPolicy", "gate"), [own.type]];
      const row = { ref: gate, owned, conditions: status === undefined ? [] : [own] };
      const patch = statusPatch(row, conditions(), new Date().toISOString());
      if (patch !== undefined) assert.equal(await source.writeStatus(gate, "control", patch, owned), undefined);
    };
    await say("True");
    assert.deepEqual(
      conditions()
        .map(({ type, status }) => `${type}=${status}`)
        .sort(),
      ["Theirs=True", "ZtunnelAccepted=True"],
    );
    const since = conditions().find(({ type }) => type === "ZtunnelAccepted")?.lastTransitionTime;
    let told = 0;
    source.subscribe(() => told++);
    await say("True");
    assert.equal(told, 0);
    await say("False");
    assert.equal(conditions().find(({ type }) => type === "ZtunnelAccepted")?.status, "False");
    assert.ok(since !== undefined);
    await say(undefined);
    assert.deepEqual(conditions(), [theirs]);
  });

  test(`${place}: what was said of an object does not pass to its namesake`, async (t) => {
    const world = await build(t);
    world.put(pod("cart"));
    const source = await world.open();
    const patch = { metadata: { annotations: { said: "yes" } } };
    assert.equal(await source.writeStatus(ref("Pod", "cart"), "cni", patch), undefined);
    world.remove(ref("Pod", "cart"));
    await until("it is gone", 5_000, () => source.list().get("Pod", "shop", "cart") === undefined);
    assert.equal(await source.writeStatus(ref("Pod", "cart"), "cni", null), undefined);
    world.put(pod("cart"));
    const heir = await until("the namesake is there", 5_000, () => source.list().get("Pod", "shop", "cart"));
    assert.deepEqual(heir.metadata.annotations, {});
  });

  test(`${place}: a subscriber that writes a status is told of it after everybody heard of the first change`, async (t) => {
    const world = await build(t);
    const source = await world.open();
    const heard: string[] = [];
    source.subscribe((deltas) => {
      for (const { object } of deltas) {
        if (object.metadata.annotations["said"] !== undefined) continue;
        void source.writeStatus(refOf(object), "cni", { metadata: { annotations: { said: "yes" } } });
      }
    });
    source.subscribe((deltas) =>
      heard.push(...deltas.map(({ object }) => object.metadata.annotations["said"] ?? "no")),
    );
    world.put(pod("cart"));
    await until("both are told", 5_000, () => heard.length === 2);
    assert.deepEqual(heard, ["no", "yes"]);
  });

  test(`${place}: after any churn the deltas add up to the list, and the list to what is there`, async (t) => {
    const change = fc.record({ name: fc.constantFrom("a", "b", "c"), app: fc.constantFrom(undefined, "x", "y") });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 8 }), async (changes) => {
        const world = await build(t);
        world.put(pod("a"));
        const source = await world.open();
        const fold = folding(source);
        const truth = new Map<string, string | undefined>([["shop/a", undefined]]);
        for (const { name, app } of changes) {
          if (app === undefined) world.remove(ref("Pod", name));
          else world.put(pod(name, { labels: { app } }));
          if (app === undefined) truth.delete(`shop/${name}`);
          else truth.set(`shop/${name}`, app);
        }
        const wanted = JSON.stringify([...truth].sort());
        await until("the list is the truth", 5_000, () => {
          const pods = source.list().all("Pod");
          return JSON.stringify(pods.map((object) => [place_(object), object.metadata.labels["app"]])) === wanted;
        });
        assert.deepEqual(fold(), contents(source));
        source.close();
      }),
      { numRuns: 8 },
    );
  });
}

const goodRules = [{ from: [{ source: { namespaces: ["bank"] } }] }];
const badRules = [{ form: [] }];

function pod(name: string, metadata: Record<string, unknown> = {}): Manifest {
  return { kind: "Pod", metadata: { name, namespace: "shop", ...metadata }, spec: { nodeName: "node1" } };
}

function policy(action: string, rules: unknown): Manifest {
  const spec = { selector: { matchLabels: { app: "cart" } }, action, rules };
  return { kind: "AuthorizationPolicy", metadata: { name: "gate", namespace: "shop" }, spec };
}

function ref(kind: Kind, name: string): ObjectRef {
  return { kind, namespace: "shop", name };
}

function place_({ metadata }: { metadata: { namespace: string; name: string } }): string {
  return `${metadata.namespace}/${metadata.name}`;
}

function contents(source: Source): Record<string, unknown> {
  return Object.fromEntries([...source.list().objects()].map((object) => [refKey(refOf(object)), object]));
}

/** Folds what is told into what should be there. */
function folding(source: Source): () => Record<string, unknown> {
  const objects = new Map<string, unknown>(Object.entries(contents(source)));
  source.subscribe((deltas: readonly ObjectDelta[]) => {
    for (const { op, object } of deltas) {
      if (op === "put") objects.set(refKey(refOf(object)), object);
      else objects.delete(refKey(refOf(object)));
    }
  });
  return () => Object.fromEntries(objects);
}

async function folderWorld(t: TestContext): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), "sources-"));
  const manifests = join(folder, "manifests");
  mkdirSync(manifests);
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const fileOf = ({ kind, namespace, name }: ObjectRef): string => join(manifests, `${kind}.${namespace}.${name}.json`);
  const groups: Partial<Record<Kind, string>> = {
    AuthorizationPolicy: "security.istio.io/v1",
    PeerAuthentication: "security.istio.io/v1",
  };
  return {
    put(object) {
      const { kind, metadata } = object;
      const file = fileOf({ kind, namespace: metadata.namespace ?? "", name: metadata.name });
      writeFileSync(file, JSON.stringify({ apiVersion: groups[kind] ?? "v1", ...object }));
    },
    remove: (object) => rmSync(fileOf(object), { force: true }),
    async open() {
      const status = join(folder, "status");
      const source = new DirectorySource({ manifests, status, log: silentLog, settleMs: 10, rescanMs: 200 });
      t.after(() => source.close());
      await source.synced;
      return source;
    },
  };
}

async function clusterWorld(t: TestContext): Promise<World> {
  const server = await new FakeApiServer().start();
  server.cluster.wholeLists.add(collectionPath("AuthorizationPolicy"));
  t.after(() => server.stop());
  return {
    put: (object) => void server.cluster.put(collectionPath(object.kind), object),
    remove: ({ kind, namespace, name }) => void server.cluster.remove(collectionPath(kind), `${namespace}/${name}`),
    async open() {
      const client = new KubernetesClient({ connection: server.connection(), log: silentLog, userAgent: "test" });
      const source = new KubernetesSource({ client, kinds: kinds.map((kind) => ({ kind })), log: silentLog });
      t.after(() => {
        source.close();
        client.close();
      });
      await source.synced;
      await until("every kind is watched", 5_000, () => server.openWatches >= kinds.length);
      return source;
    },
  };
}
