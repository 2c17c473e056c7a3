import assert from "node:assert/strict";
import { test } from "node:test";
import { ObjectStore } from "../control/sources/object-store.ts";
import type { Kind, ObjectOf } from "../control/sources/objects.ts";
import { refKey, refOf, type Snapshot } from "../control/sources/source.ts";
import { planNode, type Families } from "./addresses.ts";
import { Cluster, type ClusterRound } from "./cluster.ts";
import type { PodDesired, PodRow } from "./node-messages.ts";

test("a pod runs on the node it names, one that names none on the node with the fewest", () => {
  const { round, podsOn } = labOf([pod("a", { nodeName: "node2" }), pod("b"), pod("c"), pod("d")]);
  round();
  assert.deepEqual(
    [podsOn("node1"), podsOn("node2")],
    [
      ["b", "c"],
      ["a", "d"],
    ],
  );
});

test("a pod for a node that is not there is named, and the others run", () => {
  const { round, podsOn } = labOf([pod("a", { nodeName: "node7" }), pod("b")]);
  assert.match(round().problems.join(), /Pod shop\/a asks for node node7/);
  assert.deepEqual(podsOn("node1"), ["b"]);
});

test("a pod has no addresses in its status before its network is there", () => {
  const lab = labOf([pod("a")]);
  lab.round();
  assert.deepEqual(lab.object("Pod", "a")?.status.podIPs, []);
  assert.equal(lab.object("Pod", "a")?.status.phase, "Pending");
  lab.report("a", { stage: "running", ready: true });
  lab.round();
  const { status, metadata, spec } = lab.object("Pod", "a")!;
  assert.deepEqual(status.podIPs, ["10.244.1.2", "fd00:244:1::2"]);
  assert.deepEqual([status.phase, status.hostIP, spec.nodeName], ["Running", "172.30.1.2", "node1"]);
  assert.equal(metadata.uid, lab.desired("a")?.uid);
  assert.equal(status.conditions.find(({ type }) => type === "Ready")?.status, "True");
});

test("rounds with nothing new come to the same", () => {
  const lab = labOf([pod("a"), service({ selector: { app: "a" } })]);
  lab.report("a", { stage: "running", ready: true });
  lab.settle();
  const first = lab.round();
  assert.deepEqual(lab.round(), first);
});

test("a changed spec is another life under the same addresses, a changed label is not", () => {
  const lab = labOf([pod("a")]);
  lab.round();
  const first = lab.desired("a")!;
  lab.write([pod("a", {}, { new: "label" })]);
  lab.round();
  assert.equal(lab.desired("a")?.uid, first.uid);
  lab.write([pod("a", { command: ["other"] })]);
  lab.round();
  assert.notEqual(lab.desired("a")?.uid, first.uid);
  assert.deepEqual(lab.desired("a")?.addresses, first.addresses);
});

test("a deleted pod is not spoken of any more, and comes back as another under its addresses", () => {
  const lab = labOf([pod("a"), pod("b")]);
  lab.round();
  const first = lab.desired("b")!;
  lab.write([pod("a")]);
  assert.ok(!lab.round().statuses.has("Pod/shop/b"));
  lab.write([pod("a"), pod("b")]);
  lab.round();
  assert.notEqual(lab.desired("b")?.uid, first.uid);
  assert.deepEqual(lab.desired("b")?.addresses, first.addresses);
});

test("a service gets virtual addresses of the lab's families unless it brings its own or wants none", () => {
  const families = (spec: object, of: Families): string[] => {
    const lab = labOf([service(spec)], of);
    lab.round();
    return [...(lab.object("Service", "web")?.spec.clusterIPs ?? [])];
  };
  assert.deepEqual(families({}, "46"), ["10.96.128.1", "fd00:96::8000"]);
  assert.deepEqual(families({}, "6"), ["fd00:96::8000"]);
  assert.deepEqual(families({ ipFamilies: ["IPv6"] }, "46"), ["fd00:96::8000"]);
  assert.deepEqual(families({ ipFamilyPolicy: "SingleStack" }, "46"), ["10.96.128.1"]);
  assert.deepEqual(families({ clusterIP: "10.96.0.9" }, "46"), ["10.96.0.9"]);
  assert.deepEqual(families({ clusterIP: "None" }, "46"), []);
});

