import assert from "node:assert/strict";
import { test } from "node:test";
import { choose, kubeconfigInForce } from "./target.ts";

test("--lab means the lab, whatever else there is", () => {
  assert.deepEqual(choose({ flags: { lab: "a" }, labs: ["a"], kubeconfig: "$KUBECONFIG" }), { kind: "lab" });
});

test("a flag of kubectl's means the cluster, even while a lab runs", () => {
  for (const flag of ["kubeconfig", "context", "cluster", "user"]) {
    assert.deepEqual(choose({ flags: { [flag]: "x" }, labs: ["a"], kubeconfig: undefined }), { kind: "cluster" });
  }
});

test("a lab that runs is asked, and a sentence says so where a cluster could be meant too", () => {
  assert.deepEqual(choose({ flags: {}, labs: ["a"], kubeconfig: undefined }), { kind: "lab" });
  const chosen = choose({ flags: {}, labs: ["a"], kubeconfig: "$KUBECONFIG" });
  assert.equal(chosen.kind, "lab");
  assert.match(
    "note" in chosen ? (chosen.note ?? "") : "",
    /^Lab a runs here and is asked; --context or --kubeconfig asks a cluster/,
  );
});

test("without a lab the cluster is asked", () => {
  assert.deepEqual(choose({ flags: {}, labs: [], kubeconfig: "~/.kube/config" }), { kind: "cluster" });
});

test("two meshes at once are refused, and so is none", () => {
  const both = choose({ flags: { lab: "a", context: "b" }, labs: ["a"], kubeconfig: undefined });
  assert.deepEqual(both, {
    kind: "neither",
    what: "--lab a and --context mean two different meshes.",
    nextStep: "Leave out --context to ask the lab, or --lab to ask the cluster.",
  });
  const none = choose({ flags: {}, labs: [], kubeconfig: undefined });
  assert.match(none.kind === "neither" ? none.nextStep : "", /npm start.*--kubeconfig FILE/);
});

test("a kubeconfig is looked for where kubectl looks", () => {
  assert.equal(kubeconfigInForce({ KUBECONFIG: "/a:/b", HOME: "/nonexistent" }), "$KUBECONFIG");
  assert.equal(kubeconfigInForce({ KUBECONFIG: "", HOME: "/nonexistent" }), undefined);
  assert.equal(
    kubeconfigInForce({ HOME: "/nonexistent", KUBERNETES_SERVICE_HOST: "10.96.0.1" }),
    "this pod's service account",
  );
});
