import assert from "node:assert/strict";
import { test } from "node:test";
import {
  dataplaneModeLabel,
  defaultSelectionRules,
  matches,
  select,
  sidecarStatusAnnotation,
  type Labels,
  type SelectablePod,
} from "./selectors.ts";

const says = (mode: string | undefined): Labels => (mode === undefined ? {} : { [dataplaneModeLabel]: mode });

function pod(over: Partial<SelectablePod> = {}): SelectablePod {
  return { namespace: "shop", labels: {}, annotations: {}, hostNetwork: false, ...over };
}

test("the truth table of namespace and pod labels", () => {
  const table: [namespace: string | undefined, pod: string | undefined, selected: boolean][] = [
    ["ambient", undefined, true],
    ["ambient", "none", false],
    ["ambient", "ambient", true],
    ["ambient", "maybe", true],
    [undefined, "ambient", true],
    ["none", "ambient", true],
    ["none", undefined, false],
    ["Ambient", undefined, false],
    ["", undefined, false],
    [undefined, undefined, false],
    [undefined, "none", false],
  ];
  for (const [namespace, own, expected] of table) {
    const selection = select(pod({ labels: says(own) }), says(namespace), defaultSelectionRules);
    assert.equal(selection.selected, expected, `namespace ${String(namespace)}, pod ${String(own)}`);
  }
});

test("host network, a sidecar and an excluded namespace are a no to those that ask, each with its reason", () => {
  const labels = says("ambient");
  const cases = [
    [pod({ labels, hostNetwork: true }), "host-network"],
    [pod({ labels, annotations: { [sidecarStatusAnnotation]: "" } }), "sidecar"],
    [pod({ labels, namespace: "kube-system" }), "excluded-namespace"],
    [pod(), "not-selected"],
    [pod({ hostNetwork: true, namespace: "kube-system" }), "not-selected"],
  ] as const;
  for (const [which, reason] of cases)
    assert.deepEqual(select(which, says(which.labels === labels ? "ambient" : undefined), defaultSelectionRules), {
      selected: false,
      reason,
    });
});

test("a pod of a namespace that is not known yet speaks for itself only", () => {
  assert.equal(select(pod(), undefined, defaultSelectionRules).selected, false);
  assert.equal(select(pod({ labels: says("ambient") }), undefined, defaultSelectionRules).selected, true);
});

test("label expressions have Kubernetes' semantics", () => {
  const labels = { app: "web", tier: "" };
  const table = [
    [{ key: "app", operator: "In", values: ["web", "api"] }, true],
    [{ key: "app", operator: "In", values: [] }, false],
    [{ key: "missing", operator: "In", values: [""] }, false],
    [{ key: "app", operator: "NotIn", values: ["web"] }, false],
    [{ key: "missing", operator: "NotIn", values: ["web"] }, true],
    [{ key: "tier", operator: "Exists" }, true],
    [{ key: "missing", operator: "DoesNotExist" }, true],
    [{ key: "constructor", operator: "Exists" }, false],
  ] as const;
  for (const [expression, expected] of table)
    assert.equal(matches({ matchExpressions: [expression] }, labels), expected, JSON.stringify(expression));
  assert.equal(matches({}, labels), true);
  assert.equal(matches({ matchLabels: { app: "web", missing: "x" } }, labels), false);
});
