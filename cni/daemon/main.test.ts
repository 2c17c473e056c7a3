import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { FlagError } from "../../core/base/flag-error.ts";
import { until } from "../../test/support/until.ts";
import { parseFlags } from "./config.ts";
import { defaultSelectors } from "./selectors.ts";

const bin = join(import.meta.dirname, "../../bin/ambientd.ts");
const flags = ["node", "manifests", "status", "run-dir", "zds", "netns-dir"];

test("flags are read; a missing or unknown one is named, with its fix", () => {
  const complete = flags.flatMap((flag) => [`--${flag}`, `/x/${flag}`]);
  const config = parseFlags([...complete, "--dns-capture"]);
  assert.ok(!(config instanceof FlagError));
  assert.deepEqual(config, {
    source: "folder",
    manifests: "/x/manifests",
    status: "/x/status",
    daemon: {
      node: "/x/node",
      runDir: "/x/run-dir",
      zds: "/x/zds",
      netnsDir: "/x/netns-dir",
      dnsCapture: true,
      selection: { selectors: defaultSelectors, excludeNamespaces: new Set(["kube-system"]) },
    },
  });
  for (const flag of flags) {
    const refused = parseFlags(complete.filter((part) => !part.endsWith(flag)));
    assert.ok(refused instanceof FlagError);
    assert.match(refused.sentence(), new RegExp(`--${flag} is missing; add --${flag} `));
  }
  const unknown = parseFlags([...complete, "--bogus"]);
  assert.ok(unknown instanceof FlagError);
  assert.match(unknown.sentence(), /--bogus/);
});

const clusterFlags = ["node", "namespace", "daemonset", "pod-name", "run-dir", "zds", "host-proc", "host-netns-dir"];
const inCluster = ["--source", "kubernetes", ...clusterFlags.flatMap((flag) => [`--${flag}`, `/x/${flag}`])];

test("in a cluster the places on the node are flags, and the daemon's own namespace is excluded with kube-system", () => {
  const plugin = ["--cni-bin-dir", "/bin", "--cni-conf-dir", "/conf", "--plugin", "/opt/plugin"];
  const config = parseFlags([...inCluster, ...plugin, "--health", ":8000"]);
  assert.ok(!(config instanceof FlagError) && config.source === "kubernetes");
  assert.deepEqual(config.plugin, {
    binDir: "/bin",
    confDir: "/conf",
    file: "/opt/plugin",
    confName: undefined,
  });
  assert.deepEqual(config.health, { host: "::", port: 8000 });
  assert.deepEqual(config.daemon.host, { proc: "/x/host-proc", netnsDir: "/x/host-netns-dir" });
  assert.deepEqual([...config.daemon.selection.excludeNamespaces], ["kube-system", "/x/namespace"]);
  const own = parseFlags([...inCluster, "--exclude-namespaces", "a, b,", "--health", "127.0.0.1:1"]);
  assert.ok(!(own instanceof FlagError) && own.source === "kubernetes");
  assert.deepEqual([...own.daemon.selection.excludeNamespaces], ["a", "b"]);
  assert.deepEqual(own.health, { host: "127.0.0.1", port: 1 });
  assert.equal(own.plugin, undefined);
});

test("selectors are given as YAML or as a file of it", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "ambientd-selectors-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const yaml = "- podSelector: {matchLabels: {mesh: please}}";
  writeFileSync(join(folder, "selectors.yaml"), yaml);
  for (const value of [yaml, join(folder, "selectors.yaml")]) {
    const config = parseFlags([...inCluster, "--enablement-selectors", value]);
    assert.ok(!(config instanceof FlagError));
    assert.deepEqual(config.daemon.selection.selectors[0]?.podSelector.matchLabels, { mesh: "please" });
  }
});

