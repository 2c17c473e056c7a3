import assert from "node:assert/strict";
import {
  openSync,
  writeSync,
  closeSync,
  ftruncateSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ManualClock } from "../../core/base/clock.ts";
import { until } from "../../test/support/until.ts";
import { nodeDisk } from "./disk.ts";
import { InstallError } from "./errors.ts";
import type { Installer } from "./installer.ts";
import { bridgeList, bridgeSingle, NodeDirectory, watchedDisk } from "./test-support/node-directory.ts";

const entry = (node: NodeDirectory) => ({
  type: "ambient-cni",
  name: "ambient-cni",
  cni_agent_run_dir: join(node.path, "run"),
  exclude_namespaces: ["kube-system", "ambient-system"],
  plugin_log_level: "info",
  status_reports_daemon: false,
});

test("the plugin is put behind the others, its owner's text and mode stay, and uninstalling gives the same bytes back", async () => {
  using node = new NodeDirectory();
  node.write("10-bridge.conflist", bridgeList, 0o640);
  const installer = node.installer();
  assert.equal(await installer.start(), undefined);
  assert.ok(installer.ready());
  assert.deepEqual(pluginsOf(node, "10-bridge.conflist").at(-1), entry(node));
  assert.ok(node.read("10-bridge.conflist").startsWith(bridgeList.slice(0, bridgeList.indexOf("true}}") + 6)));
  assert.equal(node.modeOf("10-bridge.conflist"), 0o640);
  assert.deepEqual(node.bin(), { "ambient-cni": "first release" });
  writeFileSync(join(node.path, "run", "ambient-cni.log"), "line\n");
  assert.equal(await installer.uninstall(), undefined);
  assert.deepEqual(node.conf(), { "10-bridge.conflist": bridgeList });
  assert.equal(node.modeOf("10-bridge.conflist"), 0o640);
  assert.deepEqual([node.bin(), readdirSync(join(node.path, "run"))], [{}, []]);
});

test("a single plugin becomes a list under its own network's name, and comes back as it was", async () => {
  for (const name of ["10-bridge.conf", "10-bridge.json"]) {
    using node = new NodeDirectory({ [name]: bridgeSingle });
    const installer = node.installer();
    assert.equal(await installer.start(), undefined);
    assert.equal(node.used()?.name, "10-bridge.conflist");
    const list = JSON.parse(node.read("10-bridge.conflist")) as Record<string, unknown>;
    assert.deepEqual([list["name"], list["cniVersion"]], ["k8s", "0.4.0"]);
    assert.deepEqual(list["plugins"], [{ name: "k8s", type: "bridge", ipam: { type: "host-local" } }, entry(node)]);
    // Its owner starts again and writes it anew.
    node.write(name, bridgeSingle);
    await becomes(installer, () => node.used()?.name === "10-bridge.conflist");
    assert.equal(await installer.uninstall(), undefined);
    assert.deepEqual(node.conf(), { [name]: bridgeSingle });
  }
});

test("nothing is done while there is no valid configuration, and the first one that comes is taken", async () => {
  using node = new NodeDirectory({
    "05-empty.conflist": "",
    "06-notes.txt": "{}",
    "07-bad.conflist": '{"name":"x","plugins":[]}',
  });
  const installer = node.installer();
  assert.equal(await installer.start(), undefined);
  assert.deepEqual([installer.ready(), installer.status().kind], [false, "waiting"]);
  node.write("10-bridge.conflist", bridgeList);
  await becomes(installer, () => namesUs(node, "10-bridge.conflist"));
  assert.deepEqual(installer.status(), { kind: "ready", file: "10-bridge.conflist" });
  assert.equal(await installer.uninstall(), undefined);
});

test("a new file that sorts first is switched to, and the old one is as it was", async () => {
  using node = new NodeDirectory();
  const installer = node.installer();
  await installer.start();
  const cilium = bridgeList.replace("bridge", "cilium-cni");
  node.write("05-cilium.conflist", cilium);
  await becomes(installer, () => namesUs(node, "05-cilium.conflist") && !namesUs(node, "10-bridge.conflist"));
  assert.equal(node.read("10-bridge.conflist"), bridgeList);
  await installer.uninstall();
  assert.deepEqual(node.conf(), { "05-cilium.conflist": cilium, "10-bridge.conflist": bridgeList });
});