test("a service leads to its ready pods, at the port that its target names", () => {
  const lab = labOf([
    pod("a"),
    pod("b"),
    service({ selector: { app: "a" }, ports: [{ port: 80, targetPort: "web" }] }),
  ]);
  lab.report("a", { stage: "running", ready: false });
  lab.settle();
  assert.deepEqual(lab.routes(), [[], []]);
  lab.report("a", { stage: "running", ready: true });
  lab.settle();
  assert.deepEqual(lab.routes(), [["10.244.1.2:8080"], ["fd00:244:1::2:8080"]]);
});

test("a service without a selector leads where its slices say", () => {
  const slice = {
    kind: "EndpointSlice",
    apiVersion: "discovery.k8s.io/v1",
    metadata: { name: "web-1", namespace: "shop", labels: { "kubernetes.io/service-name": "web" } },
    addressType: "IPv4",
    endpoints: [
      { addresses: ["10.244.2.9"], conditions: { ready: true } },
      { addresses: ["10.244.2.10"], conditions: { ready: false } },
    ],
    ports: [{ name: "http", port: 81 }],
  };
  const lab = labOf([service({ ports: [{ name: "http", port: 80 }] }), slice], "4");
  lab.settle();
  assert.deepEqual(lab.routes(), [["10.244.2.9:81"]]);
});

test("names lead to virtual addresses, a headless service's to its pods, a bare name only where it is the only one", () => {
  const other = { ...service({}), metadata: { name: "web", namespace: "bank" } };
  const headless = {
    ...service({ clusterIP: "None", selector: { app: "a" } }),
    metadata: { name: "peers", namespace: "shop" },
  };
  const lab = labOf([pod("a"), service({}), other, headless], "4");
  lab.report("a", { stage: "running", ready: true });
  lab.settle();
  const lines = lab
    .hosts()
    .split("\n")
    .filter((line) => !line.includes("localhost"));
  assert.deepEqual(lines, [
    "172.30.0.1 istiod.istio-system.svc",
    "10.96.128.1 web.bank.svc.cluster.local web.bank.svc web.bank",
    "10.244.1.2 peers.shop.svc.cluster.local peers.shop.svc peers.shop peers",
    "10.96.128.2 web.shop.svc.cluster.local web.shop.svc web.shop",
    "",
  ]);
});

test("a pod of an ambient namespace awaits its enrolment until it is annotated, its own label counts more", () => {
  const ambient = {
    kind: "Namespace",
    apiVersion: "v1",
    metadata: { name: "shop", labels: { "istio.io/dataplane-mode": "ambient" } },
  };
  const lab = labOf([
    ambient,
    pod("a"),
    pod("out", {}, { "istio.io/dataplane-mode": "none" }),
    pod("host", { hostNetwork: true }),
  ]);
  lab.round();
  assert.deepEqual(
    ["a", "out", "host"].map((name) => lab.desired(name)?.enrolment),
    ["awaited", "none", "none"],
  );
  lab.overlay("a", { metadata: { annotations: { "ambient.istio.io/redirection": "enabled" } } });
  lab.round();
  assert.equal(lab.desired("a")?.enrolment, "done");
});

test("a container is told who and where it is, and variables in its command are filled in", () => {
  const lab = labOf([
    pod("a", { command: ["run", "$(POD_IP)", "$$(POD_IP)", "$(NOT_THERE)"], serviceAccountName: "clerk" }),
  ]);
  lab.round();
  const [container] = lab.desired("a")?.containers ?? [];
  assert.deepEqual(container?.argv, ["run", "10.244.1.2", "$(POD_IP)", "$(NOT_THERE)"]);
  const { POD_NAME, POD_NAMESPACE, NODE_NAME, HOSTNAME, SERVICE_ACCOUNT, POD_IPS } = container.env;
  assert.deepEqual(
    [POD_NAME, POD_NAMESPACE, NODE_NAME, HOSTNAME, SERVICE_ACCOUNT, POD_IPS],
    ["a", "shop", "node1", "a", "clerk", "10.244.1.2,fd00:244:1::2"],
  );
});

