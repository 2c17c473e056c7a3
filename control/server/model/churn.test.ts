import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { arbitraryStep } from "../../../test/support/mesh-churn.ts";
import { everything, put, sortByName } from "../../../test/support/model-reading.ts";
import type { KubeObject } from "../../sources/objects.ts";
import { refKey, refOf, type ObjectDelta } from "../../sources/source.ts";
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
