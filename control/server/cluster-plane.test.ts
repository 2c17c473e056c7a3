import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";
import { status } from "@grpc/grpc-js";
import type { Identity } from "../../core/protocol/spiffe/identity.ts";
import {
  agentToken,
  askCertificate,
  codeOf,
  controlNamespace,
  podObject,
  rootOf,
  serviceAddress,
  startApi,
  startReplica,
  subscribeAgent,
  tokenOf,
} from "../../test/support/replicas.ts";
import { until } from "../../test/support/until.ts";
import { addressTypeUrl } from "./model/resources.ts";

const patience = 5_000;
const cart: Identity = { trustDomain: "cluster.local", namespace: "shop", serviceAccount: "cart" };

test("a node's agent gets certificates for the pods of its node, and hears of the mesh", async (t) => {
  const api = await startApi(t);
  api.put(podObject("cart", "node1", "10.244.1.5"));
  const { plane, endpoint } = await startReplica(t, api, "control-1");
  await plane.synced;
  const answer = await askCertificate(endpoint(agentToken("node1")), cart);
  assert.ok(!(answer instanceof Error));
  const [leaf = "", root = ""] = answer.certChain;
  assert.equal(new X509Certificate(leaf).subjectAltName, "URI:spiffe://cluster.local/ns/shop/sa/cart");
  assert.equal(root, rootOf(api));
  const agent = subscribeAgent(t, "node1", endpoint(agentToken("node1")));
  await agent.session.ready;
  assert.ok(agent.held.has(`${addressTypeUrl} Kubernetes//Pod/shop/cart`));
  api.put(podObject("late", "node2", "10.244.2.7"));
  await until("a new pod to be heard of", patience, () =>
    agent.held.has(`${addressTypeUrl} Kubernetes//Pod/shop/late`),
  );
});

test("a caller that isn't who it should be is refused without a hint, and the log says why", async (t) => {
  const api = await startApi(t);
  api.put(podObject("cart", "node1", "10.244.1.5"));
  api.put(
    podObject("done", "node2", "10.0.0.1", { namespace: controlNamespace, account: "ambientd-agent", phase: "Failed" }),
  );
  const replica = await startReplica(t, api, "control-1");
  await replica.plane.synced;
  const agent = { pod: { name: "agent-node1", uid: "uid-agent-node1" } };
  const cases: [what: string, token: string, reason: RegExp][] = [
    ["another audience", agentToken("node1", { audience: "kubernetes" }), /"caller.bad-token".*audience/],
    ["a pod that is gone", agentToken("node1", { pod: { name: "agent-9", uid: "uid-9" } }), /caller.stale-pod/],
    ["a pod's namesake", agentToken("node1", { pod: { ...agent.pod, uid: "other" } }), /caller.stale-pod/],
    ["a pod that has ended", agentToken("node2", { pod: { name: "done", uid: "uid-done" } }), /caller.stale-pod/],
    ["the agent of another node", agentToken("node2"), /caller.no-live-pod.*node2/],
    ["a token that speaks of another node", agentToken("node2", agent), /caller.foreign-node/],
    ["a node's namesake", agentToken("node1", { node: { name: "node1", uid: "other" } }), /caller.node-replaced/],
    ["no agent's account", agentToken("node1", { account: "default" }), /caller.untrusted-account/],
    ["an agent of another namespace", agentToken("node1", { namespace: "shop" }), /caller.untrusted-account/],
    [
      "a token bound to nothing",
      tokenOf({ audience: "istio-ca", namespace: controlNamespace, account: "ambientd-agent" }),
      /caller.unbound/,
    ],
    ["no token", "garbage", /caller.bad-token/],
  ];
  for (const [what, token, reason] of cases) {
    replica.lines.length = 0;
    const answer = await askCertificate(replica.endpoint(token), cart);
    assert.ok(answer instanceof Error, what);
    assert.deepEqual([answer.code, answer.details], [status.UNAUTHENTICATED, "not authenticated"], what);
    assert.match(JSON.stringify(replica.lines), reason, what);
    assert.ok(!JSON.stringify(replica.lines).includes(token), "no token in the log");
  }
  const other = { ...replica.endpoint(agentToken("node1")), clusterId: "elsewhere" };
  assert.equal(codeOf(await askCertificate(other, cart)), status.UNAUTHENTICATED);
  const foreign = { ...cart, trustDomain: "other.mesh" };
  assert.equal(codeOf(await askCertificate(replica.endpoint(agentToken("node1")), foreign)), status.UNAUTHENTICATED);
  assert.equal(codeOf(await askCertificate(replica.endpoint(agentToken("node1")), cart)), status.OK);
});

