import assert from "node:assert/strict";
import { test } from "node:test";
import { versionOfImage } from "../clients/components.ts";
import { skewOf, type VersionRow } from "./skew.ts";

const row: VersionRow = {
  component: "agent",
  node: "node1",
  namespace: "ambient-system",
  pod: "a",
  image: "ambientd:1.0.0",
  digest: "sha256:aaaa",
  version: "1.0.0",
  release: "1.0.0",
  ready: true,
};

test("one release everywhere is no skew", () => {
  assert.deepEqual(skewOf("1.0.0", [row, { ...row, component: "cni" }, { ...row, node: "node2" }]), []);
  assert.deepEqual(skewOf("1.0.0", []), []);
});

test("a part in two versions is said with the nodes", () => {
  const other = { ...row, node: "node2", version: "1.1.0", image: "ambientd:1.1.0" };
  assert.deepEqual(skewOf("1.0.0", [row, other]), ["agent runs in 2 versions: 1.0.0 on node1; 1.1.0 on node2."]);
});

test("parts of different releases are said", () => {
  const cni = { ...row, component: "cni" as const, version: "1.1.0", image: "ambientd:1.1.0" };
  assert.deepEqual(skewOf("1.0.0", [row, cni]), ["The parts are of different releases: agent 1.0.0, cni 1.1.0."]);
});

test("one tag with two images behind it is said", () => {
  const [sentence = ""] = skewOf("1.0.0", [row, { ...row, node: "node2", digest: "sha256:bbbb" }]);
  assert.match(
    sentence,
    /^Nodes hold different images behind ambientd:1\.0\.0: sha256:aaaa on node1; sha256:bbbb on node2\./,
  );
});

test("another release than this program's is said", () => {
  assert.deepEqual(skewOf("1.0.0", [{ ...row, version: "a-build", image: "ambientd:a-build" }]), []);
  assert.deepEqual(skewOf("2.0.0", [{ ...row, release: "" }]), [
    "ambientctl is 2.0.0 and the cluster runs 1.0.0: use the one that came with it.",
  ]);
});

test("an image's version is its tag, whatever stands around it", () => {
  assert.equal(versionOfImage("registry.test:5000/a/ambientd:0.1.0"), "0.1.0");
  assert.equal(versionOfImage("registry.test:5000/a/ambientd"), "latest");
  assert.equal(versionOfImage("ambientd:0.1.0@sha256:abcdef"), "0.1.0");
  assert.equal(versionOfImage("ambientd@sha256:0123456789abcdef"), "sha256:0123456789ab");
});
