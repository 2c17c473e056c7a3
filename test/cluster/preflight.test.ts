/** What the chart finds on a cluster that would not go together with it: refused before anything is changed. */
import assert from "node:assert/strict";
import { after, before, test, type TestContext } from "node:test";
import { Unavailable, type Cluster } from "./cluster.ts";
import { chart, meshedCluster, namespace, release, remove, systemNamespace } from "./mesh/install.ts";

const own = "preflight-test";
let cluster: Cluster | Unavailable;

before(async () => {
  cluster = await meshedCluster();
  if (cluster instanceof Unavailable) return;
  await namespace(cluster, own);
  for (const [name, labels] of [
    ["istio-cni-node", { "k8s-app": "istio-cni-node" }],
    ["ztunnel", { app: "ztunnel" }],
  ] as const) {
    const template = {
      metadata: { labels },
      spec: { nodeSelector: { is: "nowhere" }, containers: [{ name: "x", image: "x" }] },
    };
    const spec = { selector: { matchLabels: labels }, template };
    const object = { apiVersion: "apps/v1", kind: "DaemonSet", metadata: { name, namespace: own }, spec };
    await cluster.mustKubectl(["apply", "-f", "-"], JSON.stringify(object));
  }
});
after(async () => {
  if (!(cluster instanceof Unavailable)) await remove(cluster, own);
});

test("an istio-cni on the same nodes is named, with the two ways on", async (t) => {
  const said = await refusal(t, "agent.enabled=false");
  if (said === undefined) return;
  assert.match(said, /DaemonSet preflight-test\/istio-cni-node is an istio-cni.*Remove it, or set cni\.enabled=false/);
  assert.match(said, /Nothing was changed/);
});

test("a ztunnel on the same nodes is named, with the two ways on", async (t) => {
  const said = await refusal(t, "cni.enabled=false", "zdsDir=/var/run/ztunnel");
  if (said === undefined) return;
  assert.match(said, /DaemonSet preflight-test\/ztunnel is a ztunnel.*Remove it, or set agent\.enabled=false/);
});

test("whoever keeps both, or knows better, is let through", async (t) => {
  const under = ["cni.enabled=false", "agent.enabled=false"];
  assert.equal((await refusal(t, ...under)) ?? "", "");
  assert.equal((await refusal(t, "preflight=false")) ?? "", "");
});

test("a second mesh in the cluster is refused", async (t) => {
  if (cluster instanceof Unavailable) return t.skip(cluster.missing);
  const values = ["--set", "control.enabled=false", "--set", "agent.enabled=false"];
  const argv = ["install", "another", chart, "--namespace", own, "--dry-run=server", ...values];
  await cluster.mustKubectl(["delete", "daemonset", "--all", "-n", own]);
  const { code, stderr } = await cluster.helm(argv);
  assert.notEqual(code, 0);
  assert.match(stderr, /ambientd is installed in namespace ambient-system: a cluster has one/);
});

/** What helm says to an upgrade to these values, which is not carried out; undefined where there is no cluster. */
async function refusal(t: TestContext, ...values: readonly string[]): Promise<string | undefined> {
  if (cluster instanceof Unavailable) {
    t.skip(cluster.missing);
    return undefined;
  }
  const { code, stderr } = await cluster.helm([
    ...["upgrade", release, chart, "--namespace", systemNamespace, "--dry-run=server", "--reuse-values"],
    ...values.flatMap((value) => ["--set", value]),
  ]);
  return code === 0 ? "" : stderr;
}
