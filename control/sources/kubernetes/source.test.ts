import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { silentLog } from "../../../core/base/log.ts";
import { until } from "../../../test/support/until.ts";
import type { Kind } from "../objects.ts";
import { KubernetesClient } from "./client.ts";
import { collectionPath } from "./paths.ts";
import type { ReflectorTiming, Selection } from "./reflector.ts";
import { KubernetesSource } from "./source.ts";
import { FakeApiServer } from "./test-support/fake-api-server.ts";
import { Refusal, type Json } from "./test-support/fake-cluster.ts";

const pods = collectionPath("Pod");
const policies = collectionPath("AuthorizationPolicy");

test("a list longer than a page is read page by page", async (t) => {
  const { server, open } = await setUp(t);
  for (let index = 0; index < 1_203; index++) server.cluster.put(pods, pod(`pod-${String(index).padStart(4, "0")}`));
  const source = await open();
  assert.equal(source.list().all("Pod").length, 1_203);
  assert.equal(server.requests.filter(({ query }) => query.has("limit")).length, 3);
});

test("only what is selected is seen, and what leaves the selection is gone", async (t) => {
  const { server, open } = await setUp(t);
  server.cluster.put(pods, pod("here", { nodeName: "node1" }));
  server.cluster.put(pods, pod("there", { nodeName: "node2" }));
  const source = await open([{ kind: "Pod", namespace: "shop", fieldSelector: "spec.nodeName=node1" }]);
  assert.deepEqual(names(source), ["here"]);
  server.cluster.put(pods, pod("here", { nodeName: "node2" }));
  await until("it is gone", 5_000, () => names(source).length === 0);
});

test("a watch that is cut in the middle of a line goes on without loss", async (t) => {
  const { server, open } = await setUp(t);
  server.cluster.put(pods, pod("a"));
  const source = await open();
  server.cutWatches('{"type":"ADDED","object":{"metadata":{"name":"ghost","namesp');
  server.cluster.put(pods, pod("b"));
  server.cluster.remove(pods, "shop/a");
  await until("both changes are seen", 5_000, () => names(source).join() === "b");
  assert.equal(server.requests.filter(({ query }) => query.has("limit")).length, 1, "no second list was needed");
});

test("after a restart of the API server that forgot its history, deletions are noticed", async (t) => {
  const { server, open } = await setUp(t);
  for (const name of ["a", "b", "c"]) server.cluster.put(pods, pod(name));
  const source = await open();
  const removed: string[] = [];
  source.subscribe((deltas) => {
    for (const { op, object } of deltas) if (op === "removed") removed.push(object.metadata.name);
  });
  await server.stop();
  server.cluster.remove(pods, "shop/b");
  server.cluster.put(pods, pod("d"));
  server.cluster.compact();
  await server.start();
  await until("the list is right", 10_000, () => names(source).join() === "a,c,d");
  assert.deepEqual(removed, ["b"]);
  assert.equal(source.drift(), 0);
});

test("a watch whose version expires while it is open leads to a new list", async (t) => {
  const { server, open } = await setUp(t);
  const source = await open();
  const status = { kind: "Status", code: 410, reason: "Expired", message: "too old" };
  server.isMuted = true;
  server.cluster.put(pods, pod("a"));
  server.sendLine(pods, JSON.stringify({ type: "ERROR", object: status }));
  server.isMuted = false;
  await until("the change is seen", 5_000, () => names(source).join() === "a");
});

test("a watch on which nothing comes any more, not even bookmarks, is given up", async (t) => {
  const { server, open } = await setUp(t);
  const source = await open([{ kind: "Pod" }], { silenceMs: 150 });
  server.isMuted = true;
  server.cluster.put(pods, pod("a"));
  const watches = source.stats()[0]?.watches ?? 0;
  await until("the watch is begun anew", 5_000, () => (source.stats()[0]?.watches ?? 0) > watches);
  server.isMuted = false;
  await until("the change is seen", 5_000, () => names(source).join() === "a");
});

