import assert from "node:assert/strict";
import { closeSync, mkdirSync, mkdtempSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  bindNamespace,
  createNetworkNamespace,
  namespaceIdentity,
  unbindNamespace,
} from "../../core/linux/namespace.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { CniError } from "./errors.ts";
import { namespacesInFolder, PodNamespaces } from "./pod-namespaces.ts";

const skip = enterNamespaces() ?? false;

test("a pod's namespace is opened once, and stays open when its name goes", { skip }, () => {
  const { folder, bind } = place();
  const first = bind("pod-a");
  const namespaces = new PodNamespaces(namespacesInFolder(folder));
  const held = namespaces.hold("pod-a");
  assert.ok(!(held instanceof CniError));
  assert.deepEqual(held.identity, first);
  assert.equal(namespaces.hold("pod-a"), held);
  unbindNamespace(join(folder, "pod-a"));
  assert.equal(namespaces.hold("pod-a"), held);
  assert.equal(namespaces.replaced("pod-a"), false, "a name that is gone is no other namespace");
  bind("pod-a");
  assert.equal(namespaces.replaced("pod-a"), true);
  namespaces.release("pod-a");
  assert.equal(namespaces.size, 0);
  const anew = namespaces.hold("pod-a");
  assert.ok(!(anew instanceof CniError) && anew.identity.ino !== first.ino);
  namespaces.releaseAll();
});

test(
  "what isn't a pod's own network namespace is refused with a reason, and no descriptor stays open",
  { skip },
  () => {
    const { folder, bind } = place();
    bind("pod-a");
    symlinkSync(join(folder, "pod-a"), join(folder, "another-uid"));
    symlinkSync("/proc/self/ns/net", join(folder, "the-node"));
    symlinkSync("/proc/self/ns/mnt", join(folder, "a-mount-namespace"));
    writeFileSync(join(folder, "a-file"), "");
    mkdirSync(join(folder, "a-folder"));
    const namespaces = new PodNamespaces(namespacesInFolder(folder));
    assert.ok(!(namespaces.hold("pod-a") instanceof CniError));
    const before = readdirSync("/proc/self/fd").length;
    const cases = [
      ["the-node", "cni.netns-invalid", "the-node's-own"],
      ["another-uid", "cni.netns-invalid", "held-for-pod-pod-a"],
      ["a-mount-namespace", "cni.netns-invalid", "no-network-namespace"],
      ["a-file", "cni.netns-invalid", "no-network-namespace"],
      ["a-folder", "cni.netns-invalid", "no-network-namespace"],
      ["../pod-a", "cni.netns-invalid", "odd-uid"],
      ["..", "cni.netns-invalid", "odd-uid"],
      ["", "cni.netns-invalid", "odd-uid"],
      ["not-there", "cni.netns-missing", undefined],
    ] as const;
    for (const [uid, code, reason] of cases) {
      const refused = namespaces.hold(uid);
      assert.ok(refused instanceof CniError, uid);
      assert.equal(refused.type.code, code, uid);
      if (reason !== undefined) assert.equal("reason" in refused.type && refused.type.reason, reason, uid);
    }
    assert.equal(readdirSync("/proc/self/fd").length, before);
    namespaces.releaseAll();
  },
);

function place() {
  const folder = mkdtempSync("/run/netns-");
  const bind = (uid: string) => {
    const fd = createNetworkNamespace();
    assert.equal(bindNamespace(fd, join(folder, uid)), undefined);
    const identity = namespaceIdentity(fd);
    closeSync(fd);
    return identity;
  };
  return { folder, bind };
}
