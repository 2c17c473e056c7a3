import assert from "node:assert/strict";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { silentLog } from "../../../core/base/log.ts";
import { FakeApiServer } from "../../../test/support/fake-api-server.ts";
import { arbitraryDocument, arbitraryStep, parsed } from "../../../test/support/mesh-churn.ts";
import { everything, put, sortByName } from "../../../test/support/model-reading.ts";
import { until } from "../../../test/support/until.ts";
import { KubernetesClient } from "../../sources/kubernetes/client.ts";
import { KubernetesSource } from "../../sources/kubernetes/source.ts";
import type { KubeObject } from "../../sources/objects.ts";
import { refKey, refOf, type ObjectDelta } from "../../sources/source.ts";
import { sourceKinds } from "../source-kinds.ts";
import { Model, type ModelChange } from "./model.ts";
import type { Resource } from "./resources.ts";

test("after any churn the model is what it would be built from scratch, and its changes add up to it", () => {
  fc.assert(
    fc.property(fc.array(fc.array(arbitraryStep(), { minLength: 1, maxLength: 4 }), { maxLength: 40 }), (batches) => {
      const model = new Model();
      const objects = new Map<string, KubeObject>();
      const heard = new Listener();
      for (const batch of batches) {
        const deltas = batch.flatMap((step): ObjectDelta[] => {
          const key = refKey(refOf(step.object));
          const before = objects.get(key);
          if (step.op === "put") {
            objects.set(key, step.object);
            return [step];
          }
          objects.delete(key);
          return before === undefined ? [] : [{ op: "removed", object: before }];
        });
        for (const { op, object } of deltas) if (op === "removed") heard.conditions.delete(refKey(refOf(object)));
        heard.hear(model.apply(deltas));
      }
      const scratch = new Model();
      const fresh = new Listener();
      fresh.hear(scratch.apply([...objects.values()].map(put)));
      assert.deepEqual(everything(model), everything(scratch));
      assert.deepEqual(heard.sorted(), everything(model));
      assert.deepEqual(heard.spoken(), fresh.spoken());
    }),
    { numRuns: 400 },
  );
});

test("after any churn behind an API server that comes and goes, the model is what it would be built from scratch", async (t) => {
  const api = new FakeApiServer();
  await api.start();
  t.after(() => api.stop());
  const client = new KubernetesClient({ connection: api.connection(), log: silentLog, userAgent: "test" });
  const source = new KubernetesSource({ client, kinds: sourceKinds, log: silentLog });
  t.after(() => source.close());
  await source.synced;
  const model = new Model();
  model.apply([...source.list().objects()].map(put));
  source.subscribe((deltas) => void model.apply(deltas));

  const documents = fc.sample(fc.tuple(fc.boolean(), fc.boolean(), arbitraryDocument()), { numRuns: 600, seed: 7 });
  const uids = new Set<string>();
  for (const [round, batch] of [documents.slice(0, 200), documents.slice(200, 400), documents.slice(400)].entries()) {
    if (round === 1) await api.stop();
    for (const [isPut, isRecreated, document] of batch) {
      const { kind, metadata } = document;
      const { namespace = "", name } = metadata;
      if (!isPut || isRecreated) api.remove(kind, namespace, name);
      if (!isPut) continue;
      // No uid ever comes back.
      const standing = api.find(kind, namespace, name)?.metadata.uid;
      const uid = standing ?? (uids.has(metadata.uid) ? `${metadata.uid}-${uids.size}` : metadata.uid);
      uids.add(uid);
      api.put({ ...document, metadata: { ...metadata, uid } });
    }
    if (round === 1) await api.start();
    const objects = api.all(sourceKinds.map((one) => one.kind)).map(parsed);
    await until("the source to know what the server knows", 10_000, () =>
      isDeepStrictEqual(describeAll([...source.list().objects()]), describeAll(objects)),
    );
    const scratch = new Model();
    scratch.apply(objects.map(put));
    assert.deepEqual(everything(model), everything(scratch));
    assert.ok(everything(model).length > 5);
  }
});

function describeAll(objects: readonly KubeObject[]): string[] {
  return objects.map((object) => `${refKey(refOf(object))} ${JSON.stringify(object)}`).sort();
}

class Listener {
  readonly #resources = new Map<string, Resource>();
  readonly conditions = new Map<string, string>();

  hear(change: ModelChange): void {
    for (const [typeUrl, { changed, removed }] of change.resources) {
      for (const name of removed) assert.ok(this.#resources.delete(`${typeUrl} ${name}`), `${name} was not there`);
      for (const resource of changed) {
        const key = `${typeUrl} ${resource.name}`;
        assert.notEqual(this.#resources.get(key)?.version, resource.version, `${resource.name} did not change`);
        this.#resources.set(key, resource);
      }
    }
    for (const { ref, conditions } of change.statuses) this.conditions.set(refKey(ref), JSON.stringify(conditions));
  }

  sorted(): Resource[] {
    return sortByName([...this.#resources.values()]);
  }

  /** Silence and an empty list say the same. */
  spoken(): string[] {
    return [...this.conditions]
      .filter(([, text]) => text !== "[]")
      .map((pair) => pair.join(" "))
      .sort();
  }
}