test("a pod that was only just created is served within moments, and one that is deleted no more", async (t) => {
  const api = await startApi(t);
  const { plane, endpoint } = await startReplica(t, api, "control-1");
  await plane.synced;
  const ask = async (): Promise<status> => codeOf(await askCertificate(endpoint(agentToken("node1")), cart));
  assert.equal(await ask(), status.UNAUTHENTICATED);
  api.put(podObject("cart", "node1", "", { phase: "Pending" }));
  await until("a certificate", patience, async () => (await ask()) === status.OK);
  api.remove("Pod", "shop", "cart");
  await until("no certificate", patience, async () => (await ask()) === status.UNAUTHENTICATED);
});

test("every namespace has the root at once, a new one within a second, and one that is spoilt is mended", async (t) => {
  const api = await startApi(t);
  await startReplica(t, api, "control-1");
  const rootIn = (namespace: string): string | undefined =>
    (api.find("ConfigMap", namespace, "istio-ca-root-cert") as { data?: Record<string, string> } | undefined)?.data?.[
      "root-cert.pem"
    ];
  await until("the root in all namespaces", patience, () =>
    [controlNamespace, "shop", "kube-system"].every((namespace) => rootIn(namespace) === rootOf(api)),
  );
  assert.equal(rootIn("kube-public"), undefined);
  assert.equal(rootIn("kube-node-lease"), undefined);
  const startedMs = performance.now();
  api.put({ apiVersion: "v1", kind: "Namespace", metadata: { name: "late" } });
  await until("the root in a new namespace", patience, () => rootIn("late") === rootOf(api));
  t.diagnostic(`a new namespace had the root after ${Math.round(performance.now() - startedMs)} ms`);
  api.put({
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "istio-ca-root-cert", namespace: "shop" },
    data: {},
  });
  await until("the root mended", patience, () => rootIn("shop") === rootOf(api));
  api.remove("ConfigMap", "shop", "istio-ca-root-cert");
  await until("the root put back", patience, () => rootIn("shop") === rootOf(api));
});

test("an agent that moves from one replica to the other is sent nothing again, only what has changed", async (t) => {
  const api = await startApi(t);
  for (let index = 0; index < 50; index++) api.put(podObject(`p${index}`, "node1", `10.244.1.${index + 1}`));
  const [one, two] = await Promise.all([startReplica(t, api, "control-1"), startReplica(t, api, "control-2")]);
  await Promise.all([one.plane.synced, two.plane.synced]);
  const service = await serviceAddress(t, one.plane.port);
  const endpoint = { ...one.endpoint(agentToken("node1")), address: `https://127.0.0.1:${service.port}` };
  const agent = subscribeAgent(t, "node1", endpoint);
  await agent.session.ready;
  assert.equal(agent.held.size, 52);
  for (const next of [two, one, two]) {
    agent.updates.length = 0;
    service.lead(next.plane.port);
    await until("the agent to be at the other replica", patience, () =>
      next.plane.xds.streams().some(({ subscriptions }) => subscriptions.length === 2),
    );
    await until("both types to be answered", patience, () => agent.session.status().phase === "live");
    assert.deepEqual(
      agent.updates.flatMap(({ resources, removed }) => [...resources.map(({ name }) => name), ...removed]),
      [],
    );
  }
  service.lead(0);
  await until("the agent to have left", patience, () => two.plane.xds.streams().length === 0);
  api.remove("Pod", "shop", "p0");
  api.put(podObject("p1", "node1", "10.244.9.9"));
  agent.updates.length = 0;
  service.lead(one.plane.port);
  await until("the difference", patience, () => agent.updates.length > 0 && agent.held.size === 51);
  const sent = agent.updates.flatMap(({ resources, removed }) => [...resources.map(({ name }) => name), ...removed]);
  assert.deepEqual(sent.sort(), ["Kubernetes//Pod/shop/p0", "Kubernetes//Pod/shop/p1"]);
});