test("a watch that is kept awake by bookmarks is not given up, and goes on from the last of them", async (t) => {
  const { server, open } = await setUp(t);
  const source = await open([{ kind: "Pod" }], { silenceMs: 400 });
  server.cluster.put(collectionPath("Node"), { metadata: { name: "node1" } });
  const timer = setInterval(() => server.sendBookmark(pods), 50);
  t.after(() => clearInterval(timer));
  const startedMs = performance.now();
  await until("longer than the silence that ends a watch", 5_000, () => performance.now() - startedMs > 1_000);
  assert.equal(source.stats()[0]?.watches, 1);
  server.cutWatches();
  await until("there is a new watch", 5_000, () => source.stats()[0]?.watches === 2 && server.openWatches === 1);
  const [last] = server.requests.filter(({ query }) => query.get("watch") === "true").slice(-1);
  assert.equal(last?.query.get("resourceVersion"), String(server.cluster.version));
});

test("everything is listed anew now and then, and what no event told of is counted", async (t) => {
  const { server, open } = await setUp(t);
  const source = await open([{ kind: "Pod" }], { relistMs: 200 });
  server.isMuted = true;
  server.cluster.put(pods, pod("a"));
  server.sendBookmark(pods); // past the change that it kept to itself
  await until("the change is seen", 5_000, () => names(source).join() === "a");
  assert.equal(source.drift(), 1);
});

test("a line without end is not kept in memory", async (t) => {
  const { server, open } = await setUp(t);
  const source = await open();
  const junk = "x".repeat(1024 * 1024);
  for (let megabyte = 0; megabyte < 17; megabyte++) server.send(pods, junk);
  server.send(pods, "\n");
  server.cluster.put(pods, pod("a"));
  await until("the change is seen", 10_000, () => names(source).join() === "a");
  assert.ok((source.stats()[0]?.malformed ?? 0) > 0);
});

test("a server that asks to be left alone is left alone for as long", async (t) => {
  const { server, open } = await setUp(t);
  const asked: number[] = [];
  server.intercept = (request, response) => {
    if (request.path !== pods) return false;
    asked.push(performance.now());
    if (asked.length > 1) return false;
    response.writeHead(429, { "retry-after": "1" }).end("{}");
    return true;
  };
  await open();
  assert.ok((asked[1] ?? 0) - (asked[0] ?? 0) >= 990);
});

test("without the right to list a kind it is not taken for empty, and the problem says which right is missing", async (t) => {
  const { server, start } = await setUp(t);
  let isAllowed = false;
  server.intercept = (request, response) => {
    if (request.path !== policies || isAllowed) return false;
    const message = 'authorizationpolicies.security.istio.io is forbidden: User "x" cannot list resource';
    response.writeHead(403, { "content-type": "application/json" });
    response.end(JSON.stringify(new Refusal(403, "Forbidden", message).status()));
    return true;
  };
  const source = start([{ kind: "Pod" }, { kind: "AuthorizationPolicy" }]);
  let isSynced = false;
  void source.synced.then(() => (isSynced = true));
  const [problem] = await until("the problem is listed", 5_000, () => {
    const problems = source.problems();
    return problems.length > 0 && source.stats()[0]?.isSynced === true ? problems : undefined;
  });
  assert.equal(isSynced, false);
  assert.equal(problem?.code, "source.unwatched");
  assert.match(problem.message, /cannot list resource.*Ask for an RBAC rule/);
  isAllowed = true;
  await source.synced;
  await until("the problem is gone", 5_000, () => source.problems().length === 0);
});

test("a kind without a CRD holds nobody up, comes to life with it, and goes with it", async (t) => {
  const { server, open } = await setUp(t);
  server.cluster.known = new Set([pods]);
  server.cluster.put(pods, pod("a"));
  const source = await open([{ kind: "Pod" }, { kind: "AuthorizationPolicy" }]);
  assert.deepEqual(
    source.problems().map(({ level, code }) => `${level} ${code}`),
    ["note source.absent-kind"],
  );
  server.cluster.known.add(policies);
  server.cluster.put(policies, policy());
  await until("the policy is seen", 10_000, () => source.list().all("AuthorizationPolicy").length === 1);
  assert.deepEqual(source.problems(), []);
  server.cluster.forgetKind(policies);
  await until("it is gone", 10_000, () => source.list().all("AuthorizationPolicy").length === 0);
  assert.deepEqual(names(source), ["a"]);
});

