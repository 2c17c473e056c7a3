import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { ManualClock } from "../../core/base/clock.ts";
import {
  bindNamespace,
  createNetworkNamespace,
  inNamespace,
  namespaceIdentity,
  unbindNamespace,
} from "../../core/linux/namespace.ts";
import { addAddress } from "../../core/linux/netlink/addresses.ts";
import { setUp } from "../../core/linux/netlink/links.ts";
import { processStat } from "../../core/linux/procfs.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { CniError } from "./errors.ts";
import { NodeNamespaces, type PodClue } from "./node-namespaces.ts";
import { PodNamespaces, sameNamespace } from "./pod-namespaces.ts";

const skip = enterNamespaces() ?? false;
const uid = "3a6e7c9e-1d2f-4b5a-8c7d-0123456789ab";
const address = "10.9.0.2";

test(
  "the plugin's path leads to the namespace, as it is mounted here, once an interface carries the pod's address",
  { skip },
  async (t) => {
    const world = makeWorld(t);
    const pod = await world.namespace(address);
    world.name("cni-1", pod);
    assert.equal(world.finder.seenFromHere("/var/run/netns/cni-1"), join(world.netnsDir, "cni-1"));
    assert.equal(world.finder.seenFromHere("/proc/77/ns/net"), join(world.proc, "77/ns/net"));
    for (const odd of ["", "/", "cni-1", "/var/run/netns/..", "/var/run/netns/", "/cni-1", "/proc/0/ns/net"])
      assert.equal(world.finder.seenFromHere(odd), undefined, odd);
    world.finder.tell(uid, join(world.netnsDir, "cni-1"));
    world.knows({ addresses: [], sandboxUid: uid });
    assert.equal(world.failure(), "cni.no-address");
    world.knows({ addresses: ["10.9.0.3"], sandboxUid: uid });
    assert.equal(world.failure(), "cni.netns-invalid none-of-the-pod's-addresses");
    world.knows({ addresses: ["fd00::9", address], sandboxUid: uid });
    assert.ok(world.leadsTo(pod));
  },
);

test(
  "without the plugin, the pod's oldest process in a namespace with its address leads there",
  { skip },
  async (t) => {
    const world = makeWorld(t);
    const [pod, own, foreign] = [
      await world.namespace(address),
      await world.namespace("10.9.0.7"),
      await world.namespace(address),
    ];
    const oldest = world.process(own, uid);
    const older = world.process(pod, uid);
    world.process(foreign, uid);
    world.process(foreign, "99999999-1d2f-4b5a-8c7d-0123456789ab");
    world.process(undefined, uid);
    world.process(pod, undefined);
    world.starts(oldest, 10n);
    world.starts(older, 20n);
    // In the namespace of the oldest there is none of the pod's addresses: the next one, not the youngest.
    assert.ok(world.leadsTo(pod));
    assert.equal(world.openDescriptors(), 0, "of those that lost, none stays open");
  },
);

test("a static pod is found by the UID that its cgroups bear", { skip }, async (t) => {
  const world = makeWorld(t);
  const pod = await world.namespace(address);
  const hash = "0123456789abcdef0123456789abcdef";
  world.process(pod, hash);
  world.knows({ addresses: [address], sandboxUid: hash });
  assert.ok(world.leadsTo(pod));
});

test("the node's own namespace is no pod's, and a process that ended leads nowhere", { skip }, async (t) => {
  const world = makeWorld(t);
  const host = await world.namespace(address);
  world.process(host, uid);
  world.isHost(host);
  assert.equal(world.failure(), "cni.netns-missing");
  const namespaces = new PodNamespaces((name) => world.finder.find(name), namespaceIdentity(host));
  world.name("cni-1", host);
  world.finder.tell(uid, join(world.netnsDir, "cni-1"));
  const refused = namespaces.hold(uid);
  assert.ok(refused instanceof CniError && refused.type.code === "cni.netns-invalid");
  assert.equal(refused.type.reason, "the-node's-own");
  // Nothing there any more: the processes are gone through instead.
  unbindNamespace(join(world.netnsDir, "cni-1"));
  assert.equal(world.failure(), "cni.netns-missing");
});

