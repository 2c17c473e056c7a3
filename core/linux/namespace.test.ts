import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, openSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { LinuxError } from "./errno.ts";
import { mountTmpfs, unmount } from "./mounts.ts";
import {
  bindNamespace,
  createNetworkNamespace,
  inNamespace,
  isNetworkNamespace,
  namespaceIdentity,
  openNamespace,
  ownNamespace,
  unbindNamespace,
} from "./namespace.ts";

const skip = enterNamespaces() ?? false;

test("the body runs in the other namespace and the thread comes back", { skip }, () => {
  const home = identity();
  const fd = createNetworkNamespace();
  assert.equal(identity(), home);
  assert.notEqual(text(fd), home);
  assert.equal(inNamespace(fd, identity), text(fd));
  assert.equal(identity(), home);
  closeSync(fd);
});

test("nested visits come back one by one", { skip }, () => {
  const [a, b] = [createNetworkNamespace(), createNetworkNamespace()];
  const home = identity();
  const seen = inNamespace(a, () => [identity(), inNamespace(b, identity), identity()]);
  assert.deepEqual([...seen, identity()], [text(a), text(b), text(a), home]);
  // A namespace made inside another one is a new one too, and does not move the visitor.
  inNamespace(a, () => {
    closeSync(createNetworkNamespace());
    assert.equal(identity(), text(a));
  });
  closeSync(a);
  closeSync(b);
});

test("a body that throws is left as well", { skip }, () => {
  const home = identity();
  const fd = createNetworkNamespace();
  assert.throws(
    () =>
      inNamespace(fd, () => {
        throw new RangeError("no");
      }),
    RangeError,
  );
  assert.equal(identity(), home);
  closeSync(fd);
});

test("a body that awaits is refused as our own bug", { skip }, () => {
  const fd = createNetworkNamespace();
  assert.throws(() => inNamespace(fd, async () => 1), TypeError);
  closeSync(fd);
});

test("a descriptor that is no namespace moves nobody", { skip }, () => {
  const home = identity();
  const file = openSync("/proc/self/status", "r");
  assert.throws(() => inNamespace(file, identity), LinuxError);
  assert.equal(identity(), home);
  assert.equal(isNetworkNamespace(file), false);
  closeSync(file);
});

test("H085 10,000 visits leak no descriptor", { skip }, () => {
  const fd = createNetworkNamespace();
  inNamespace(fd, identity);
  const before = readdirSync("/proc/self/fd").length;
  for (let i = 0; i < 10_000; i++) inNamespace(fd, () => i);
  for (let i = 0; i < 1_000; i++) isNetworkNamespace(fd);
  assert.equal(readdirSync("/proc/self/fd").length, before);
  closeSync(fd);
});

test("a worker thread visits without moving the main thread", { skip }, async () => {
  const fd = createNetworkNamespace();
  const home = identity();
  const source = `
    import { parentPort, workerData } from "node:worker_threads";
    import { readlinkSync } from "node:fs";
    const { inNamespace } = await import(workerData.module);
    const where = () => readlinkSync("/proc/thread-self/ns/net");
    parentPort.postMessage([where(), inNamespace(workerData.fd, where), where()]);`;
  const url = new URL(`data:text/javascript,${encodeURIComponent(source)}`);
  const worker = new Worker(url, { workerData: { fd, module: import.meta.resolve("./namespace.ts") } });
  const seen = await new Promise<string[]>((resolve, reject) => {
    worker.once("message", resolve).once("error", reject);
  });
  const inodes = seen.map((link) => /\d+/.exec(link)![0]);
  assert.deepEqual(inodes, [home, text(fd), home]);
  assert.equal(identity(), home);
  await worker.terminate();
  closeSync(fd);
});

test("a child spawned inside starts there", { skip }, () => {
  const fd = createNetworkNamespace();
  const link = inNamespace(fd, () => execFileSync("readlink", ["/proc/self/ns/net"], { encoding: "utf8" }));
  assert.equal(/\d+/.exec(link)![0], text(fd));
  closeSync(fd);
});

test("a namespace gets a path, which survives its descriptors, and loses it", { skip }, () => {
  assert.equal(mountTmpfs("/mnt", 0o700), undefined);
  const fd = createNetworkNamespace();
  const number = text(fd);
  assert.equal(bindNamespace(fd, "/mnt/pod"), undefined);
  closeSync(fd);
  const again = openNamespace("/mnt/pod");
  assert.ok(typeof again === "number");
  assert.equal(text(again), number);
  closeSync(again);
  assert.equal(unbindNamespace("/mnt/pod"), undefined);
  assert.equal(unbindNamespace("/mnt/pod"), undefined, "twice is as good as once");
  assert.deepEqual(readdirSync("/mnt"), []);
  assert.equal(unmount("/mnt"), undefined);
  assert.equal(unmount("/mnt")?.errno, "EINVAL");
});

test("what is no namespace cannot be opened as one", { skip }, () => {
  const missing = openNamespace("/run/nothing");
  assert.ok(missing instanceof LinuxError);
  assert.deepEqual(missing.type, { code: "linux.syscall", call: "open", errno: "ENOENT", detail: "/run/nothing" });
  writeFileSync("/run/file", "");
  const file = openNamespace("/run/file");
  assert.ok(file instanceof LinuxError);
  assert.deepEqual(file.type, { code: "linux.not-a-namespace", detail: "/run/file" });
  const mount = openNamespace("/proc/self/ns/mnt");
  assert.ok(mount instanceof LinuxError, "of another kind");
  assert.match(readFileSync("/proc/self/status", "utf8"), /Name/);
});

/** The inode of the calling thread's network namespace. */
function identity(): string {
  const fd = ownNamespace();
  const inode = text(fd);
  closeSync(fd);
  return inode;
}

function text(fd: number): string {
  return String(namespaceIdentity(fd).ino);
}