test("what doesn't go together, or can't be read, is refused with its fix", () => {
  const table: [argv: string[], sentence: RegExp][] = [
    [["--source", "etcd"], /--source etcd is none; say folder or kubernetes/],
    [[...inCluster, "--manifests", "/x"], /--manifests has no meaning with --source kubernetes/],
    [[...inCluster, "--cni-conf-dir", "/x"], /--cni-bin-dir is missing; give both folders/],
    [[...inCluster, "--health", "8000"], /--health 8000 is no address; say :8000/],
    [[...inCluster, "--health", ":99999"], /is no address/],
    [[...inCluster, "--enablement-selectors", "- podSelector: 1"], /\[0\]\.podSelector must be a map; give a list/],
    [inCluster.filter((part) => !part.endsWith("pod-name")), /--pod-name is missing; add --pod-name NAME of the/],
  ];
  for (const [argv, sentence] of table) {
    const refused = parseFlags(argv);
    assert.ok(refused instanceof FlagError, argv.join(" "));
    assert.match(refused.sentence(), sentence);
  }
});

test("a bad flag is one sentence and exit code 2", () => {
  const { status, stderr } = spawnSync(process.execPath, [bin, "cni", "daemon", "--node", "node1"], {
    encoding: "utf8",
  });
  assert.equal(status, 2);
  assert.match(stderr, /^ambientd cni daemon: --manifests is missing; add --manifests DIR\n$/);
});

test("the process answers on its sockets, and SIGTERM ends it in order", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "ambientd-daemon-"));
  const at = (name: string): string => join(folder, name);
  mkdirSync(at("manifests"));
  mkdirSync(at("netns"));
  const manifest = {
    kind: "Pod",
    apiVersion: "v1",
    metadata: { name: "cart", namespace: "shop", uid: "u-1" },
    spec: { nodeName: "node1", containers: [{ name: "app", image: "app" }] },
  };
  writeFileSync(at("manifests/pod.json"), JSON.stringify(manifest));
  const settings = ["--node", "node1", "--manifests", at("manifests"), "--status", at("status")];
  const places = ["--run-dir", at("run"), "--zds", at("zds/zds.sock"), "--netns-dir", at("netns")];
  const daemon: ChildProcess = spawn(process.execPath, [bin, "cni", "daemon", ...settings, ...places], {
    stdio: "ignore",
  });
  t.after(() => {
    daemon.kill("SIGKILL");
    rmSync(folder, { recursive: true });
  });
  await until("the sockets", 15_000, () => existsSync(at("run/daemon.sock")) && existsSync(at("run/pluginevent.sock")));
  for (const socket of ["run/daemon.sock", "run/pluginevent.sock", "zds/zds.sock"])
    assert.equal(statSync(at(socket)).mode & 0o777, 0o600, socket);

  const status = await ask(at("run/daemon.sock"), "GET", "/status");
  assert.equal((JSON.parse(status.body) as { ready: boolean }).ready, true);
  const rows = JSON.parse((await ask(at("run/daemon.sock"), "GET", "/pods")).body) as {
    pods: Record<string, unknown>[];
  };
  assert.deepEqual(
    rows.pods.map(({ name, want, because, phase, status }) => ({ name, want, because, phase, status })),
    [{ name: "cart", want: "leave", because: "not-selected", phase: "absent", status: "done" }],
  );
  assert.equal((await ask(at("run/daemon.sock"), "POST", "/pods")).status, 405);
  const event = JSON.stringify({ PodName: "cart", PodNamespace: "shop" });
  assert.equal((await ask(at("run/pluginevent.sock"), "POST", "/cmdadd", event)).status, 200);
  assert.equal((await ask(at("run/pluginevent.sock"), "POST", "/cmdadd", "x".repeat(100_000))).status, 400);

  daemon.kill("SIGTERM");
  const [code] = (await once(daemon, "exit")) as [number | null];
  assert.equal(code, 0);
  for (const socket of ["run/daemon.sock", "run/pluginevent.sock", "zds/zds.sock"])
    assert.equal(existsSync(at(socket)), false, socket);
});

async function ask(
  socketPath: string,
  method: string,
  path: string,
  body = "",
): Promise<{ status: number; body: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: string }>();
  const asked = request({ socketPath, method, path, headers: { "content-length": body.length } }, (response) => {
    let text = "";
    response.setEncoding("utf8");
    response.on("data", (chunk: string) => (text += chunk));
    response.on("end", () => resolve({ status: response.statusCode ?? 0, body: text }));
  });
  asked.on("error", reject);
  asked.end(body);
  return promise;
}
