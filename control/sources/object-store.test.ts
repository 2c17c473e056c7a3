import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { composePatches, ObjectStore, overlayFileName, parseOverlayFileName } from "./object-store.ts";
import type { KubeObject } from "./objects.ts";
import { refKey, refOf, type MergePatch, type ObjectRef } from "./source.ts";

test("after any churn of files and overlays the objects are what a fresh look finds, and the deltas add up to them", () => {
  const file = fc.constantFrom("a.yaml", "b.yaml", "c.yaml");
  const document = fc.record({ name: fc.constantFrom("x", "y"), nodeName: fc.constantFrom("node1", "node2") });
  const step = fc.oneof(
    fc.record({ file, documents: fc.option(fc.array(document, { maxLength: 3 }), { nil: undefined }) }),
    fc.record({
      name: fc.constantFrom("x", "y"),
      writer: fc.constantFrom("lab", "cni"),
      phase: fc.constantFrom("Running", "Failed", undefined),
    }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const store = new ObjectStore();
      const files = new Map<string, string>();
      const overlays = new Map<string, { name: string; writer: string; text: string }>();
      const heard = new Map<string, KubeObject>();
      for (const next of steps) {
        if ("file" in next) {
          const text = next.documents?.map(({ name, nodeName }) => podYaml(name, nodeName)).join("---\n");
          if (text === undefined) files.delete(next.file);
          else files.set(next.file, text);
          store.setFile(next.file, text);
        } else {
          const { name, writer, phase } = next;
          const text = phase && JSON.stringify({ status: { phase } });
          if (text === undefined) overlays.delete(name + writer);
          else overlays.set(name + writer, { name, writer, text });
          store.setOverlay(podRef(name), writer, `${name}.${writer}`, text);
        }
        for (const { op, object } of store.flush()) {
          const key = refKey(refOf(object));
          if (op === "put") heard.set(key, object);
          else assert.ok(heard.delete(key));
        }
      }
      const fresh = new ObjectStore();
      for (const { name, writer, text } of overlays.values()) fresh.setOverlay(podRef(name), writer, "", text);
      for (const [name, text] of files) fresh.setFile(name, text);
      fresh.flush();
      assert.deepEqual(sorted(store.objects()), sorted(fresh.objects()));
      assert.deepEqual(sorted(heard.values()), sorted(fresh.objects()));
      assert.deepEqual(store.problems().length, fresh.problems().length);
    }),
    { numRuns: 300 },
  );
});

test("the last good manifest goes on under new overlays", () => {
  const store = new ObjectStore();
  store.setFile("a.yaml", podYaml("x", "node1"));
  store.flush();
  store.setFile("a.yaml", podYaml("x", "[node1]"));
  store.setOverlay(podRef("x"), "lab", "x.lab", '{"status":{"phase":"Running"}}');
  const [delta] = store.flush();
  assert.ok(delta?.object.kind === "Pod");
  assert.equal(delta.object.spec.nodeName, "node1");
  assert.equal(delta.object.status.phase, "Running");
  assert.deepEqual(delta.object.faults, [{ path: ["spec", "nodeName"], message: "must be a string, not a list" }]);
});

test("merging patches first and applying them is applying one after the other", () => {
  const patch = fc.dictionary(fc.constantFrom("a", "b", "c"), fc.constantFrom("set", null));
  const annotated = (annotations: Record<string, string | null>): MergePatch => ({ metadata: { annotations } });
  const left = (...patches: MergePatch[]): string[] => {
    const store = new ObjectStore();
    store.setFile("a.yaml", podYaml("x", "node1"));
    for (const [index, value] of patches.entries())
      store.setOverlay(podRef("x"), `w${index}`, `w${index}`, JSON.stringify(value));
    store.flush();
    const [pod] = store.objects();
    return Object.keys(pod?.metadata.annotations ?? {}).sort();
  };
  fc.assert(
    fc.property(patch, patch, (first, second) => {
      const composed = composePatches(annotated(first), annotated(second));
      assert.deepEqual(left(composed), left(annotated(first), annotated(second)));
    }),
  );
});

test("an overlay's file name says whose it is, whatever dots the name has", () => {
  const refs: ObjectRef[] = [
    podRef("cart-1"),
    { kind: "Node", namespace: "", name: "node1.example.com" },
    { kind: "Gateway", namespace: "shop", name: "a.lab.json" },
  ];
  for (const ref of refs) {
    assert.deepEqual(parseOverlayFileName(overlayFileName(ref, "lab")), { ref, writer: "lab" });
  }
  for (const name of ["Pod._.a.lab.json", "Node.shop.a.lab.json", "Pot.shop.a.lab.json", "Pod.shop.a.json", "x.json"])
    assert.equal(parseOverlayFileName(name), undefined, name);
});

function podRef(name: string): ObjectRef {
  return { kind: "Pod", namespace: "shop", name };
}

function podYaml(name: string, nodeName: string): string {
  return `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}, namespace: shop}\nspec: {nodeName: ${nodeName}}\n`;
}

function sorted(objects: Iterable<KubeObject>): KubeObject[] {
  return [...objects].sort((a, b) => (refKey(refOf(a)) < refKey(refOf(b)) ? -1 : 1));
}
