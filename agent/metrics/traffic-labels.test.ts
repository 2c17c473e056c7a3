import assert from "node:assert/strict";
import { test } from "node:test";
import { pod, service } from "../../test/support/mesh.ts";
import type { ConnectionFacts } from "../connection/close-record.ts";
import { trafficLabelNames } from "./catalogue.ts";
import { trafficLabels } from "./traffic-labels.ts";

const cart = pod("shop/cart-7d9f-abcde", "10.0.0.2", {
  workloadName: "cart",
  workloadType: "deployment",
  canonicalName: "cart",
  canonicalRevision: "v2",
  clusterId: "east",
  locality: { region: "eu", zone: "eu-1", subzone: "" },
});
const db = pod("data/db-0", "10.0.0.3", { workloadName: "db", canonicalName: "postgres", canonicalRevision: "15" });
const dbService = service("data/db", "10.96.0.7", []);
const [cartIdentity, dbIdentity] = ["spiffe://cluster.local/ns/shop/sa/cart", "spiffe://cluster.local/ns/data/sa/db"];

const outbound: ConnectionFacts = {
  direction: "outbound",
  protocol: "hbone",
  trace: "",
  source: { address: "10.0.0.2", port: 40_000 },
  sourceWorkload: cart,
  sourceIdentity: cartIdentity,
  service: dbService,
  destinationWorkload: db,
  destinationIdentity: dbIdentity,
};

const unknownPeer = {
  source_workload: "unknown",
  source_canonical_service: "unknown",
  source_canonical_revision: "unknown",
  source_workload_namespace: "unknown",
  source_principal: "unknown",
  source_app: "unknown",
  source_version: "unknown",
  source_cluster: "unknown",
};

const toDatabase = {
  destination_service: "db.data.svc.cluster.local",
  destination_service_namespace: "data",
  destination_service_name: "db",
  destination_workload: "db",
  destination_canonical_service: "postgres",
  destination_canonical_revision: "15",
  destination_workload_namespace: "data",
  destination_principal: dbIdentity,
  destination_app: "postgres",
  destination_version: "15",
  destination_cluster: "Kubernetes",
};

const fromCart = {
  source_workload: "cart",
  source_canonical_service: "cart",
  source_canonical_revision: "v2",
  source_workload_namespace: "shop",
  source_principal: cartIdentity,
  source_app: "cart",
  source_version: "v2",
  source_cluster: "east",
};

const tcp = { request_protocol: "tcp" };

test("F-211 F-212 each connection has the field's labels, in their order, from both reporters", () => {
  const golden: readonly [ConnectionFacts, Parameters<typeof trafficLabels>[1], Record<string, string>][] = [
    [
      outbound,
      "-",
      {
        reporter: "source",
        ...fromCart,
        ...toDatabase,
        ...tcp,
        response_flags: "-",
        connection_security_policy: "mutual_tls",
        source_region: "eu",
        source_zone: "eu-1",
        destination_region: "unknown",
        destination_zone: "unknown",
      },
    ],
    [
      // The other agent reports the same connection, and knows what is proven to it.
      { ...outbound, direction: "inbound" },
      "DENY",
      {
        reporter: "destination",
        ...fromCart,
        ...toDatabase,
        ...tcp,
        response_flags: "DENY",
        connection_security_policy: "mutual_tls",
        source_region: "eu",
        source_zone: "eu-1",
        destination_region: "unknown",
        destination_zone: "unknown",
      },
    ],
    [
      // Clear text from nobody we know: no principal, no security.
      {
        direction: "inbound",
        protocol: "tcp",
        trace: "",
        source: { address: "192.0.2.1", port: 1 },
        destinationWorkload: db,
      },
      "NETWORK_POLICY",
      {
        reporter: "destination",
        ...unknownPeer,
        ...toDatabase,
        destination_service: "unknown",
        destination_service_namespace: "unknown",
        destination_service_name: "unknown",
        destination_principal: "unknown",
        ...tcp,
        response_flags: "NETWORK_POLICY",
        connection_security_policy: "unknown",
        source_region: "unknown",
        source_zone: "unknown",
        destination_region: "unknown",
        destination_zone: "unknown",
      },
    ],
    [
      // Nobody known at either end: no region, no zone.
      { direction: "outbound", protocol: "tcp", trace: "", source: { address: "10.0.0.2", port: 1 } },
      "CONNECT",
      {
        reporter: "source",
        ...unknownPeer,
        ...Object.fromEntries(Object.keys(toDatabase).map((name) => [name, "unknown"])),
        ...tcp,
        response_flags: "CONNECT",
        connection_security_policy: "unknown",
      },
    ],
  ];
  for (const [facts, flag, expected] of golden) {
    const labels = trafficLabels(facts, flag).map((value, at) => [trafficLabelNames[at], value]);
    assert.deepEqual(labels, Object.entries(expected));
  }
});

test("F-211 what a peer says of itself counts where control says nothing, and never as a principal", () => {
  const facts: ConnectionFacts = {
    direction: "inbound",
    protocol: "hbone",
    trace: "",
    source: { address: "10.9.0.1", port: 1 },
    sourceBaggage: {
      clusterName: "west",
      namespace: "far",
      workload: { kind: "deployment", name: "away" },
      serviceName: "away",
      serviceVersion: "v9",
      region: "us",
      zone: "us-1",
    },
    destinationWorkload: db,
  };
  const named = (one: ConnectionFacts): Record<string, string | undefined> =>
    Object.fromEntries(trafficLabels(one, "-").map((value, at) => [trafficLabelNames[at] ?? "", value]));
  const claimed = named(facts);
  assert.deepEqual(
    [
      claimed["source_workload"],
      claimed["source_workload_namespace"],
      claimed["source_cluster"],
      claimed["source_zone"],
    ],
    ["away", "far", "west", "us-1"],
  );
  assert.equal(claimed["source_principal"], "unknown");
  const known = named({ ...facts, sourceWorkload: cart });
  assert.deepEqual([known["source_workload"], known["source_cluster"], known["source_zone"]], ["cart", "east", "eu-1"]);
});

test("H093 a claim that is long, or meant for a terminal, is cut and spelled out", () => {
  const facts: ConnectionFacts = {
    direction: "inbound",
    protocol: "hbone",
    trace: "",
    source: { address: "10.9.0.1", port: 1 },
    sourceBaggage: { namespace: "a\r\nb\u001b[31m\u009b2J", serviceName: "x".repeat(8_000) },
  };
  const labels = trafficLabels(facts, "-");
  assert.equal(labels[4], "a\\u000d\\u000ab\\u001b[31m\\u009b2J");
  assert.equal(labels[2]?.length, 256);
});
