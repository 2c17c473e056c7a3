/** Captured pods' DNS: the agent answers for names of the mesh, the cluster's DNS for all others, and nothing is lost when it is switched. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Unavailable, type Cluster } from "./cluster.ts";
import { podsOf } from "./mesh/capture.ts";
import { ambient, install, installedTag, meshedCluster, namespace, remove, systemNamespace } from "./mesh/install.ts";
import { apply, ask, client, ready, server } from "./mesh/workloads.ts";

const cluster = await meshedCluster();
const skip = cluster instanceof Unavailable ? `no cluster: ${cluster.missing}` : false;

describe("with DNS captured", { skip }, () => {
  const mesh = cluster as Cluster;
  let tag = "";
  let address = "";

  before(async () => {
    tag = (await installedTag(mesh))!;
    await namespace(mesh, "names", ambient);
    await apply(mesh, "names", [
      ...server({ name: "web", node: "node2", marker: "web" }),
      ...client("before", "node1"),
      headless,
      entry,
    ]);
    await ready(mesh, "names");
    address = (await podsOf(mesh, "names", "-l", "app=web"))[0]?.status.podIP ?? "";
    await install(mesh, tag, ["cni.dnsCapture=true"]);
    await apply(mesh, "names", client("later", "node1"));
    await ready(mesh, "names");
  });
  after(async () => {
    await install(mesh, tag);
    await remove(mesh, "names");
  });

  it("names of Services resolve, short and whole, for pods that were there before and for those that came after", async () => {
    for (const pod of ["before", "later"]) {
      for (const name of ["web", "web.names", "web.names.svc.cluster.local"]) {
        const { ok, error, body } = await ask(mesh, "names", pod, `http://${name}/`);
        assert.ok(ok, `${pod} ${name}: ${error}`);
        assert.equal(body?.marker, "web");
      }
    }
  });

  it("a host that only the mesh knows resolves", async () => {
    const { ok, error } = await ask(mesh, "names", "later", "http://only.mesh.example/");
    assert.ok(ok, error);
  });

  it("a name of which the mesh knows nothing comes from the cluster's DNS, and so does its absence", async () => {
    const before = await counted("istio_dns_upstream_requests_total");
    const name = `${address.replaceAll(".", "-")}.headless.names.svc.cluster.local`;
    const { ok, error } = await ask(mesh, "names", "later", `http://${name}:8080/`);
    assert.ok(ok, error);
    assert.ok((await counted("istio_dns_upstream_requests_total")) > before);
    const absent = await ask(mesh, "names", "later", "http://nobody.names.svc.cluster.local/");
    assert.match(absent.error ?? "", /no such host/);
  });

  /** By the agent of node1. */
  async function counted(name: string): Promise<number> {
    const pods = ["-l", "app.kubernetes.io/component=agent", "--field-selector", "spec.nodeName=node1"];
    const all = await podsOf(mesh, systemNamespace, ...pods);
    const agent = all.find(({ metadata }) => metadata.deletionTimestamp === undefined);
    const text = await (await fetch(`http://${agent?.status.podIP}:15020/metrics`)).text();
    const values = [...text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\d+)`, "gm"))];
    return values.reduce((sum, [, value]) => sum + Number(value), 0);
  }
});

/** Its pods have names of their own in the cluster's DNS. */
const headless = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "headless" },
  spec: { clusterIP: "None", selector: { app: "web" }, ports: [{ name: "http", port: 8080 }] },
};

const entry = {
  apiVersion: "networking.istio.io/v1",
  kind: "ServiceEntry",
  metadata: { name: "only" },
  spec: {
    hosts: ["only.mesh.example"],
    addresses: ["240.240.7.1"],
    ports: [{ number: 80, name: "http", protocol: "HTTP", targetPort: 8080 }],
    location: "MESH_INTERNAL",
    resolution: "STATIC",
    workloadSelector: { labels: { app: "web" } },
  },
};
