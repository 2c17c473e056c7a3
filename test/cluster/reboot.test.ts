/** A node loses its power and gets it back, while the other one goes on asking a Service that has a pod on each. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import { images, Unavailable, type Cluster } from "./cluster.ts";
import { captured, podsOf } from "./mesh/capture.ts";
import { ambient, meshedCluster, namespace, remove, systemNamespace } from "./mesh/install.ts";
import { watchLink, type LinkWatch } from "./mesh/link.ts";
import { Load, sentence, type LoadReport } from "./mesh/load.ts";
import { assertCaptured } from "./mesh/remains.ts";
import { apply, ask, client, pod, ready, server } from "./mesh/workloads.ts";
import { until } from "../support/until.ts";

const marker = "marker-60d3f8a1-before-and-after";
const cluster = await meshedCluster();
const skip = cluster instanceof Unavailable ? `no cluster: ${cluster.missing}` : false;

describe("a node that was rebooted under load", { skip }, () => {
  const mesh = cluster as Cluster;
  const links = new Map<string, LinkWatch>();
  let address = "";
  let report: LoadReport;

  before(async () => {
    await namespace(mesh, "power", ambient);
    await apply(mesh, "power", [
      ...server({ name: "web", marker, replicas: 2, spread: true }),
      ...server({ name: "near", marker, node: "node1" }),
      ...client("caller", "node1"),
      { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "eager" } },
      // Asks from its first moment on, every time it is started; what it asks holds the marker as well.
      pod("eager", { name: "app", image: images.app, args: asks("200ms") }, "node2"),
    ]);
    await ready(mesh, "power");
    await captured(mesh, "power", true);
    const service = await mesh.get<{ spec: { clusterIP: string } }>(["service", "web", "-n", "power"]);
    address = service.spec.clusterIP;
    for (const node of mesh.nodes) links.set(node.name, watchLink(node, [marker]));
  });
  after(async () => {
    for (const link of links.values()) link.close();
    await remove(mesh, "power");
  });

  it("comes back with its pods in the mesh", async (t) => {
    const node2 = mesh.node("node2");
    const load = await Load.start(mesh, {
      ...{ namespace: "power", pod: "caller", url: `http://${address}/${marker}`, rate: 100 },
      held: { count: 10, address: `${address}:9000` },
    });
    const begun = performance.now();
    const took = (): number => Math.round(performance.now() - begun);
    const said: string[] = [];
    try {
      nothingSeen(links.get("node2")!);
      links.get("node2")!.close();
      const index = indexOf(node2.linkInterface);
      await node2.powerOff();
      // The old one goes some time after its node.
      const watched = until("node2's new link", 60_000, () => (indexOf(node2.linkInterface) ?? index) !== index).then(
        () => links.set("node2", watchLink(node2, [marker])),
      );
      await Promise.all([node2.powerOn(), watched]);
      said.push(`on again after ${took()} ms`);
      await until("every pod of node2 runs anew", 150_000, async () => {
        const pods = await podsOf(mesh, "power", "--field-selector", "spec.nodeName=node2");
        const again = pods.filter(({ status }) =>
          status.containerStatuses?.every((one) => one.ready && one.restartCount > 0),
        );
        return again.length === 2;
      });
      said.push(`its pods ready after ${took()} ms`);
      await mesh.mustKubectl([
        ...["wait", "pod", "-n", systemNamespace, "-l", "app.kubernetes.io/name=ambientd"],
        ...["--for=condition=Ready", "--timeout=90s"],
      ]);
      await captured(mesh, "power", true, 60_000);
      said.push(`all captured after ${took()} ms`);
    } finally {
      report = await load.stop();
      t.diagnostic(`${sentence(report)}; ${said.join(", ")}`);
    }
    assert.equal(report.new.notStarted, 0, "no black hole");
    assert.ok(report.held.cut < report.held.opened, "those to the other node's pod were not cut");
  });

  it("held its pods until the node daemon was there: none of them was ever bare", async (t) => {
    const { items } = await mesh.get<{ items: { reason: string; message: string; count?: number }[] }>([
      ...["events", "-n", "power", "--field-selector", "reason=FailedCreatePodSandBox"],
    ]);
    const held = items.filter(({ message }) => message.includes("ambient-cni"));
    t.diagnostic(`${held.length} events say that a pod is held: ${held[0]?.message.slice(0, 300)}`);
    assert.ok(held.length > 0);
    for (const link of links.values()) nothingSeen(link);
  });

  it("holds in its pods what captures them, and answers every request", async () => {
    await assertCaptured(mesh, await podsOf(mesh, "power"));
    const answered = new Set<string>();
    const lost: string[] = [];
    // Whom a connection has not reached, while the node came up, is passed over for up to ten seconds.
    await until("both of the Service's pods answer", 30_000, async () => {
      const { ok, error, body } = await ask(mesh, "power", "caller", `http://${address}/${marker}`);
      if (ok) answered.add(body?.pod ?? "");
      else lost.push(String(error));
      return answered.size === 2;
    });
    assert.deepEqual(lost, []);
    const log = await mesh.mustKubectl(["logs", "-n", "power", "eager", "--tail=5"]);
    assert.match(log, /"ok":true/);
    for (const link of links.values()) nothingSeen(link);
  });
});

/** No frame shows what they say, and none escaped the one who looks. */
function nothingSeen(link: LinkWatch): void {
  const { marked, dropped, frames } = link.counts();
  assert.ok(frames > 0, "something went over the link");
  assert.equal(dropped, 0, "the sniffer kept up");
  assert.equal(marked[marker], 0, "frames in plaintext");
}

/** Of a network interface; another one of the same name has another. */
function indexOf(name: string): string | undefined {
  try {
    return readFileSync(`/sys/class/net/${name}/ifindex`, "utf8");
  } catch {
    return undefined;
  }
}

function asks(every: string): string[] {
  return ["get", "-count", "0", "-every", every, "-timeout", "2s", `http://near.power/${marker}`];
}
