import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { DeltaDiscoveryRequest, DeltaDiscoveryResponse } from "../generated/discovery.ts";
import { DeltaClient, type DeltaResource, type Rejection } from "./delta-client.ts";
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

/** One agent and its control, joined by a link that can be cut at any time. Everything crosses it as bytes. */
class World {
  readonly logs = new Map([
    [policies, new ResourceLog()],
    [addresses, new ResourceLog()],
  ]);
  readonly client = new DeltaClient({ node, types: [addresses, policies] });
  /** What the agent has in force, by type and name. */
  readonly applied = new Map([
    [policies, new Map<string, string>()],
    [addresses, new Map<string, string>()],
  ]);
  /** Every resource and removal that crossed the link, as `type name version` or `type -name`. */
  readonly sent: string[] = [];
  /** Versions the agent cannot use. */
  readonly poison = new Set<string>();
  #server: DeltaServer | undefined;
  #up: Uint8Array[] = [];
  #down: Uint8Array[] = [];

  set(typeUrl: string, name: string, version: string): void {
    this.logs.get(typeUrl)!.apply([resource(name, version)], []);
  }

  remove(typeUrl: string, name: string): void {
    this.logs.get(typeUrl)!.apply([], [name]);
  }

  connect(): void {
    this.#server = new DeltaServer(this.logs);
    this.#down = [];
    this.#up = this.client.connected().map((request) => DeltaDiscoveryRequest.encode(request).finish());
  }

  cut(): void {
    this.#server = undefined;
    this.#up = [];
    this.#down = [];
  }

  get connected(): boolean {
    return this.#server !== undefined;
  }

