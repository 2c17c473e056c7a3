import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { silentLog } from "../../../core/base/log.ts";
import { decode, everything, put } from "../../../test/support/model-reading.ts";
import { DirectorySource } from "../../sources/directory.ts";
import { parseObject } from "../../sources/object-parsers.ts";
import type { KubeObject } from "../../sources/objects.ts";
import { refKey } from "../../sources/source.ts";
import { Model } from "./model.ts";

const vectors = new URL("../../../test/vectors/scenario-a/", import.meta.url);
const recorded = readRecorded();

/** Where we mean something else than what was recorded, and why. */
const differences: Record<string, { field: string; ours: unknown; because: string }> = {
  "Kubernetes/networking.istio.io/ServiceEntry/shop/dns-entry/db.example.com": unselected(),
  "Kubernetes/networking.istio.io/ServiceEntry/shop/static-entry/203.0.113.1": unselected(),
  "Kubernetes/networking.istio.io/ServiceEntry/shop/static-entry/203.0.113.2": unselected(),
};

test("the recorded cluster yields every recorded workload, service and policy with the same meaning", () => {
  const model = new Model();
  model.apply(recorded.objects.map(put));
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
  const expectedNames = recorded.resources.map(({ name }) => name).sort();
  assert.deepEqual(
    everything(model)
      .map(({ name }) => name)
      .sort(),
    expectedNames,
  );
});

test("the recorded cluster is the same when it is read from a folder", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "ambientd-model-"));
  t.after(() => rmSync(folder, { recursive: true }));
  copyFileSync(new URL("state.json", vectors), join(folder, "state.json"));
  const source = new DirectorySource({ manifests: folder, status: join(folder, "status"), log: silentLog });
  t.after(() => source.close());
  await source.synced;
  const [fromFolder, parsed] = [new Model(), new Model()];
  fromFolder.apply([...source.list().objects()].map(put));
  parsed.apply(recorded.objects.map(put));
  assert.deepEqual(everything(fromFolder), everything(parsed));
  assert.deepEqual(
    source.problems().map(({ level, message }) => `${level} ${message.split(" ")[4]}`),
    ["note DestinationRule", "note HTTPRoute", "note RequestAuthentication", "note VirtualService"],
  );
});

test("the recorded cluster's statuses say what its policies lost and which waypoints are bound", () => {
  const { statuses } = new Model().apply(recorded.objects.map(put));
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

function readRecorded(): { objects: KubeObject[]; resources: { typeUrl: string; name: string; bytes: Uint8Array }[] } {
  const read = (file: string): unknown => JSON.parse(readFileSync(new URL(file, vectors), "utf8"));
  const { items } = read("state.json") as { items: unknown[] };
  const types = read("wds.json") as Record<string, { resources: { name: string; base64: string }[] }>;
  return {
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