test("a server that accepts connections and says nothing is asked again, and what is known stays", async (t) => {
  const { server, open } = await setUp(t, 200);
  server.cluster.put(pods, pod("a"));
  const source = await open();
  let silent = 0;
  server.intercept = (request) => request.query.get("watch") === "true" && ++silent < 3;
  server.cutWatches();
  await until("it was asked again", 5_000, () => silent >= 3);
  server.cluster.put(pods, pod("b"));
  await until("the change is seen", 5_000, () => names(source).join() === "a,b");
});

test("what is no API server's answer is a failure and not an empty world", async (t) => {
  const { server, start } = await setUp(t);
  const bodies = ["<html>login</html>", "[]", '{"items":[]}', '{"metadata":{"resourceVersion":"5"}}'];
  let answered = 0;
  server.intercept = (request, response) => {
    const body = bodies[answered];
    if (request.path !== pods || body === undefined) return false;
    answered++;
    response.writeHead(200).end(body);
    return true;
  };
  server.cluster.put(pods, pod("a"));
  const source = start([{ kind: "Pod" }]);
  await source.synced;
  assert.equal(answered, bodies.length);
  assert.deepEqual(names(source), ["a"]);
});

test("a pod's annotation is written through its status, for that very pod", async (t) => {
  const { server, open } = await setUp(t);
  server.cluster.put(pods, pod("a"));
  const source = await open();
  const ref = { kind: "Pod", namespace: "shop", name: "a" } as const;
  const write = (metadata: Json) => source.writeStatus(ref, "cni", { metadata });
  assert.equal(await write({ annotations: { x: "1" } }), undefined);
  const [request] = server.requests.filter(({ method }) => method === "PATCH");
  assert.equal(request?.path, "/api/v1/namespaces/shop/pods/a/status");
  assert.equal(request.headers["content-type"], "application/merge-patch+json");
  assert.equal(request.query.get("fieldManager"), "ambientd-cni");
  assert.deepEqual(request.body, { metadata: { uid: "uid-1", annotations: { x: "1" } } });

  server.isMuted = true; // we have not heard yet that the pod was replaced
  server.cluster.remove(pods, "shop/a");
  server.cluster.put(pods, pod("a"));
  assert.match((await write({ annotations: { x: "2" } }))?.type.reason ?? "", /uid: field is immutable/);

  let refused = 0;
  server.intercept = (request, response) => {
    if (request.method !== "PATCH" || refused++ > 0) return false;
    response.writeHead(503).end("{}");
    return true;
  };
  const written = write({ annotations: { x: "2" } });
  await until("it is to be tried again", 5_000, () => refused === 1);
  server.isMuted = false; // now we have heard
  server.cluster.put(pods, pod("b"));
  const error = await written;
  assert.match(error?.type.reason ?? "", /as it was meant, is not known here/);
  assert.deepEqual(server.cluster.get(pods, "shop/a")?.metadata["annotations"], undefined);
});

test("an annotation for a pod that is unknown here is refused, and taking it back is no work", async (t) => {
  const { server, open } = await setUp(t);
  const source = await open();
  const ref = { kind: "Pod", namespace: "shop", name: "gone" } as const;
  const error = await source.writeStatus(ref, "cni", { metadata: { annotations: { x: "1" } } });
  assert.match(error?.type.reason ?? "", /Pod shop\/gone, as it was meant, is not known here/);
  assert.equal(await source.writeStatus(ref, "cni", null), undefined);
  assert.equal(server.count("PATCH", /./), 0);
});