test("a pod of the host's network has the node's addresses and needs none of its own", () => {
  const lab = labOf([pod("host", { hostNetwork: true }), pod("a")], "4");
  lab.round();
  assert.deepEqual(lab.desired("host")?.addresses, ["172.30.2.2"]);
  assert.deepEqual(lab.desired("a")?.addresses, ["10.244.1.2"]);
});

/** Two nodes and a store of objects; what rounds write as status goes back into the store. */
function labOf(manifests: readonly object[], families: Families = "46") {
  const store = new ObjectStore();
  let uids = 0;
  const cluster = new Cluster({
    nodes: ["node1", "node2"].map((name, i) => planNode(name, i + 1, families)),
    families,
    newUid: () => `uid-${++uids}`,
    wallMs: () => 0,
    fixedHosts: { "istiod.istio-system.svc": ["172.30.0.1"] },
  });
  const rows = new Map<string, PodRow>();
  const reports = new Map<string, Pick<PodRow, "stage" | "ready">>();
  let last: ClusterRound | undefined;
  const write = (objects: readonly object[]): void =>
    store.setFile("all.yaml", objects.map((o) => JSON.stringify(o)).join("\n---\n"));
  const desired = (name: string): PodDesired | undefined =>
    [...(last?.nodes.values() ?? [])].flatMap((node) => node.pods).find((one) => one.name === name);
  const round = (): ClusterRound => {
    last = cluster.round(snapshotOf(store), rows);
    for (const { ref, patch } of last.statuses.values())
      store.setOverlay(ref, "lab", `${refKey(ref)}.json`, JSON.stringify(patch));
    for (const [name, report] of reports) {
      const uid = desired(name)?.uid;
      if (uid !== undefined) rows.set(uid, { uid, pod: `shop/${name}`, pids: [], restarts: 0, ...report });
    }
    return last;
  };
  const settle = (): void => [1, 2, 3].forEach(round);
  const first = (): Pick<ClusterRound, "nodes"> & { hosts: string } => ({
    nodes: last!.nodes,
    hosts: last!.nodes.get("node1")!.hosts,
  });
  write(manifests);
  return {
    write,
    round: () => (round(), round()),
    settle,
    desired,
    report: (name: string, report: Pick<PodRow, "stage" | "ready">) => void reports.set(name, report),
    overlay: (name: string, patch: object) =>
      store.setOverlay({ kind: "Pod", namespace: "shop", name }, "cni", `${name}.cni.json`, JSON.stringify(patch)),
    podsOn: (node: string) => last?.nodes.get(node)?.pods.map(({ name }) => name),
    object: <K extends Kind>(kind: K, name: string) => snapshotOf(store).get(kind, "shop", name),
    routes: () =>
      first()
        .nodes.get("node1")!
        .routes.map(({ targets }) => targets.map(({ address, port }) => `${address}:${port}`)),
    hosts: () => first().hosts,
  };
}

function snapshotOf(store: ObjectStore): Snapshot {
  store.flush(); // what was touched is read anew
  const objects = [...store.objects()].sort((a, b) => (refKey(refOf(a)) < refKey(refOf(b)) ? -1 : 1));
  const ofKind = <K extends Kind>(kind: K): ObjectOf<K>[] =>
    objects.filter((object): object is ObjectOf<K> => object.kind === kind);
  return {
    objects: () => objects,
    all: ofKind,
    get: (kind, namespace, name) =>
      ofKind(kind).find(({ metadata }) => metadata.namespace === namespace && metadata.name === name),
  };
}

function pod(name: string, spec: Record<string, unknown> = {}, labels: Record<string, string> = {}): object {
  const { command = ["run"], ...rest } = spec;
  return {
    kind: "Pod",
    apiVersion: "v1",
    metadata: { name, namespace: "shop", labels: { app: name, ...labels } },
    spec: { ...rest, containers: [{ name: "main", command, ports: [{ name: "web", containerPort: 8080 }] }] },
  };
}

function service(spec: object): object {
  const metadata = { name: "web", namespace: "shop" };
  return { kind: "Service", apiVersion: "v1", metadata, spec: { ports: [{ port: 80 }], ...spec } };
}
