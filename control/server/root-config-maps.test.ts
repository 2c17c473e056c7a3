import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import { KubeError } from "../sources/kubernetes/errors.ts";
import { parseObject } from "../sources/object-parsers.ts";
import type { ObjectDelta } from "../sources/source.ts";
import { newRoot } from "./ca/authority.ts";
import { MeshAuthority, rootOnly } from "./ca/mesh-authority.ts";
import { RootConfigMaps, type ConfigMap, type ConfigMapClient } from "./root-config-maps.ts";

const now = Date.UTC(2030, 0, 1);

test("every namespace gets the root, but those that hold nobody", async () => {
  const { maps, api, pem } = publishing();
  maps.lead(true);
  maps.apply(["shop", "kube-system", "kube-public", "kube-node-lease", "local-path-storage"].map((name) => add(name)));
  await turns();
  assert.deepEqual([...api.stored.keys()].sort(), ["kube-system", "shop"]);
  assert.deepEqual(api.stored.get("shop"), {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "istio-ca-root-cert", namespace: "shop", labels: { "istio.io/config": "true" } },
    data: { "root-cert.pem": pem },
  });
});

test("what is right already is not written, and what differs is put right", async () => {
  const { maps, api, pem } = publishing();
  const right = configMap("right", { "root-cert.pem": pem });
  const other = { ...configMap("wrong", { "root-cert.pem": "old", mine: "kept" }) };
  const bare = { ...configMap("bare", { "root-cert.pem": pem }), metadata: { name: "istio-ca-root-cert" } };
  for (const [namespace, map] of [
    ["right", right],
    ["wrong", other],
    ["bare", bare],
  ] as const) {
    api.stored.set(namespace, map);
    maps.observe(namespace, map);
  }
  maps.apply(["right", "wrong", "bare"].map((name) => add(name)));
  maps.lead(true);
  await turns();
  assert.deepEqual(api.writes, ["patch wrong", "patch bare"]);
  assert.deepEqual(api.stored.get("wrong")?.data, { "root-cert.pem": pem, mine: "kept" });
  assert.deepEqual(api.stored.get("bare")?.metadata?.labels, { "istio.io/config": "true" });
});

test("one that somebody deletes or changes is put back", async () => {
  const { maps, api, pem } = publishing();
  maps.lead(true);
  maps.apply([add("shop")]);
  await turns();
  maps.observe("shop", configMap("shop", { "root-cert.pem": pem }));
  api.stored.delete("shop");
  maps.observe("shop", undefined);
  await turns();
  api.stored.set("shop", configMap("shop", {}));
  maps.observe("shop", configMap("shop", {}));
  await turns();
  assert.deepEqual(api.writes, ["create shop", "create shop", "patch shop"]);
  assert.equal(api.stored.get("shop")?.data?.["root-cert.pem"], pem);
});

test("a replica that doesn't lead writes nothing, and everything that lacks once it does", async () => {
  const { maps, api } = publishing();
  maps.apply([add("shop"), add("vault")]);
  await turns();
  assert.deepEqual(api.writes, []);
  maps.lead(true);
  await turns();
  assert.deepEqual(api.writes, ["create shop", "create vault"]);
  maps.lead(false);
  maps.apply([add("late")]);
  await turns();
  assert.equal(api.writes.length, 2);
});

test("a namespace that is being deleted is left alone", async () => {
  const { maps, api } = publishing();
  maps.lead(true);
  maps.apply([add("going", { deletionTimestamp: "2030-01-01T00:00:00Z" })]);
  await turns();
  assert.deepEqual(api.writes, []);
});

test("what can't be written is tried again, later and later, and not for a namespace that went", async () => {
  const { maps, api, clock } = publishing();
  maps.lead(true);
  api.failure = new KubeError({ code: "kube.unreachable", server: "x", reason: "down", method: "POST", path: "p" });
  maps.apply([add("shop"), add("gone")]);
  await turns();
  const waits: number[] = [];
  for (let round = 0; round < 5; round++) {
    const next = clock.nextTimerMs() ?? 0;
    waits.push(next);
    clock.advance(next);
    await turns();
  }
  assert.ok(
    waits.every((wait, index) => wait > (waits[index - 1] ?? 100)),
    waits.join(),
  );
  api.failure = undefined;
  maps.apply([{ op: "removed", object: add("gone").object }]);
  clock.advance(60_000);
  await turns();
  assert.deepEqual([...api.stored.keys()], ["shop"]);
  assert.equal(clock.nextTimerMs(), undefined);
});

