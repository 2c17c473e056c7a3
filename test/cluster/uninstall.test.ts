/** What comes after the mesh: pods that were in it, and were not restarted, talk as they did before, and nothing of ours is left. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Unavailable, type Cluster } from "./cluster.ts";
import { captured, lives, podsOf } from "./mesh/capture.ts";
import {
  ambient,
  install,
  installedTag,
  meshedCluster,
  namespace,
  release,
  remove,
  systemNamespace,
} from "./mesh/install.ts";
import { watchLink } from "./mesh/link.ts";
import { Load, sentence } from "./mesh/load.ts";
import { processOf } from "./mesh/parts-of-ours.ts";
import { assertCaptured, assertFree, remainsInApi, remainsOnNode } from "./mesh/remains.ts";
import { apply, ask, client, ready, server } from "./mesh/workloads.ts";
import { until } from "../support/until.ts";

const marker = "marker-9c17e2b4-of-those-who-leave";
const cluster = await meshedCluster();
const skip = cluster instanceof Unavailable ? `no cluster: ${cluster.missing}` : false;

describe("uninstalled", { skip }, () => {
  const mesh = cluster as Cluster;
  let tag = "";
  let address = "";
  let livesBefore: string[] = [];

  before(async () => {
    tag = (await installedTag(mesh))!;
    await namespace(mesh, "leaving", ambient);
    await apply(mesh, "leaving", [
      ...server({ name: "web", node: "node2", marker }),
      ...client("caller", "node1"),
      ...policies,
    ]);
    await ready(mesh, "leaving");
    await captured(mesh, "leaving", true);
    const service = await mesh.get<{ spec: { clusterIP: string } }>(["service", "web", "-n", "leaving"]);
    address = service.spec.clusterIP;
    livesBefore = lives(await podsOf(mesh, "leaving"));
    await until("control says something of policies", 20_000, async () =>
      JSON.stringify(await mesh.get(["authorizationpolicies", "-n", "leaving"])).includes("ZtunnelAccepted"),
    );
  });
  after(() => remove(mesh, "leaving"));

  const uninstall = () => mesh.helm(["uninstall", release, "-n", systemNamespace, "--wait"]);

  it("finds the mesh in pods, on nodes and in the API while it is there, so that its absence means something", async () => {
    await assertCaptured(mesh, await podsOf(mesh, "leaving"));
    for (const node of mesh.nodes) {
      const found = (await remainsOnNode(node)).join("\n");
      for (const trace of [/another configuration/, /bin\/ambient-cni/, /run\/ambientd/, /table \w+ ambient/, /agent/])
        assert.match(found, trace);
    }
    const found = (await remainsInApi(mesh)).join("\n");
    for (const kind of kindsOfOurs) assert.match(found, new RegExp(`^${kind} `, "m"));
  });

  it("lets every pod go while it talks", async (t) => {
    const watch = watchLink(mesh.node("node1"), [marker]);
    const load = await Load.start(mesh, {
      ...{ namespace: "leaving", pod: "caller", url: `http://${address}/`, rate: 200 },
      held: { count: 10, address: `${address}:9000` },
    });
    assert.equal(watch.counts().marked[marker], 0, "as long as it is there, nothing is in plaintext");
    const begun = performance.now();
    const { code, stderr } = await uninstall();
    const tookMs = Math.round(performance.now() - begun);
    const report = await load.stop();
    t.diagnostic(`${sentence(report)}; helm uninstall took ${tookMs} ms`);
    assert.equal(code, 0, stderr);
    assert.ok(report.new.failed <= 8, `${report.new.failed}`);
    assert.equal(report.new.notStarted, 0, "no black hole");
    // Half a minute is all that open connections get; then they are told, and need not wait in vain.
    for (const why of Object.keys(report.held.errors ?? {})) assert.match(why, /connection reset by peer/);
    assert.ok((watch.counts().marked[marker] ?? 0) > 0, "its answers can be read on the link");
    watch.close();
  });

  it("leaves pods that were not restarted, talk plaintext and hold nothing of ours", async () => {
    const pods = await podsOf(mesh, "leaving");
    assert.deepEqual(lives(pods), livesBefore);
    const watch = watchLink(mesh.node("node1"), [marker]);
    const { ok, error, body } = await ask(mesh, "leaving", "caller", "http://web.leaving/");
    assert.ok(ok, error);
    assert.equal(body?.marker, marker);
    await until("the marker on the link", 5_000, () => (watch.counts().marked[marker] ?? 0) > 0);
    watch.close();
    await assertFree(mesh, pods);
  });

  it("leaves nodes as they were, and nothing in the API", async () => {
    await ended(mesh);
    for (const node of mesh.nodes) assert.deepEqual(await remainsOnNode(node), []);
    assert.deepEqual(await remainsInApi(mesh), []);
  });

  it("is installed again, and captures the same pods as they run", async () => {
    await install(mesh, tag, ["uninstall.timeoutSeconds=10"]);
    await captured(mesh, "leaving", true);
    assert.deepEqual(lives(await podsOf(mesh, "leaving")), livesBefore);
    const watch = watchLink(mesh.node("node1"), [marker]);
    const { ok, error } = await ask(mesh, "leaving", "caller", "http://web.leaving/");
    assert.ok(ok, error);
    assert.equal(watch.counts().marked[marker], 0);
    watch.close();
  });

  it("stops at a node that does not answer, names it, and goes on when asked again", async (t) => {
    const pid = await processOf(mesh, "cni", "node2");
    process.kill(pid, "SIGSTOP");
    try {
      const stopped = await uninstall();
      assert.notEqual(stopped.code, 0, "it failed");
      const said = await mesh.mustKubectl(["logs", "-n", systemNamespace, "job/ambientd-release"]);
      const sentence = said.split("\n").find((line) => line.includes("not released")) ?? said;
      t.diagnostic(sentence);
      assert.match(sentence, /not released: node2 /);
      const left = (await remainsInApi(mesh)).join("\n");
      for (const object of ["DaemonSet", "Deployment", "Lease", "Secret", "ConfigMap", "ServiceAccount"])
        assert.match(left, new RegExp(`^${object} `, "m"));
    } finally {
      process.kill(pid, "SIGCONT");
    }
    const { ok, error } = await ask(mesh, "leaving", "caller", "http://web.leaving/");
    assert.ok(ok, error);
    const { code, stderr } = await uninstall();
    assert.equal(code, 0, stderr);
    await ended(mesh);
    const pods = await podsOf(mesh, "leaving");
    assert.deepEqual(lives(pods), livesBefore);
    await assertFree(mesh, pods);
    for (const node of mesh.nodes) assert.deepEqual(await remainsOnNode(node), []);
    assert.deepEqual(await remainsInApi(mesh), []);
  });
});

/** Settles when none of our pods is left: Helm waits for what it made, and pods are made by that. */
async function ended(mesh: Cluster): Promise<void> {
  await mesh.mustKubectl(["wait", "pod", "--all", "-n", systemNamespace, "--for=delete", "--timeout=40s"]);
}

const kindsOfOurs = [
  "AuthorizationPolicy",
  "ClusterRole",
  "ClusterRoleBinding",
  "ConfigMap",
  "DaemonSet",
  "Deployment",
  "Lease",
  "Pod",
  "PodDisruptionBudget",
  "Role",
  "RoleBinding",
  "Secret",
  "Service",
  "ServiceAccount",
];

/** One that lets all in, for control to say something of. */
const policies = [
  {
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata: { name: "all" },
    spec: { action: "ALLOW", rules: [{}] },
  },
];
