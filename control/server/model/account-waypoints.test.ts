import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  account,
  build,
  decoded,
  gateway,
  namespace,
  pod,
  service,
  waypointOf,
  workload,
  type BuiltModel,
} from "../../../test/support/bound-model.ts";
import { serviceAccountWaypoint } from "../../../core/protocol/wds/workload.ts";

describe("the waypoint of a service account", () => {
  const uid = (name: string): string => `Kubernetes//Pod/shop/${name}`;
  const bound = (model: BuiltModel, name: string): [string | undefined, boolean] => {
    const { waypoint, extensions } = workload(model, uid(name));
    const destination = waypoint?.destination;
    return [
      destination?.$case === "hostname" ? destination.value.hostname.split(".")[0] : undefined,
      extensions.some((extension) => extension.name === serviceAccountWaypoint),
    ];
  };
  const cart = { serviceAccountName: "cart" };
  const use = (name: string): object => ({ "istio.io/use-waypoint": name });

  test("is its workloads', and they say that it takes what is addressed to services too", () => {
    const model = build(gateway("way"), account("cart", use("way")), pod("a", {}, cart), pod("b"), service("web"));
    assert.deepEqual(bound(model, "a"), ["way", true]);
    assert.deepEqual(bound(model, "b"), [undefined, false]);
    assert.equal(waypointOf(model, "web"), undefined, "services are not asked");
    assert.deepEqual(decoded(model, uid("a")).waypointScope, "service-account");
  });

  test("comes and goes with the label and with the Gateway", () => {
    const model = build(gateway("way"), account("cart"), pod("a", {}, cart));
    assert.deepEqual(bound(model, "a"), [undefined, false]);
    model.put(account("cart", use("way")));
    assert.deepEqual(bound(model, "a"), ["way", true]);
    model.remove(gateway("way"));
    assert.deepEqual(bound(model, "a"), [undefined, false]);
    model.put(gateway("way"));
    model.remove(account("cart", use("way")));
    assert.deepEqual(bound(model, "a"), [undefined, false]);
  });

  test("goes before the namespace's and behind the pod's own, and `none` opts out", () => {
    const model = build(
      gateway("way"),
      gateway("all", { labels: { "istio.io/waypoint-for": "all" } }),
      namespace("shop", use("all")),
      account("cart", use("way")),
      account("out", use("none")),
      pod("of-account", {}, cart),
      pod("of-itself", use("all"), cart),
      pod("of-namespace"),
      pod("opted-out", use("none"), cart),
      pod("account-opted-out", {}, { serviceAccountName: "out" }),
    );
    assert.deepEqual(bound(model, "of-account"), ["way", true]);
    assert.deepEqual(bound(model, "of-itself"), ["all", false]);
    assert.deepEqual(bound(model, "of-namespace"), ["all", false]);
    assert.deepEqual(bound(model, "opted-out"), [undefined, false]);
    assert.deepEqual(bound(model, "account-opted-out"), [undefined, false]);
  });

  test("may be named by the Gateway instead, the older of two", () => {
    const annotations = { "istio.io/for-service-account": "cart" };
    const [young, old] = ["2026-02-01T00:00:00Z", "2026-01-01T00:00:00Z"];
    const model = build(
      gateway("b-old", { annotations, creationTimestamp: old }),
      gateway("a-young", { annotations, creationTimestamp: young }),
      pod("a", {}, cart),
      pod("b"),
    );
    assert.deepEqual(bound(model, "a"), ["b-old", true]);
    assert.deepEqual(bound(model, "b"), [undefined, false]);
    model.remove(gateway("b-old"));
    assert.deepEqual(bound(model, "a"), ["a-young", true]);
  });

  test("is for pod-addressed traffic alone where the Gateway says so, and for nothing where it is for services alone", () => {
    for (const [trafficType, expected] of [
      ["workload", ["way", false]],
      ["all", ["way", true]],
      ["service", [undefined, false]],
    ] as const) {
      const labels = { "istio.io/waypoint-for": trafficType };
      const model = build(gateway("way", { labels }), account("cart", use("way")), pod("a", {}, cart));
      assert.deepEqual(bound(model, "a"), expected, trafficType);
    }
  });

  test("is never that of its own pods, nor of host-network ones", () => {
    const model = build(
      gateway("way"),
      account("cart", use("way")),
      pod("way-1", { "gateway.networking.k8s.io/gateway-name": "way" }, cart),
      pod("host", {}, { ...cart, hostNetwork: true }),
    );
    assert.deepEqual(bound(model, "way-1"), [undefined, false]);
    assert.deepEqual(bound(model, "host"), [undefined, false]);
  });
});
