/** How the image's contents are chosen, without building one. */
import assert from "node:assert/strict";
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { assemble } from "../../deploy/image/assemble.ts";
import { contextFiles, contextHash } from "../../deploy/image/context.ts";
import { importedPackages, reachable } from "../../deploy/image/packages.ts";

const checkout = join(import.meta.dirname, "../..");
const folder = mkdtempSync(join(tmpdir(), "ambientd-contents-"));
after(() => rmSync(folder, { recursive: true, force: true }));

test("the builder sees sources, and neither tests, nor the lab, nor what git ignores", () => {
  const files = contextFiles(checkout);
  for (const wanted of ["package-lock.json", "bin/ambientd.ts", "agent/main.ts", "core/protocol/generated/workload.ts"])
    assert.ok(files.includes(wanted), wanted);
  const strange = files.filter((file) =>
    /\.test\.ts$|test-support|node_modules|^lab\/|^cli\/|^dist\/|^\.git/.test(file),
  );
  assert.deepEqual(strange, []);
});

test("the hash changes with a file's text and name, and with nothing else", () => {
  const root = put("hash", {
    ".dockerignore": "*\n!a\n!b\n**/*.test.ts\n",
    "a/x.ts": "1",
    "a/x.test.ts": "1",
    "c/y.ts": "1",
  });
  const first = contextHash(root);
  assert.deepEqual(contextFiles(root), ["a/x.ts"]);
  put("hash", { "a/x.test.ts": "2", "c/y.ts": "2" });
  assert.equal(contextHash(root), first);
  put("hash", { "a/x.ts": "2" });
  const second = contextHash(root);
  assert.notEqual(second, first);
  put("hash", { b: "" });
  assert.notEqual(contextHash(root), second);
});

test("a package is needed because compiled code names it, not because a comment does", () => {
  const root = put("imports", {
    "a.js":
      'import { b } from "one";\nimport "two/sub";\nexport * from "@scope/three/x";\nconst f = await import("four");\n',
    "deep/b.js":
      'import fs from "node:fs";\nimport path from "path";\n// from "five"\nconst s = " from \\"six\\"";\nimport "./c.js";\n',
    "deep/c.cjs": 'require("seven")',
  });
  assert.deepEqual(importedPackages(root), ["@scope/three", "four", "one", "two"]);
});

test("what a package depends on comes along, the nearest version of it, and optional ones if they are there", () => {
  const root = put("packages", {
    "node_modules/a/package.json": manifest("1.0.0", {
      dependencies: { b: "1", c: "1" },
      optionalDependencies: { d: "1", e: "1" },
    }),
    "node_modules/a/node_modules/b/package.json": manifest("2.0.0"),
    "node_modules/b/package.json": manifest("1.0.0"),
    "node_modules/c/package.json": manifest("1.0.0", { dependencies: { a: "1", b: "1" } }),
    "node_modules/d/package.json": manifest("1.0.0", { peerDependencies: { absent: "1" } }),
    "node_modules/unused/package.json": manifest("1.0.0"),
  });
  assert.deepEqual(
    reachable(root, ["a"]).map(({ folder: at, version }) => `${at} ${version}`),
    [
      "node_modules/a 1.0.0",
      "node_modules/a/node_modules/b 2.0.0",
      "node_modules/b 1.0.0",
      "node_modules/c 1.0.0",
      "node_modules/d 1.0.0",
    ],
  );
  assert.deepEqual(
    reachable(root, ["a"], new Set(["c"])).map(({ name }) => name),
    ["a", "b", "d"],
  );
  assert.throws(() => reachable(root, ["nowhere"]), /nowhere, which the program needs, is not installed: run npm ci/);
});

test("the image's root is Node, the compiled rooms that run in a cluster, their packages and the plugin", () => {
  const root = put("assembled", {
    LICENSE: "free",
    "package.json": JSON.stringify({ name: "ambientd", version: "9.9.9", scripts: {}, devDependencies: { tool: "1" } }),
    "dist/bin/ambientd.js": 'await import("../core/a.js");',
    "dist/bin/ambientd.js.map": "{}",
    "dist/core/a.js": 'import "lib";\nimport "@kubernetes/client-node";\n',
    "dist/lab/main.js": 'import "only-lab";',
    "dist/agent/test-support/x.js": 'import "only-tests";',
    "node_modules/lib/package.json": manifest("1.0.0"),
    "node_modules/lib/index.js": "",
    "node_modules/lib/index.d.ts": "",
    "node_modules/lib/README.md": "",
    "node_modules/lib/test/index.js": "",
    [`node_modules/lib/prebuilds/linux-${process.arch}/x.node`]: "",
    "node_modules/lib/prebuilds/darwin-arm64/x.node": "",
    "node_modules/lib/musl_x64/x.node": "",
    "node_modules/tool/package.json": manifest("1.0.0"),
    [`node_modules/node-linux-${process.arch}/bin/node`]: "node",
    "plugin/ambient-cni": "plugin",
  });
  const out = join(root, "out");
  const parts = {
    dist: join(root, "dist"),
    modules: join(root, "node_modules"),
    plugin: join(root, "plugin/ambient-cni"),
  };
  assert.deepEqual(assemble({ ...parts, out }), [
    { name: "lib", version: "1.0.0", license: "MIT", folder: "node_modules/lib" },
  ]);
  const files = globSync("**/*", { cwd: out }).filter((file) => statSync(join(out, file)).isFile());
  assert.deepEqual(files.sort(), [
    "opt/ambientd/LICENSE",
    "opt/ambientd/bin/ambientd.js",
    "opt/ambientd/core/a.js",
    "opt/ambientd/node_modules/lib/index.js",
    "opt/ambientd/node_modules/lib/package.json",
    `opt/ambientd/node_modules/lib/prebuilds/linux-${process.arch}/x.node`,
    "opt/ambientd/package.json",
    "opt/ambientd/packages.json",
    "opt/cni/bin/ambient-cni",
    "usr/local/bin/node",
  ]);
  const shipped = JSON.parse(readFileSync(join(out, "opt/ambientd/package.json"), "utf8")) as unknown;
  assert.deepEqual(shipped, { name: "ambientd", version: "9.9.9", type: "module" });
});

function put(name: string, files: Readonly<Record<string, string>>): string {
  const root = join(folder, name);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}

function manifest(version: string, more: object = {}): string {
  return JSON.stringify({ version, license: "MIT", ...more });
}
