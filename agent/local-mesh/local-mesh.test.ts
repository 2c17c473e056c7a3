import assert from "node:assert/strict";
import { test } from "node:test";
import { MeshInventory } from "../mesh-inventory.ts";
import { LocalMeshError } from "./fields.ts";
import { localMesh } from "./local-mesh.ts";

const yaml = `
workloads:
- uid: c1//v1/Pod/shop/cart-0
  name: cart-0
  namespace: shop
  serviceAccount: cart
  trustDomain: cluster.local
  workloadIps: ["10.1.0.5", "fd00::5"]
  protocol: HBONE
  networkMode: Standard
  node: node-a
  clusterId: Kubernetes
  workloadName: cart
  workloadType: deployment
  canonicalName: cart
  canonicalRevision: v1
  status: Healthy
  capacity: 2
  locality: {region: r, zone: z, subzone: ""}
  waypoint: {destination: /10.1.0.9, hboneMtlsPort: 15008}
  networkGateway: {destination: net2/34.1.2.3, hboneMtlsPort: 15008}
  applicationTunnel: {protocol: PROXY, port: 15088}
  authorizationPolicies: [shop/p1]
  services:
    shop/cart.shop.svc.cluster.local: {80: 8080}
services:
- name: cart
  namespace: shop
  hostname: cart.shop.svc.cluster.local
  vips: [/10.96.0.7]
  cidrVips: [{network: "", cidr: 10.97.0.0/16}]
  ports: {80: 8080}
  canonical: true
  visibility: Public
  ipFamilies: IPv4
  loadBalancer: {routingPreferences: [Zone], mode: Failover, healthPolicy: OnlyHealthy}
  waypoint: {destination: shop/wp.shop.svc.cluster.local, hboneMtlsPort: 15008}
  weightedWaypoints: [{destination: {destination: shop/wp.shop.svc.cluster.local}, weight: 10}]
policies:
- name: p1
  namespace: shop
  scope: WorkloadSelector
  action: Deny
  rules:
  - - - principals: [{Exact: cluster.local/ns/shop/sa/bad}, {Presence: {}}]
        sourceIps: [10.0.0.0/8]
        destinationPorts: [8080]
`;

test("F-123 a mesh can be written in a file: workloads, services with their endpoints, and policies", () => {
  const mesh = new MeshInventory();
  const updates = localMesh(yaml);
  assert.ok(!(updates instanceof LocalMeshError), updates instanceof LocalMeshError ? updates.message : "");
  for (const update of updates) assert.deepEqual(mesh.take(update).rejected, []);
  const [workload] = mesh.state.workloads();
  assert.deepEqual(workload?.addresses, ["10.1.0.5", "fd00::5"]);
  assert.equal(workload?.tunnel, "hbone");
  assert.equal(workload?.capacity, 2);
  assert.deepEqual(workload?.policies, ["shop/p1"]);
  assert.equal(mesh.state.workloadOf("shop", "cart-0", "cart")?.uid, "c1//v1/Pod/shop/cart-0");
  const [service] = mesh.state.services();
  assert.equal(service?.key, "shop/cart.shop.svc.cluster.local");
  assert.equal([...mesh.policies()][0]?.key, "shop/p1");
});

test("F-123 a mistake in the file is named by its place", () => {
  const rows: [string, RegExp][] = [
    ["workloads: 5", /workloads/],
    ["workload: []", /workload .*|"workload"/],
    ["workloads: [{uid: a, name: a, namespace: b, workloadIps: [nowhere]}]", /workloads\[0\]\.workloadIps\[0\]/],
    ["workloads: [{uid: a, name: a}]", /workloads\[0\]\.namespace/],
    ["services: [{name: a, namespace: b, hostname: c, ports: {x: 1}}]", /services\[0\]\.ports\.x/],
    ["services: [{name: a, namespace: b, hostname: c, colour: red}]", /services\[0\]\.colour/],
    ["policies: [{name: a, namespace: b, action: Perhaps}]", /policies\[0\]\.action/],
    ["policies: [{name: a, namespace: b, rules: [[[{principals: [{Like: x}]}]]]}]", /principals\[0\]/],
    ["{", /local-mesh.not-yaml/],
  ];
  for (const [text, place] of rows) {
    const result = localMesh(text);
    assert.ok(result instanceof LocalMeshError, text);
    assert.match(JSON.stringify(result.type), place, text);
  }
});

test("F-123 an empty file is an empty mesh", () => {
  const updates = localMesh("");
  assert.ok(!(updates instanceof LocalMeshError));
  assert.deepEqual(
    updates.map(({ resources }) => resources.length),
    [0, 0],
  );
});
