import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseSelectors } from "./selector-text.ts";

test("a list of selectors is read as Kubernetes writes them", () => {
  const yaml = `
- podSelector: {matchLabels: {istio.io/dataplane-mode: ambient}}
- namespaceSelector:
    matchExpressions:
    - {key: env, operator: In, values: [prod, stage]}
    - {key: legacy, operator: DoesNotExist}
`;
  const none = { matchLabels: {}, matchExpressions: [] };
  assert.deepEqual(parseSelectors(yaml), [
    { podSelector: { ...none, matchLabels: { "istio.io/dataplane-mode": "ambient" } }, namespaceSelector: none },
    {
      podSelector: none,
      namespaceSelector: {
        matchLabels: {},
        matchExpressions: [
          { key: "env", operator: "In", values: ["prod", "stage"] },
          { key: "legacy", operator: "DoesNotExist" },
        ],
      },
    },
  ]);
  assert.deepEqual(parseSelectors("[]"), []);
});

test("what is wrong is said with its place; a field that isn't known is wrong, for it would select too much", () => {
  const table: [yaml: string, fault: RegExp][] = [
    ["{}", /^the whole must be a list$/],
    ["- 1", /^\[0\] must be a map$/],
    ["- podSelector: []", /^\[0\]\.podSelector must be a map$/],
    ["- podSelector: {matchLabels: {app: 1}}", /^\[0\]\.podSelector\.matchLabels\.app must be text$/],
    ["- podSelektor: {}", /^\[0\]\.podSelektor is no field/],
    ["- podSelector: {matchLabel: {}}", /matchLabel is no field/],
    ["- podSelector: {matchExpressions: [{key: a, operator: Is}]}", /operator must be In, NotIn/],
    ["- podSelector: {matchExpressions: [{key: a, operator: In}]}", /values must not be empty/],
    ["- podSelector: {matchExpressions: [{key: a, operator: Exists, values: [x]}]}", /values must be empty/],
    ["- {a: [}", /./],
  ];
  for (const [yaml, fault] of table) {
    const result = parseSelectors(yaml);
    assert.ok(typeof result === "string", yaml);
    assert.match(result, fault);
  }
  fc.assert(fc.property(fc.string(), (text) => void parseSelectors(text)));
});