test("who keeps spoiling it is answered ever more slowly, and never left with the last word", async () => {
  const { maps, api, clock, pem } = publishing();
  maps.lead(true);
  maps.apply([add("shop")]);
  await turns();
  const spoil = async (): Promise<void> => {
    api.stored.set("shop", configMap("shop", {}));
    maps.observe("shop", configMap("shop", {}));
    await turns();
  };
  for (let round = 0; round < 100; round++) await spoil();
  assert.ok(api.writes.length <= 7, `${api.writes.length} writes`);
  const pauses: number[] = [];
  for (let round = 0; round < 8; round++) {
    const pauseMs = clock.nextTimerMs() ?? 0;
    pauses.push(pauseMs);
    clock.advance(pauseMs);
    await turns();
    assert.equal(api.stored.get("shop")?.data?.["root-cert.pem"], pem);
    await spoil();
  }
  assert.ok(
    pauses.every((pause, index) => pause >= (pauses[index - 1] ?? 0)),
    pauses.join(),
  );
  assert.equal(pauses.at(-1), 30_000);
});

test("a new root is published everywhere", async () => {
  const { maps, api, authority } = publishing();
  maps.lead(true);
  maps.apply(Array.from({ length: 30 }, (_, index) => add(`n${index}`)));
  await turns(40);
  const next = newRoot("next", now);
  authority.replace(rootOnly(next));
  await turns(40);
  assert.equal(api.stored.size, 30);
  for (const { data } of api.stored.values()) assert.equal(data?.["root-cert.pem"], next.certificatePem);
  assert.ok(api.most <= 8, "a few at a time");
});

class Api implements ConfigMapClient {
  readonly stored = new Map<string, ConfigMap>();
  readonly writes: string[] = [];
  failure: KubeError | undefined;
  most = 0;
  #running = 0;

  async create<T>(path: string, body: object): Promise<T | KubeError> {
    return this.#write("create", namespaceOf(path), body) as Promise<T | KubeError>;
  }

  async patch<T>(path: string, body: object): Promise<T | KubeError> {
    const before = this.stored.get(namespaceOf(path));
    const patch = body as ConfigMap;
    const labels = { ...before?.metadata?.labels, ...patch.metadata?.labels };
    const merged = { ...before, metadata: { ...before?.metadata, labels }, data: { ...before?.data, ...patch.data } };
    return this.#write("patch", namespaceOf(path), merged) as Promise<T | KubeError>;
  }

  async #write(verb: string, namespace: string, body: ConfigMap): Promise<ConfigMap | KubeError> {
    this.most = Math.max(this.most, ++this.#running);
    await new Promise((resolve) => setImmediate(resolve));
    this.#running -= 1;
    if (this.failure !== undefined) return this.failure;
    this.writes.push(`${verb} ${namespace}`);
    this.stored.set(namespace, body);
    return body;
  }
}

function publishing() {
  const clock = new ManualClock();
  const root = newRoot("cluster.local", now);
  const authority = new MeshAuthority(rootOnly(root));
  const api = new Api();
  const maps = new RootConfigMaps({ client: api, authority, clock, random: () => 0.5, log: silentLog });
  return { maps, api, authority, clock, pem: root.certificatePem };
}

function add(name: string, metadata: object = {}): ObjectDelta {
  const parsed = parseObject({ apiVersion: "v1", kind: "Namespace", metadata: { name, ...metadata } });
  assert.ok(parsed.result === "object");
  return { op: "put", object: parsed.object };
}

function configMap(namespace: string, data: Record<string, string>): ConfigMap {
  const labels = { "istio.io/config": "true" };
  return { metadata: { name: "istio-ca-root-cert", namespace, labels }, data };
}

function namespaceOf(path: string): string {
  return /namespaces\/([^/]+)/.exec(path)?.[1] ?? "";
}

async function turns(count = 6): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}
