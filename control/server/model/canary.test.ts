import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  build,
  gateway,
  parse,
  service,
  serviceResource,
  toWaypoint,
  waypointOf,
  type BuiltModel,
} from "../../../test/support/bound-model.ts";
import type { KubeObject } from "../../sources/objects.ts";

describe("a canary waypoint", () => {
  const labels = { "istio.io/use-waypoint": "way", "istio.io/use-waypoint-canary": "next" };
  const weighed = (text?: string): object =>
    text === undefined ? {} : { "istio.io/use-waypoint-canary-weight": text };
  const shares = (model: BuiltModel): [string, number][] => {
    return serviceResource(model, "web").weightedWaypoints.map(({ destination, weight }) => [
      destination?.destination?.$case === "hostname" ? destination.destination.value.hostname : "",
      weight,
    ]);
  };
  const [primary, next] = ["way.shop.svc.cluster.local", "next.shop.svc.cluster.local"];

  test("F-037 gets its share, both are told even where one has nothing, and no weight is none", () => {
    for (const [text, share] of [
      ["0", 0],
      ["30", 30],
      ["100", 100],
      [undefined, 0],
    ] as const) {
      const model = build(gateway("way"), gateway("next"), service("web", labels, weighed(text)));
      assert.deepEqual(shares(model), [
        [primary, 100 - share],
        [next, share],
      ]);
      assert.equal(model.said["Service/shop/web"], "True WaypointAccepted");
    }
  });

  test("M82 F-037 that is not there leaves everything to the first, and the object says so", () => {
    const model = build(gateway("way"), service("web", labels, weighed("50")));
    assert.deepEqual(shares(model), []);
    assert.deepEqual(waypointOf(model, "web"), toWaypoint);
    assert.equal(model.said["Service/shop/web"], "False WaypointIsNotReady");
    assert.match(model.messages["Service/shop/web"] ?? "", /bound to waypoint shop\/way, which takes everything/);
    model.put(gateway("next"));
    assert.deepEqual(shares(model), [
      [primary, 50],
      [next, 50],
    ]);
  });

  test("F-037 that makes no sense is no canary", () => {
    const same = { ...labels, "istio.io/use-waypoint-canary": "way" };
    const rows: [object, object, KubeObject, string][] = [
      [labels, weighed("101"), gateway("next"), "False CanaryInvalidWeight"],
      [labels, weighed("-1"), gateway("next"), "False CanaryInvalidWeight"],
      [labels, weighed("a lot"), gateway("next"), "False CanaryInvalidWeight"],
      [same, weighed("5"), gateway("next"), "False CanarySameAsPrimary"],
      [
        labels,
        weighed("5"),
        gateway("next", { labels: { "istio.io/waypoint-for": "workload" } }),
        "False UnsupportedTrafficType",
      ],
    ];
    for (const [own, annotations, canary, said] of rows) {
      const model = build(gateway("way"), canary, service("web", own, annotations));
      assert.deepEqual(shares(model), []);
      assert.equal(model.said["Service/shop/web"], said);
    }
  });

  test("F-037 is declared where the first is: the namespace's counts for those without a label of their own", () => {
    const inNamespace = parse("v1", "Namespace", "shop", {}, { labels, annotations: weighed("40") });
    const model = build(gateway("way"), gateway("next"), inNamespace, service("web"));
    assert.deepEqual(shares(model), [
      [primary, 60],
      [next, 40],
    ]);
    model.put(service("web", { "istio.io/use-waypoint": "way" }));
    assert.deepEqual(shares(model), []);
  });
});
