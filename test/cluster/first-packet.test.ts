/** A pod's identity is its own from its first packet to its last: not a moment less, and nobody's after it. */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { Unavailable, type Cluster } from "./cluster.ts";
import { images } from "./layout.ts";
import { giveNext, podAddresses } from "./mesh/addresses.ts";
import { agentDump, type AgentDump } from "./mesh/agent-dump.ts";
import { Asking } from "./mesh/asking.ts";
import { redirectionOf, type Pod } from "./mesh/capture.ts";
import { ambient, meshedCluster, namespace, remove } from "./mesh/install.ts";
import { watchLink, type LinkWatch } from "./mesh/link.ts";
import { authorizationPolicy, condition, fromAccount, selects } from "./mesh/policies.ts";
import { apply, ask, client, pod, ready, server, serviceAccount, type Asked } from "./mesh/workloads.ts";
import { until } from "../support/until.ts";

const secret = "marker-90ab61fe-of-the-vault";
const recycled = "marker-47e8b0a5-of-the-recycled";
const open = "marker-3c77d210-of-the-unlabelled";
const cluster = await meshedCluster();
const skip = cluster instanceof Unavailable ? `no cluster: ${cluster.missing}` : false;

describe("a server that answers one identity only", { skip }, () => {
  const mesh = cluster as Cluster;
  let vault = { address: "", url: "" };
  let link: LinkWatch | undefined;

  before(async () => {
    await Promise.all([namespace(mesh, "first", ambient), namespace(mesh, "outside")]);
    await apply(mesh, "first", [
      ...["early", "later", "uninvited"].map(serviceAccount),
      ...server({ name: "vault", node: "node2", marker: secret }),
      ...client("reader", "node2"),
    ]);
    await apply(mesh, "first", [admitting("early")]);
    await ready(mesh, "first");
    await condition(mesh, { kind: "authorizationpolicy", namespace: "first", name: "gate" }, "True");
    const { items } = await mesh.get<{ items: Pod[] }>(["pods", "-n", "first", "-l", "app=vault"]);
    const address = items[0]?.status.podIP ?? "";
    vault = { address, url: `http://${address}:8080/` };
    await until("the gate is shut for others", 10_000, async () => !(await ask(mesh, "first", "reader", vault.url)).ok);
    // Ports are looked at where one end is the vault: an address that is nobody's is tried as it is.
    const node1 = mesh.node("node1");
    link = watchLink(node1, [secret, open, recycled], [address, ...podAddresses([node1])]);
  });

  beforeEach(() => apply(mesh, "first", [admitting("early")]));

  after(async () => {
    link?.close();
    await remove(mesh, "first", "outside");
  });

  it("answers an init container's first connection when it is that one's, and no other's", async (t) => {
    const invited = ["one", "two", "three", "four"];
    const begun = performance.now();
    await apply(mesh, "first", [
      ...invited.map((name) => beginning(name, "early", vault.url)),
      beginning("other", "uninvited", vault.url),
    ]);
    await Promise.all(
      invited.map((name) => mesh.mustKubectl([...waitReady, `pod/${name}`, "-n", "first", "--timeout=60s"])),
    );
    t.diagnostic(`${invited.length} pods Ready after ${Math.round(performance.now() - begun)} ms`);
    for (const name of invited) {
      const found = await podNamed("first", name);
      const [first, ...more] = await answersIn("first", name, "first");
      assert.deepEqual(more, [], "one connection, no second try");
      assert.ok(first?.ok, first?.error);
      assert.equal(first.body?.marker, secret);
      assert.equal(first.body.peer.replace(/:\d+$/, ""), found.status.podIP);
    }
    await until(
      "the other has failed",
      20_000,
      async () => (await podNamed("first", "other")).status.phase === "Failed",
    );
    const [refused] = await answersIn("first", "other", "first");
    assert.equal(refused?.ok, false);
    assert.match(refused.error ?? "", /connection reset by peer|EOF/);
    noPlaintext();
    await mesh.mustKubectl(["delete", "pod", "-n", "first", "--grace-period=1", ...invited, "other"]);
  });

  it("knows a pod that got another's address for what it is", async (t) => {
    await apply(mesh, "first", [pod("old", talking(recycled), "node1", {}, "early")]);
    await ready(mesh, "first");
    const old = await podNamed("first", "old");
    const address = old.status.podIP ?? "";
    assert.ok((await ask(mesh, "first", "old", vault.url)).ok);
    assert.ok((await agentDump(mesh, "node1")).certificates.some(({ identity }) => identity.endsWith("/sa/early")));
    const asking = await Asking.start(mesh, "first", "reader", `http://${address}:8080/`);
    try {
      await until("the old one answers", 10_000, () => asking.answers.some(({ body }) => body?.pod === "old"));
      assert.equal(link!.counts().marked[recycled], 0);
      await mesh.mustKubectl(["delete", "pod", "old", "-n", "first", "--grace-period=1"]);
      await giveNext(mesh.node("node1"), address);
      // It asks the vault before anything else, and again and again.
      await apply(mesh, "first", [pod("new", talking(recycled, vault.url), "node1", {}, "later")]);
      await ready(mesh, "first");
      await until("both agents know the new one", 10_000, async () => {
        const dumps = await Promise.all(["node1", "node2"].map((node) => agentDump(mesh, node)));
        return dumps.every(({ workloads }) => at(workloads, address).some(({ name }) => name === "new"));
      });
      // Before that the address was nobody's, and whoever tried it all the same did so as to any address outside the mesh.
      const early = link!.counts().marked[recycled] ?? 0;
      const before = asking.answers.length;
      await until("it is asked on", 10_000, () => asking.answers.length > before + 20);
      assert.deepEqual([...new Set(asking.answers.slice(before).map(({ body }) => body?.pod))], ["new"]);
      assert.equal((link!.counts().marked[recycled] ?? 0) - early, 0, "frames in plaintext");
      t.diagnostic(`${early} frames in plaintext to the address while it was nobody's`);
    } finally {
      asking.stop();
    }
    const now = await podNamed("first", "new");
    assert.equal(now.status.podIP, address);
    const tries = await answersIn("first", "new", "app");
    assert.equal(tries.length, 10);
    for (const { ok, error } of tries) assert.match(ok ? "answered" : (error ?? ""), /connection reset by peer|EOF/);
    const answered = asking.answers.flatMap(({ ok, body }) => (ok ? [body?.pod] : []));
    assert.deepEqual([...new Set(answered)], ["old", "new"]);
    assert.equal(answered.lastIndexOf("old") < answered.indexOf("new"), true);
    t.diagnostic(`${address} again; ${asking.answers.length - answered.length} tries met neither`);
    for (const node of ["node1", "node2"]) {
      const { workloads } = await agentDump(mesh, node);
      assert.deepEqual(
        at(workloads, address).map(({ name, serviceAccount: account, protocol }) => ({ name, account, protocol })),
        [{ name: "new", account: "later", protocol: "HBONE" }],
      );
    }
    const begun = performance.now();
    await until("the agent holds nothing of the old one", 15_000, async () => {
      const { workloadState, certificates } = await agentDump(mesh, "node1");
      assert.equal(old.metadata.uid in workloadState, false);
      assert.ok(now.metadata.uid in workloadState);
      const identities = certificates.map(({ identity }) => identity).filter((one) => one.includes("/ns/first/"));
      assert.deepEqual(identities, ["spiffe://cluster.local/ns/first/sa/later"]);
      return true;
    });
    t.diagnostic(`of the old one nothing is left ${Math.round(performance.now() - begun)} ms later`);
    // The other identity is what opens now.
    await apply(mesh, "first", [admitting("later")]);
    await until("the vault answers it", 10_000, async () => (await ask(mesh, "first", "new", vault.url)).ok);
    noPlaintext();
    await mesh.mustKubectl(["delete", "pod", "new", "-n", "first", "--grace-period=1"]);
  });

  it("has a Job's pod out of the mesh when it ended, and who gets its address talks plaintext", async (t) => {
    await apply(mesh, "first", [errand(vault.url)]);
    await mesh.mustKubectl(["wait", "job/errand", "-n", "first", "--for=condition=Complete", "--timeout=60s"]);
    const { items } = await mesh.get<{ items: Pod[] }>(["pods", "-n", "first", "-l", "job-name=errand"]);
    const ended = items[0]!;
    const address = ended.status.podIP ?? "";
    const [asked] = await answersIn("first", ended.metadata.name, "app");
    assert.ok(asked?.ok, "it was in the mesh while it ran");
    const begun = performance.now();
    await until("both agents have forgotten it", 10_000, async () => {
      const dumps = await Promise.all(["node1", "node2"].map((node) => agentDump(mesh, node)));
      return dumps.every(
        ({ workloads, workloadState }) =>
          !workloads.some(({ workloadIps }) => workloadIps.includes(address)) && !(ended.metadata.uid in workloadState),
      );
    });
    t.diagnostic(`out of both agents' books ${Math.round(performance.now() - begun)} ms after the Job was Complete`);
    const after = await podNamed("first", ended.metadata.name);
    assert.equal(after.status.phase, "Succeeded");
    t.diagnostic(`its annotation says ${redirectionOf(after) ?? "nothing"}`);

    await giveNext(mesh.node("node1"), address);
    await apply(mesh, "outside", [serviceAccount("heir"), pod("heir", talking(open, vault.url), "node1")]);
    await ready(mesh, "outside");
    assert.equal((await podNamed("outside", "heir")).status.podIP, address);
    // No identity came with the address.
    for (const { ok, error } of await answersIn("outside", "heir", "app"))
      assert.match(ok ? "answered" : (error ?? ""), /connection reset by peer|EOF/);
    const heard = await ask(mesh, "first", "reader", `http://${address}:8080/`);
    assert.ok(heard.ok, heard.error);
    assert.equal(heard.body?.pod, "heir");
    const marked = await until("its marker on the link", 5_000, () => link?.counts().marked[open]);
    t.diagnostic(`${marked} frames of it in plaintext`);
    assert.ok(marked > 0);
    assert.equal(link?.counts().marked[secret], 0);
  });

  function noPlaintext(): void {
    const counts = link!.counts();
    assert.equal(counts.dropped, 0, "the sniffer kept up");
    assert.equal(counts.marked[secret], 0);
    assert.ok((counts.podSegments["15008"] ?? 0) > 0);
    // Whoever talked to the vault directly would have been seen on its port.
    assert.equal(counts.podSegments["8080"], undefined);
  }

  function podNamed(where: string, name: string): Promise<Pod & { status: { phase: string } }> {
    return mesh.get(["pod", name, "-n", where]);
  }

  /** What the `app get` of a container printed. */
  async function answersIn(where: string, name: string, container: string): Promise<Asked[]> {
    const text = await mesh.mustKubectl(["logs", name, "-n", where, "-c", container]);
    return text.split("\n").flatMap((line) => (line.startsWith("{") ? [JSON.parse(line) as Asked] : []));
  }
});

