/** The image of this checkout, built by its Dockerfile: what is in it, what isn't, and that it runs. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { globSync, lstatSync, readFileSync, type Stats } from "node:fs";
import { join } from "node:path";
import { after, before, test, type TestContext } from "node:test";
import { build } from "../../deploy/image/build.ts";
import { contextHash } from "../../deploy/image/context.ts";
import type { InstalledPackage } from "../../deploy/image/packages.ts";
import { UnpackedImage } from "./unpacked-image.ts";

const checkout = join(import.meta.dirname, "../..");
let image: UnpackedImage | undefined;
let missing = "it was not built";
let tag = "";

before(async () => {
  const built = await build({ say: (line) => process.stderr.write(`${line}\n`) });
  if ("missing" in built) missing = built.missing;
  else {
    image = new UnpackedImage(built.archive);
    tag = built.tag;
  }
});
after(() => image?.remove());

test("it starts as nobody in particular, without a shell in between and without a debugger's door", (t) => {
  const { config } = there(t) ?? {};
  if (config === undefined) return;
  assert.equal(config.config.User, "65532:65532");
  const entrypoint = ["/usr/local/bin/node", "--disable-sigusr1", "/opt/ambientd/bin/ambientd.js"];
  assert.deepEqual(config.config.Entrypoint, entrypoint);
  assert.ok(config.config.Env.every((pair) => /^(PATH|NODE_ENV)=/.test(pair)));
  assert.equal(config.config.Labels["org.opencontainers.image.licenses"], "Apache-2.0");
  assert.equal(config.config.Labels["org.opencontainers.image.version"], packageOf(checkout).version);
});

test("every program in it answers", (t) => {
  const unpacked = there(t);
  if (unpacked === undefined) return;
  const help = unpacked.run("--help");
  assert.equal(help.status, 0, help.stderr);
  assert.match(help.stdout, /agent \| control \| cni \| release/);
  for (const argv of [
    ["control", "--help"],
    ["cni", "daemon", "--help"],
    ["release", "--help"],
  ]) {
    const { status, stdout, stderr } = unpacked.run(...argv);
    assert.equal(status, 0, `${argv.join(" ")}: ${stderr}`);
    assert.match(stdout, new RegExp(`usage: ambientd ${argv.slice(0, -1).join(" ")}`));
  }
  const agent = unpacked.execute([...unpacked.config.config.Entrypoint, "agent"], { ZTUNNEL_WORKER_THREADS: "lots" });
  assert.equal(agent.status, 2, agent.stderr);
  assert.match(agent.stderr, /ZTUNNEL_WORKER_THREADS=lots is no number of workers/);
});

test("its Node is the lockfile's, and its native parts load", (t) => {
  const unpacked = there(t);
  if (unpacked === undefined) return;
  const lockfile = JSON.parse(readFileSync(join(checkout, "package-lock.json"), "utf8")) as Lockfile;
  const wanted = lockfile.packages[`node_modules/node-linux-${process.arch}`]?.version;
  const script = `
    const load = require("node:module").createRequire("/opt/ambientd/package.json");
    load("netlink");
    load("@grpc/grpc-js");
    console.log(process.version, load("koffi").load("libc.so.6").func("int getuid()")());`;
  const { stdout, stderr } = unpacked.execute(["/usr/local/bin/node", "--eval", script]);
  assert.equal(stdout.trim(), `v${wanted} 65532`, stderr);
});

test("the CNI plugin in it answers a container runtime", (t) => {
  const unpacked = there(t);
  if (unpacked === undefined) return;
  const environment = { CNI_COMMAND: "VERSION" };
  const { status, stdout, stderr } = unpacked.execute(
    ["/opt/cni/bin/ambient-cni"],
    environment,
    '{"cniVersion":"1.0.0"}',
  );
  assert.equal(status, 0, stderr);
  const { supportedVersions } = JSON.parse(stdout) as { supportedVersions: string[] };
  assert.ok(supportedVersions.includes("1.0.0"));
});

test("nothing is in it but what runs", (t) => {
  const unpacked = there(t);
  if (unpacked === undefined) return;
  const files = globSync("**/*", { cwd: unpacked.root }).filter((file) => !/\/licen[cs]e[^/]*$/i.test(file));
  const named = (pattern: RegExp): string[] => files.filter((file) => pattern.test(file));
  assert.deepEqual(named(/\.(?:[cm]?ts|tsx|map|o|a|h|gyp|md|txt|sh)$/i), [], "sources, maps, headers, prose");
  assert.deepEqual(named(/\.test\.|\/test\/|\/tests\/|test-support/), [], "tests");
  assert.deepEqual(
    named(/s?bin\/(?:sh|bash|dash|busybox|npm|npx|corepack|apt|apt-get|dpkg|perl|python3?)$/),
    [],
    "tools",
  );
  assert.deepEqual(named(/(?:^|\/)\.(?:npmrc|env|git|docker|ssh|npm)/), [], "settings of whoever built it");
  const agent = named(/^opt\/ambientd\/agent\/.*\.js$/).sort();
  assert.deepEqual(agent, ["opt/ambientd/agent/main.js", "opt/ambientd/agent/worker/main.js"], "bundled");
  const dev = Object.keys(packageOf(checkout).devDependencies);
  for (const name of [...dev, "@kubernetes/client-node", "commander"])
    assert.ok(!files.includes(`opt/ambientd/node_modules/${name}`), name);
  const programs = files.filter((file) => {
    const status = lstatSync(join(unpacked.root, file));
    return status.isFile() && (status.mode & 0o111) !== 0 && !/\.(?:so[.\d]*|js|cjs|mjs|node)$/.test(file);
  });
  assert.deepEqual(programs.filter((file) => !/ld-linux|\.so\.\d+$/.test(file)).sort(), [
    "opt/cni/bin/ambient-cni",
    "usr/local/bin/node",
  ]);
});

