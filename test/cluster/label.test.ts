/** Install, label, talk: the product's promise, on a real cluster. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Unavailable, type Cluster } from "./cluster.ts";
import { ambient, meshedCluster, namespace, remove } from "./mesh/install.ts";
import { watchLink } from "./mesh/link.ts";
import { apply, ask, client, ready, server } from "./mesh/workloads.ts";
import { until } from "../support/until.ts";

const secret = "marker-5e81c7d0-of-the-meshed";
const open = "marker-27b9f3a4-of-the-unlabelled";
const cluster = await meshedCluster();
const skip = cluster instanceof Unavailable ? `no cluster: ${cluster.missing}` : false;

describe("a labelled namespace with a Deployment on each of two nodes", { skip }, () => {
  const mesh = cluster as Cluster;

  before(async () => {
    await namespace(mesh, "shop", ambient);
    await namespace(mesh, "plain");
    await apply(mesh, "shop", [
      ...server({ name: "cart", node: "node1", marker: secret }),
      ...server({ name: "stock", node: "node2", marker: secret }),
    ]);
    await apply(mesh, "plain", [
      ...server({ name: "news", node: "node2", marker: open }),
      ...client("reader", "node1"),
    ]);
    await Promise.all([ready(mesh, "shop"), ready(mesh, "plain")]);
  });

  after(() => remove(mesh, "shop", "plain"));

  it("has pods that are Ready by their real TCP, HTTP and exec probes, captured and without a restart", async () => {
    const { items } = await mesh.get<PodList>(["pods", "-n", "shop"]);
    assert.equal(items.length, 2);
    for (const { metadata, status } of items) {
      assert.equal(metadata.annotations?.["ambient.istio.io/redirection"], "enabled", metadata.name);
      assert.equal(status.containerStatuses[0]?.restartCount, 0, metadata.name);
    }
  });

  it("answers HTTP by Service name, and every TCP segment between the pods' addresses is on 15008", async (t) => {
    const { items } = await mesh.get<PodList>(["pods", "-n", "shop"]);
    const addresses = items.map(({ status }) => status.podIP);
    const watch = watchLink(mesh.node("node1"), [secret], addresses);
    const cart = items.find(({ metadata }) => metadata.name.startsWith("cart"))!;
    for (let round = 0; round < 10; round++) {
      const { ok, body, error } = await ask(mesh, "shop", cart.metadata.name, "http://stock.shop/");
      assert.ok(ok, error);
      assert.match(body?.pod ?? "", /^stock-/);
      assert.equal(body?.marker, secret);
      // The application sees who called, not the agent.
      assert.equal(body?.peer.replace(/:\d+$/, ""), cart.status.podIP);
    }
    const counts = watch.counts();
    watch.close();
    assert.equal(counts.dropped, 0, "the sniffer kept up");
    assert.deepEqual(Object.keys(counts.podSegments), ["15008"]);
    assert.deepEqual(counts.podOther, {});
    assert.equal(counts.marked[secret], 0);
    t.diagnostic(`${counts.podSegments["15008"]} segments on 15008, 0 of ${counts.frames} frames with the marker`);
  });

  it("leaves an unlabelled namespace as it is: its marker is seen", async (t) => {
    const watch = watchLink(mesh.node("node1"), [open]);
    const { ok, error, body } = await ask(mesh, "plain", "reader", "http://news.plain/");
    assert.ok(ok, error);
    assert.equal(body?.marker, open);
    const seen = await until(
      "the marker on the link",
      5_000,
      () => (watch.counts().marked[open] ?? 0) > 0 && watch.counts(),
    );
    watch.close();
    t.diagnostic(`${seen.marked[open]} frames show it`);
  });

  it("lets an unlabelled namespace talk to a labelled one, and back", async () => {
    const into = await ask(mesh, "plain", "reader", "http://cart.shop/");
    assert.ok(into.ok, into.error);
    const { items } = await mesh.get<PodList>(["pods", "-n", "shop", "-l", "app=cart"]);
    const out = await ask(mesh, "shop", items[0]!.metadata.name, "http://news.plain/");
    assert.ok(out.ok, out.error);
  });
});

interface PodList {
  readonly items: readonly {
    readonly metadata: { readonly name: string; readonly annotations?: Readonly<Record<string, string>> };
    readonly status: {
      readonly podIP: string;
      readonly containerStatuses: readonly { readonly restartCount: number }[];
    };
  }[];
}
