import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import type { ClientDuplexStream, ServiceError } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import { systemClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import { DeltaDiscoveryRequest, DeltaDiscoveryResponse, type Node } from "../../core/protocol/generated/discovery.ts";
import type { DeltaUpdate } from "../../core/protocol/xds/delta-client.ts";
import { deltaPath } from "../../core/protocol/xds/delta-path.ts";
import { agentNode, podYaml, startTestPlane, type TestPlane } from "../../test/support/control-plane.ts";
import { MemorySource } from "../../test/support/memory-source.ts";
import { until } from "../../test/support/until.ts";
import { startXdsSession, type XdsSession } from "../client/xds-session.ts";
import { addressTypeUrl, authorizationTypeUrl } from "./model/resources.ts";

const patience = 5_000;

test("two agents and a raw grpc client are told the same", async (t) => {
  const control = await startTestPlane(t);
  fill(control.source);
  const [one, two] = [subscribe(t, control, "node1"), subscribe(t, control, "node2")];
  const raw = rawStream(t, control);
  raw.subscribe(addressTypeUrl);
  raw.subscribe(authorizationTypeUrl);
  await until("everybody to hold everything", patience, () => [one, two, raw].every(({ held }) => held.size === 4));
  assert.deepEqual(sorted(one.held), sorted(two.held));
  assert.deepEqual(sorted(one.held), sorted(raw.held));
  control.source.put("cart", podYaml("cart", "node1", "10.244.1.9"));
  control.source.put("vault", undefined);
  await until("the change to arrive", patience, () => [one, two, raw].every(({ held }) => held.size === 3));
  const key = podKey("cart");
  await until(
    "the same version everywhere",
    patience,
    () => new Set([one, two, raw].map(({ held }) => held.get(key))).size === 1,
  );
  assert.deepEqual(sorted(one.held), sorted(raw.held));
});

test("a control plane that comes back is told what is held, and sends exactly the object that changed and the one that went", async (t) => {
  const control = await startTestPlane(t);
  fill(control.source);
  const agent = subscribe(t, control, "node1");
  await agent.session.ready;
  assert.equal(agent.held.size, 4);
  await control.stop();
  agent.updates.length = 0;
  control.source.put("cart", podYaml("cart", "node1", "10.244.1.9"));
  control.source.put("vault", undefined);
  assert.equal(agent.held.size, 4, "a disconnect clears nothing");
  await control.restart();
  await until("the difference to arrive", patience, () =>
    agent.updates.some(({ typeUrl }) => typeUrl === addressTypeUrl),
  );
  assert.deepEqual(
    agent.updates.flatMap(({ resources }) => resources.map(({ name }) => name)),
    [podKey("cart").split(" ")[1]],
  );
  assert.deepEqual(
    agent.updates.flatMap(({ removed }) => removed),
    [podKey("vault").split(" ")[1]],
  );
});

test("a new stream gets policies first, and addresses only when those have been answered", async (t) => {
  const control = await startTestPlane(t);
  fill(control.source);
  const raw = rawStream(t, control, { answers: false });
  raw.subscribe(addressTypeUrl);
  raw.subscribe(authorizationTypeUrl);
  await until("the first response", patience, () => raw.responses.length > 0);
  assert.deepEqual(
    raw.responses.map(({ typeUrl }) => typeUrl),
    [authorizationTypeUrl],
  );
  raw.answer(raw.responses[0]!);
  await until("the second response", patience, () => raw.responses.length > 1);
  assert.equal(raw.responses[1]!.typeUrl, addressTypeUrl);
});

test("a policy goes to every stream before the workload that needs it, and goes after it", async (t) => {
  const control = await startTestPlane(t);
  fill(control.source);
  const agent = subscribe(t, control, "node1");
  await agent.session.ready;
  agent.updates.length = 0;
  const labelled = podYaml("late", "node1", "10.244.1.7").replace(
    "uid: uid-late",
    "uid: uid-late, labels: { app: late }",
  );
  control.source.put("late", labelled + "\n---\n" + policyYaml("deny-late", "late"));
  await until("both", patience, () => agent.held.has(podKey("late")));
  assert.deepEqual(
    agent.updates.map(({ typeUrl }) => typeUrl),
    [authorizationTypeUrl, addressTypeUrl],
  );
  agent.updates.length = 0;
  control.source.put("late", undefined);
  await until("both gone", patience, () => agent.held.size === 4);
  assert.deepEqual(
    agent.updates.map(({ typeUrl }) => typeUrl),
    [addressTypeUrl, authorizationTypeUrl],
  );
});

test("who asks for addresses only gets them after a moment", async (t) => {
  const control = await startTestPlane(t);
  fill(control.source);
  const raw = rawStream(t, control);
  raw.subscribe(addressTypeUrl);
  await until("addresses", patience, () => raw.held.size === 3);
});

test("streams are refused until every object is known, and served right after", async (t) => {
  const source = new MemorySource(false);
  fill(source);
  const control = await startTestPlane(t, { source });
  await assert.rejects(async () => control.token("node1"), "no token before the nodes are known");
  const early = rawStream(t, control, { token: "anything" });
  assert.equal((await early.ended).code, status.UNAUTHENTICATED);
  source.sync();
  await control.plane.synced;
  const agent = subscribe(t, control, "node1");
  await agent.session.ready;
  assert.equal(agent.held.size, 4);
});

test("after a restart nothing is removed while the source is still being read", async (t) => {
  const source = new MemorySource();
  const control = await startTestPlane(t, { source });
  fill(source);
  const agent = subscribe(t, control, "node1");
  await agent.session.ready;
  await control.stop();
  const { promise, resolve } = Promise.withResolvers<void>();
  Object.assign(source, { synced: promise });
  await control.restart();
  await until("a refusal", patience, () => /not synced/.test(JSON.stringify(agent.session.status().lastError)));
  assert.equal(agent.held.size, 4);
  resolve();
  await until("a live stream", patience, () => agent.session.status().phase === "live");
  assert.equal(agent.held.size, 4);
});

for (const [what, makeToken] of [
  ["no token", () => ""],
  ["a token that is none", () => "nonsense"],
  [
    "a token for another audience",
    (control: TestPlane) => control.forge("node1", (c) => ({ ...c, aud: ["kubernetes"] })),
  ],
  ["an expired token", (control: TestPlane) => control.forge("node1", (c) => ({ ...c, iat: 1, nbf: 1, exp: 2 }))],
  [
    "a token of a node that is gone",
    (control: TestPlane) => control.forge("node1", (c) => withNode(c, { name: "node9", uid: "x" })),
  ],
  [
    "a token of a node that was replaced",
    (control: TestPlane) => control.forge("node1", (c) => withNode(c, { name: "node1", uid: "x" })),
  ],
] as const) {
  test(`a stream with ${what} is refused without saying why`, async (t) => {
    const control = await startTestPlane(t);
    await control.plane.synced;
    const raw = rawStream(t, control, { token: makeToken(control) });
    raw.subscribe(addressTypeUrl);
    const error = await raw.ended;
    assert.deepEqual([error.code, error.details], [status.UNAUTHENTICATED, "not authenticated"]);
    assert.equal(raw.responses.length, 0);
  });
}

for (const [what, node, code] of [
  ["claims another node", agentNode("node1", { NODE_NAME: "node2" }), status.PERMISSION_DENIED],
  ["claims another namespace", agentNode("node1", { NAMESPACE: "shop" }), status.PERMISSION_DENIED],
  ["claims another account", agentNode("node1", { SERVICE_ACCOUNT: "cart" }), status.PERMISSION_DENIED],
  ["has an id of three parts", { ...agentNode("node1"), id: "a~b~c" }, status.INVALID_ARGUMENT],
  ["brings 100 KiB of metadata", agentNode("node1", { X: "x".repeat(100_000) }), status.INVALID_ARGUMENT],
  ["does not say who it is", undefined, status.INVALID_ARGUMENT],
] as const) {
  test(`a stream whose first request ${what} is ended`, async (t) => {
    const control = await startTestPlane(t);
    await control.plane.synced;
    const raw = rawStream(t, control, { node });
    raw.subscribe(addressTypeUrl);
    assert.equal((await raw.ended).code, code);
  });
}

test("what a subscriber refuses is not sent again until it changes", async (t) => {
  const control = await startTestPlane(t);
  fill(control.source);
  const refused: string[] = [];
  const agent = subscribe(t, control, "node1", (update) =>
    update.resources
      .filter(({ name }) => name.endsWith("/cart"))
      .map(({ name }) => {
        refused.push(name);
        return { name, reason: "not today" };
      }),
  );
  await agent.session.ready;
  assert.equal(agent.session.status().types.find(({ typeUrl }) => typeUrl === addressTypeUrl)?.rejected.length, 1);
  control.source.put("other", podYaml("other", "node1", "10.244.1.8"));
  await until("another pod", patience, () => agent.held.has(podKey("other")));
  assert.equal(refused.length, 1);
  control.source.put("cart", podYaml("cart", "node1", "10.244.1.9"));
  await until("a second refusal", patience, () => refused.length === 2);
  await until("control has heard of it", patience, () => {
    const [stream] = control.plane.xds.streams();
    const addresses = stream?.subscriptions.find(({ typeUrl }) => typeUrl === addressTypeUrl);
    return /not today/.test(addresses?.lastAnswer?.rejected ?? "");
  });
});

test("a type we have nothing of is no reason to end a stream", async (t) => {
  const control = await startTestPlane(t);
  fill(control.source);
  const raw = rawStream(t, control);
  raw.subscribe("type.googleapis.com/istio.of.the.Future");
  raw.subscribe(authorizationTypeUrl);
  await until("policies", patience, () => raw.held.size === 1);
});

test("a client that spins is ended, and others don't notice", async (t) => {
  const control = await startTestPlane(t);
  fill(control.source);
  const agent = subscribe(t, control, "node2");
  const raw = rawStream(t, control);
  raw.subscribe(authorizationTypeUrl);
  for (let index = 0; index < 3_000; index++) raw.send({ typeUrl: authorizationTypeUrl, responseNonce: "old" });
  assert.equal((await raw.ended).code, status.RESOURCE_EXHAUSTED);
  await agent.session.ready;
});

test("one node may hold sixteen streams, and another node's are not in the way", async (t) => {
  const control = await startTestPlane(t);
  fill(control.source);
  await control.plane.synced;
  const streams = Array.from({ length: 17 }, () => rawStream(t, control));
  for (const raw of streams) raw.subscribe(authorizationTypeUrl);
  const error = await Promise.race(streams.map(({ ended }) => ended));
  assert.equal(error.code, status.RESOURCE_EXHAUSTED);
  await until("sixteen served", patience, () => streams.filter(({ held }) => held.size === 1).length === 16);
  const other = subscribe(t, control, "node2");
  await other.session.ready;
  for (const raw of streams) raw.cancel();
  await until("their places are free again", patience, () => control.plane.xds.streams().length === 1);
});

test("control that closes tells its streams, and nothing of it is left", async (t) => {
  const control = await startTestPlane(t);
  await control.plane.synced;
  const raw = rawStream(t, control);
  raw.subscribe(authorizationTypeUrl);
  await until("an answer", patience, () => raw.responses.length === 1);
  await control.stop();
  assert.equal((await raw.ended).code, status.UNAVAILABLE);
  assert.equal(control.plane.xds.streams().length, 0);
});

const emptyRequest: DeltaDiscoveryRequest = {
  node: undefined,
  typeUrl: "",
  resourceNamesSubscribe: [],
  resourceNamesUnsubscribe: [],
  initialResourceVersions: {},
  responseNonce: "",
  errorDetail: undefined,
};

interface Subscribed {
  readonly session: XdsSession;
  /** `type name` → version. */
  readonly held: Map<string, string>;
  readonly updates: DeltaUpdate[];
}

function subscribe(
  t: TestContext,
  control: TestPlane,
  node: string,
  reject: (update: DeltaUpdate) => { name: string; reason: string }[] = () => [],
): Subscribed {
  const held = new Map<string, string>();
  const updates: DeltaUpdate[] = [];
  const session = startXdsSession({
    ...control.endpoint(node),
    node: agentNode(node),
    clock: systemClock,
    log: silentLog,
    async onUpdate(update) {
      updates.push(update);
      hold(held, update.typeUrl, update.resources, update.removed);
      return reject(update);
    },
  });
  t.after(() => session.close());
  return { session, held, updates };
}

/** A client that knows nothing of ours but the messages. */
function rawStream(
  t: TestContext,
  control: TestPlane,
  options: { token?: string; node?: Node | undefined; answers?: boolean } = {},
) {
  const { client, metadata } = control.stranger("node1", options.token ?? control.token("node1"));
  const node = "node" in options ? options.node : agentNode("node1");
  const call: ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> = client.makeBidiStreamRequest(
    deltaPath,
    (request: DeltaDiscoveryRequest) => Buffer.from(DeltaDiscoveryRequest.encode(request).finish()),
    (bytes) => DeltaDiscoveryResponse.decode(bytes),
    metadata,
  );
  t.after(() => call.cancel());
  const held = new Map<string, string>();
  const responses: DeltaDiscoveryResponse[] = [];
  const ended = new Promise<ServiceError>((resolve) => call.on("error", resolve));
  const send = (part: Partial<DeltaDiscoveryRequest>): void => {
    call.write({ ...emptyRequest, ...part });
  };
  const answer = ({ typeUrl, nonce }: DeltaDiscoveryResponse): void => send({ typeUrl, responseNonce: nonce });
  call.on("data", (response: DeltaDiscoveryResponse) => {
    responses.push(response);
    hold(held, response.typeUrl, response.resources, response.removedResources);
    if (options.answers !== false) answer(response);
  });
  return {
    held,
    responses,
    ended,
    send,
    answer,
    cancel: () => call.cancel(),
    subscribe: (typeUrl: string) => send({ typeUrl, node }),
  };
}

function hold(
  held: Map<string, string>,
  typeUrl: string,
  resources: readonly { name: string; version: string }[],
  removed: readonly string[],
): void {
  for (const name of removed) held.delete(`${typeUrl} ${name}`);
  for (const { name, version } of resources) held.set(`${typeUrl} ${name}`, version);
}

/** Three pods and a policy. */
function fill(source: MemorySource): void {
  source.put("cart", podYaml("cart", "node1", "10.244.1.5"));
  source.put("vault", podYaml("vault", "node2", "10.244.2.5"));
  source.put("third", podYaml("third", "node2", "10.244.2.6"));
  source.put("policy", policyYaml("deny", "third"));
}

function policyYaml(name: string, app: string): string {
  return `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: shop }
spec:
  action: DENY
  selector: { matchLabels: { app: ${app} } }
  rules: [{ from: [{ source: { principals: [cluster.local/ns/shop/sa/x] } }] }]
`;
}

function podKey(name: string): string {
  return `${addressTypeUrl} Kubernetes//Pod/shop/${name}`;
}

function sorted(held: ReadonlyMap<string, string>): [string, string][] {
  return [...held].sort(([a], [b]) => (a < b ? -1 : 1));
}

function withNode<T extends { "kubernetes.io": object }>(claims: T, node: { name: string; uid: string }): T {
  return { ...claims, "kubernetes.io": { ...claims["kubernetes.io"], node } };
}
