import assert from "node:assert/strict";
import { closeSync } from "node:fs";
import { test } from "node:test";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { createNetworkNamespace } from "./namespace.ts";
import { createVeth, deleteLink } from "./netlink/links.ts";
import { hasNetwork } from "./network-links.ts";

const skip = enterNamespaces() ?? false;

test("a namespace is connected as long as it has an interface beside loopback", { skip }, async () => {
  const [pod, node] = [createNetworkNamespace(), createNetworkNamespace()];
  assert.equal(hasNetwork(pod), false);
  assert.equal(await createVeth({ name: "eth0", netns: pod, peer: { name: "veth1", netns: node } }), undefined);
  assert.equal(hasNetwork(pod), true);
  assert.equal(await deleteLink("veth1", { netns: node }), undefined);
  assert.equal(hasNetwork(pod), false);
  closeSync(pod);
  closeSync(node);
});
