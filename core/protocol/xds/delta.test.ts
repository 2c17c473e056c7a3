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

test("a large update is acknowledged in turns, and then all of it is remembered", () => {
  const client = new DeltaClient({ node, types: [addresses] });
  const resources = Array.from({ length: 2_500 }, (_, at) => ({ ...resource(`w${at}`, "1") }));
  client.decode({ typeUrl: addresses, nonce: "n", resources, removed: [] });
  const turns = client.acknowledgeInTurns("n", []);
  assert.deepEqual([turns.next().done, turns.next().done], [false, false]);
  const last = turns.next();
  assert.equal(last.done === true && last.value.responseNonce, "n");
  assert.equal(client.held(addresses), 2_500);
});

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

  test("F-112 after a reconnect only what changed meanwhile is sent", () => {
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

  test("F-111 a refused version leaves the last good one, is not repeated, and is sent again on the next stream", () => {
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
