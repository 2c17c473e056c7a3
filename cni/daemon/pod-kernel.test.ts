import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLog } from "../../core/base/log.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { createNetworkNamespace } from "../../core/linux/namespace.ts";
import { setUp } from "../../core/linux/netlink/links.ts";
import { closeDescriptor } from "../../core/linux/sockets.ts";
import { bindUdp } from "../../core/linux/udp-sockets.ts";
import { readDrift } from "./kernel-truth.ts";
import { NamespaceKernel } from "./pod-kernel.ts";
import type { PodNamespaces } from "./pod-namespaces.ts";

const skip = enterNamespaces() ?? false;
const capture = { dnsCapture: true, ingressMode: false, virtualInterfaces: [] };

test(
  "F-190 queries are captured where an agent answers them, and nowhere else: what changes is seen in the next round and put right",
  { skip },
  async () => {
    const netns = createNetworkNamespace();
    await setUp("lo", { netns });
    const namespaces: Pick<PodNamespaces, "hold" | "replaced"> = {
      hold: () =>
        ({ fd: netns, path: "", identity: { dev: 0n, ino: 0n } }) as unknown as ReturnType<PodNamespaces["hold"]>,
      replaced: () => false,
    };
    const kernel = new NamespaceKernel(namespaces as PodNamespaces, silentLog);
    assert.equal(await kernel.route("a"), undefined);
    assert.equal(await kernel.redirect("a", capture), undefined);
    assert.equal(await capturesQueries(netns), false, "nobody listens on 15053");
    assert.equal(await kernel.check("a", capture), "same");

    const stranger = bindUdp({ netns, address: "127.0.0.1", port: 53 });
    assert.equal(await kernel.check("a", capture), "same");
    const agent = bindUdp({ netns, address: "127.0.0.1", port: 15_053 });
    assert.ok(typeof agent === "number" && typeof stranger === "number");
    assert.equal(await kernel.check("a", capture), "drifted");
    assert.equal(await kernel.redirect("a", capture), undefined);
    assert.equal(await capturesQueries(netns), true);
    assert.equal(await kernel.check("a", capture), "same");
    assert.equal(
      await kernel.check("a", { ...capture, dnsCapture: false }),
      "drifted",
      "where it isn't wanted it isn't",
    );

    closeDescriptor(agent);
    assert.equal(await kernel.check("a", capture), "drifted");
    assert.equal(await kernel.redirect("a", capture), undefined);
    assert.equal(await capturesQueries(netns), false);
    for (const fd of [stranger, netns]) closeDescriptor(fd);
  },
);

/** The rules are those with DNS, or those without: nothing in between. */
async function capturesQueries(netns: number): Promise<boolean> {
  const [without, within] = await Promise.all(
    [false, true].map((dnsCapture) => readDrift(netns, { ...capture, dnsCapture, ipv6: true })),
  );
  assert.ok(Array.isArray(without) && Array.isArray(within));
  assert.notEqual(without.length === 0, within.length === 0);
  return within.length === 0;
}
