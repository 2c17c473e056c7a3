import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../core/base/clock.ts";
import { FlagError } from "../../core/base/flag-error.ts";
import { silentLog } from "../../core/base/log.ts";
import type { KubeList, PatchType, Query } from "../sources/kubernetes/client.ts";
import { KubeError } from "../sources/kubernetes/errors.ts";
import { parseFlags } from "./config.ts";
import type { ReleaseClient } from "./objects.ts";
import { explainOutcome, release, type ReleaseOutcome } from "./release.ts";

const namespace = "ambient-system";

test("every node is asked, waited for and counted; then control ends, and then what it wrote goes", async () => {
  const api = new FakeApi();
  api.daemons("node1", "node2");
  api.control("control-1");
  api.namespaces("default", "shop");
  api.configMaps.add("shop");
  // One node takes three looks.
  api.onLook = (look) => {
    if (look === 1) api.say("node1");
    if (look === 3) api.say("node2");
  };
  const outcome = await run(api);
  assert.deepEqual(outcome, {
    kind: "released",
    nodes: 2,
    deleted: [
      "ConfigMap istio-ca-root-cert in 1 namespace",
      "our status of 1 AuthorizationPolicy",
      "Lease ambientd-control",
      "Secret istio-ca-secret",
    ],
  });
  assert.match(explainOutcome(outcome, namespace), /^Every node is as it was before \(2\); deleted ConfigMap/);
  const order = api.writes.map((write) => write.replace(/\?.*/, ""));
  assert.deepEqual(order, [
    "PATCH /apis/apps/v1/namespaces/ambient-system/daemonsets/ambientd-cni",
    "PATCH /apis/apps/v1/namespaces/ambient-system/deployments/ambientd-control/scale",
    "DELETE /api/v1/namespaces/default/configmaps/istio-ca-root-cert",
    "DELETE /api/v1/namespaces/shop/configmaps/istio-ca-root-cert",
    "PATCH /apis/security.istio.io/v1/namespaces/shop/authorizationpolicies/ours/status",
    "DELETE /apis/coordination.k8s.io/v1/namespaces/ambient-system/leases/ambientd-control",
    "DELETE /api/v1/namespaces/ambient-system/secrets/istio-ca-secret",
  ]);
});