test("conditions are applied by a manager per writer, and only its own where the list is a map", async (t) => {
  const { server, open } = await setUp(t);
  const services = collectionPath("Service");
  const theirs = condition("Theirs", "True");
  server.cluster.put(services, { metadata: { name: "web", namespace: "shop" }, status: { conditions: [theirs] } });
  const source = await open([{ kind: "Service" }]);
  const ref = { kind: "Service", namespace: "shop", name: "web" } as const;
  const ours = condition("istio.io/WaypointBound", "True");
  const write = (conditions: Json[]) =>
    source.writeStatus(ref, "control", { status: { conditions } }, ["istio.io/WaypointBound"]);
  assert.equal(await write([theirs, ours]), undefined);
  const [request] = server.requests.filter(({ method }) => method === "PATCH");
  assert.equal(request?.headers["content-type"], "application/apply-patch+yaml");
  assert.equal(request.query.get("fieldManager"), "ambientd-control");
  assert.equal(request.query.get("force"), "true");
  assert.deepEqual(request.body?.["status"], { conditions: [ours] });
  assert.equal(await write([theirs, ours]), undefined);
  assert.equal(server.count("PATCH", /./), 1, "what stands is not written again");
  assert.equal(await write([theirs]), undefined);
  assert.deepEqual(source.list().get("Service", "shop", "web")?.status.conditions, [theirs]);
});

test("where a list of conditions is one value, what others say in the same moment is not lost", async (t) => {
  const { server, open } = await setUp(t);
  server.cluster.wholeLists.add(policies);
  const theirs = { ...condition("Theirs", "True"), observedGeneration: 3 };
  server.cluster.put(policies, { ...policy(), status: { conditions: [theirs] } });
  const source = await open([{ kind: "AuthorizationPolicy" }]);
  const ref = { kind: "AuthorizationPolicy", namespace: "shop", name: "gate" } as const;
  let meddled = 0;
  server.intercept = (request) => {
    // Between our look and our write, once.
    if (request.method === "PATCH" && meddled++ === 0) {
      const changed = { ...theirs, status: "False" };
      server.cluster.mergePatch(policies, "shop/gate", { status: { conditions: [changed] } });
    }
    return false;
  };
  const ours = condition("ZtunnelAccepted", "True");
  const patch = { status: { conditions: [condition("Theirs", "True"), ours] } };
  assert.equal(await source.writeStatus(ref, "control", patch, ["ZtunnelAccepted"]), undefined);
  assert.equal(meddled, 2);
  assert.deepEqual(server.cluster.get(policies, "shop/gate")?.["status"], {
    conditions: [{ ...theirs, status: "False" }, ours],
  });
});

test("what is in force in place of a broken spec stands in the status, for who comes later, until the spec is mended", async (t) => {
  const { server, open } = await setUp(t);
  server.cluster.wholeLists.add(policies);
  const ref = { kind: "AuthorizationPolicy", namespace: "shop", name: "gate" } as const;
  const good = { action: "DENY", rules: [{ to: [{ operation: { ports: ["80"] } }] }] };
  const put = (spec: Json) => {
    const before = server.cluster.get(policies, "shop/gate");
    server.cluster.put(policies, { ...policy(), ...before, spec });
  };
  const say = (source: KubernetesSource, status: string) =>
    source.writeStatus(ref, "control", { status: { conditions: [condition("ZtunnelAccepted", status)] } });
  put(good);
  const first = await open([{ kind: "AuthorizationPolicy" }]);
  put({ action: "DENY", rules: [{ to: [{ operation: { ports: ["http"] } }] }] });
  await until("it is seen to be broken", 5_000, () => (gateOf(first)?.faults.length ?? 0) > 0);
  assert.equal(await say(first, "False"), undefined);
  assert.deepEqual((server.cluster.get(policies, "shop/gate")?.["status"] as Json)["inForce"], { spec: good });

  const later = await open([{ kind: "AuthorizationPolicy" }]);
  assert.deepEqual(gateOf(later)?.spec, gateOf(first)?.spec);
  assert.equal(gateOf(later)?.faults.length, 1);
  assert.match(later.problems()[0]?.message ?? "", /the last good version stays in force/);

  put({ action: "ALLOW" });
  await until("it is seen to be mended", 5_000, () => gateOf(later)?.faults.length === 0);
  assert.equal(gateOf(later)?.spec.action, "ALLOW", "a good spec counts, whatever the status says");
  assert.equal(await say(later, "True"), undefined);
  assert.equal("inForce" in (server.cluster.get(policies, "shop/gate")?.["status"] as Json), false);
});

