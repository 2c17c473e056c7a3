import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { DeltaDiscoveryRequest, type DeltaDiscoveryResponse } from "../generated/discovery.ts";
import { DeltaClient, type DeltaResource } from "./delta-client.ts";
import { DeltaServer } from "./delta-server.ts";
import { ResourceLog } from "./resource-log.ts";
import { XdsError } from "./xds-error.ts";

const policies = "type.googleapis.com/istio.security.Authorization";
const addresses = "type.googleapis.com/istio.workload.Address";
const node = {
  id: "ztunnel~10.0.0.1~z.istio-system~istio-system.svc.cluster.local",
  cluster: "c",
  metadata: undefined,
};

function resource(name: string, version: string): DeltaResource {
  return { name, version, bytes: Buffer.from(version) };
}

suite("the delta server", () => {
  const ask = (typeUrl: string, more: Partial<DeltaDiscoveryRequest> = {}): DeltaDiscoveryRequest =>
    DeltaDiscoveryRequest.decode(
      DeltaDiscoveryRequest.encode({
        ...new DeltaClient({ node, types: [typeUrl] }).connected()[0]!,
        ...more,
      }).finish(),
    );
  const answer = (typeUrl: string, responseNonce: string): DeltaDiscoveryRequest =>
    ask(typeUrl, { node: undefined, responseNonce });

  function start(): { server: DeltaServer; logs: Map<string, ResourceLog> } {
    const logs = new Map([
      [policies, new ResourceLog()],
      [addresses, new ResourceLog()],
    ]);
    return { server: new DeltaServer(logs), logs };
  }

  function poll(server: DeltaServer): DeltaDiscoveryResponse | undefined {
    const response = server.poll();
    assert.ok(!(response instanceof XdsError));
    return response;
  }

  test("answers a first subscription even where there is nothing, so that the client's gate opens", () => {
    const { server } = start();
    server.receive(ask(policies));
    const response = poll(server);
    assert.deepEqual([response?.typeUrl, response?.resources, response?.removedResources], [policies, [], []]);
    assert.equal(poll(server), undefined);
  });

  test("tells policies before workloads, whatever was asked for first", () => {
    const { server, logs } = start();
    logs.get(addresses)!.apply([resource("w", "1")], []);
    logs.get(policies)!.apply([resource("p", "1")], []);
    server.receive(ask(addresses));
    server.receive(ask(policies));
    assert.deepEqual([poll(server)?.typeUrl, poll(server)?.typeUrl, poll(server)], [policies, addresses, undefined]);
  });

  test("keeps a workload back while the policy it may need cannot be sent, and a policy's removal until the workload is told", () => {
    const { server, logs } = start();
    server.receive(ask(addresses));
    server.receive(ask(policies));
    const first = poll(server)!;
    const second = poll(server)!;
    server.receive(answer(addresses, second.nonce));
    logs.get(policies)!.apply([resource("new", "1")], []);
    logs.get(addresses)!.apply([resource("w", "1")], []);
    assert.equal(poll(server), undefined, "the policies' answer is still awaited");
    server.receive(answer(policies, first.nonce));
    const third = poll(server)!;
    assert.deepEqual([third.typeUrl, third.resources[0]?.name], [policies, "new"]);
    const fourth = poll(server)!;
    assert.deepEqual([fourth.typeUrl, fourth.resources[0]?.name], [addresses, "w"]);
    server.receive(answer(policies, third.nonce));
    logs.get(policies)!.apply([], ["new"]);
    logs.get(addresses)!.apply([resource("w", "2")], []);
    assert.equal(poll(server), undefined, "the workload's change goes first");
    server.receive(answer(addresses, fourth.nonce));
    assert.deepEqual(poll(server)?.resources[0]?.version, "2");
    assert.deepEqual(poll(server)?.removedResources, ["new"]);
  });

  test("has one response per type in flight and merges what changes meanwhile", () => {
    const { server, logs } = start();
    server.receive(ask(addresses));
    const first = poll(server)!;
    for (let version = 1; version <= 5; version++) logs.get(addresses)!.apply([resource("w", String(version))], []);
    logs.get(addresses)!.apply([resource("gone", "1")], []);
    logs.get(addresses)!.apply([], ["gone"]);
    assert.equal(poll(server), undefined);
    server.receive(answer(addresses, first.nonce));
    const merged = poll(server)!;
    assert.deepEqual(
      merged.resources.map(({ version }) => version),
      ["5"],
    );
    assert.deepEqual(merged.removedResources, [], "what came and went unseen is not worth a word");
  });

  test("an answer to an old response is nothing", () => {
    const { server } = start();
    server.receive(ask(addresses));
    const { nonce } = poll(server)!;
    assert.deepEqual(server.receive(answer(addresses, "other")), { kind: "stale", typeUrl: addresses, nonce: "other" });
    assert.deepEqual(server.receive(answer(addresses, nonce)), { kind: "acknowledged", typeUrl: addresses, nonce });
    assert.deepEqual(server.receive(answer(addresses, nonce)), { kind: "stale", typeUrl: addresses, nonce });
  });

  test("a NACK is remembered and the resource is not sent again until it changes", () => {
    const { server, logs } = start();
    logs.get(addresses)!.apply([resource("w", "1")], []);
    server.receive(ask(addresses));
    const { nonce } = poll(server)!;
    const nack = { ...answer(addresses, nonce), errorDetail: { code: 0, message: "w: bad", details: [] } };
    assert.deepEqual(server.receive(nack), { kind: "rejected", typeUrl: addresses, nonce, message: "w: bad" });
    assert.equal(poll(server), undefined);
    assert.deepEqual(server.status()[0]?.lastAnswer, { nonce, rejected: "w: bad" });
    logs.get(addresses)!.apply([resource("w", "2")], []);
    assert.equal(poll(server)?.resources[0]?.version, "2");
  });

  test("a client that names what it wants gets that and word of what does not exist", () => {
    const { server, logs } = start();
    logs.get(addresses)!.apply([resource("a", "1"), resource("b", "1")], []);
    server.receive(ask(addresses, { resourceNamesSubscribe: ["a", "nowhere"] }));
    const first = poll(server)!;
    assert.deepEqual([first.resources.map(({ name }) => name), first.removedResources], [["a"], ["nowhere"]]);
    server.receive(answer(addresses, first.nonce));
    logs.get(addresses)!.apply([resource("b", "2")], []);
    assert.equal(poll(server), undefined);
    server.receive(ask(addresses, { node: undefined, resourceNamesSubscribe: ["b"] }));
    assert.deepEqual(
      poll(server)?.resources.map(({ name, version }) => [name, version]),
      [["b", "2"]],
    );
  });

  test("subscribing to and leaving * at once asks for nothing yet", () => {
    const { server, logs } = start();
    logs.get(addresses)!.apply([resource("a", "1")], []);
    server.receive(ask(addresses, { resourceNamesSubscribe: ["*"], resourceNamesUnsubscribe: ["*"] }));
    assert.deepEqual(poll(server)?.resources, []);
    assert.equal(server.status()[0]?.wildcard, false);
  });

  test("refuses a stream that does not say who asks, an unknown type and a flood of names", () => {
    const { server } = start();
    assert.equal(codeOf(server.receive(ask(addresses, { node: undefined }))), "xds.no-node");
    assert.equal(codeOf(server.receive(ask("type.googleapis.com/unknown"))), "xds.unknown-type");
    const flood = Array.from({ length: 70_000 }, (_, i) => String(i));
    assert.equal(codeOf(server.receive(ask(addresses, { resourceNamesSubscribe: flood }))), "xds.too-many-names");
  });

  test("forgets old removals within bounds and says so to a stream that has missed them", () => {
    const log = new ResourceLog();
    const server = new DeltaServer(new Map([[addresses, log]]));
    server.receive(ask(addresses));
    poll(server);
    for (let i = 0; i < 6_000; i++) {
      log.apply([resource(`w${i}`, "1")], []);
      log.apply([], [`w${i}`]);
    }
    assert.equal(log.size, 0);
    assert.ok(log.floor > 0);
    assert.equal(codeOf(server.poll()), "xds.too-far-behind");
  });

  function codeOf(value: unknown): string {
    return value instanceof XdsError ? value.type.code : "no error";
  }
});
