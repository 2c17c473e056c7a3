import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { FlagError } from "../../core/base/flag-error.ts";
import { parseFlags, usage } from "./config.ts";

const good = "--manifests m --status s --data d --listen 0.0.0.0:15012 --publish-root r --tokens t".split(" ");

test("flags are read in both spellings, with defaults for what may be left out", () => {
  const config = parseFlags([...good, "--cert-ttl=60", "--advertise=istiod.x,10.0.0.1", "--dangling-waypoints=refuse"]);
  assert.deepEqual(config, {
    source: "folder",
    manifests: "m",
    status: "s",
    data: "d",
    listen: { address: "0.0.0.0", port: 15012 },
    publishRoot: "r",
    tokens: "t",
    certTtlSeconds: 60,
    clusterId: "Kubernetes",
    trustDomain: "cluster.local",
    danglingWaypoints: "refuse",
    advertise: ["istiod.x", "10.0.0.1"],
  });
});

test("an IPv6 address is written in brackets", () => {
  const config = parseFlags(good.map((word) => (word === "0.0.0.0:15012" ? "[::]:15012" : word)));
  assert.ok(!(config instanceof FlagError));
  assert.deepEqual(config.listen, { address: "::", port: 15012 });
});

for (const [argv, flag, fix] of [
  [["--manifest", "x"], "--manifest", /the flags are --source, --manifests/],
  [good.slice(2), "--manifests", /add --manifests DIR/],
  [[...good, "--cert-ttl", "0"], "--cert-ttl", /whole seconds from 1 to 7776000/],
  [[...good, "--cert-ttl", "1h"], "--cert-ttl", /whole seconds/],
  [[...good, "--trust-domain", "Cluster Local"], "--trust-domain", /lower-case/],
  [[...good, "--dangling-waypoints", "drop"], "--dangling-waypoints", /l4 or refuse/],
  [[...good, "--advertise", "a,b c"], "--advertise", /commas/],
  [[...good, "--cluster-id"], "--cluster-id", /write --cluster-id NAME/],
  [[...good, "--data", "e"], "--data", /give it once/],
  [good.map((word) => (word === "0.0.0.0:15012" ? "15012" : word)), "--listen", /0\.0\.0\.0:15012/],
  [good.map((word) => (word === "0.0.0.0:15012" ? "::1:15012" : word)), "--listen", /\[::\]:15012/],
  [good.map((word) => (word === "0.0.0.0:15012" ? "0.0.0.0:99999" : word)), "--listen", /a port/],
] as const) {
  test(`a bad ${flag} (${argv.slice(-2).join(" ")}) is named with its fix`, () => {
    const error = parseFlags(argv);
    assert.ok(error instanceof FlagError);
    assert.equal(error.type.flag, flag);
    assert.match(error.sentence(), fix);
    assert.equal(error.sentence().split("\n").length, 1);
  });
}

const cluster = ["--source=kubernetes", "--namespace=ambient-system", "--listen=:15012"];

test("over a cluster a namespace and a port are enough; the rest follows from them", () => {
  const config = parseFlags(cluster);
  assert.ok(!(config instanceof FlagError) && config.source === "kubernetes");
  const { podName, ...rest } = config;
  assert.ok(podName.length > 0);
  assert.deepEqual(rest, {
    source: "kubernetes",
    namespace: "ambient-system",
    rootNamespace: "ambient-system",
    trustedAgents: ["ambient-system/ambientd-agent"],
    listen: { address: "::", port: 15012 },
    clusterId: "Kubernetes",
    trustDomain: "cluster.local",
    advertise: [],
  });
});

test("over a cluster everything can be said", () => {
  const more = "--kubeconfig k --context c --root-namespace r --pod-name p --health :8080 --debug 127.0.0.1:15014";
  const agents = ["--trusted-agent", "a/b", "--trusted-agent=istio-system/ztunnel"];
  const config = parseFlags([...cluster, ...more.split(" "), ...agents]);
  assert.ok(!(config instanceof FlagError) && config.source === "kubernetes");
  assert.deepEqual([config.kubeconfig, config.context, config.rootNamespace, config.podName], ["k", "c", "r", "p"]);
  assert.deepEqual(config.trustedAgents, ["a/b", "istio-system/ztunnel"]);
  assert.deepEqual(config.health, { address: "::", port: 8080 });
  assert.deepEqual(config.debug, { address: "127.0.0.1", port: 15014 });
});

for (const [argv, flag, fix] of [
  [["--source=etcd"], "--source", /folder or kubernetes/],
  [cluster.slice(0, 1), "--namespace", /add --namespace NAMESPACE/],
  [[...cluster, "--manifests", "m"], "--manifests", /the flags are --source, --kubeconfig/],
  [[...cluster, "--trusted-agent", "ztunnel"], "--trusted-agent", /namespace\/serviceaccount/],
  [[...cluster, "--root-namespace", "Not_One"], "--root-namespace", /name of a namespace/],
  [[...cluster, "--debug", "0.0.0.0:15014"], "--debug", /loopback/],
  [[...cluster, "--debug", ":15014"], "--debug", /loopback/],
  [[...cluster, "--health", "8080"], "--health", /a port/],
] as const) {
  test(`over a cluster a bad ${flag} (${argv.slice(-2).join(" ")}) is named with its fix`, () => {
    const error = parseFlags(argv);
    assert.ok(error instanceof FlagError);
    assert.equal(error.type.flag, flag);
    assert.match(error.sentence(), fix);
  });
}

test("the program exits with 2 on a bad flag and says so on standard error", () => {
  const main = new URL("main.ts", import.meta.url).href;
  const code = `import(${JSON.stringify(main)}).then(({ main }) => main(["--nonsense"]))`;
  const { status, stderr, stdout } = spawnSync(process.execPath, ["-e", code], { encoding: "utf8" });
  assert.equal(status, 2);
  assert.match(stderr, /--nonsense/);
  assert.equal(stdout, "");
});

test("the usage names every flag", () => {
  for (const flag of good.filter((word) => word.startsWith("--"))) assert.ok(usage().includes(flag));
});