test("nothing in it is set-uid, may be written by others, or holds a key", (t) => {
  const unpacked = there(t);
  if (unpacked === undefined) return;
  for (const file of globSync("**/*", { cwd: unpacked.root })) {
    const status: Stats = lstatSync(join(unpacked.root, file));
    if (status.isSymbolicLink()) continue;
    assert.equal(status.mode & 0o6022, 0, `${file} has mode ${status.mode.toString(8)}`);
    assert.equal(status.uid, 0, file);
    if (!status.isFile() || status.size > 4 << 20) continue;
    const text = readFileSync(join(unpacked.root, file), "latin1");
    assert.doesNotMatch(text, /-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s*[A-Za-z0-9+/]{60}/, file);
    assert.doesNotMatch(text, /_authToken\s*=\s*\S|npm_[A-Za-z0-9]{36}/, file);
  }
});

test("it lists its packages, all under licences that a product may be shipped with", (t) => {
  const unpacked = there(t);
  if (unpacked === undefined) return;
  const home = join(unpacked.root, "opt/ambientd");
  const packages = JSON.parse(readFileSync(join(home, "packages.json"), "utf8")) as InstalledPackage[];
  const installed = globSync(["node_modules/**/package.json"], { cwd: home })
    .map((file) => file.replace(/\/package\.json$/, ""))
    .filter((folder) => /node_modules\/(?:@[^/]+\/)?[^/]+$/.test(folder));
  assert.deepEqual(packages.map(({ folder }) => folder).sort(), installed.sort());
  for (const { name, license } of packages) {
    const choices = license.replace(/[()]/g, "").split(" OR ");
    const isFree = choices.some((choice) => choice.split(" AND ").every((one) => free.has(one)));
    assert.ok(isFree, `${name} is under ${license}`);
  }
});

test("it is small: pulled and on disk", (t) => {
  const unpacked = there(t);
  if (unpacked === undefined) return;
  const { stdout } = spawnSync("du", ["-sm", "--apparent-size", unpacked.root], { encoding: "utf8" });
  const diskMb = Number(stdout.split("\t")[0]);
  const pulledMb = Math.round(unpacked.pulledBytes / 1e6);
  t.diagnostic(`image: ${pulledMb} MB pulled, ${diskMb} MiB on disk`);
  assert.ok(pulledMb <= 110 && pulledMb > 20);
  assert.ok(diskMb <= 270);
});

test("the same checkout gives the same image without being built again", async (t) => {
  if (there(t) === undefined) return;
  // Another hash means that somebody is writing in the checkout.
  if (contextHash(checkout, ["deploy/image/Dockerfile"]).slice(0, 12) !== tag)
    return t.skip("the checkout changed meanwhile");
  const again = await build();
  assert.ok(!("missing" in again));
  assert.equal(again.seconds, 0);
});

function there(t: TestContext): UnpackedImage | undefined {
  if (image === undefined) t.skip(`no image: ${missing}`);
  return image;
}

function packageOf(folder: string): { version: string; devDependencies: Record<string, string> } {
  return JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as ReturnType<typeof packageOf>;
}

interface Lockfile {
  readonly packages: Readonly<Record<string, { readonly version: string } | undefined>>;
}

const free = new Set([
  "MIT",
  "ISC",
  "BSD-2-Clause",
  "BSD-3-Clause",
  "Apache-2.0",
  "0BSD",
  "Unlicense",
  "BlueOak-1.0.0",
]);
