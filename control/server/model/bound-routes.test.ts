/** What labels on objects come to at the other end: control's resources as an agent reads them, and where it then sends connections. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { account, buildWith, gateway, parse, type BuiltModel } from "../../../test/support/bound-model.ts";
import { seededRandom } from "../../../core/base/random.ts";
import { MeshState } from "../../../core/decision/mesh-state.ts";
import { decideOutbound } from "../../../core/decision/route.ts";
import { decodeAddress } from "../../../core/protocol/wds/address.ts";
import { WdsError } from "../../../core/protocol/wds/wds-error.ts";
import type { KubeObject } from "../../sources/objects.ts";
import type { MeshConfig } from "./inputs.ts";
import { addressTypeUrl } from "./resources.ts";

const use = (name: string): object => ({ "istio.io/use-waypoint": name });
const toVip = { address: "10.96.0.1", port: 80 };

test("M07 F-041 a waypoint that does not exist leaves connections at L4, unless the mesh wants them refused", () => {
  const l4 = mesh({}, web(use("bogus")), webPod("a", "10.1.0.5"));
  assert.deepEqual(l4.reach(toVip), ["workload 10.1.0.5:8080"]);
  const refusing = mesh({ danglingWaypoints: "refuse" }, web(use("bogus")), webPod("a", "10.1.0.5"));
  assert.deepEqual(refusing.reach(toVip), ["UNKNOWN_WAYPOINT"]);
  refusing.put(gateway("bogus"), ...waypoint("bogus", "10.96.0.9", "10.1.0.90"));
  assert.deepEqual(refusing.reach(toVip), ["waypoint 10.1.0.90 for 10.96.0.1:80"]);
  refusing.put(web());
  assert.deepEqual(refusing.reach(toVip), ["workload 10.1.0.5:8080"]);
});

test("F-036 F-041 a waypoint that was taken away leaves no reference behind", () => {
  const labelled = mesh(
    {},
    gateway("way"),
    ...waypoint("way", "10.96.0.9", "10.1.0.90"),
    web(use("way")),
    webPod("a", "10.1.0.5"),
  );
  assert.deepEqual(labelled.reach(toVip), ["waypoint 10.1.0.90 for 10.96.0.1:80"]);
  // Its pods are gone, the Gateway is still there: nobody goes past it.
  labelled.remove(...waypoint("way", "10.96.0.9", "10.1.0.90"));
  assert.deepEqual(labelled.reach(toVip), ["UNKNOWN_WAYPOINT"]);
  labelled.remove(gateway("way"));
  assert.deepEqual(labelled.reach(toVip), ["workload 10.1.0.5:8080"]);
});

test("the waypoint of a service account takes its pods' connections, by service and by pod, and no other's", () => {
  const mixed = mesh(
    {},
    gateway("way"),
    ...waypoint("way", "10.96.0.9", "10.1.0.90"),
    account("cart", use("way")),
    web(),
    webPod("a", "10.1.0.5", "cart"),
    webPod("b", "10.1.0.6", "other"),
  );
  assert.deepEqual(mixed.reach(toVip), ["waypoint 10.1.0.90 for 10.96.0.1:80", "workload 10.1.0.6:8080"]);
  assert.deepEqual(mixed.reach({ address: "10.1.0.5", port: 8080 }), ["waypoint 10.1.0.90 for 10.1.0.5:8080"]);
  assert.deepEqual(mixed.reach({ address: "10.1.0.6", port: 8080 }), ["workload 10.1.0.6:8080"]);
  mixed.remove(gateway("way"));
  assert.deepEqual(mixed.reach(toVip), ["workload 10.1.0.5:8080", "workload 10.1.0.6:8080"]);
});

test("F-038 a waypoint for pods, which is no service account's, serves those who address the pod alone", () => {
  const labels = { "istio.io/waypoint-for": "workload" };
  const bound = mesh(
    {},
    gateway("way", { labels }),
    ...waypoint("way", "10.96.0.9", "10.1.0.90"),
    web(),
    webPod("a", "10.1.0.5", "cart", use("way")),
  );
  assert.deepEqual(bound.reach(toVip), ["workload 10.1.0.5:8080"]);
  assert.deepEqual(bound.reach({ address: "10.1.0.5", port: 8080 }), ["waypoint 10.1.0.90 for 10.1.0.5:8080"]);
});

test("M82 F-037 a canary gets its share as long as it is there, and the first waypoint the rest", () => {
  const split = (percent: string): KubeObject =>
    web({ ...use("way"), "istio.io/use-waypoint-canary": "next" }, { "istio.io/use-waypoint-canary-weight": percent });
  const [first, next] = [waypoint("way", "10.96.0.9", "10.1.0.90"), waypoint("next", "10.96.0.10", "10.1.0.91")];
  const weighted = mesh({}, gateway("way"), gateway("next"), ...first, ...next, split("50"), webPod("a", "10.1.0.5"));
  const [byFirst, byNext] = ["waypoint 10.1.0.90 for 10.96.0.1:80", "waypoint 10.1.0.91 for 10.96.0.1:80"];
  assert.deepEqual(weighted.reach(toVip), [byFirst, byNext]);
  weighted.put(split("100"));
  assert.deepEqual(weighted.reach(toVip), [byNext]);
  weighted.put(split("0"));
  assert.deepEqual(weighted.reach(toVip), [byFirst]);
  weighted.put(split("100"));
  weighted.remove(gateway("next"));
  assert.deepEqual(weighted.reach(toVip), [byFirst]);
});

interface Reachable {
  /** Each way that connections of a client go, in order. */
  reach(target: { address: string; port: number }): string[];
  put(...objects: KubeObject[]): void;
  remove(...objects: KubeObject[]): void;
}