test("a forced name is waited for, its sibling will do, and others are left alone", async () => {
  using node = new NodeDirectory({
    "00-multus.conf": '{"cniVersion":"0.3.1","name":"m","type":"multus"}',
    "20-x.conflist": bridgeList,
  });
  const installer = node.installer({ confName: "20-x.conf" });
  assert.equal(await installer.start(), undefined);
  assert.ok(namesUs(node, "20-x.conflist"));
  await installer.close();
  const waiting = node.installer({ confName: "30-y.conflist" });
  await waiting.start();
  assert.deepEqual(waiting.status(), { kind: "waiting", reason: "30-y.conflist isn't there yet" });
  await waiting.close();
});

test("within two seconds the entry and the executable are back, whoever takes them away", async () => {
  using node = new NodeDirectory();
  const clock = new ManualClock(Date.now());
  const installer = node.installer({ clock });
  await installer.start();
  const withinTwoSeconds = async (what: () => boolean): Promise<void> => {
    clock.advance(2_000);
    await becomes(installer, what);
    await until("the end of the pass", 10_000, () => clock.nextTimerMs() !== undefined);
  };
  for (const rewrite of [
    () => node.write("10-bridge.conflist", bridgeList),
    () => node.write("10-bridge.conflist", bridgeList.replace("cni0", "cni1")),
    () => rmSync(join(node.path, "bin", "ambient-cni")),
    () => writeFileSync(join(node.path, "bin", "ambient-cni"), "somebody else's"),
  ]) {
    rewrite();
    await withinTwoSeconds(() => namesUs(node, "10-bridge.conflist") && node.bin()["ambient-cni"] === "first release");
  }
  assert.match(node.read("10-bridge.conflist"), /cni1/);
  // One that never tires doesn't make us give up either.
  for (let round = 0; round < 8; round++) {
    node.write("10-bridge.conflist", bridgeList);
    await withinTwoSeconds(() => namesUs(node, "10-bridge.conflist"));
  }
  await installer.close();
});