function at(workloads: AgentDump["workloads"], address: string): AgentDump["workloads"] {
  return workloads.filter(({ workloadIps }) => workloadIps.includes(address));
}

const waitReady = ["wait", "--for=condition=Ready"] as const;

/** Lets one service account of the namespace in, and nobody else. */
function admitting(account: string): object {
  return authorizationPolicy("gate", { ...selects("vault"), action: "ALLOW", rules: [fromAccount("first", account)] });
}

/** A pod whose init container asks once: it fails when that does. */
function beginning(name: string, account: string, url: string): object {
  const app = { name: "app", image: images.app, args: ["pause"] };
  const { spec, ...rest } = pod(name, app, "node1", {}, account) as { spec: object };
  const first = { name: "first", image: images.app, imagePullPolicy: "Never", args: ["get", url] };
  return { ...rest, spec: { ...spec, restartPolicy: "Never", initContainers: [first] } };
}

/** A server that asks ten times before it serves. */
function talking(marker: string, url?: string): object {
  const asks = url === undefined ? "" : `/app get -count 10 -every 20ms ${url}; `;
  return {
    name: "app",
    image: images.busybox,
    command: ["/bin/sh", "-c", `${asks}exec /app serve -marker ${marker}`],
    readinessProbe: { httpGet: { path: "/readyz", port: 8080 }, periodSeconds: 1 },
  };
}

function errand(url: string): object {
  const { metadata, spec } = pod(
    "errand",
    { name: "app", image: images.app, args: ["get", url] },
    "node1",
    {},
    "early",
  ) as {
    metadata: { labels: object };
    spec: object;
  };
  const template = { metadata: { labels: metadata.labels }, spec: { ...spec, restartPolicy: "Never" } };
  return { apiVersion: "batch/v1", kind: "Job", metadata: { name: "errand" }, spec: { backoffLimit: 0, template } };
}
