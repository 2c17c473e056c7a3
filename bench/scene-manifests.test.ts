import assert from "node:assert/strict";
import { test } from "node:test";
import { sceneManifests } from "./scene-manifests.ts";

test("only our side's namespace is in the mesh, and its policies go with it", () => {
  const kinds = (sides: Parameters<typeof sceneManifests>[0]): string[] =>
    sceneManifests(sides).map(({ kind }) => kind);
  assert.deepEqual(kinds(["direct"]), ["Namespace", "Pod", "Pod"]);
  assert.equal(kinds(["direct", "ours"]).filter((kind) => kind === "AuthorizationPolicy").length, 3);
  const labels = sceneManifests(["direct", "ours", "haproxy"]).flatMap(({ kind, metadata }) =>
    kind === "Namespace" ? [metadata] : [],
  );
  assert.deepEqual(
    labels.map((one) => "labels" in one && Object.keys(one.labels as object).length),
    [0, 1, 0],
  );
});