test("of two replicas that start at once one makes the root, both sign with it, and one writes", async (t) => {
  const api = await startApi(t);
  api.put(podObject("cart", "node1", "10.244.1.5"));
  api.put(policy("gate", {}));
  const replicas = await Promise.all(["control-1", "control-2"].map((name) => startReplica(t, api, name)));
  await Promise.all(replicas.map(({ plane }) => plane.synced));
  for (const { endpoint } of replicas) {
    const answer = await askCertificate(endpoint(agentToken("node1")), cart);
    assert.ok(!(answer instanceof Error));
    assert.equal(answer.certChain.at(-1), rootOf(api));
  }
  await until("a leader", patience, () => replicas.filter(({ plane }) => plane.leads()).length === 1);
  await until("a status", patience, () => conditionsOf("gate").length === 1);
  assert.equal(writes().length, 1);

  function writes(): unknown[] {
    return api.accesses.filter(({ verb, resource }) => verb === "patch" && resource.includes("/status"));
  }
  function conditionsOf(name: string): { type: string }[] {
    const found = api.find("AuthorizationPolicy", "shop", name) as { status?: { conditions?: { type: string }[] } };
    return found.status?.conditions ?? [];
  }
});

test("when the leader goes the other one leads, and writes what was left unsaid", async (t) => {
  const api = await startApi(t);
  const replicas = await Promise.all(["control-1", "control-2"].map((name) => startReplica(t, api, name)));
  await until("a leader", patience, () => replicas.some(({ plane }) => plane.leads()));
  const [leader, other] = replicas[0]?.plane.leads() === true ? replicas : replicas.reverse();
  assert.ok(leader !== undefined && other !== undefined);
  await leader.plane.close();
  api.put(policy("late", {}));
  await until("the other to lead", 10_000, () => other.plane.leads());
  await until("the status that was left", patience, () => /Accepted/.test(statusOf("late")));

  function statusOf(name: string): string {
    return JSON.stringify(api.find("AuthorizationPolicy", "shop", name)?.["status"] ?? {});
  }
});

test("a bad update leaves the last good version in force, and its status says so with the field", async (t) => {
  const api = await startApi(t);
  api.put(podObject("cart", "node1", "10.244.1.5"));
  const rules = [{ from: [{ source: { ipBlocks: ["10.0.0.0/8"] } }] }];
  api.put(policy("gate", { action: "DENY", rules }));
  const { plane, endpoint } = await startReplica(t, api, "control-1");
  const agent = subscribeAgent(t, "node1", endpoint(agentToken("node1")));
  await agent.session.ready;
  await until("it to lead", patience, () => plane.leads());
  const held = new Map(agent.held);
  api.put(policy("gate", { action: "DENY", rules: [{ from: [{ source: { ipBlocks: ["10.0.0.0/99"] } }] }] }));
  const said = await until("the status", patience, () => {
    const text = JSON.stringify(api.find("AuthorizationPolicy", "shop", "gate")?.["status"] ?? {});
    return text.includes("Invalid") && text;
  });
  assert.match(said, /spec\.rules\[0\]\.from\[0\]\.source\.ipBlocks/);
  assert.match(said, /last good version stays in force/);
  assert.deepEqual(agent.held, held);
  api.put(policy("gate", { action: "DENY", rules }));
  await until("the status to be well again", patience, () =>
    JSON.stringify(api.find("AuthorizationPolicy", "shop", "gate")?.["status"]).includes('"Accepted"'),
  );
});

test("while the API server is away agents keep their streams, new callers are told to come back, and then all goes on", async (t) => {
  const api = await startApi(t);
  api.put(podObject("cart", "node1", "10.244.1.5"));
  const { plane, endpoint } = await startReplica(t, api, "control-1");
  const agent = subscribeAgent(t, "node1", endpoint(agentToken("node1")));
  await agent.session.ready;
  await api.stop();
  const answer = await askCertificate(endpoint(agentToken("node2")), cart);
  assert.equal(codeOf(answer), status.UNAVAILABLE);
  assert.equal(agent.session.status().phase, "live");
  api.put(podObject("late", "node2", "10.244.2.7"));
  await api.start();
  await until("what happened meanwhile", 15_000, () => agent.held.has(`${addressTypeUrl} Kubernetes//Pod/shop/late`));
  assert.equal(plane.isReady(), true);
  assert.equal(codeOf(await askCertificate(endpoint(agentToken("node1")), cart)), status.OK);
});