test("a node that doesn't answer is named, with why; nothing is deleted", async () => {
  const api = new FakeApi();
  api.daemons("node1", "node2");
  api.pods.find(({ spec }) => spec.nodeName === "node2")!.status = { phase: "Pending" };
  api.onLook = () => api.say("node1");
  const outcome = await run(api);
  assert.deepEqual(outcome, {
    kind: "missing",
    nodes: [{ node: "node2", why: "its daemon's pod cni-node2 is Pending" }],
    afterMs: 5_000,
  });
  assert.equal(api.writes.length, 1);
  const sentence = explainOutcome(outcome, namespace);
  assert.match(sentence, /After 5 s .* node2 \(its daemon's pod cni-node2 is Pending\)\. Nothing was deleted\./);
  assert.match(sentence, /annotate daemonset ambientd-cni ambientd.io\/release-$/);
});

test("a node without a daemon that still has captured pods is named", async () => {
  const api = new FakeApi();
  api.daemons("node1");
  api.say("node1");
  for (const name of ["a", "b", "c", "d"]) api.captured(name, "node9");
  api.captured("ended", "node8").status = { phase: "Succeeded" };
  const outcome = await run(api);
  assert.ok(outcome.kind === "missing");
  assert.deepEqual(outcome.nodes, [{ node: "node9", why: "still captured: shop/a, shop/b, shop/c and 1 more" }]);
});

test("without a node daemon and without control there is only the rest to delete", async () => {
  const api = new FakeApi();
  api.gone.add("daemonsets").add("deployments");
  api.namespaces("default");
  const outcome = await run(api);
  assert.ok(outcome.kind === "released");
  assert.equal(outcome.nodes, 0);
});

test("a kind that the cluster doesn't have has no statuses", async () => {
  const api = new FakeApi();
  api.gone.add("authorizationpolicies");
  const outcome = await run(api);
  assert.ok(outcome.kind === "released");
  assert.deepEqual(outcome.deleted, ["Lease ambientd-control", "Secret istio-ca-secret"]);
});

test("what others said of a policy stays, and whoever says it at the same moment is heard", async () => {
  const api = new FakeApi();
  const managedFields = [{ manager: "ambientd-control", subresource: "status" }];
  const metadata = { name: "shared", namespace: "shop", resourceVersion: "7", managedFields };
  const theirs = { type: "WaypointAccepted", status: "True" };
  api.policies = [{ metadata, status: { conditions: [{ type: "ZtunnelAccepted", status: "True" }, theirs] } }];
  api.statusFailures.push(conflict);
  const outcome = await run(api);
  assert.ok(outcome.kind === "released");
  assert.equal(api.applied.length, 2);
  for (const body of api.applied) {
    assert.deepEqual(body, {
      apiVersion: "security.istio.io/v1",
      kind: "AuthorizationPolicy",
      metadata: { name: "shared", namespace: "shop", resourceVersion: "7" },
      status: { conditions: [theirs] },
    });
  }
});

test("where applying nothing would leave a status that its schema refuses, our fields are deleted by name", async () => {
  const api = new FakeApi();
  const fieldsV1 = { "f:status": { ".": {}, "f:conditions": {}, "f:inForce": {} } };
  const managedFields = [
    { manager: "ambientd-control", subresource: "status", fieldsV1 },
    { manager: "pilot-discovery", subresource: "status", fieldsV1: { "f:status": {} } },
  ];
  const metadata = { name: "moved", namespace: "shop", resourceVersion: "7", managedFields };
  api.policies = [{ metadata, status: { conditions: [{ type: "ZtunnelAccepted", status: "True" }] } }];
  api.statusFailures.push(invalidStatus);
  const outcome = await run(api);
  assert.ok(outcome.kind === "released");
  assert.ok(outcome.deleted.includes("our status of 1 AuthorizationPolicy"));
  assert.deepEqual(api.merged, [{ metadata: { resourceVersion: "7" }, status: { conditions: null, inForce: null } }]);
});

test("a root that isn't ours stays, and ours if that is wanted", async () => {
  const foreign = new FakeApi();
  foreign.secretLabels = { app: "istiod" };
  await run(foreign);
  const kept = new FakeApi();
  await run(kept, { keepRoot: true });
  for (const api of [foreign, kept]) assert.ok(!api.writes.some((write) => write.includes("/secrets/")));
});

test("another one's control is left alone with all it wrote", async () => {
  const api = new FakeApi();
  api.daemons("node1");
  api.say("node1");
  const outcome = await run(api, { keepControl: true });
  assert.deepEqual(outcome, { kind: "released", nodes: 1, deleted: [] });
  assert.equal(api.writes.length, 1);
});

test("a control that doesn't end is named, and nothing of its is deleted under its hands", async () => {
  const api = new FakeApi();
  api.control("control-1");
  api.controlEnds = false;
  const outcome = await run(api);
  assert.deepEqual(outcome, { kind: "control-stays", pods: ["control-1"], afterMs: 60_000 });
  assert.ok(!api.writes.some((write) => write.startsWith("DELETE")));
});

test("an API server that is away for a while is asked again; one that says no is believed", async () => {
  const away = new FakeApi();
  away.failures.push(unreachable, unreachable);
  assert.equal((await run(away)).kind, "released");
  const strict = new FakeApi();
  strict.failures.push(forbidden);
  const outcome = await run(strict);
  assert.ok(outcome.kind === "refused");
  assert.match(
    explainOutcome(outcome, namespace),
    /^Stopped while asking DaemonSet ambient-system\/ambientd-cni .* Not allowed: no\. .* uninstall again/,
  );
});

test("an API server that stays away is not asked for ever", async () => {
  const api = new FakeApi();
  api.failures.push(...Array<KubeError>(100).fill(unreachable));
  const outcome = await run(api);
  assert.ok(outcome.kind === "refused" && outcome.error.type.code === "kube.unreachable");
});

test("lists are read to their last page", async () => {
  const api = new FakeApi();
  api.pageSize = 2;
  api.daemons("node1", "node2", "node3", "node4", "node5");
  for (const node of ["node1", "node2", "node3", "node4", "node5"]) api.say(node);
  const outcome = await run(api);
  assert.ok(outcome.kind === "released");
  assert.equal(outcome.nodes, 5);
});

test("flags are read, and a bad one names itself and its fix", () => {
  assert.deepEqual(parseFlags(["--namespace", "mesh", "--timeout=7", "--keep-root"]), {
    namespace: "mesh",
    timeoutMs: 7_000,
    keepRoot: true,
    keepControl: false,
  });
  for (const [argv, sentence] of [
    [[], /--namespace is missing; add --namespace/],
    [["--namespace=../x"], /--namespace is "\.\.\/x"; give the name/],
    [["--namespace=a", "--timeout=soon"], /--timeout is "soon"; give whole seconds/],
    [["--namespace=a", "--timeout=0"], /--timeout is "0"/],
    [["--bogus"], /'--bogus'; see ambientd release --help/],
  ] as const) {
    const error = parseFlags(argv);
    assert.ok(error instanceof FlagError);
    assert.match(error.sentence(), sentence);
  }
});

async function run(api: FakeApi, more: { keepRoot?: boolean; keepControl?: boolean } = {}): Promise<ReleaseOutcome> {
  const config = { namespace, timeoutMs: 5_000, keepRoot: false, keepControl: false, ...more };
  return release(config, { client: api, clock: new EagerClock(), log: silentLog });
}

/** Whoever waits is woken at once, and finds that the time has passed. */
class EagerClock extends ManualClock {
  override after(delayMs: number, fire: () => void): () => void {
    const cancel = super.after(delayMs, fire);
    setImmediate(() => this.advance(delayMs));
    return cancel;
  }
}

interface FakePod {
  metadata: { name: string; namespace: string; annotations?: Record<string, string> };
  spec: { nodeName: string };
  status: { phase: string };
}

/** As much of an API server as a release touches. */
class FakeApi implements ReleaseClient {
  readonly pods: FakePod[] = [];
  readonly configMaps = new Set<string>();
  readonly writes: string[] = [];
  /** Plurals that are answered with 404. */
  readonly gone = new Set<string>();
  /** What the next requests get instead of an answer. */
  readonly failures: KubeError[] = [];
  /** The same, for statuses only. */
  readonly statusFailures: KubeError[] = [];
  readonly applied: unknown[] = [];
  /** Statuses that were patched in another way. */
  readonly merged: unknown[] = [];
  policies: object[] = [
    { metadata: { name: "ours", namespace: "shop", managedFields: [{ manager: "ambientd-control" }] } },
    { metadata: { name: "theirs", namespace: "shop", managedFields: [{ manager: "kubectl" }] } },
  ];
  secretLabels: Record<string, string> = { "app.kubernetes.io/name": "ambientd" };
  pageSize = 500;
  controlEnds = true;
  onLook: (look: number) => void = () => undefined;
  #looks = 0;
  readonly #namespaces: string[] = [];
  readonly #cni = new Set<FakePod>();
  readonly #control = new Set<FakePod>();

  daemons(...nodes: string[]): void {
    for (const node of nodes) this.#cni.add(this.#pod(`cni-${node}`, namespace, node));
  }

  say(node: string): void {
    const pod = [...this.#cni].find(({ spec }) => spec.nodeName === node)!;
    pod.metadata.annotations = { "ambientd.io/released": "true" };
  }

  control(name: string): void {
    this.#control.add(this.#pod(name, namespace, "node1"));
  }

  captured(name: string, node: string): FakePod {
    const pod = this.#pod(name, "shop", node);
    pod.metadata.annotations = { "ambient.istio.io/redirection": "enabled" };
    return pod;
  }

  namespaces(...names: string[]): void {
    this.#namespaces.push(...names);
  }

  get<T>(): Promise<T | KubeError> {
    return this.#answer({ metadata: { name: "istio-ca-secret", uid: "u1", labels: this.secretLabels } });
  }

  list<T>(path: string, query: Query = {}): Promise<KubeList<T> | KubeError> {
    if (this.#isGone(path)) return this.#answer(notFound(path));
    if (path === "/api/v1/namespaces/ambient-system/pods") {
      const isCni = String(query["labelSelector"]).endsWith("component=cni");
      if (isCni) this.onLook(++this.#looks);
      return this.#page([...(isCni ? this.#cni : this.#control)], query);
    }
    if (path === "/api/v1/pods") return this.#page(this.pods, query);
    if (path === "/api/v1/namespaces")
      return this.#page(
        this.#namespaces.map((name) => ({ metadata: { name } })),
        query,
      );
    if (path.endsWith("/authorizationpolicies")) return this.#page(this.policies, query);
    return this.#page([], query);
  }

  patch<T>(path: string, body: unknown, type: PatchType, query: Query = {}): Promise<T | KubeError> {
    const failure = this.failures.shift();
    if (failure !== undefined) return Promise.resolve(failure);
    if (this.#isGone(path)) return this.#answer(notFound(path));
    this.writes.push(`PATCH ${path}`);
    if (path.endsWith("/scale") && this.controlEnds) this.#control.clear();
    if (type === "apply") {
      this.applied.push(body);
      const refusal = this.statusFailures.shift();
      if (refusal !== undefined) return Promise.resolve(refusal);
    } else if (path.endsWith("/status")) this.merged.push(body);
    if (type === "apply") assert.deepEqual(query, { fieldManager: "ambientd-control", force: true });
    return this.#answer({});
  }

  delete(path: string): Promise<Record<string, unknown> | KubeError> {
    this.writes.push(`DELETE ${path}`);
    const [, ofNamespace = ""] = /namespaces\/([^/]+)\/configmaps\//.exec(path) ?? [];
    return this.#answer(path.includes("/configmaps/") && !this.configMaps.has(ofNamespace) ? notFound(path) : {});
  }

  #page<T>(items: readonly object[], { continue: from }: Query): Promise<KubeList<T> | KubeError> {
    const start = Number(from ?? 0);
    const end = start + this.pageSize;
    const metadata = end < items.length ? { continue: String(end) } : { continue: "" };
    return this.#answer({ metadata, items: items.slice(start, end) });
  }

  #pod(name: string, ofNamespace: string, nodeName: string): FakePod {
    const pod = { metadata: { name, namespace: ofNamespace }, spec: { nodeName }, status: { phase: "Running" } };
    this.pods.push(pod);
    return pod;
  }

  #isGone(path: string): boolean {
    return path.split("/").some((part) => this.gone.has(part));
  }

  #answer<T>(value: unknown): Promise<T> {
    return Promise.resolve(value as T);
  }
}

function notFound(path: string): KubeError {
  const answer = { method: "GET", path, status: 404, reason: "NotFound", message: "no" };
  return new KubeError({ code: "kube.not-found", ...answer });
}
const invalidStatus = new KubeError({
  ...{ code: "kube.status", method: "PATCH", path: "", status: 422, reason: "Invalid" },
  message: 'status: Invalid value: "null"',
});
const conflict = new KubeError({
  code: "kube.conflict",
  method: "PATCH",
  path: "/x",
  status: 409,
  reason: "Conflict",
  message: "no",
});
const unreachable = new KubeError({
  code: "kube.unreachable",
  method: "PATCH",
  path: "/x",
  server: "https://x",
  reason: "ECONNREFUSED",
});
const forbidden = new KubeError({
  code: "kube.forbidden",
  method: "PATCH",
  path: "/x",
  status: 403,
  reason: "Forbidden",
  message: "no",
});