test("a status that holds nothing good vouches for nothing", async (t) => {
  const { server, open } = await setUp(t);
  const spec = { action: "DENY", rules: [{ to: [{ operation: { ports: ["http"] } }] }] };
  for (const inForce of [undefined, "ALLOW", { spec: "ALLOW" }, { spec }, {}]) {
    server.cluster.put(policies, { ...policy(), spec, status: { inForce } });
    const source = await open([{ kind: "AuthorizationPolicy" }]);
    assert.equal(gateOf(source)?.spec.rules, "unusable", JSON.stringify(inForce));
    source.close();
  }
});

test("a write that the server is too busy for is tried again, and one without the right is not", async (t) => {
  const { server, open } = await setUp(t);
  server.cluster.put(pods, pod("a"));
  const source = await open();
  const ref = { kind: "Pod", namespace: "shop", name: "a" } as const;
  let busy = 2;
  let status = 503;
  server.intercept = (request, response) => {
    if (request.method !== "PATCH" || busy-- <= 0) return false;
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(new Refusal(status, "", "no").status()));
    return true;
  };
  const write = (x: string) => source.writeStatus(ref, "cni", { metadata: { annotations: { x } } });
  assert.equal(await write("1"), undefined);
  assert.equal(server.count("PATCH", /./), 3);
  busy = 1;
  status = 403;
  const error = await write("2");
  assert.match(error?.type.reason ?? "", /Not allowed: no/);
  assert.equal(server.count("PATCH", /./), 4);
});

test("nothing is said after it was closed", async (t) => {
  const { server, open } = await setUp(t);
  const source = await open();
  let told = 0;
  source.subscribe(() => told++);
  source.close();
  await until("the watch is closed", 5_000, () => server.openWatches === 0);
  server.cluster.put(pods, pod("a"));
  assert.equal(told, 0);
});

function pod(name: string, spec: Json = {}): Json {
  return { metadata: { name, namespace: "shop" }, spec };
}

function policy(): Json {
  return { metadata: { name: "gate", namespace: "shop" }, spec: { action: "DENY", rules: [{}] } };
}

function condition(type: string, status: string): Json {
  return { type, status, reason: "Some", message: "words", lastTransitionTime: "2030-01-01T00:00:00Z" };
}

function gateOf(source: KubernetesSource) {
  return source.list().get("AuthorizationPolicy", "shop", "gate");
}

function names(source: KubernetesSource): string[] {
  return source
    .list()
    .all("Pod")
    .map(({ metadata }) => metadata.name);
}

async function setUp(t: TestContext, timeoutMs = 10_000) {
  const server = await new FakeApiServer().start();
  t.after(() => server.stop());
  const start = (kinds: readonly Selection<Kind>[], timing: Partial<ReflectorTiming> = {}): KubernetesSource => {
    const client = new KubernetesClient({
      connection: server.connection(),
      log: silentLog,
      userAgent: "test",
      timeoutMs,
    });
    const source = new KubernetesSource({ client, kinds, log: silentLog, timing });
    t.after(() => {
      source.close();
      client.close();
    });
    return source;
  };
  const open = async (kinds: readonly Selection<Kind>[] = [{ kind: "Pod" }], timing: Partial<ReflectorTiming> = {}) => {
    const source = start(kinds, timing);
    await source.synced;
    const known = kinds.filter(({ kind }) => server.cluster.exists(collectionPath(kind)));
    await until("every kind is watched", 5_000, () => server.openWatches >= known.length);
    return source;
  };
  return { server, start, open };
}