function mesh(config: Partial<MeshConfig>, ...objects: KubeObject[]): Reachable {
  const built = buildWith(config, ...objects, captured("client", "10.1.0.1", { spec: {} }));
  return {
    reach: (target) => reach(built, target),
    put: (...more) => more.forEach((object) => built.put(object)),
    remove: (...gone) => gone.forEach((object) => built.remove(object)),
  };
}

function reach({ model }: BuiltModel, target: { address: string; port: number }): string[] {
  const state = new MeshState();
  for (const { name, bytes } of model.resources(addressTypeUrl).values()) {
    const address = decodeAddress(bytes, name);
    assert.ok(!(address instanceof WdsError), name);
    state.apply(address.kind === "workload" ? { workloads: [address.workload] } : { services: [address.service] });
  }
  const source = state.workloadOf("shop", "client");
  assert.ok(source);
  const ways = new Set<string>();
  const random = seededRandom(1);
  for (let connection = 0; connection < 60; connection++) {
    const decision = decideOutbound(state, { source, target, network: "", random });
    if (decision.kind === "refuse") ways.add(decision.reason);
    else if (decision.kind !== "hbone") ways.add(decision.kind);
    else if (decision.via === "workload") ways.add(`workload ${decision.authority}`);
    else ways.add(`waypoint ${decision.tunnel.address} for ${decision.authority}`);
  }
  return [...ways].sort();
}

function web(labels: object = {}, annotations: object = {}): KubeObject {
  const spec = { clusterIP: "10.96.0.1", selector: { app: "web" }, ports: [{ port: 80, targetPort: 8080 }] };
  return parse("v1", "Service", "web", spec, { labels, annotations });
}

function webPod(name: string, address: string, serviceAccountName = "web", labels: object = {}): KubeObject {
  return captured(name, address, { labels: { app: "web", ...labels }, spec: { serviceAccountName } });
}

/** The Service and the pod of a waypoint, as its Gateway's address says. */
function waypoint(name: string, vip: string, address: string): KubeObject[] {
  const selector = { "gateway.networking.k8s.io/gateway-name": name };
  const spec = { clusterIP: vip, selector, ports: [{ name: "mesh", port: 15008 }] };
  return [parse("v1", "Service", name, spec, {}), captured(`${name}-1`, address, { labels: selector, spec: {} })];
}

function captured(name: string, podIP: string, { labels = {}, spec }: { labels?: object; spec: object }): KubeObject {
  const annotations = { "ambient.istio.io/redirection": "enabled" };
  const status = { podIP, phase: "Running", conditions: [{ type: "Ready", status: "True" }] };
  return parse("v1", "Pod", name, spec, { labels, annotations }, status);
}