test("definitions that are missing keep nobody waiting, and count from when they arrive", async (t) => {
  const api = await startApi(t);
  api.withhold("AuthorizationPolicy", "PeerAuthentication", "ServiceEntry", "WorkloadEntry", "Gateway", "GatewayClass");
  const { plane, endpoint } = await startReplica(t, api, "control-1");
  await plane.synced;
  const agent = subscribeAgent(t, "node1", endpoint(agentToken("node1")));
  await agent.session.ready;
  api.install("AuthorizationPolicy");
  api.put(policy("gate", { rules: [{}] }));
  await until("a policy", 15_000, () => [...agent.held.keys()].some((key) => key.endsWith(" shop/gate")));
});

test("it is ready when every object is known, and says what it waits for", async (t) => {
  const api = await startApi(t);
  let isHeld = true;
  api.allows = ({ verb, resource }) => !(isHeld && verb === "list" && resource === "pods");
  const replica = await startReplica(t, api, "control-1");
  assert.deepEqual(await ask(replica.plane.healthPort, "/healthz"), [200, "ok\n"]);
  assert.deepEqual(await ask(replica.plane.healthPort, "/readyz"), [503, "not every object is known yet\n"]);
  const early = await askCertificate(replica.endpoint(agentToken("node1")), cart);
  assert.equal(codeOf(early), status.UNAVAILABLE);
  assert.equal(replica.plane.leads(), false);
  isHeld = false;
  await until("it to be ready", 10_000, async () => (await ask(replica.plane.healthPort, "/readyz"))[0] === 200);
  assert.equal((await ask(replica.plane.healthPort, "/"))[0], 404);
});

test("who looks sees what is known and who holds it, and neither key nor token", async (t) => {
  const api = await startApi(t);
  api.put(podObject("cart", "node1", "10.244.1.5"));
  const replica = await startReplica(t, api, "control-1");
  const agent = subscribeAgent(t, "node1", replica.endpoint(agentToken("node1")));
  await agent.session.ready;
  const { debugPort } = replica.plane;
  const seen = await Promise.all(
    ["/debug", "/debug/syncz", "/debug/wds", "/debug/connections"].map((path) => ask(debugPort, path)),
  );
  assert.deepEqual(
    seen.map(([code]) => code),
    [200, 200, 200, 200],
  );
  const text = seen.map(([, body]) => body).join();
  assert.match(text, /Kubernetes\/\/Pod\/shop\/cart/);
  assert.match(text, /"node": "node1"/);
  assert.ok(!text.includes("PRIVATE") && !text.includes(agentToken("node1")));
  assert.equal((await ask(debugPort, "/debug/wds", { host: "evil.example" }))[0], 403);
});

test("closing gives the lease back, sends agents away and stops serving", async (t) => {
  const api = await startApi(t);
  const { plane, endpoint } = await startReplica(t, api, "control-1");
  const agent = subscribeAgent(t, "node1", endpoint(agentToken("node1")));
  await agent.session.ready;
  await until("it to lead", patience, () => plane.leads());
  await plane.close();
  const lease = api.find("Lease", controlNamespace, "ambientd-control") as { spec?: { holderIdentity?: string } };
  assert.equal(lease.spec?.holderIdentity, "");
  assert.equal(plane.isReady(), false);
  await until("the agent to have noticed", patience, () => agent.session.status().phase !== "live");
  assert.ok(agent.held.size > 0, "a disconnect clears nothing");
});

function policy(name: string, spec: object): object {
  return {
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata: { name, namespace: "shop" },
    spec,
  };
}

async function ask(port: number, path: string, headers: Record<string, string> = {}): Promise<[number, string]> {
  const { request } = await import("node:http");
  return new Promise((resolve, reject) => {
    const sent = request({ port, path, headers, host: "127.0.0.1" }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => resolve([response.statusCode ?? 0, Buffer.concat(chunks).toString()]));
    });
    sent.on("error", reject);
    sent.end();
  });
}