test("what can't be chained is refused with the fix, and nothing is changed", async () => {
  const list = (plugins: object[], cniVersion = "1.0.0") => JSON.stringify({ cniVersion, name: "n", plugins });
  for (const [name, text, words] of [
    ["10-a.conflist", list([{ type: "bridge" }, { type: "istio-cni" }]), /uninstall Istio's CNI first/],
    ["00-multus.conf", '{"name":"m","type":"multus"}', /set cni.confName/],
    ["10-a.conflist", list([{ type: "bridge" }], "7.0.0"), /7\.0\.0.*use one of/],
  ] as const) {
    using node = new NodeDirectory({ [name]: text });
    const installer = node.installer();
    const refused = await installer.start();
    assert.ok(refused instanceof InstallError && refused.type.code === "install.unchainable");
    assert.match(refused.sentence(), words);
    assert.ok(!installer.ready());
    await installer.close();
    assert.deepEqual([node.conf(), node.bin()], [{ [name]: text }, {}]);
  }
  using both = new NodeDirectory({ "10-a.conf": bridgeSingle, "10-a.conflist": bridgeList });
  const installer = both.installer();
  assert.match((await installer.start())?.sentence() ?? "", /remove one of the two/);
  await installer.close();
  assert.deepEqual(both.conf(), { "10-a.conf": bridgeSingle, "10-a.conflist": bridgeList });
  using linked = new NodeDirectory({});
  writeFileSync(join(linked.path, "elsewhere"), bridgeList);
  symlinkSync(join(linked.path, "elsewhere"), join(linked.path, "conf", "10-a.conflist"));
  const other = linked.installer();
  assert.match((await other.start())?.sentence() ?? "", /symbolic link/);
  await other.close();
});

test("a full disk, a read-only one and a forbidden one leave the original, say what to do, and are got over", async () => {
  for (const [errno, words] of [
    ["ENOSPC", /free some/],
    ["EROFS", /set cni\.binDir/],
    ["EACCES", /DAC_OVERRIDE/],
    ["EIO", /tried again/],
  ] as const) {
    for (const failing of ["writeNew", "copyNew", "rename"]) {
      using node = new NodeDirectory();
      let full = true;
      const disk = watchedDisk((_step, name, half) => {
        if (!full || name !== failing) return;
        half();
        throw Object.assign(new Error(errno), { code: errno });
      });
      const installer = node.installer({ disk });
      const failure = await installer.start();
      assert.ok(failure instanceof InstallError);
      assert.match(failure.sentence(), words);
      assert.deepEqual(node.conf(), { "10-bridge.conflist": bridgeList });
      full = false;
      await becomes(installer, () => namesUs(node, "10-bridge.conflist"));
      assert.deepEqual(Object.keys(node.conf()), ["10-bridge.conflist"]);
      await installer.close();
    }
  }
});

test("another writer between our reading and our renaming wins, and the entry goes into what he wrote", async () => {
  using node = new NodeDirectory();
  let rivals = 2;
  const disk = watchedDisk((_step, name) => {
    if (name === "writeNew" && rivals-- > 0)
      node.write("10-bridge.conflist", bridgeList.replace("cni0", `rival${rivals}`));
  });
  const installer = node.installer({ disk });
  assert.equal(await installer.start(), undefined);
  assert.match(node.read("10-bridge.conflist"), /rival0[\s\S]*ambient-cni/);
  await installer.close();
});

test("one who had the file open when it was replaced is heard all the same", async () => {
  using node = new NodeDirectory();
  const old = openSync(join(node.path, "conf", "10-bridge.conflist"), "r+");
  const installer = node.installer();
  await installer.start();
  ftruncateSync(old);
  writeSync(old, bridgeList.replace("cni0", "late"));
  closeSync(old);
  await becomes(
    installer,
    () => node.read("10-bridge.conflist").includes("late") && namesUs(node, "10-bridge.conflist"),
  );
  await installer.close();
});

test("a half-written file that sorts first is waited for", async () => {
  using node = new NodeDirectory();
  node.write("05-new.conflist", bridgeList.slice(0, 40));
  const installer = node.installer();
  await installer.start();
  assert.deepEqual(installer.status(), { kind: "waiting", reason: "05-new.conflist is being written" });
  node.write("05-new.conflist", bridgeList);
  await becomes(installer, () => namesUs(node, "05-new.conflist"));
  assert.equal(node.read("10-bridge.conflist"), bridgeList);
  await installer.close();
});

test("uninstalling takes the entry out first and the executable last, and keeps what others have added", async () => {
  using node = new NodeDirectory({ "10-bridge.conf": bridgeSingle });
  const order: string[] = [];
  const disk = { ...nodeDisk };
  const installer = node.installer({
    disk: {
      ...disk,
      remove: async (path) => {
        await disk.remove(path);
        if (path.endsWith("/ambient-cni")) order.push(namesUs(node, "10-bridge.conflist") ? "too early" : "executable");
      },
    },
  });
  await installer.start();
  const list = node.read("10-bridge.conflist").replace('"plugins": [', '"plugins": [{"type":"tuning"},');
  node.write("10-bridge.conflist", list);
  assert.equal(await installer.uninstall(), undefined);
  assert.deepEqual(order, ["executable"]);
  assert.deepEqual(Object.keys(node.conf()), ["10-bridge.conflist"]);
  assert.deepEqual(
    pluginsOf(node, "10-bridge.conflist").map(({ type }) => type),
    ["tuning", "bridge"],
  );
});

test("a second uninstall, and one where nothing was installed, do nothing", async () => {
  using node = new NodeDirectory();
  assert.equal(await node.installer().uninstall(), undefined);
  assert.equal(await node.installer().uninstall(), undefined);
  assert.deepEqual(node.conf(), { "10-bridge.conflist": bridgeList });
});

function becomes(installer: Installer, what: () => boolean): Promise<unknown> {
  return until(`the installer's work (${what.toString()})`, 10_000, () => installer.ready() && what());
}

function pluginsOf(node: NodeDirectory, name: string): Record<string, unknown>[] {
  return (JSON.parse(node.read(name)) as { plugins: Record<string, unknown>[] }).plugins;
}

function namesUs(node: NodeDirectory, name: string): boolean {
  try {
    return pluginsOf(node, name).some(({ type }) => type === "ambient-cni");
  } catch {
    return false;
  }
}
