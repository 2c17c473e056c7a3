import assert from "node:assert/strict";
import { test } from "node:test";
import { undeclared } from "./lab-label.ts";

const manifests = [
  {
    file: "shop.yaml",
    text: "kind: Namespace\nmetadata: {name: shop}\n---\nkind: Pod\nmetadata: {name: cart, namespace: shop}\n",
  },
];

test("a namespace that isn't declared is answered with those that are, not with a flag that doesn't apply", () => {
  const failure = undeclared(manifests, { kind: "namespace", name: "nope", key: "a" });
  assert.equal(failure.render(), "The lab's manifests declare no namespace nope.\n  They declare shop.\n");
});

test("an object of another namespace is answered with the flag that finds it", () => {
  const failure = undeclared(manifests, { kind: "pod", namespace: "default", name: "cart", key: "a" });
  assert.equal(
    failure.render(),
    "The lab's manifests declare no pod cart in namespace default.\n  There is one in shop: say -n shop.\n",
  );
});

test("where nothing has that name, what there is of the kind is named", () => {
  const missing = { kind: "pod", namespace: "shop", name: "nope", key: "a" };
  assert.match(undeclared(manifests, missing).nextStep, /They declare shop\/cart\./);
  assert.match(undeclared(manifests, { ...missing, kind: "service" }).nextStep, /none at all/);
});
