/** The cluster as a source of objects, on a real API server: what a scripted one could only claim. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, describe, it } from "node:test";
import { parseAllDocuments } from "yaml";
import { KubernetesClient } from "../../control/sources/kubernetes/client.ts";
import { KubeError, statusOf } from "../../control/sources/kubernetes/errors.ts";
import { EventRecorder } from "../../control/sources/kubernetes/events.ts";
import { LeaderElection } from "../../control/sources/kubernetes/leader.ts";
import { apiVersionOf, collectionPath, objectPath, type ApiKind } from "../../control/sources/kubernetes/paths.ts";
import type { ReflectorTiming, Selection } from "../../control/sources/kubernetes/reflector.ts";
import { KubernetesSource } from "../../control/sources/kubernetes/source.ts";
import { watchObject } from "../../control/sources/kubernetes/watch-one.ts";
import type { Kind } from "../../control/sources/objects.ts";
import { silentLog } from "../../core/base/log.ts";
import { until } from "../support/until.ts";
import { BareApiServer } from "./bare-api-server.ts";
import { Unavailable } from "./unavailable.ts";

type Json = Record<string, unknown>;

const started = await BareApiServer.start();
const skip = started instanceof Unavailable ? `no API server: ${started.missing}` : false;
const patience = 30_000;

describe("a cluster as a source of objects", { skip }, () => {
  const server = started as BareApiServer;
  const clients: KubernetesClient[] = [];
  const sources: KubernetesSource[] = [];
  const api = skip === false ? clientOf("admin") : undefined!;
  after(async () => {
    for (const source of sources) source.close();
    for (const client of clients) client.close();
    await server.stop();
  });

  it("reads long lists page by page", async () => {
    await namespace("many");
    const names = Array.from({ length: 1_100 }, (_, index) => `account-${String(index).padStart(4, "0")}`);
    for (let at = 0; at < names.length; at += 50)
      await Promise.all(
        names.slice(at, at + 50).map((name) => create("ServiceAccount", "many", { metadata: { name } })),
      );
    const source = await open([{ kind: "ServiceAccount", namespace: "many" }]);
    assert.deepEqual(
      source
        .list()
        .all("ServiceAccount")
        .map(({ metadata }) => metadata.name),
      names,
    );
    source.close();
  });

  it("misses nothing of what changed while the API server was killed and started again", async () => {
    await namespace("churn");
    const source = await open([
      { kind: "ServiceAccount", namespace: "churn" },
      { kind: "Service", namespace: "churn" },
    ]);
    const listed = () =>
      source
        .list()
        .all("ServiceAccount")
        .map(({ metadata }) => `${metadata.name} ${metadata.uid}`);
    const removed: string[] = [];
    source.subscribe((deltas) => {
      for (const { op, object } of deltas) if (op === "removed") removed.push(object.metadata.name);
    });
    for (const name of ["a", "b", "c", "d"]) await create("ServiceAccount", "churn", { metadata: { name } });
    await until("all are seen", patience, () => listed().length === 4);
    await server.killApi();
    const slow = await open([{ kind: "Service", namespace: "churn" }], {}, false);
    await server.startApi();
    for (const name of ["a", "b"]) await api.delete(objectPath("ServiceAccount", "churn", name));
    await create("ServiceAccount", "churn", { metadata: { name: "b" } });
    await slow.synced;
    await until("the list is the server's", patience, async () => {
      const truth = good(await api.list<{ metadata: Json }>(collectionPath("ServiceAccount", "churn")));
      return (
        JSON.stringify(listed()) ===
        JSON.stringify(truth.items.map(({ metadata }) => `${String(metadata["name"])} ${String(metadata["uid"])}`))
      );
    });
    assert.deepEqual(removed.sort(), ["a", "b"]);
    assert.equal(source.drift(), 0);
    slow.close();
    source.close();
  });

  it("follows any churn, with watches of a few seconds, as a list would tell it", async () => {
    await namespace("storm");
    const source = await open([{ kind: "ServiceAccount", namespace: "storm" }], { watchSeconds: 2, relistMs: 3_000 });
    const endMs = performance.now() + 8_000;
    let writes = 0;
    while (performance.now() < endMs) {
      const name = `sa-${writes++ % 7}`;
      const path = objectPath("ServiceAccount", "storm", name);
      if (writes % 3 === 0) await api.delete(path);
      else if (writes % 5 === 0) await api.patch(path, { metadata: { labels: { round: String(writes) } } }, "merge");
      else await api.create(collectionPath("ServiceAccount", "storm"), { metadata: { name } });
    }
    await until("the list is the server's", patience, async () => {
      const truth = good(await api.list<{ metadata: Json }>(collectionPath("ServiceAccount", "storm")));
      const wanted = truth.items.map(({ metadata }) => [metadata["uid"], metadata["labels"] ?? {}]);
      const held = source
        .list()
        .all("ServiceAccount")
        .map(({ metadata }) => [metadata.uid, metadata.labels]);
      return JSON.stringify(held) === JSON.stringify(wanted);
    });
    const [stats] = source.stats();
    assert.ok((stats?.watches ?? 0) >= 3 && (stats?.lists ?? 0) >= 2, JSON.stringify(stats));
    assert.equal(stats?.missed, 0);
    source.close();
  });

  it("annotates a pod through its status, and never its namesake", async () => {
    await namespace("shop");
    await grantLimited("pods", [
      { apiGroups: [""], resources: ["pods"], verbs: ["list", "watch"] },
      { apiGroups: [""], resources: ["pods/status"], verbs: ["patch"] },
    ]);
    await create("Pod", "shop", pod("cart"));
    const source = await open([{ kind: "Pod", namespace: "shop" }], {}, true, "limited");
    const ref = { kind: "Pod", namespace: "shop", name: "cart" } as const;
    const annotate = (value: string | null, uid?: string) =>
      source.writeStatus(ref, "cni", {
        metadata: { ...(uid === undefined ? {} : { uid }), annotations: { "ambient.istio.io/redirection": value } },
      });
    assert.equal(await annotate("enabled"), undefined);
    assert.deepEqual(source.list().get("Pod", "shop", "cart")?.metadata.annotations, {
      "ambient.istio.io/redirection": "enabled",
    });
    assert.equal(await annotate(null), undefined);
    assert.deepEqual(source.list().get("Pod", "shop", "cart")?.metadata.annotations, {});
    const another = "00000000-0000-4000-8000-000000000000";
    const error = await clientOf("limited").patch(
      objectPath("Pod", "shop", "cart", "status"),
      { metadata: { uid: another, annotations: { x: "1" } } },
      "merge",
    );
    assert.ok(error instanceof KubeError && statusOf(error) === 422, "the uid is a precondition");
    assert.match((await annotate("enabled", another))?.type.reason ?? "", /not known here/);
    source.close();
  });

  it("holds nobody up for kinds without a CRD, and takes them in when it comes", async () => {
    const kinds: readonly Kind[] = ["AuthorizationPolicy", "PeerAuthentication", "ServiceEntry", "WorkloadEntry"];
    const source = await open(kinds.map((kind) => ({ kind })));
    assert.equal(source.problems().filter(({ code }) => code === "source.absent-kind").length, 4);
    for (const document of parseAllDocuments(readFileSync(server.parts.istioDefinitions, "utf8"))) {
      const definition = document.toJS() as { spec?: { group: string; names: { kind: string } } } | null;
      if (kinds.some((kind) => kind === definition?.spec?.names.kind))
        await create("CustomResourceDefinition", "", definition as Json);
    }
    await until("every kind is known", patience, () => source.problems().length === 0);
    await create("AuthorizationPolicy", "shop", policy("gate"));
    await until("the policy is seen", patience, () => source.list().get("AuthorizationPolicy", "shop", "gate"));
    source.close();
  });

  it("keeps others' conditions beside its own, whether the list is a map or one value, and takes only its own away", async () => {
    await create("Service", "shop", { metadata: { name: "web" }, spec: { ports: [{ port: 80 }] } });
    const source = await open([
      { kind: "Service", namespace: "shop" },
      { kind: "AuthorizationPolicy", namespace: "shop" },
    ]);
    for (const [kind, name] of [
      ["Service", "web"],
      ["AuthorizationPolicy", "gate"],
    ] as const) {
      const ref = { kind, namespace: "shop", name };
      const path = objectPath(kind, "shop", name, "status");
      const theirs = condition("Theirs", "True");
      const head = { apiVersion: apiVersionOf(kind), kind, metadata: { name, namespace: "shop" } };
      good(await api.patch(path, { ...head, status: { conditions: [theirs] } }, "apply", { fieldManager: "others" }));
      const types = () => {
        const object = source.list().get(kind, "shop", name);
        return (object?.status.conditions ?? []).map(({ type, status }) => `${type}=${status}`).sort();
      };
      await until("theirs is seen", patience, () => types().join() === "Theirs=True");
      const ours = condition("istio.io/WaypointBound", "True");
      const write = (own: Json[]) =>
        source.writeStatus(ref, "control", { status: { conditions: [theirs, ...own] } }, ["istio.io/WaypointBound"]);
      assert.equal(await write([ours]), undefined);
      assert.deepEqual(types(), ["Theirs=True", "istio.io/WaypointBound=True"]);
      assert.equal(await write([{ ...ours, status: "False" }]), undefined);
      assert.deepEqual(types(), ["Theirs=True", "istio.io/WaypointBound=False"]);
      assert.equal(await write([]), undefined);
      assert.deepEqual(types(), ["Theirs=True"]);
    }
    source.close();
  });

  it("takes its objects along when a CRD is deleted", async () => {
    const source = await open([{ kind: "AuthorizationPolicy" }, { kind: "Namespace" }]);
    assert.equal(source.list().all("AuthorizationPolicy").length, 1);
    await api.delete(objectPath("CustomResourceDefinition", "", "authorizationpolicies.security.istio.io"));
    await until("they are gone", patience, () => source.list().all("AuthorizationPolicy").length === 0);
    assert.ok(source.list().all("Namespace").length > 3);
    source.close();
  });

  it("takes a kind it may not list for unknown, not for empty", async () => {
    const source = await open([{ kind: "Node" }], {}, false, "limited");
    const [problem] = await until("the problem is listed", patience, () =>
      source.problems().length > 0 ? source.problems() : undefined,
    );
    assert.match(problem?.message ?? "", /User "limited" cannot list resource "nodes"/);
    await grantLimited("nodes", [{ apiGroups: [""], resources: ["nodes"], verbs: ["list", "watch"] }]);
    await source.synced;
    source.close();
  });

  it("follows one object with a right to that name only", async () => {
    await grantLimited("one", [
      { apiGroups: ["apps"], resources: ["daemonsets"], resourceNames: ["cni"], verbs: ["list", "watch"] },
    ]);
    const seen: unknown[] = [];
    const client = clientOf("limited");
    const watch = watchObject({
      client,
      log: silentLog,
      kind: "DaemonSet",
      namespace: "shop",
      name: "cni",
      onChange: (object) => seen.push(object === undefined),
    });
    await watch.synced;
    await create("DaemonSet", "shop", {
      metadata: { name: "cni" },
      spec: {
        selector: { matchLabels: { app: "cni" } },
        template: { metadata: { labels: { app: "cni" } }, spec: { containers: [{ name: "c", image: "i" }] } },
      },
    });
    await until("it is there", patience, () => seen.length > 1);
    await api.delete(objectPath("DaemonSet", "shop", "cni"));
    await until("it is gone", patience, () => seen.at(-1) === true && seen.length > 2);
    watch.close();
  });

  it("lets one replica lead, and the next as soon as it goes", async () => {
    await grantLimited("leader", [
      { apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["create"] },
      {
        apiGroups: ["coordination.k8s.io"],
        resources: ["leases"],
        resourceNames: ["control"],
        verbs: ["get", "update"],
      },
    ]);
    const calls: string[] = [];
    const election = (identity: string) =>
      new LeaderElection({
        client: clientOf("limited"),
        namespace: "shop",
        name: "control",
        identity,
        log: silentLog,
        onStarted: () => calls.push(`${identity} started`),
        onStopped: () => calls.push(`${identity} stopped`),
      });
    const [first, second] = [election("one"), election("two")];
    first.start();
    await until("one leads", patience, () => first.isLeader);
    second.start();
    await until("two knows", patience, () => second.leader === "one");
    await first.close();
    await until("two leads", 5_000, () => second.isLeader);
    assert.deepEqual(calls, ["one started", "one stopped", "two started"]);
    await second.close();
  });

  it("writes events that the API server takes, with the right to create them only", async () => {
    await grantLimited("events", [{ apiGroups: ["events.k8s.io"], resources: ["events"], verbs: ["create"] }]);
    const recorder = new EventRecorder({
      client: clientOf("limited"),
      component: "ambientd-cni",
      instance: "node1",
      log: silentLog,
    });
    const ref = { kind: "Pod", namespace: "shop", name: "cart", uid: "u" } as const;
    await recorder.say({ ref, type: "Warning", reason: "NotCaptured", message: "x".repeat(3_000) });
    await recorder.say({
      ref: { ...ref, kind: "Node", namespace: "", name: "node1" },
      type: "Normal",
      reason: "Ready",
      message: "m",
    });
    for (const [where, reason] of [
      ["shop", "NotCaptured"],
      ["default", "Ready"],
    ] as const) {
      const { items } = good(await api.list<{ reason: string }>(collectionPath("Event", where)));
      assert.ok(
        items.some((event) => event.reason === reason),
        `${reason} in ${where}`,
      );
    }
  });

  function clientOf(user: "admin" | "limited"): KubernetesClient {
    const client = new KubernetesClient({
      connection: (started as BareApiServer).connection(user),
      log: silentLog,
      userAgent: "test",
    });
    clients.push(client);
    return client;
  }

  async function open(
    kinds: readonly Selection<Kind>[],
    timing: Partial<ReflectorTiming> = {},
    awaitSync = true,
    user: "admin" | "limited" = "admin",
  ): Promise<KubernetesSource> {
    const source = new KubernetesSource({ client: clientOf(user), kinds, log: silentLog, timing });
    sources.push(source);
    if (awaitSync) await source.synced;
    return source;
  }

  async function create(kind: ApiKind, where: string, body: Json): Promise<void> {
    good(await api.create(collectionPath(kind, where), { apiVersion: apiVersionOf(kind), kind, ...body }));
  }

  function namespace(name: string): Promise<void> {
    return create("Namespace", "", { metadata: { name } });
  }

  /** To the user `limited`, everywhere. */
  async function grantLimited(name: string, rules: readonly Json[]): Promise<void> {
    await create("ClusterRole", "", { metadata: { name }, rules });
    const apiGroup = "rbac.authorization.k8s.io";
    await create("ClusterRoleBinding", "", {
      metadata: { name },
      roleRef: { apiGroup, kind: "ClusterRole", name },
      subjects: [{ apiGroup, kind: "User", name: "limited" }],
    });
  }
});

function pod(name: string): Json {
  return { metadata: { name }, spec: { containers: [{ name: "c", image: "i" }] } };
}

function policy(name: string): Json {
  return { metadata: { name }, spec: { action: "DENY", rules: [{ from: [{ source: { namespaces: ["bank"] } }] }] } };
}

function condition(type: string, status: string): Json {
  return { type, status, reason: "Some", message: "words", lastTransitionTime: "2030-01-01T00:00:00Z" };
}

function good<T>(answer: T | KubeError): T {
  if (answer instanceof KubeError) throw answer;
  return answer;
}
