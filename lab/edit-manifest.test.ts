import assert from "node:assert/strict";
import { test } from "node:test";
import { parseAllDocuments } from "yaml";
import { changeLabel } from "./edit-manifest.ts";

const text = `# first
apiVersion: v1
kind: Namespace
metadata:
  name: shop # the shop
---
apiVersion: v1
kind: Pod
metadata: { name: a, namespace: shop, labels: { app: a } }
`;
const manifests = [{ file: "x.yaml", text }];

test("a label is set where there was none, and comments and other documents stay", () => {
  const changed = changeLabel(manifests, {
    kind: "namespace",
    name: "shop",
    key: "istio.io/dataplane-mode",
    value: "ambient",
  });
  assert.match(changed!.text, /# the shop/);
  const [namespace, pod] = parseAllDocuments(changed!.text).map((document) => document.toJS() as { metadata: object });
  assert.deepEqual(namespace!.metadata, { name: "shop", labels: { "istio.io/dataplane-mode": "ambient" } });
  assert.deepEqual(pod!.metadata, { name: "a", namespace: "shop", labels: { app: "a" } });
});

test("a label is taken away, and taking it away twice changes nothing more", () => {
  const change = { kind: "Pod", namespace: "shop", name: "a", key: "app" };
  const once = changeLabel(manifests, change)!;
  assert.deepEqual((parseAllDocuments(once.text)[1]!.toJS() as { metadata: object }).metadata, {
    name: "a",
    namespace: "shop",
    labels: {},
  });
  assert.equal(changeLabel([once], change)!.text, once.text);
});

test("an object that nobody declares is not invented", () => {
  assert.equal(changeLabel(manifests, { kind: "Pod", namespace: "other", name: "a", key: "app" }), undefined);
});