test("an id that another process got meanwhile is not believed", { skip }, async (t) => {
  const world = makeWorld(t);
  const [pod, other] = [await world.namespace(address), await world.namespace(address)];
  const pid = world.process(pod, uid);
  world.starts(pid, 10n);
  assert.ok(world.leadsTo(pod));
  // Within the age of a scan the same id is another process: the scan is made anew.
  world.process(other, undefined, pid);
  world.starts(pid, 30n);
  assert.equal(world.failure(), "cni.netns-missing");
  assert.equal(world.openDescriptors(), 0);
});

test("real processes in real namespaces are found through the node's /proc", { skip }, async (t) => {
  const world = makeWorld(t);
  const pod = await world.namespace(address);
  const child = inNamespace(pod, () => spawn("sleep", ["60"], { stdio: "ignore" }));
  t.after(() => child.kill("SIGKILL"));
  const pid = child.pid ?? 0;
  const stat = processStat(pid);
  assert.ok(stat !== undefined);
  // No container runtime here: the cgroup is written by hand, all else is the kernel's.
  world.process(undefined, uid, pid);
  rmSync(join(world.proc, String(pid), "ns"), { recursive: true });
  symlinkSync(`/proc/${pid}/ns`, join(world.proc, String(pid), "ns"));
  world.starts(pid, stat.startTime);
  assert.ok(world.leadsTo(pod));
});

function makeWorld(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), "ambientd-node-"));
  const [proc, netnsDir] = [join(folder, "proc"), join(folder, "netns")];
  mkdirSync(proc);
  mkdirSync(netnsDir);
  const open: number[] = [];
  const named = new Set<string>();
  let clue: PodClue = { addresses: [address], sandboxUid: uid };
  let nextPid = 100;
  const finder = new NodeNamespaces({ proc, netnsDir, clueOf: () => clue, clock: new ManualClock() });
  t.after(() => {
    for (const path of named) unbindNamespace(path);
    for (const fd of open) closeSync(fd);
    rmSync(folder, { recursive: true });
  });
  const descriptors = (): number => readdirSync("/proc/self/fd").length;
  let before = 0;
  const find = () => {
    before = descriptors();
    return finder.find(uid);
  };
  return {
    proc,
    netnsDir,
    finder,
    knows: (next: PodClue) => void (clue = next),
    async namespace(own: string): Promise<number> {
      const fd = createNetworkNamespace();
      open.push(fd);
      assert.equal(await setUp("lo", { netns: fd }), undefined);
      assert.equal(await addAddress({ interface: "lo", address: own, prefix: 32, netns: fd }), undefined);
      return fd;
    },
    name(name: string, netns: number): void {
      named.add(join(netnsDir, name));
      assert.equal(bindNamespace(netns, join(netnsDir, name)), undefined);
    },
    /** @param netns undefined: that of the test itself. */
    process(netns: number | undefined, pod: string | undefined, pid = nextPid++): number {
      const at = join(proc, String(pid));
      rmSync(at, { recursive: true, force: true });
      mkdirSync(join(at, "ns"), { recursive: true });
      symlinkSync(netns === undefined ? "/proc/self/ns/net" : `/proc/self/fd/${netns}`, join(at, "ns/net"));
      writeFileSync(join(at, "cgroup"), pod === undefined ? "0::/\n" : `0::/kubepods/pod${pod}/${"ab".repeat(32)}\n`);
      this.starts(pid, BigInt(1000 + pid));
      return pid;
    },
    starts: (pid: number, ticks: bigint) =>
      writeFileSync(join(proc, String(pid), "stat"), `${pid} (app) S 1 ${"0 ".repeat(17)}${ticks} 0\n`),
    isHost(netns: number): void {
      mkdirSync(join(proc, "1/ns"), { recursive: true });
      symlinkSync(`/proc/self/fd/${netns}`, join(proc, "1/ns/net"));
    },
    leadsTo(netns: number): boolean {
      const found = find();
      assert.ok(!(found instanceof CniError), found instanceof CniError ? found.message : "");
      const same = sameNamespace(found.identity, namespaceIdentity(netns));
      closeSync(found.fd);
      return same;
    },
    failure(): string {
      const found = find();
      assert.ok(found instanceof CniError);
      return [found.type.code, ...("reason" in found.type ? [found.type.reason] : [])].join(" ");
    },
    /** Beyond those before the last look. */
    openDescriptors: () => descriptors() - before,
  };
}
