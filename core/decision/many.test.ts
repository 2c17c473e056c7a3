/** What a connection costs in a large mesh: how often anything is looked at is counted, not timed. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { backs, cidr, pod, port, service } from "../../test/support/mesh.ts";
import { seededRandom } from "../base/random.ts";
import type { MeshService } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import { MeshState } from "./mesh-state.ts";
import { decideOutbound } from "./route.ts";

const many = 10_000;
const client = pod("n1/client", "10.255.0.1");

describe("among 10,000 services", () => {
  const rows: [string, (at: number) => MeshService, string][] = [
    ["F-032 of an address each", (at) => named(at, { vips: [{ network: "", address: vipOf(at) }] }), vipOf(77)],
    [
      "F-050 that all claim one address",
      (at) => named(at, { vips: [{ network: "", address: "10.96.0.1" }] }),
      "10.96.0.1",
    ],
    ["F-033 B15 of a prefix each", (at) => named(at, { cidrVips: [prefixOf(at)] }), vipOf(77)],
    [
      "F-033 B15 that all claim one prefix",
      (at) => named(at, { cidrVips: [{ network: "", ...cidr("10.96.0.0/12") }] }),
      "10.96.0.1",
    ],
    [
      "F-033 B15 of prefixes inside each other",
      (at) => named(at, { cidrVips: [{ network: "", ...cidr(`10.96.0.0/${8 + (at % 24)}`) }] }),
      "10.96.0.1",
    ],
  ];
  for (const [name, of, address] of rows) {
    test(`${name}, the one that is meant is found with a look at a few`, () => {
      const reads = { count: 0 };
      const state = new MeshState();
      const services = Array.from({ length: many }, (_, at) => counted(of(at), reads));
      const endpoint = pod("n1/endpoint", "10.255.0.2", {
        services: new Map(services.map(({ key }) => [key, [port(80, 8080)]])),
      });
      state.apply({ services, workloads: [endpoint] });
      reads.count = 0;
      const target = { address, port: 80 };
      const decision = decideOutbound(state, { source: client, target, network: "", random: seededRandom(1) });
      assert.equal(decision.kind, "hbone");
      assert.ok(reads.count <= 150, `${reads.count} reads of services`);
    });
  }

  test("F-050 that have one hostname, the one that is meant is found with a look at a few", () => {
    const reads = { count: 0 };
    const state = new MeshState();
    const services = Array.from({ length: many }, (_, at) => {
      const namespace = `n${at}`;
      return counted(
        { ...service(`${namespace}/s`, "", []), key: `${namespace}/db.example`, hostname: "db.example" },
        reads,
      );
    });
    state.apply({ services });
    reads.count = 0;
    assert.equal(state.serviceByHostname("db.example", "n4321")?.namespace, "n4321");
    assert.equal(state.serviceByHostname("db.example", "elsewhere")?.namespace, "n0");
    assert.ok(reads.count <= 20, `${reads.count} reads of services`);
  });
});

describe("among 10,000 endpoints of a service", () => {
  const cart = service("shop/cart", "10.96.0.1", [port(80, 8080)], {
    loadBalancing: { mode: "failover", preferences: ["zone", "node"], allowUnhealthy: false },
  });
  const endpointAt = (at: number): MeshWorkload =>
    pod(`shop/cart-${at}`, vipOf(at), {
      node: `node${at % 100}`,
      locality: { region: "r", zone: `z${at % 3}`, subzone: "" },
      services: backs([cart, port(80, 8080)]),
    });
  const source = { ...client, node: "node7", locality: { region: "r", zone: "z1", subzone: "" } };
  const target = { address: "10.96.0.1", port: 80 };

  test("F-051 F-052 a connection looks at a few, once one like it has been decided", () => {
    const reads = { count: 0 };
    const state = new MeshState();
    state.apply({
      services: [cart],
      workloads: Array.from({ length: many }, (_, at) => counted(endpointAt(at), reads)),
    });
    const random = seededRandom(1);
    const decide = (from = source): string => {
      const decision = decideOutbound(state, { source: from, target, network: "", random });
      assert.ok(decision.kind === "hbone");
      return decision.workload.node;
    };
    assert.equal(decide(), "node7");
    reads.count = 0;
    for (let connection = 0; connection < 100; connection++) assert.equal(decide(), "node7");
    assert.ok(reads.count <= 100 * 30, `${reads.count} reads of endpoints for 100 connections`);
    assert.equal(decide({ ...source, node: "node8" }), "node8", "who is elsewhere has its own nearest");
  });

  test("F-051 F-054 a change to the endpoints or to the service is seen by the next connection", () => {
    const state = new MeshState();
    const [one, two] = [endpointAt(1), endpointAt(2)];
    state.apply({ services: [cart], workloads: [one] });
    const chosen = (): string => {
      const decision = decideOutbound(state, { source, target, network: "", random: seededRandom(1) });
      return decision.kind === "hbone" ? `${decision.workload.name} ${decision.authority}` : "none";
    };
    assert.equal(chosen(), "cart-1 10.96.0.1:8080".replace("10.96.0.1", vipOf(1)));
    state.apply({ workloads: [{ ...one, healthy: false }, two] });
    assert.equal(chosen(), `cart-2 ${vipOf(2)}:8080`);
    state.apply({ services: [{ ...cart, loadBalancing: { ...cart.loadBalancing!, allowUnhealthy: true } }] });
    assert.equal(chosen(), `cart-1 ${vipOf(1)}:8080`, "the same zone goes first again");
    state.apply({ services: [{ ...cart, ports: [port(80, 9090)] }], workloads: [{ ...two, services: backs([cart]) }] });
    state.apply({ removed: { addresses: [one.uid] } });
    assert.equal(chosen(), `cart-2 ${vipOf(2)}:9090`);
    state.apply({ removed: { addresses: [two.uid] } });
    assert.equal(chosen(), "none");
  });
});

test("F-056 among 10,000 workloads of one address, one more costs a look at a few, and so does its end", () => {
  const reads = { count: 0 };
  const state = new MeshState();
  const entry = (at: number): MeshWorkload => ({
    ...pod(`n/w${at}`, "192.0.2.1", { tunnel: at % 2 === 0 ? "tcp" : "hbone" }),
    uid: `Kubernetes/networking.istio.io/WorkloadEntry/n/w${at}`,
  });
  state.apply({ workloads: Array.from({ length: many }, (_, at) => counted(entry(at), reads)) });
  reads.count = 0;
  const captured = pod("n/captured", "192.0.2.1");
  state.apply({ workloads: [captured] });
  assert.equal(state.workloadByAddress("", "192.0.2.1")?.name, "captured");
  state.apply({ removed: { addresses: [captured.uid] } });
  assert.equal(state.workloadByAddress("", "192.0.2.1")?.name, "w1");
  assert.ok(reads.count <= 150, `${reads.count} reads of workloads`);
});

function named(at: number, more: Partial<MeshService>): MeshService {
  return service(`n${at}/s`, "", [port(80, 8080)], more);
}

function vipOf(at: number): string {
  return `10.${96 + (at >> 16)}.${(at >> 8) & 255}.${at & 255}`;
}

function prefixOf(at: number): MeshService["cidrVips"][number] {
  return { network: "", ...cidr(`${vipOf(at & ~1)}/${at % 2 === 0 ? 31 : 30}`) };
}

/** The same, telling how often anything of it was read. */
function counted<T extends object>(value: T, reads: { count: number }): T {
  return new Proxy(value, {
    get(target, name, receiver) {
      reads.count += 1;
      return Reflect.get(target, name, receiver) as unknown;
    },
  });
}
