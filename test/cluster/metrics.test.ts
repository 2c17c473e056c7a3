/** The agents' own pods in the mesh: metrics to be had by tunnel, with identities on both ends, and in clear text by whoever has none. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Unavailable, type Cluster } from "./cluster.ts";
import { podsOf, type Pod } from "./mesh/capture.ts";
import { ComponentLog, type Line } from "./mesh/component-log.ts";
import { ambient, meshedCluster, namespace, remove, systemNamespace } from "./mesh/install.ts";
import { agentDump } from "./mesh/agent-dump.ts";
import { apply, ask, client, ready } from "./mesh/workloads.ts";
import { until } from "../support/until.ts";

const cluster = await meshedCluster();
const skip = cluster instanceof Unavailable ? `no cluster: ${cluster.missing}` : false;

describe("the metrics of each node's agent", { skip }, () => {
  const mesh = cluster as Cluster;
  let agents: Pod[] = [];

  before(async () => {
    await Promise.all([namespace(mesh, "watching", ambient), namespace(mesh, "aside")]);
    await Promise.all([
      apply(mesh, "watching", client("prometheus", "node1")),
      apply(mesh, "aside", client("other", "node1")),
    ]);
    await Promise.all([ready(mesh, "watching"), ready(mesh, "aside")]);
    agents = (await podsOf(mesh, systemNamespace, "-l", "app.kubernetes.io/component=agent")).filter(
      ({ metadata }) => metadata.deletionTimestamp === undefined,
    );
    assert.equal(agents.length, 2);
  });
  after(() => remove(mesh, "watching", "aside"));

  it("come by mutual TLS to a pod of the mesh, and the agent that is asked says who asked", async () => {
    for (const { metadata, spec, status } of agents) {
      const log = await ComponentLog.open(mesh, "agent", spec.nodeName!);
      try {
        const { ok, error } = await ask(mesh, "watching", "prometheus", `http://${status.podIP}:15020/metrics`);
        assert.ok(ok, error);
        const line = await until("the line of that connection", 10_000, () =>
          log.next().find((one: Line) => one["direction"] === "inbound" && one["dst.workload"] === metadata.name),
        );
        assert.deepEqual(
          ["protocol", "reason", "src.identity", "dst.hbone_addr", "dst.identity"].map((field) => line[field]),
          [
            ...["hbone", "OK", "spiffe://cluster.local/ns/watching/sa/prometheus", `${status.podIP}:15020`],
            `spiffe://cluster.local/ns/${systemNamespace}/sa/ambientd-agent`,
          ],
        );
      } finally {
        log.close();
      }
    }
  });

  it("come in clear text to a pod outside the mesh, and to a node", async () => {
    for (const { status } of agents) {
      const url = `http://${status.podIP}:15020/metrics`;
      const { ok, error } = await ask(mesh, "aside", "other", url);
      assert.ok(ok, error);
      const text = await (await fetch(url)).text();
      assert.match(text, /^istio_tcp_connections_opened_total\{[^}]*source_workload="prometheus"/m);
      assert.match(text, /connection_security_policy="mutual_tls"/);
    }
  });

  it("are of pods that the mesh knows to take tunnels, although nothing of theirs is captured", async () => {
    const { workloads } = await agentDump(mesh, "node1");
    const known = workloads.filter(({ namespace: of }) => of === systemNamespace);
    for (const { metadata } of agents) {
      assert.equal(known.find(({ name }) => name === metadata.name)?.protocol, "HBONE");
      assert.equal(metadata.annotations?.["ambient.istio.io/redirection"], undefined);
      assert.equal(metadata.annotations?.["prometheus.io/port"], "15020");
    }
  });
});
