/** The executable itself, put behind the real bridge plugin by the real installer, called as a container runtime calls. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { systemClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import { bindNamespace, createNetworkNamespace, unbindNamespace } from "../../core/linux/namespace.ts";
import { closeDescriptor } from "../../core/linux/sockets.ts";
import { buildPlugin } from "../../scripts/build-plugin.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { Installer } from "../install/installer.ts";
import { callPlugin, environment } from "./test-support/call-plugin.ts";
import { Runtime, type Container } from "./test-support/runtime.ts";
import { answering, scriptedDaemon, type Script } from "./test-support/scripted-daemon.ts";

const bridgeDir = "/usr/lib/cni";
const noBridge = existsSync(join(bridgeDir, "bridge"))
  ? false
  : `no bridge plugin in ${bridgeDir}: apt-get install containernetworking-plugins`;
const noNamespaces = enterNamespaces() ?? false;
const skip = noNamespaces || noBridge;

const directory = mkdtempSync(join(tmpdir(), "ambient-chain-"));
const executable = join(directory, "image", "ambient-cni");
const runDir = join(directory, "run");
const confFile = join(directory, "conf", "10-bridge.conflist");
const bridgeList = JSON.stringify(
  {
    cniVersion: "1.0.0",
    name: "k8s",
    plugins: [
      {
        type: "bridge",
        bridge: "cni0",
        isGateway: true,
        ipam: {
          type: "host-local",
          dataDir: join(directory, "ipam"),
          ranges: [[{ subnet: "10.77.0.0/22" }]],
          routes: [{ dst: "0.0.0.0/0" }],
        },
      },
    ],
  },
  undefined,
  2,
);
const runtime = new Runtime([bridgeDir, join(directory, "bin")], confFile);
let installer: Installer | undefined;
let madePods = 0;

before(async () => {
  if (noNamespaces) return;
  for (const name of ["conf", "run", "bin", "image"]) mkdirSync(join(directory, name));
  writeFileSync(confFile, bridgeList);
  await buildPlugin(executable);
  installer = new Installer({
    binDir: join(directory, "bin"),
    confDir: join(directory, "conf"),
    pluginSource: executable,
    config: { runDir, excludeNamespaces: ["kube-system", "ambient-system"], logLevel: "info" },
    log: silentLog,
    clock: systemClock,
  });
  assert.equal(await installer.start(), undefined);
});

after(async () => {
  await installer?.close();
  rmSync(directory, { recursive: true, force: true });
});

test(
  "a pod gets its address from bridge, the daemon is asked with it, and the runtime sees bridge's result",
  { skip },
  async () => {
    await withDaemon(answering("200 OK"), async (requests) => {
      using pod = newPod("shop/cart");
      const result = await runtime.add(pod);
      const [{ address = "" } = {}] = result["ips"] as { address: string }[];
      assert.match(address, /^10\.77\.0\.\d+\/22$/);
      const event = JSON.parse((requests[0] ?? "").split("\r\n\r\n")[1] ?? "") as Record<string, unknown>;
      assert.deepEqual(event, {
        Netns: pod.netns,
        PodName: "cart",
        PodNamespace: "shop",
        IPs: [{ Interface: 2, Address: { IP: address.split("/")[0], Mask: "///8AA==" }, Gateway: "10.77.0.1" }],
      });
      await runtime.check(pod);
      assert.match(requests[1] ?? "", /^POST \/cmdcheck /);
      await runtime.del(pod);
      await runtime.del(pod);
      await runtime.del({ ...pod, netns: "" });
    });
  },
);

test("ADD comes twice when the daemon refuses at first, and DEL without an ADD is fine", { skip }, async () => {
  const pod = newPod("shop/slow");
  await withDaemon(answering("500 No", "not enrolled yet: cni.no-agent"), async () => {
    await assert.rejects(runtime.add(pod), /ambient-cni[\s\S]*"code": 11[\s\S]*not enrolled yet: cni\.no-agent/);
    // So do runtimes: a sandbox that failed is taken down, and made again.
    await runtime.del(pod);
  });
  await assert.rejects(runtime.add(pod), /isn't running on this node/);
  await runtime.del(pod);
  await withDaemon(answering("200 OK"), async () => void (await runtime.add(pod)));
  await runtime.del(pod);
  pod[Symbol.dispose]();
  await runtime.del({ ...pod, id: "never-added", netns: "" });
});

test("without any daemon the node's own parts start", { skip }, async () => {
  for (const name of ["kube-system/dns", "ambient-system/ambientd-cni-x"]) {
    using pod = newPod(name);
    assert.ok(await runtime.add(pod));
    await runtime.del(pod);
  }
});

test("twenty pods at once get twenty addresses", { skip }, async () => {
  await withDaemon(answering("200 OK"), async (requests) => {
    const pods = Array.from({ length: 20 }, (_, at) => newPod(`shop/many-${at}`));
    const results = await Promise.all(pods.map((pod) => runtime.add(pod)));
    const addresses = results.map((result) => (result["ips"] as { address: string }[])[0]?.address);
    assert.equal(new Set(addresses).size, 20);
    assert.equal(requests.length, 20);
    await Promise.all(pods.map((pod) => runtime.del(pod)));
    for (const pod of pods) pod[Symbol.dispose]();
  });
});

test(
  "250 ADDs at once: each pod passes or is told to come later, and then passes",
  { skip: noNamespaces },
  async () => {
    await withDaemon(answering("200 OK"), async (requests) => {
      const stdin = readConfig();
      const add = (pod: string) => callPlugin([executable], { env: environment("ADD", pod), stdin });
      let waiting = Array.from({ length: 250 }, (_, at) => `shop/pod-${at}`);
      for (let round = 0; waiting.length > 0; round++) {
        assert.ok(round < 5, `${waiting.length} of 250 don't come through`);
        const answers = await Promise.all(waiting.map(add));
        // A machine that is short of processor time takes longer than the plugin may: kubelet tries such a pod again.
        waiting = waiting.filter((_, at) => {
          const { code, stdout, stderr } = answers[at]!;
          assert.equal(stderr, "");
          if (code !== 0) assert.equal((JSON.parse(stdout) as { code: number }).code, 11, stdout);
          return code !== 0;
        });
      }
      assert.equal(new Set(requests.map((request) => /"PodName":"([^"]+)"/.exec(request)?.[1])).size, 250);
      const log = readFileSync(join(runDir, "ambient-cni.log"), "utf8").trimEnd().split("\n");
      assert.ok(
        log.every((line) => typeof JSON.parse(line) === "object"),
        "no line is torn",
      );
    });
  },
);

test("the executable needs nothing of the node but glibc: no Node, no PATH, no /proc", { skip: noNamespaces }, () => {
  const root = join(directory, "empty");
  const libraries = spawnSync("ldd", [executable], { encoding: "utf8" }).stdout.match(/\/\S+/g) ?? [];
  for (const file of [executable, ...libraries]) {
    const target = file === executable ? join(root, "ambient-cni") : join(root, file);
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(file, target);
    chmodSync(target, 0o755);
  }
  const run = (env: Record<string, string>) =>
    spawnSync("/usr/sbin/chroot", [root, "/ambient-cni"], { env, input: readConfig(), encoding: "utf8" });
  // Settings for some Node that the runtime's own environment may hold aren't for this one.
  const version = run({ CNI_COMMAND: "VERSION", NODE_OPTIONS: "--require /nothing" });
  assert.deepEqual([version.status, version.stderr], [0, ""]);
  const held = run(environment("ADD"));
  assert.deepEqual([held.status, (JSON.parse(held.stdout) as { code: number }).code], [1, 11]);
  assert.equal(run(environment("DEL")).status, 0);
  const passing = run(environment("ADD", "kube-system/dns"));
  assert.deepEqual([passing.status, passing.stderr], [0, ""]);
});

test("after uninstalling, the same runtime makes pods by bridge alone", { skip }, async () => {
  assert.equal(await installer?.uninstall(), undefined);
  assert.equal(readFileSync(confFile, "utf8"), bridgeList);
  using pod = newPod("shop/free");
  assert.ok(await runtime.add(pod));
  await runtime.del(pod);
});

interface Pod extends Container, Disposable {}

function newPod(pod: string): Pod {
  const id = `c${madePods++}`;
  const netns = join("/run", id);
  const fd = createNetworkNamespace();
  const refused = bindNamespace(fd, netns);
  closeDescriptor(fd);
  if (refused !== undefined) throw refused;
  return { id, netns, pod, [Symbol.dispose]: () => void unbindNamespace(netns) };
}

async function withDaemon(script: Script, body: (requests: string[]) => Promise<void>): Promise<void> {
  rmSync(join(runDir, "pluginevent.sock"), { force: true });
  const daemon = await scriptedDaemon(runDir, script);
  try {
    await body(daemon.requests);
  } finally {
    daemon.close();
  }
}

function readConfig(): string {
  return JSON.stringify({ cniVersion: "1.0.0", name: "k8s", type: "ambient-cni", cni_agent_run_dir: runDir });
}