  /** One thing happens on the link; false where there is nothing to do. */
  step(which: "server-reads" | "server-writes" | "client-reads"): boolean {
    if (this.#server === undefined) return false;
    if (which === "server-reads") {
      const bytes = this.#up.shift();
      if (bytes === undefined) return false;
      const event = this.#server.receive(DeltaDiscoveryRequest.decode(bytes));
      if (event instanceof XdsError) throw event;
      assert.notEqual(event.kind, "stale");
      return true;
    }
    if (which === "server-writes") {
      const response = this.#server.poll();
      if (response instanceof XdsError) throw response;
      if (response === undefined) return false;
      for (const { name, version } of response.resources) this.sent.push(`${response.typeUrl} ${name} ${version}`);
      for (const name of response.removedResources) this.sent.push(`${response.typeUrl} -${name}`);
      this.#down.push(DeltaDiscoveryResponse.encode(response).finish());
      return true;
    }
    const bytes = this.#down.shift();
    if (bytes === undefined) return false;
    const update = this.client.decode(DeltaDiscoveryResponse.decode(bytes));
    const applied = this.applied.get(update.typeUrl)!;
    const rejected: Rejection[] = [];
    for (const name of update.removed) applied.delete(name);
    for (const { name, version, bytes } of update.resources) {
      assert.equal(Buffer.from(bytes).toString(), version);
      if (this.poison.has(version)) rejected.push({ name, reason: "poison" });
      else applied.set(name, version);
    }
    this.#up.push(DeltaDiscoveryRequest.encode(this.client.acknowledge(update.nonce, rejected)).finish());
    return true;
  }

  settle(): void {
    if (!this.connected) this.connect();
    const steps = ["server-reads", "server-writes", "client-reads"] as const;
    // Not short-circuited: every kind of step gets its turn.
    while (steps.map((which) => this.step(which)).includes(true));
  }

  state(typeUrl: string): Record<string, string> {
    const entries = [...this.logs.get(typeUrl)!.resources()].map(({ name, version }) => [name, version] as const);
    return Object.fromEntries(entries.sort());
  }

  held(typeUrl: string): Record<string, string> {
    return Object.fromEntries([...this.applied.get(typeUrl)!].sort());
  }
}

function resource(name: string, version: string): DeltaResource {
  return { name, version, bytes: Buffer.from(version) };
}

const typeUrls = fc.constantFrom(policies, addresses);
const names = fc.constantFrom("a", "b", "c", "d", "e");
const action = fc.oneof(
  fc.record({
    kind: fc.constant("set" as const),
    typeUrl: typeUrls,
    name: names,
    version: fc.constantFrom("1", "2", "3"),
  }),
  fc.record({ kind: fc.constant("remove" as const), typeUrl: typeUrls, name: names }),
  fc.record({ kind: fc.constant("cut" as const) }),
  fc.record({ kind: fc.constant("connect" as const) }),
  fc.record({
    kind: fc.constant("step" as const),
    which: fc.constantFrom("server-reads" as const, "server-writes" as const, "client-reads" as const),
  }),
);

function perform(world: World, actions: readonly (typeof action extends fc.Arbitrary<infer T> ? T : never)[]): void {
  for (const one of actions) {
    if (one.kind === "set") world.set(one.typeUrl, one.name, one.version);
    else if (one.kind === "remove") world.remove(one.typeUrl, one.name);
    else if (one.kind === "cut") world.cut();
    else if (one.kind === "step") world.step(one.which);
    else if (!world.connected) world.connect();
  }
}

suite("delta discovery, client and server joined by a link", () => {
  test("whatever is cut and when, the client ends with what the server has", () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        const world = new World();
        perform(world, actions);
        world.settle();
        for (const typeUrl of world.logs.keys()) assert.deepEqual(world.held(typeUrl), world.state(typeUrl));
        assert.ok(world.client.complete);
      }),
      { numRuns: 500 },
    );
  });

  test("after a reconnect only what changed meanwhile is sent", () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 30 }), fc.array(action, { maxLength: 30 }), (before, meanwhile) => {
        const world = new World();
        perform(world, before);
        world.settle();
        const held = new Map([...world.logs.keys()].map((typeUrl) => [typeUrl, world.held(typeUrl)]));
        world.cut();
        perform(
          world,
          meanwhile.filter(({ kind }) => kind === "set" || kind === "remove"),
        );
        world.sent.length = 0;
        world.settle();
        const expected = [...world.logs.keys()].flatMap((typeUrl) => {
          const had = held.get(typeUrl)!;
          const has = world.state(typeUrl);
          return [
            ...Object.keys(has).flatMap((name) => (had[name] === has[name] ? [] : [`${typeUrl} ${name} ${has[name]}`])),
            ...Object.keys(had).flatMap((name) => (name in has ? [] : [`${typeUrl} -${name}`])),
          ];
        });
        assert.deepEqual([...world.sent].sort(), expected.sort());
      }),
      { numRuns: 500 },
    );
  });

  test("on one stream nothing is sent twice without having changed", () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        const world = new World();
        world.settle();
        const told = new Map<string, string>();
        for (const one of actions.filter(({ kind }) => kind !== "cut")) {
          const already = world.sent.length;
          perform(world, [one]);
          for (const line of world.sent.slice(already)) {
            const [typeUrl = "", name = "", version = ""] = line.split(" ");
            const key = `${typeUrl} ${name.replace("-", "")}`;
            const word = name.startsWith("-") ? "gone" : version;
            assert.notEqual(told.get(key), word, line);
            told.set(key, word);
          }
        }
      }),
    );
  });

  test("a refused version leaves the last good one, is not repeated, and is sent again on the next stream", () => {
    const world = new World();
    world.set(policies, "deny", "1");
    world.settle();
    world.poison.add("2");
    world.set(policies, "deny", "2");
    world.set(policies, "other", "1");
    world.sent.length = 0;
    world.settle();
    assert.deepEqual(world.held(policies), { deny: "1", other: "1" });
    assert.deepEqual(world.sent, [`${policies} deny 2`, `${policies} other 1`]);
    world.sent.length = 0;
    world.cut();
    world.settle();
    assert.deepEqual(world.sent, [`${policies} deny 2`]);
    world.remove(policies, "deny");
    world.settle();
    assert.deepEqual(world.held(policies), { other: "1" });
  });

  test("a resource that never was good is told as gone when it goes while the link is down", () => {
    const world = new World();
    world.poison.add("bad");
    world.set(policies, "never-good", "bad");
    world.settle();
    world.cut();
    world.remove(policies, "never-good");
    world.sent.length = 0;
    world.settle();
    assert.deepEqual(world.sent, [`${policies} -never-good`]);
  });
});

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

suite("the resource log", () => {
  test("tells from any point on exactly what differs", () => {
    const word = fc.record({ name: names, version: fc.option(fc.constantFrom("1", "2", "3"), { nil: undefined }) });
    fc.assert(
      fc.property(fc.array(word, { maxLength: 40 }), fc.nat(40), (words, when) => {
        const log = new ResourceLog();
        const at = (until: readonly (typeof words)[number][]): number => {
          for (const { name, version } of until) {
            if (version === undefined) log.apply([], [name]);
            else log.apply([resource(name, version)], []);
          }
          return log.sequence;
        };
        const cursor = at(words.slice(0, when));
        const then = new Map([...log.resources()].map(({ name, version }) => [name, version]));
        at(words.slice(when));
        const { changed, removed } = log.since(cursor);
        for (const { name, version } of changed) then.set(name, version);
        for (const name of removed) then.delete(name);
        assert.deepEqual(
          Object.fromEntries([...then].sort()),
          Object.fromEntries([...log.resources()].map(({ name, version }) => [name, version] as const).sort()),
        );
      }),
    );
  });

  test("replacing the whole finds what changed and what went", () => {
    const log = new ResourceLog();
    log.replace([resource("a", "1"), resource("b", "1"), resource("c", "1")]);
    const cursor = log.sequence;
    assert.ok(log.replace([resource("a", "1"), resource("b", "2")]));
    assert.deepEqual(log.since(cursor), { changed: [resource("b", "2")], removed: ["c"] });
    assert.ok(!log.replace([resource("a", "1"), resource("b", "2")]));
  });
});
