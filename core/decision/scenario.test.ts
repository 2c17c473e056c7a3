/** The mesh that a real istiod described (test/vectors/scenario-a), asked what an agent on node1 would ask. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { seededRandom } from "../base/random.ts";
import { addressType, decodeAddress } from "../protocol/wds/address.ts";
import { authorizationType, decodeAuthorization } from "../protocol/wds/authorization.ts";
import { WdsError } from "../protocol/wds/wds-error.ts";
import { authorize } from "./authorize.ts";
import { MeshState } from "./mesh-state.ts";
import { decideOutbound } from "./route.ts";

interface Recorded {
  readonly [typeUrl: string]: { readonly resources: readonly { readonly name: string; readonly base64: string }[] };
}

const state = load();
const productpage = state.workloadOf("shop", "productpage-1");
assert.ok(productpage);

/** Where productpage-1 gets to when it connects there. */
function reach(address: string, port: number): string {
  assert.ok(productpage);
  const decision = decideOutbound(state, {
    source: productpage,
    target: { address, port },
    network: "",
    random: seededRandom(5),
  });
  switch (decision.kind) {
    case "hbone":
      return `${decision.via} ${decision.workload.name} ${decision.authority}`;
    case "double-hbone":
      return `gateway ${decision.gateway.reference} ${decision.authority}`;
    case "direct":
      return `direct ${decision.target.address} ${decision.target.port}`;
    case "passthrough":
      return "passthrough";
    case "refuse":
      return decision.reason;
  }
}

describe("connections of a captured pod", () => {
  const rows: [string, string, number, string][] = [
    ["to a service with a waypoint go to the waypoint", "10.96.1.2", 9080, "waypoint shop-waypoint-1 10.96.1.2:9080"],
    ["to a pod with a waypoint of its own go there too", "10.244.1.16", 80, "waypoint shop-waypoint-1 10.244.1.16:80"],
    ["to a captured pod are tunnelled", "10.244.1.11", 9081, "workload reviews-v1-1 10.244.1.11:9081"],
    [
      "to a service without a waypoint are tunnelled to its pod",
      "10.96.1.7",
      9080,
      "workload reviews-v1-1 10.244.1.11:9081",
    ],
    ["to a pod that is not captured stay plain", "10.244.1.15", 80, "direct 10.244.1.15 80"],
    ["to a service outside the mesh stay plain", "10.96.1.6", 80, "direct 10.244.1.30 8080"],
    ["to the node's address pass", "172.18.0.2", 9100, "passthrough"],
    ["to an unknown address pass", "8.8.8.8", 53, "passthrough"],
    ["to a service kept to the node stay on it", "10.96.1.4", 80, "workload productpage-1 10.244.1.10:9080"],
    ["to an undeclared port are refused", "10.96.1.1", 1, "NO_SERVICE_PORT"],
    ["to an endpoint outside take the healthy one", "10.96.1.3", 4000, "direct 192.0.2.10 4001"],
    ["to a service known by name need the name resolved", "240.240.0.1", 5432, "HOSTNAME_UNRESOLVED"],
    [
      "to another namespace's service with a waypoint go to that waypoint",
      "10.96.1.5",
      3306,
      "waypoint vault-waypoint-1 10.96.1.5:3306",
    ],
  ];
  for (const [name, address, port, expected] of rows) test(name, () => assert.equal(reach(address, port), expected));
});

describe("policies", () => {
  const account = (namespace: string, serviceAccount: string) => ({
    trustDomain: "cluster.local",
    namespace,
    serviceAccount,
  });
  const rows: [string, string, ReturnType<typeof account> | undefined, string, number, string][] = [
    [
      "the page may read reviews",
      "shop/reviews-v1-1",
      account("shop", "bookinfo-productpage"),
      "10.244.1.10",
      9081,
      "shop/allow-productpage",
    ],
    ["others may not", "shop/reviews-v1-1", account("shop", "ratings"), "10.244.1.10", 9081, "POLICY_NOT_ALLOWED"],
    [
      "legacy is denied by the namespace",
      "shop/reviews-v1-1",
      account("legacy", "default"),
      "10.244.1.30",
      9081,
      "POLICY_DENIED",
    ],
    [
      "plaintext to a STRICT port is refused",
      "shop/reviews-v1-1",
      undefined,
      "10.244.1.10",
      9081,
      "POLICY_MTLS_REQUIRED",
    ],
    [
      "plaintext to a STRICT namespace is refused",
      "vault/db-0",
      undefined,
      "10.244.1.10",
      3306,
      "POLICY_MTLS_REQUIRED",
    ],
    [
      "a namespace that allows nothing allows nothing",
      "vault/db-0",
      account("shop", "bookinfo-productpage"),
      "10.244.1.10",
      3306,
      "POLICY_NOT_ALLOWED",
    ],
    [
      "the mesh-wide DENY holds everywhere",
      "shop/productpage-1",
      account("shop", "x"),
      "192.0.2.77",
      9080,
      "POLICY_DENIED",
    ],
    ["but for its exception", "shop/productpage-1", account("istio-system", "x"), "192.0.2.77", 9080, "allowed"],
    [
      "a DENY that lost its method condition denies the port",
      "shop/ratings-1",
      account("shop", "bookinfo-reviews"),
      "10.244.1.11",
      7070,
      "POLICY_DENIED",
    ],
  ];
  for (const [name, path, peerIdentity, peerAddress, port, expected] of rows) {
    test(name, () => {
      const [namespace = "", workloadName = ""] = path.split("/");
      const local = state.workloadOf(namespace, workloadName);
      assert.ok(local);
      const destination = { address: local.addresses[0] ?? "", port };
      const answer = authorize(state, { local, ...(peerIdentity && { peerIdentity }), peerAddress, destination });
      assert.equal(answer.allowed ? (answer.policy ?? "allowed") : answer.reason, expected);
    });
  }
});

function load(): MeshState {
  const file = new URL("../../test/vectors/scenario-a/wds.json", import.meta.url);
  const recorded = JSON.parse(readFileSync(file, "utf8")) as Recorded;
  const loaded = new MeshState();
  for (const { name, base64 } of recorded[authorizationType]?.resources ?? []) {
    const policy = decodeAuthorization(Buffer.from(base64, "base64"), name);
    assert.ok(!(policy instanceof WdsError), name);
    loaded.apply({ policies: [policy] });
  }
  for (const { name, base64 } of recorded[addressType]?.resources ?? []) {
    const address = decodeAddress(Buffer.from(base64, "base64"), name);
    assert.ok(!(address instanceof WdsError), name);
    loaded.apply(address.kind === "workload" ? { workloads: [address.workload] } : { services: [address.service] });
  }
  return loaded;
}
