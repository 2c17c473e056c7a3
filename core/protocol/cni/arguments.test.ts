import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseArguments, type PodArguments } from "./arguments.ts";
import { CniSpecError } from "./errors.ts";

test("the pod is named by CNI_ARGS as kubelet's runtimes write it", () => {
  const text = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u1";
  assert.deepEqual(parseArguments(text), { podName: "cart", podNamespace: "shop", podUid: "u1", sandboxId: "c1" });
  assert.equal((parseArguments("") as PodArguments).podName, "");
});

test("a key that isn't known needs IgnoreUnknown", () => {
  assert.match(problemOf("K8S_POD_NAME=a;COLOUR=red"), /COLOUR/);
  for (const yes of ["1", "true", "True"])
    assert.equal((parseArguments(`COLOUR=red;IgnoreUnknown=${yes};K8S_POD_NAME=a`) as PodArguments).podName, "a");
  assert.match(problemOf("IgnoreUnknown=perhaps"), /perhaps/);
});

test("a pair without exactly one equals sign is an error", () => {
  for (const text of ["K8S_POD_NAME", "K8S_POD_NAME=a=b", ";", "K8S_POD_NAME=a;"]) problemOf(text);
});

test("any text is read or refused", () => {
  fc.assert(fc.property(fc.string(), (text) => void parseArguments(text)));
});

function problemOf(text: string): string {
  const error = parseArguments(text);
  assert.ok(error instanceof CniSpecError && error.type.code === "cni-spec.bad-environment", text);
  return error.type.problem;
}
