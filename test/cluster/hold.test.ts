/** What a node does to pods while a part of ours is missing on it: whoever should be in the mesh waits, and is told for what. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Unavailable, type Cluster } from "./cluster.ts";
import { images } from "./layout.ts";
import { podAddresses } from "./mesh/addresses.ts";
import { Asking } from "./mesh/asking.ts";
import { podsOf, redirectionOf, type Pod } from "./mesh/capture.ts";
import { ambient, meshedCluster, namespace, remove, systemNamespace } from "./mesh/install.ts";
import { watchLink, type LinkWatch } from "./mesh/link.ts";
import { OpenConnection } from "./mesh/open-connection.ts";
import { podOf, type Component } from "./mesh/parts-of-ours.ts";
import { apply, ask, client, pod, ready, server, serviceAccount, type Asked } from "./mesh/workloads.ts";
import { until } from "../support/until.ts";

const secret = "marker-e2f40c19-of-the-held";
const cluster = await meshedCluster();
const skip = cluster instanceof Unavailable ? `no cluster: ${cluster.missing}` : false;

describe("a node that lacks a part of ours", { skip }, () => {
  const mesh = cluster as Cluster;
  let vault = { url: "", address: "" };
  let shop = { url: "" };
  let link: LinkWatch | undefined;

  before(async () => {
    await Promise.all([namespace(mesh, "held", ambient), namespace(mesh, "outside")]);
    await apply(mesh, "held", [
      ...["waiting", "waiting-more"].map(serviceAccount),
      ...server({ name: "vault", node: "node2", marker: secret }),
      ...server({ name: "shop", node: "node1", marker: secret }),
      ...client("old", "node1"),
      ...client("far", "node2"),
    ]);
    await apply(mesh, "outside", ["unlabelled", "unlabelled-more"].map(serviceAccount));
    await ready(mesh, "held");
    const addressOf = async (app: string): Promise<string> =>
      (await podsOf(mesh, "held", "-l", `app=${app}`))[0]?.status.podIP ?? "";
    const address = await addressOf("vault");
    vault = { address, url: `http://${address}:8080/` };
    shop = { url: `http://${await addressOf("shop")}:8080/` };
    link = watchLink(mesh.node("node1"), [secret], podAddresses(mesh.nodes));
  });

  after(async () => {
    link?.close();
    await mesh.kubectl(["delete", "pod", "essential", "essential-more", "-n", "kube-system", ...atOnce]);
    await Promise.all([present("cni"), present("agent")]);
    await remove(mesh, "held", "outside");
  });

  it("holds new pods back without its node daemon and says so, and goes on serving those it has", async (t) => {
    const connection = await OpenConnection.open(mesh, "held", "old", { address: vault.address, port: 9000 });
    const out = await Asking.start(mesh, "held", "old", vault.url);
    const into = await Asking.start(mesh, "held", "far", shop.url);
    try {
      await absent("cni");
      const since = [out.answers.length, into.answers.length] as const;
      await apply(mesh, "held", [beginning("waiting", vault.url)]);
      await apply(mesh, "outside", [pausing("unlabelled")]);
      await apply(mesh, "kube-system", [pausing("essential", "default")]);
      await mesh.mustKubectl(["wait", "pod/essential", "-n", "kube-system", ...isReady]);
      for (const [where, name] of [
        ["held", "waiting"],
        ["outside", "unlabelled"],
      ] as const) {
        const why = await reasonOf(where, name);
        assert.match(why, /ambient-cni/);
        assert.match(why, new RegExp(`pod ${where}/${name} is held back`));
        assert.match(why, /the node daemon of ambientd isn't running on this node/);
        assert.match(why, /kubectl get pods -A -o wide -l app\.kubernetes\.io\/name=ambientd/);
        await isHeld(where, name);
      }
      await connection.lives();
      await until("both ways are asked on", 10_000, () =>
        [out, into].every(({ answers }, at) => answers.length > since[at]! + 20),
      );
      for (const { answers } of [out, into]) assert.deepEqual(failed(answers), []);
      await Promise.all([isHeld("held", "waiting"), isHeld("outside", "unlabelled")]);

      await present("cni");
      await mesh.mustKubectl(["wait", "pod/waiting", "-n", "held", ...isReady]);
      await mesh.mustKubectl(["wait", "pod/unlabelled", "-n", "outside", ...isReady]);
      const afterS = [await readyAfter("cni", "held", "waiting"), await readyAfter("cni", "outside", "unlabelled")];
      for (const seconds of afterS) assert.ok(seconds <= patienceS, `${seconds} s`);
      t.diagnostic(
        `held pods were Ready ${afterS.join(" and ")} s after the daemon was; ` +
          `${out.answers.length + into.answers.length} requests meanwhile, none failed`,
      );
      await connection.lives();
      for (const { answers } of [out, into]) assert.deepEqual(failed(answers), []);
    } finally {
      for (const asking of [out, into]) asking.stop();
      connection.close();
    }
    await beganInTheMesh("waiting");
    assert.equal(redirectionOf(await podNamed("outside", "unlabelled")), undefined);
    noPlaintext();
  });

  it("holds new pods of the mesh back without its agent and says so, and starts the others", async (t) => {
    const out = await Asking.start(mesh, "held", "old", vault.url);
    try {
      await absent("agent");
      await apply(mesh, "held", [beginning("waiting-more", vault.url)]);
      await apply(mesh, "outside", [pausing("unlabelled-more")]);
      await apply(mesh, "kube-system", [pausing("essential-more", "default")]);
      await mesh.mustKubectl(["wait", "pod/essential-more", "-n", "kube-system", ...isReady]);
      await mesh.mustKubectl(["wait", "pod/unlabelled-more", "-n", "outside", ...isReady]);
      const why = await reasonOf("held", "waiting-more");
      assert.match(why, /ambient-cni/);
      assert.match(why, /pod held\/waiting-more is held back/);
      assert.match(why, /no ambientd-agent is connected on this node/);
      await isHeld("held", "waiting-more");
      // Nobody carries what the others say, so they wait: what they don't do is to go round the mesh.
      const { ok } = await ask(mesh, "held", "old", vault.url);
      assert.equal(ok, false);

      await present("agent");
      await mesh.mustKubectl(["wait", "pod/waiting-more", "-n", "held", ...isReady]);
      const seconds = await readyAfter("agent", "held", "waiting-more");
      assert.ok(seconds <= patienceS, `${seconds} s`);
      const before = out.answers.length;
      await until("the old one is answered again", 20_000, () => out.answers.slice(before).some((answer) => answer.ok));
      t.diagnostic(`the held pod was Ready ${seconds} s after the agent was`);
    } finally {
      out.stop();
    }
    await beganInTheMesh("waiting-more");
    noPlaintext();
  });

  /** Takes a component off node1 as a wrong nodeSelector does, and nothing else. */
  async function absent(component: Component): Promise<void> {
    await selectNodes(component, "node2");
    const pods = ["-l", `app.kubernetes.io/component=${component}`, "--field-selector", "spec.nodeName=node1"];
    await until(`no ${component} is on node1`, 60_000, async () => {
      return (await podsOf(mesh, systemNamespace, ...pods)).length === 0;
    });
    await rolledOut(component);
  }

  /** Puts it back; settles when it is Ready everywhere. */
  async function present(component: Component): Promise<void> {
    await selectNodes(component, null);
    await rolledOut(component);
  }

  /** Whole seconds, as the API server has them; the kubelet may see the part of ours as Ready later than the pod does. */
  async function readyAfter(component: Component, where: string, name: string): Promise<number> {
    const [theirs, ours] = [await podNamed(where, name), await podOf(mesh, component, "node1")];
    const since = ({ status }: Pick<DetailedPod, "status">): number =>
      Date.parse(status.conditions.find(({ type }) => type === "Ready")?.lastTransitionTime ?? "") / 1000;
    return Math.max(0, since(theirs) - since(await podNamed(systemNamespace, ours.metadata.name)));
  }

  async function selectNodes(component: Component, name: string | null): Promise<void> {
    const template = { spec: { nodeSelector: { "kubernetes.io/hostname": name } } };
    const patch = JSON.stringify({ spec: { template } });
    await mesh.mustKubectl(["patch", "daemonset", `ambientd-${component}`, "-n", systemNamespace, "-p", patch]);
  }

  async function rolledOut(component: Component): Promise<void> {
    const daemonSet = `daemonset/ambientd-${component}`;
    await mesh.mustKubectl(["rollout", "status", daemonSet, "-n", systemNamespace, "--timeout=90s"]);
  }

  /** What the kubelet says of the sandbox that it can't make. */
  function reasonOf(where: string, name: string): Promise<string> {
    return until(`an event says why ${where}/${name} is held`, 20_000, async () => {
      const chosen = `involvedObject.name=${name},reason=FailedCreatePodSandBox`;
      const { items } = await mesh.get<{ items: { message: string }[] }>([
        ...["events", "-n", where, "--field-selector", chosen],
      ]);
      return items[0]?.message;
    });
  }

  async function isHeld(where: string, name: string): Promise<void> {
    const { status } = await podNamed(where, name);
    assert.equal(status.phase, "Pending");
    for (const { state } of [...(status.initContainerStatuses ?? []), ...(status.containerStatuses ?? [])])
      assert.deepEqual(Object.keys(state), ["waiting"]);
  }

  /** Its init container asked once, before anything else of it: the mesh carried that. */
  async function beganInTheMesh(name: string): Promise<void> {
    const log = await mesh.mustKubectl(["logs", name, "-n", "held", "-c", "first"]);
    const { ok, error, body } = JSON.parse(log) as Asked;
    assert.ok(ok, error);
    assert.equal(body?.marker, secret);
    assert.equal(redirectionOf(await podNamed("held", name)), "enabled");
  }

  function noPlaintext(): void {
    const counts = link!.counts();
    assert.equal(counts.dropped, 0, "the sniffer kept up");
    assert.equal(counts.marked[secret], 0);
    assert.ok((counts.podSegments["15008"] ?? 0) > 0);
    assert.equal(counts.podSegments["8080"], undefined);
  }

  function podNamed(where: string, name: string): Promise<DetailedPod> {
    return mesh.get(["pod", name, "-n", where]);
  }
});

const isReady = ["--for=condition=Ready", "--timeout=60s"] as const;
/** The kubelet tries again after 10 to 15 seconds. */
const patienceS = 20;
const atOnce = ["--ignore-not-found", "--wait=false", "--grace-period=1"] as const;

function failed(answers: readonly Asked[]): Asked[] {
  return answers.filter(({ ok }) => !ok);
}

/** A pod whose init container asks once: it fails when that does. */
function beginning(name: string, url: string): object {
  const { spec, ...rest } = pausing(name) as { spec: object };
  const first = { name: "first", image: images.app, imagePullPolicy: "Never", args: ["get", url] };
  return { ...rest, spec: { ...spec, restartPolicy: "Never", initContainers: [first] } };
}

function pausing(name: string, account = name): object {
  return pod(name, { name: "app", image: images.app, args: ["pause"] }, "node1", {}, account);
}

interface DetailedPod extends Pod {
  readonly status: Pod["status"] & {
    readonly phase: string;
    readonly conditions: readonly { readonly type: string; readonly lastTransitionTime: string }[];
    readonly initContainerStatuses?: readonly { readonly state: object }[];
    readonly containerStatuses?: readonly { readonly state: object }[];
  };
}
