import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { ApiDaemonSet } from "../clients/api-objects.ts";
import { shippedChart } from "../clients/helm.ts";
import { chartKinds } from "../clients/preflight-facts.ts";
import type { Check } from "../render/checks.ts";
import { node } from "../test-support/demo-cluster.ts";
import { oldestMinor, preflight, type PreflightFacts } from "./preflight.ts";

const good: PreflightFacts = {
  kubernetes: "v1.36.3",
  namespace: "ambient-system",
  namespaceObject: undefined,
  permissions: [{ verb: "create", resource: "daemonsets.apps", namespace: "ambient-system", allowed: true }],
  nodes: [node("node1")],
  daemonSets: [],
};

test("a cluster where nothing is in the way passes", () => {
  assert.deepEqual([...new Set(preflight(good).map(({ outcome }) => outcome))], ["ok"]);
});

test("everything that is in the way is said at once, each with its fix", () => {
  const failures = preflight({
    ...good,
    kubernetes: "v1.29.9",
    permissions: good.permissions.map((permission) => ({ ...permission, allowed: false })),
    nodes: [node("win", "windows")],
    daemonSets: [
      daemonSet("istio-system", "istio-cni-node", { "k8s-app": "istio-cni-node" }),
      daemonSet("istio-system", "ztunnel", { app: "ztunnel" }),
      daemonSet("elsewhere", "ambientd-cni", {}),
    ],
    namespaceObject: {
      metadata: { name: "ambient-system", labels: { "pod-security.kubernetes.io/enforce": "restricted" } },
    },
  });
  assert.deepEqual(
    failures.map(({ name, outcome }) => `${name} ${outcome}`),
    ["kubernetes-version", "permissions", "nodes", "istio-cni", "ztunnel", "other-ambientd", "pod-security"].map(
      (name) => `${name} failed`,
    ),
  );
  for (const { name, nextStep = "" } of failures) assert.notEqual(nextStep, "", name);
  assert.match(found(failures, "permissions"), /you may not create daemonsets\.apps in ambient-system/);
});

test("a node that can't take part is named, and keeps nobody from installing", () => {
  const checks = preflight({ ...good, nodes: [node("node1"), node("win", "windows"), node("old", "linux", "arm")] });
  assert.match(found(checks, "nodes"), /^warning.*win \(windows\/amd64\), old \(linux\/arm\)/);
});

test("what may not be looked at is said, not guessed", () => {
  const checks = preflight({ ...good, nodes: undefined, daemonSets: undefined });
  assert.match(found(checks, "nodes"), /^skipped/);
  assert.match(found(checks, "other-mesh"), /^skipped/);
});

test("an upgrade in place is no other ambientd", () => {
  const checks = preflight({ ...good, daemonSets: [daemonSet("ambient-system", "ambientd-cni", {})] });
  assert.match(found(checks, "other-mesh"), /^ok/);
});

test("the chart refuses the same Kubernetes, and makes nothing that isn't asked for", () => {
  const files = readdirSync(join(shippedChart, "templates"), { recursive: true, encoding: "utf8" });
  const texts = files
    .filter((file) => file.endsWith(".yaml"))
    .map((file) => readFileSync(join(shippedChart, "templates", file), "utf8"));
  assert.ok(texts.some((text) => text.includes(`semverCompare "<1.${oldestMinor}.0-0"`)));
  // Hooks run under their own account, and these two only where a value asks for them.
  const unasked = ["Job", "NetworkPolicy", "ResourceQuota"];
  const kinds = new Set(texts.flatMap((text) => [...text.matchAll(/^kind: (\w+)$/gm)].map(([, kind = ""]) => kind)));
  assert.deepEqual(
    [...kinds].filter((kind) => ![...chartKinds, ...unasked].includes(kind)),
    [],
  );
});

function daemonSet(namespace: string, name: string, matchLabels: Record<string, string>): ApiDaemonSet {
  return { metadata: { namespace, name }, spec: { selector: { matchLabels } } };
}

function found(checks: readonly Check[], name: string): string {
  return checks
    .filter((check) => check.name === name)
    .map(({ outcome, finding }) => `${outcome}: ${finding}`)
    .join();
}
