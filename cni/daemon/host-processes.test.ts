import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { kubeletUser, podOfCgroups, podOfProcess, processIds, startTime } from "./host-processes.ts";

const uid = "3a6e7c9e-1d2f-4b5a-8c7d-0123456789ab";
const underscored = uid.replaceAll("-", "_");
const bare = uid.replaceAll("-", "");
const container = "4e1f0c".padEnd(64, "0f");

test("the pod is read out of every shape that container runtimes give a cgroup path", () => {
  const shapes = {
    "cgroupfs, burstable": `/kubepods/burstable/pod${uid}/${container}`,
    "cgroupfs, guaranteed": `/kubepods/pod${uid}/${container}`,
    "systemd, docker": `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${underscored}.slice/docker-${container}.scope`,
    "systemd, containerd": `/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod${underscored}.slice/cri-containerd-${container}.scope`,
    "systemd, guaranteed, containerd": `/kubepods.slice/kubepods-pod${underscored}.slice/cri-containerd-${container}.scope`,
    "systemd, CRI-O": `/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod${underscored}.slice/crio-${container}.scope`,
    "containerd without the systemd driver's folders": `/kubepods-besteffort-pod${underscored}.slice:cri-containerd:${container}`,
    "a folder of the runtime's own": `/system.slice/containerd.service/kubepods-burstable-pod${underscored}.slice:cri-containerd:${container}`,
    "seen from another container's cgroup namespace": `/../../pod${uid}/${container}`,
    "seen from there, systemd": `/../../kubepods-besteffort-pod${underscored}.slice/cri-containerd-${container}.scope`,
    "seen from there, three up": `/../../../besteffort/pod${uid}/${container}`,
    "kind: a node in a container": `/docker/93c529cbf7c0/kubelet/kubepods/burstable/pod${uid}/${container}`,
    "kind, systemd": `/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod${underscored}.slice/cri-containerd-${container}.scope`,
    "a container that has cgroups of its own": `/kubepods/besteffort/pod${uid}/${container}/init.scope`,
    "a cluster within a pod": `/kubepods/besteffort/pod${uid}/${container}/kubepods/pod${uid.replace("3a", "4b")}/${container}`,
    "a UID without punctuation": `/kubepods/burstable/pod${bare}/${container}`,
  };
  for (const [what, path] of Object.entries(shapes)) assert.equal(podOfCgroups(`0::${path}\n`), uid, what);
});

test("version 1: the lines agree on one pod and one container, or there is none", () => {
  const path = `/kubepods/burstable/pod${uid}/${container}`;
  const lines = (...paths: string[]): string => paths.map((each, i) => `${i}:c${i},d${i}:${each}\n`).join("");
  assert.equal(podOfCgroups(lines(path, path, path)), uid);
  assert.equal(podOfCgroups(lines(path, "/", "/system.slice")), uid);
  assert.equal(podOfCgroups(lines(path, `/kubepods/burstable/pod${uid}/${"a".repeat(64)}`)), undefined);
  assert.equal(podOfCgroups(lines(path, path.replace("3a6e", "3a6f"))), undefined);
});

test("processes of the node, and lines that are none, belong to no pod", () => {
  const paths = [
    "/",
    "/system.slice/kubelet.service",
    "/init.scope",
    `/kubepods/burstable/pod${uid}`,
    `/../crio-${container}.scope`,
    `/kubepods/burstable/pod${uid.slice(1)}/${container}`,
    `/kubepods/burstable/xpod${uid}/${container}`,
  ];
  for (const path of paths) assert.equal(podOfCgroups(`0::${path}\n`), undefined, path);
  for (const text of [
    "",
    "\n",
    "nonsense",
    `0:/kubepods/pod${uid}/${container}`,
    `0::/pod${uid}/${container}\nnonsense`,
  ])
    assert.equal(podOfCgroups(text), undefined, text);
  fc.assert(fc.property(fc.string(), (text) => void podOfCgroups(text)));
  // Nor does a path that nearly is one take for ever, as long as it is.
  assert.equal(podOfCgroups(`0::/kubepods/pod${uid}${"/a.b-c_d".repeat(500)}!`), undefined);
});

test("a process is known by its start time, though its name holds brackets and spaces", (t) => {
  const proc = fakeProc(t, {
    "12": { stat: `12 (a) b (c) S 1 ${"0 ".repeat(17)}777 0`, cgroup: `0::/kubepods/pod${uid}/${container}\n` },
    self: { stat: "" },
  });
  assert.deepEqual(processIds(proc), [12]);
  assert.equal(startTime(proc, 12), 777n);
  assert.equal(podOfProcess(proc, 12), uid);
  assert.equal(startTime(proc, 13), undefined);
  assert.equal(podOfProcess(proc, 13), undefined);
  assert.deepEqual(processIds(join(proc, "none")), []);
});

test("the kubelet's user is found under its name, as kubelite and as k3s", (t) => {
  const status = "Name:\tx\nUid:\t1500\t0\t0\t0\n";
  const kubelet = { comm: "kubelet\n", cmdline: "/usr/bin/kubelet\0--config\0", status };
  const other = { comm: "sh\n", cmdline: "sh\0kubelet\0", status: "Uid:\t7\t7\t7\t7\n" };
  assert.equal(kubeletUser(fakeProc(t, { "3": other, "9": kubelet })), 1500);
  assert.equal(
    kubeletUser(
      fakeProc(t, { "9": { ...kubelet, comm: "kubelite\n", cmdline: "/snap/kubelite\0--kubelet-args-file\0" } }),
    ),
    1500,
  );
  assert.equal(kubeletUser(fakeProc(t, { "9": { ...kubelet, comm: "k3s\n", cmdline: "/usr/bin/k3s\0" } })), 1500);
  assert.equal(kubeletUser(fakeProc(t, { "3": other })), undefined);
});

function fakeProc(
  t: { after(body: () => void): void },
  processes: Readonly<Record<string, Readonly<Record<string, string>>>>,
): string {
  const folder = mkdtempSync(join(tmpdir(), "ambientd-proc-"));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const [pid, files] of Object.entries(processes)) {
    mkdirSync(join(folder, pid));
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, pid, name), text);
  }
  return folder;
}
