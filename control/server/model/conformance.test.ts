import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import fc from "fast-check";
import { silentLog } from "../../../core/base/log.ts";
import { decode, everything, put } from "../../../test/support/model-reading.ts";
import { FakeApiServer } from "../../../test/support/fake-api-server.ts";
import { until } from "../../../test/support/until.ts";
import { DirectorySource } from "../../sources/directory.ts";
import { KubernetesClient } from "../../sources/kubernetes/client.ts";
import { KubernetesSource } from "../../sources/kubernetes/source.ts";
import { parseObject } from "../../sources/object-parsers.ts";
import type { KubeObject } from "../../sources/objects.ts";
import { refKey, type Source } from "../../sources/source.ts";
import { sourceKinds } from "../source-kinds.ts";
import { Model } from "./model.ts";

const vectors = new URL("../../../test/vectors/scenario-a/", import.meta.url);
const recorded = readRecorded();

/** Where we mean something else than what was recorded, and why. */
const differences: Record<string, { field: string; ours: unknown; because: string }> = {
  "Kubernetes/networking.istio.io/ServiceEntry/shop/dns-entry/db.example.com": unselected(),
  "Kubernetes/networking.istio.io/ServiceEntry/shop/static-entry/203.0.113.1": unselected(),
  "Kubernetes/networking.istio.io/ServiceEntry/shop/static-entry/203.0.113.2": unselected(),
};

/** The ways objects come to the model. Each test below holds for all of them. */
const sources: Record<string, (t: TestContext) => Source | Promise<Source>> = {
  "a folder": (t) => {
    const folder = mkdtempSync(join(tmpdir(), "ambientd-model-"));
    t.after(() => rmSync(folder, { recursive: true }));
    copyFileSync(new URL("state.json", vectors), join(folder, "state.json"));
    return new DirectorySource({ manifests: folder, status: join(folder, "status"), log: silentLog });
  },
  "an API server": async (t) => {
    const api = new FakeApiServer();
    for (const item of recorded.items) if (api.knows(item)) api.put(item);
    await api.start();
    t.after(() => api.stop());
    return openCluster(api);
  },
  "an API server that learns of every object later, last things first": async (t) => {
    const api = new FakeApiServer();
    await api.start();
    t.after(() => api.stop());
    const source = openCluster(api);
    await source.synced;
    const items = recorded.items.filter((item) => api.knows(item)).reverse();
    for (const item of items) api.put(item);
    await until("every object to be known", 5_000, () => [...source.list().objects()].length === items.length);
    return source;
  },
};

for (const [name, open] of Object.entries(sources)) {
  test(`read from ${name}, the recorded cluster yields every recorded workload, service and policy with the same meaning`, async (t) => {
    const { model } = await derive(t, open);
    for (const { typeUrl, name, bytes } of recorded.resources) {
      const resource = model.resources(typeUrl).get(name);
      assert.ok(resource, `${name} is missing`);
      const expected = decode({ typeUrl, bytes });
      const difference = differences[name];
      if (difference !== undefined) {
        assert.notDeepEqual(expected[difference.field], difference.ours, `${name}: no difference to explain any more`);
        expected[difference.field] = difference.ours;
      }
      assert.deepEqual(decode(resource), expected, name);
    }
    const names = everything(model).map((resource) => resource.name);
    assert.deepEqual(names.sort(), recorded.resources.map((resource) => resource.name).sort());
  });

  test(`read from ${name}, the recorded cluster is told what its policies lost and which waypoints are bound`, async (t) => {
    const { statuses } = await derive(t, open);
    const said = statuses.flatMap(({ ref, conditions }) =>
      conditions.map(({ type, status, reason }) => `${refKey(ref)} ${type}=${status} ${reason}`),
    );
    assert.deepEqual(said.sort(), [
      "AuthorizationPolicy/istio-system/mesh-wide ZtunnelAccepted=True Accepted",
      "AuthorizationPolicy/shop/allow-productpage ZtunnelAccepted=True Accepted",
      "AuthorizationPolicy/shop/deny-legacy ZtunnelAccepted=True Accepted",
      "AuthorizationPolicy/shop/l7-allow ZtunnelAccepted=True UnsupportedValue",
      "AuthorizationPolicy/shop/l7-deny ZtunnelAccepted=True UnsupportedValue",
      "AuthorizationPolicy/vault/allow-nothing ZtunnelAccepted=True Accepted",
      "AuthorizationPolicy/vault/dry ZtunnelAccepted=False UnsupportedValue",
      "Service/shop/checkout istio.io/WaypointBound=True WaypointAccepted",
      "Service/shop/reviews istio.io/WaypointBound=True WaypointAccepted",
      "Service/vault/db istio.io/WaypointBound=True WaypointAccepted",
    ]);
  });

  test(`read from ${name}, the recorded cluster has the bytes it has when its objects are parsed one by one`, async (t) => {
    const { model, source } = await derive(t, open);
    const parsed = new Model();
    parsed.apply(recorded.objects.map(put));
    assert.deepEqual(everything(model), everything(parsed));
    const notes = source.problems().filter(({ code }) => code === "source.unknown-kind");
    const kinds = notes.map(({ message }) => message.split(" ")[4]);
    if (name === "a folder")
      assert.deepEqual(kinds, ["DestinationRule", "HTTPRoute", "RequestAuthentication", "VirtualService"]);
    else assert.deepEqual(source.problems(), []);
  });
}

test("bytes do not depend on the order in which objects were learnt", () => {
  const straight = new Model();
  straight.apply(recorded.objects.map(put));
  fc.assert(
    fc.property(fc.shuffledSubarray([...recorded.objects], { minLength: recorded.objects.length }), (objects) => {
      const model = new Model();
      for (const object of objects) model.apply([put(object)]);
      assert.deepEqual(everything(model), everything(straight));
    }),
    { numRuns: 10 },
  );
});

async function derive(t: TestContext, open: (t: TestContext) => Source | Promise<Source>) {
  const source = await open(t);
  t.after(() => source.close());
  await source.synced;
  const model = new Model();
  const { statuses } = model.apply([...source.list().objects()].map(put));
  return { source, model, statuses };
}

function openCluster(api: FakeApiServer): KubernetesSource {
  const client = new KubernetesClient({ connection: api.connection(), log: silentLog, userAgent: "test" });
  return new KubernetesSource({ client, kinds: sourceKinds, log: silentLog });
}

function readRecorded(): {
  items: object[];
  objects: KubeObject[];
  resources: { typeUrl: string; name: string; bytes: Uint8Array }[];
} {
  const read = (file: string): unknown => JSON.parse(readFileSync(new URL(file, vectors), "utf8"));
  const { items } = read("state.json") as { items: object[] };
  const types = read("wds.json") as Record<string, { resources: { name: string; base64: string }[] }>;
  return {
    items,
    objects: items.flatMap((item) => {
      const parsed = parseObject(item);
      return parsed.result === "object" ? parsed.object : [];
    }),
    resources: Object.entries(types).flatMap(([typeUrl, { resources }]) =>
      resources.map(({ name, base64 }) => ({ typeUrl, name, bytes: Buffer.from(base64, "base64") })),
    ),
  };
}

function unselected(): { field: string; ours: unknown; because: string } {
  return {
    field: "authorizationPolicies",
    ours: [],
    because: "a selector must not select an endpoint that does not have its labels",
  };
}
