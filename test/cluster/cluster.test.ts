/** The harness itself, on a cluster beside the one that other tests share: what they rely on holds, and nothing is left behind. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { until } from "../support/until.ts";
import type { Cluster } from "./cluster.ts";

process.env["AMBIENTD_CLUSTER_NUMBER"] = "1";
const { images, startCluster, Unavailable } = await import("./cluster.ts");
const { bringDown } = await import("./lifecycle.ts");
const { imageArchive } = await import("./images/oci.ts");
const { running } = await import("./host/processes.ts");
const { stateOfCluster } = await import("./state.ts");
const { traces } = await import("./traces.ts");

const started = performance.now();
// What an earlier run may have left is none of this one's.
await bringDown();
const made = await startCluster((line) => process.stdout.write(`${line}\n`));
const startMs = performance.now() - started;
const skip = made instanceof Unavailable ? `no cluster: ${made.missing}` : false;

describe("a cluster", { skip }, () => {
  const cluster = made as Cluster;
  const [node1, node2] = skip === false ? cluster.nodes : [];

  before(async () => {
    if (skip !== false) return;
    await cluster.mustKubectl(["apply", "-f", "-"], manifests);
    await cluster.mustKubectl(["wait", "-n", "try", "--for=condition=Ready", "--timeout=60s", "pod", "--all"]);
  });

  after(async () => {
    if (skip === false) await bringDown();
  });

  it("has two Ready nodes of the version that it says", async (t) => {
    t.diagnostic(`it was up after ${(startMs / 1000).toFixed(1)} s`);
    const { items } = await cluster.get<{ items: { status: { nodeInfo: { kubeletVersion: string } } }[] }>(["nodes"]);
    assert.deepEqual(
      items.map(({ status }) => status.nodeInfo.kubeletVersion),
      ["v1.36.3", "v1.36.3"],
    );
    await cluster.mustKubectl(["wait", "--for=condition=Ready", "--timeout=1s", "nodes", "--all"]);
  });

  it("carries HTTP between pods of different nodes, from address to address", async () => {
    assert.equal((await get("one", `http://${await addressOf("two")}:8080/`)).pod, "two");
    assert.equal((await get("two", `http://${await addressOf("one")}:8080/`)).pod, "one");
  });

  it("answers at a ClusterIP, by name, on both nodes", async () => {
    for (const pod of ["one", "two"])
      await until(`${pod} reaches the Service`, 20_000, async () => (await get(pod, "http://web/")).marker === "hello");
  });

  it("runs programs of the host in a pod's network", async () => {
    const url = `http://${await addressOf("two")}:8080/`;
    const { stdout } = await cluster.command(await cluster.inPodNetwork("try", "one", [cluster.parts.app, "get", url]));
    assert.equal((JSON.parse(stdout) as Asked).body.peer.split(":")[0], await addressOf("one"));
  });

  it("gives an image to both nodes", async () => {
    const folder = mkdtempSync(join(tmpdir(), "ambientd-image-"));
    const entries = [{ kind: "file", path: "word", content: Buffer.from("word"), mode: 0o644 }] as const;
    writeFileSync(
      join(folder, "a.tar"),
      imageArchive({ name: "ambientd.test/word:7", entries, entrypoint: ["/word"] }),
    );
    await cluster.loadImage(join(folder, "a.tar"));
    rmSync(folder, { recursive: true });
    for (const node of cluster.nodes) {
      const { stdout } = await node.nsenter(["ctr", "-n", "k8s.io", "images", "ls", "-q"]);
      assert.match(stdout, /^ambientd\.test\/word:7$/m);
    }
  });

  it("knows users by their certificates and tokens, and refuses what they may not do", async () => {
    const stranger = await cluster.mintUser("stranger", ["visitors"]);
    const refused = await cluster.kubectl(["get", "pods", "-A"], undefined, stranger);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /User "stranger" cannot list/);
    await cluster.mustKubectl(["create", "clusterrolebinding", "visitors", "--clusterrole=view", "--group=visitors"]);
    await until(
      "the binding holds",
      10_000,
      async () => (await cluster.kubectl(["get", "pods", "-A"], undefined, stranger)).code === 0,
    );
    const account = await cluster.serviceAccountUser("try", "default");
    const { stdout } = await cluster.kubectl(
      ["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"],
      undefined,
      account,
    );
    assert.equal(stdout, "system:serviceaccount:try:default");
  });

  it("serves its pods on while the API server is dead, and takes it back", async () => {
    await cluster.apiServer.kill();
    const url = `http://${await addressOf("two", true)}:8080/`;
    const { code } = await cluster.command(["nsenter", `--net=${netnsOfOne}`, cluster.parts.app, "get", url]);
    assert.equal(code, 0);
    await cluster.apiServer.start();
    await cluster.mustKubectl(["get", "nodes"]);
  });

  it("reboots a node: its pods come back in namespaces of their own, the other's do not notice", async (t) => {
    const before = await cluster.podProcess("try", "two");
    const other = await cluster.podProcess("try", "one");
    const rebooted = performance.now();
    await node2!.reboot();
    const ready = performance.now();
    await until("the pod was started again", 120_000, async () => {
      const { status } = await cluster.get<Pod>(["pod", "-n", "try", "two"]);
      return status.containerStatuses[0]!.ready && status.containerStatuses[0]!.restartCount === 1;
    });
    t.diagnostic(
      `Ready after ${Math.round(ready - rebooted)} ms, its pod after ${Math.round(performance.now() - rebooted)} ms`,
    );
    assert.notEqual((await cluster.podProcess("try", "two")).pid, before.pid);
    assert.deepEqual(await cluster.podProcess("try", "one"), other);
    await until(
      "the node's pods are reached again",
      30_000,
      async () => (await get("one", `http://${await addressOf("two")}:8080/`)).pod === "two",
    );
    assert.equal(node1!.name, "node1");
  });

  it("is found by the next who wants one", async () => {
    const asked = performance.now();
    const again = await startCluster();
    assert.ok(!(again instanceof Unavailable));
    assert.ok(performance.now() - asked < 5_000);
    assert.equal(again.kubeconfig, cluster.kubeconfig);
  });

  it("is mended where a test ended in the middle of an outage", async () => {
    await cluster.apiServer.kill();
    await node1!.powerOff();
    assert.equal(node1!.pid, undefined);
    const again = await startCluster();
    assert.ok(!(again instanceof Unavailable));
    await until("the pod was started again", 120_000, async () => {
      const { status } = await cluster.get<Pod>(["pod", "-n", "try", "one"]);
      return status.containerStatuses[0]!.ready && status.containerStatuses[0]!.restartCount === 1;
    });
  });

  it("leaves nothing behind when it goes down", async () => {
    assert.notDeepEqual(traces(), []);
    await cluster.down();
    assert.deepEqual(traces(), []);
    assert.equal(stateOfCluster(), "absent");
  });

  it("leaves nothing behind when its starter is killed half-way", async () => {
    const main = join(import.meta.dirname, "main.ts");
    const starter = spawn(process.execPath, [main], { stdio: "ignore" });
    await until(
      "half of it is there",
      30_000,
      () => running("node1").length > 0 && running("kube-apiserver").length > 0,
    );
    starter.kill("SIGKILL");
    await once(starter, "exit");
    assert.equal(stateOfCluster(), "broken");
    const down = spawn(process.execPath, [main, "down"], { stdio: "ignore" });
    const [code] = (await once(down, "exit")) as [number];
    assert.equal(code, 0);
    assert.deepEqual(traces(), []);
  });

  let netnsOfOne = "";
  const addresses = new Map<string, string>();

  async function addressOf(pod: string, fromMemory = false): Promise<string> {
    if (fromMemory) return addresses.get(pod)!;
    const { status } = await cluster.get<Pod>(["pod", "-n", "try", pod]);
    addresses.set(pod, status.podIP);
    netnsOfOne = (await cluster.podProcess("try", "one")).netns;
    return status.podIP;
  }

  async function get(pod: string, url: string): Promise<Asked["body"]> {
    const { stdout, stderr, code } = await cluster.execInPod("try", pod, ["/app", "get", url]);
    assert.equal(code, 0, stdout + stderr);
    return (JSON.parse(stdout) as Asked).body;
  }
});

interface Asked {
  readonly body: { readonly pod: string; readonly peer: string; readonly marker: string };
}

interface Pod {
  readonly status: {
    readonly podIP: string;
    readonly containerStatuses: readonly { readonly ready: boolean; readonly restartCount: number }[];
  };
}

/** One pod on each node, with a readiness probe of each kind between them. */
const manifests = `
apiVersion: v1
kind: Namespace
metadata: { name: try }
---
${pod("one", "node1", "exec: { command: [/app, probe] }")}
---
${pod("two", "node2", "httpGet: { path: /readyz, port: 8080 }")}
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: try }
spec: { selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] }
`;

function pod(name: string, node: string, probe: string): string {
  return `
apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: try, labels: { app: web } }
spec:
  nodeSelector: { kubernetes.io/hostname: ${node} }
  terminationGracePeriodSeconds: 1
  containers:
    - name: app
      image: ${images.app}
      imagePullPolicy: Never
      args: [serve, -marker, hello]
      readinessProbe: { ${probe}, periodSeconds: 1 }
      livenessProbe: { tcpSocket: { port: 9000 }, periodSeconds: 1 }
`;
}
