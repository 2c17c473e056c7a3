/** `ambientctl` against a real cluster, from a bare one to a mesh and back. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Unavailable, type Cluster } from "./cluster.ts";
import { cniConfiguration } from "./node-configuration.ts";
import { podsOf } from "./mesh/capture.ts";
import { ambientctl } from "./mesh/ctl.ts";
import { installedTag, meshedCluster, namespace, remove, systemNamespace } from "./mesh/install.ts";
import { killContainer, podOf, processOf } from "./mesh/parts-of-ours.ts";
import { assertFree, remainsInApi, remainsOnNode } from "./mesh/remains.ts";
import { apply, ask, client, ready, server } from "./mesh/workloads.ts";
import { until } from "../support/until.ts";

const cluster = await meshedCluster();
const skip = cluster instanceof Unavailable ? `no cluster: ${cluster.missing}` : false;

describe("ambientctl", { skip }, () => {
  const mesh = cluster as Cluster;
  const ctl = (...args: readonly string[]) => ambientctl(mesh, ...args);
  const install = (...flags: readonly string[]) => ctl("install", "--set", `image.tag=${tag}`, ...flags);
  let tag = "";

  before(async () => {
    tag = (await installedTag(mesh))!;
    await namespace(mesh, "counter");
    await apply(mesh, "counter", [...server({ name: "till", node: "node2" }), ...client("buyer", "node1")]);
    await ready(mesh, "counter");
  });
  after(() => remove(mesh, "counter"));

  it("uninstalls what is there, and says that nothing is left", async () => {
    const { code, stdout, stderr } = await ctl("uninstall");
    assert.equal(code, 0, stderr);
    assert.match(stdout + stderr, /No pod is left in the mesh/);
    await mesh.mustKubectl(["wait", "pod", "--all", "-n", systemNamespace, "--for=delete", "--timeout=40s"]);
    for (const node of mesh.nodes) assert.deepEqual(await remainsOnNode(node), []);
    assert.deepEqual(await remainsInApi(mesh), []);
  });

  it("says what is missing where nothing is installed", async () => {
    const again = await ctl("uninstall");
    assert.equal(again.code, 2, again.stderr);
    assert.match(again.stderr, /knows no release ambientd/);
    const verified = await ctl("verify", "node");
    assert.equal(verified.code, 2, verified.stderr);
    assert.match(verified.stderr, /not installed/);
  });

  it("refuses bad values, and a cluster that another mesh has, before anything is changed", async () => {
    const bad = await install("--set", "control.replicas=many", "--set", "agent.colour=red");
    assert.equal(bad.code, 1, bad.stderr);
    assert.match(bad.stdout + bad.stderr, /replicas.*\n?.*colour|colour.*\n?.*replicas/s);
    await apply(mesh, "counter", [foreignMesh]);
    const taken = await install();
    await mesh.mustKubectl(["delete", "daemonset", "-n", "counter", foreignMesh.metadata.name]);
    assert.equal(taken.code, 1, taken.stderr);
    assert.match(taken.stdout, /istio-cni/);
    assert.match(taken.stdout + taken.stderr, /Nothing was changed/);
    for (const node of mesh.nodes) assert.deepEqual(await remainsOnNode(node), []);
    assert.deepEqual(await remainsInApi(mesh), []);
  });

  it("leaves a node alone whose chain holds another mesh's plugin, and says so; the fix is enough", async (t) => {
    const node = mesh.node("node2");
    const file = "/etc/cni/net.d/10-bridge.conflist";
    const original = cniConfiguration(node.layout);
    const chained = JSON.parse(original) as { plugins: object[] };
    chained.plugins.push({ type: "istio-cni" });
    const foreign = JSON.stringify(chained);
    // It hands on what it gets, as a plugin at the end of a chain does.
    await node.nsenter(["cp", "/opt/cni/bin/tuning", "/opt/cni/bin/istio-cni"]);
    await node.nsenter(["tee", file], { stdin: foreign });
    try {
      const { code, stderr } = await install();
      assert.equal(code, 0, stderr);
      const said = await until("the node's daemon says why", 60_000, async () => {
        const { items } = await mesh.get<{ items: { reason: string; message: string }[] }>([
          "events",
          "-n",
          systemNamespace,
        ]);
        return items.find(({ reason }) => reason === "PluginNotInstalled")?.message;
      });
      t.diagnostic(said);
      assert.match(said, /^Node node2: .*istio-cni already redirects.*uninstall/);
      const { status } = await podOf(mesh, "cni", "node2");
      assert.equal(status.containerStatuses?.[0]?.ready, false);
      assert.equal((await node.nsenter(["cat", file])).stdout, foreign);
    } finally {
      await node.nsenter(["tee", file], { stdin: original });
      await node.nsenter(["rm", "/opt/cni/bin/istio-cni"]);
    }
    const { code, stderr } = await install("--wait", "--timeout", "120s");
    assert.equal(code, 0, stderr);
  });

  it("shows which release runs where", async () => {
    const { code, stdout } = await ctl("version", "-o", "json");
    assert.equal(code, 0);
    const { components } = JSON.parse(stdout) as { components: { component: string; node: string; ready: boolean }[] };
    const found = components.map(({ component, node, ready: isReady }) => `${component} ${node} ${isReady}`);
    for (const node of ["node1", "node2"])
      for (const component of ["agent", "cni"]) assert.ok(found.includes(`${component} ${node} true`), found.join());
    assert.equal(components.filter(({ component }) => component === "control").length, 2);
  });

  it("takes a namespace in and waits until it is", async () => {
    const { code, stdout, stderr } = await ctl("namespace", "enroll", "counter", "--wait", "--timeout", "60s");
    assert.equal(code, 0, stderr);
    assert.match(stdout + stderr, /2 captured, 0 pending/);
    const unknown = await ctl("namespace", "enroll", "nowhere");
    assert.equal(unknown.code, 2, unknown.stderr);
    assert.match(unknown.stderr, /There is no namespace nowhere/);
  });

  it("shows workloads, certificates, and who talked to whom", async () => {
    const { ok, error } = await ask(mesh, "counter", "buyer", "http://till.counter/");
    assert.ok(ok, error);
    const workloads = await ctl("workloads", "-n", "counter");
    assert.equal(workloads.code, 0, workloads.stderr);
    assert.match(workloads.stdout, /till-\S+.*HBONE/);
    assert.match(workloads.stdout, /buyer.*HBONE/);
    const certificates = await ctl("certificates");
    assert.equal(certificates.code, 0, certificates.stderr);
    for (const account of ["till", "buyer"])
      assert.match(certificates.stdout, new RegExp(`spiffe://cluster\\.local/ns/counter/sa/${account}\\b`));
    const line =
      /node2 inbound {2}counter\/buyer → counter\/till-\S+ \S+ as spiffe:\/\/cluster\.local\/ns\/counter\/sa\/buyer OK /;
    await until("the line of the connection", 20_000, async () =>
      line.test((await ctl("log", "-n", "counter")).stdout),
    );
  });

  it("verifies nodes: all is well, or exit code 1 and what isn't", async (t) => {
    const well = await ctl("verify", "node");
    assert.equal(well.code, 0, well.stdout + well.stderr);
    const one = await ctl("verify", "node", "node2");
    assert.equal(one.code, 0, one.stdout + one.stderr);
    assert.doesNotMatch(one.stdout, /node1/);
    // Twice within ten seconds: the kubelet waits before it starts it once more.
    await killContainer(mesh, "agent", "node2");
    process.kill(await processOf(mesh, "agent", "node2"), "SIGKILL");
    await until("the agent is gone", 10_000, async () => {
      const { status } = await podOf(mesh, "agent", "node2");
      return status.containerStatuses?.[0]?.ready === false;
    });
    const ill = await ctl("verify", "node", "node2");
    const why = ill.stdout.split("\n").filter((text) => /agent/.test(text));
    t.diagnostic(why.join(" | "));
    assert.equal(ill.code, 1, ill.stdout + ill.stderr);
    assert.match(ill.stdout, /agent-ready/);
    assert.match(ill.stdout, /ambientd-agent-/);
    await until("the agent is back", 60_000, async () => {
      const { status } = await podOf(mesh, "agent", "node2");
      return status.containerStatuses?.[0]?.ready === true;
    });
    const again = await ctl("verify", "node");
    assert.equal(again.code, 0, again.stdout + again.stderr);
  });

  it("lets a namespace go and waits until nothing is left in its pods", async () => {
    const { code, stdout, stderr } = await ctl("namespace", "unenroll", "counter", "--wait", "--timeout", "60s");
    assert.equal(code, 0, stderr);
    assert.match(stdout + stderr, /0 still captured/);
    await until("nothing is left in pods", 20_000, async () => {
      await assertFree(mesh, await podsOf(mesh, "counter"));
      return true;
    });
  });
});

/** Wants no node: only its being there counts. */
const foreignMesh = {
  apiVersion: "apps/v1",
  kind: "DaemonSet",
  metadata: { name: "others-cni" },
  spec: {
    selector: { matchLabels: { "k8s-app": "istio-cni-node" } },
    template: {
      metadata: { labels: { "k8s-app": "istio-cni-node" } },
      spec: { nodeSelector: { nowhere: "true" }, containers: [{ name: "cni", image: "none" }] },
    },
  },
};
