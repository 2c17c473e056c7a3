/** Services and pods that have a waypoint are reached through it, and a waypoint that leaves HBONE to its agent learns whom they meant. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Endpoint } from "../../core/base/ip.ts";
import { endpointText, type Asked } from "../support/answers.ts";
import { idlePod, namespace, pod, service, type Manifest } from "../support/manifests.ts";
import { useLab } from "../support/mesh-lab.ts";

/** What test/e2e/apps/sandwiched.ts answers. */
interface AtWaypoint extends Asked {
  readonly answer: Asked["answer"] & {
    readonly proxied?: {
      readonly source: Endpoint;
      readonly destination: Endpoint;
      readonly tlvs: readonly [number, string][];
    };
  };
}

const lab = useLab([
  namespace("shop", { ambient: true }),
  idlePod("shop/alice", { node: "node1" }),
  // Bound by their own addresses as well as by their services': both waypoints are for all traffic.
  labelled(pod("shop/far", { node: "node2" }), useWaypoint("proxied")),
  labelled(service("shop/far"), useWaypoint("proxied")),
  labelled(service("shop/alias", { app: "far" }), useWaypoint("plain")),
  labelled(service("shop/bare", { app: "far" }), useWaypoint("none")),
  ...waypoint("proxied", "PROXY/15088", { type: "IPAddress", value: "10.96.0.50" }, ["10.96.0.50", "fd00:96::50"]),
  ...waypoint("plain", "NONE/15088", { type: "Hostname", value: "plain.shop.svc.cluster.local" }, [
    "10.96.0.51",
    "fd00:96::51",
  ]),
]);

const alice = "spiffe://cluster.local/ns/shop/sa/alice";

for (const family of [4, 6] as const) {
  test(`F-036 F-039 F-064 F-066 F-067 a service's connections over IPv${family} go to its waypoint, which is told by a PROXY header who called and whom`, async () => {
    const meant = { address: await lab().vipOf("shop/far", family), port: 80 };
    const asked = await reachesWaypoint(meant, "proxied", family);
    const { peer, proxied } = asked.answer;
    // Of the family by which the waypoint's pod was reached, which need not be the client's.
    assert.ok(["::ffff:127.0.0.1", "::1"].includes(peer), `delivered to loopback, from ${peer}`);
    const addresses = [await lab().addressOf("shop/alice", 4), await lab().addressOf("shop/alice", 6)];
    assert.ok(addresses.includes(proxied?.source.address ?? ""), JSON.stringify(proxied));
    assert.deepEqual(proxied?.destination, meant);
    assert.deepEqual(proxied?.tlvs, [[0xd0, alice]]);
  });

  test(`F-038 F-064 F-066 a pod's own IPv${family} address is reached through its waypoint, which is told of it`, async () => {
    const meant = { address: await lab().addressOf("shop/far", family), port: 8080 };
    const asked = await reachesWaypoint(meant, "proxied", family);
    assert.deepEqual(asked.answer.proxied?.destination, meant);
    assert.deepEqual(asked.answer.proxied.tlvs, [[0xd0, alice]]);
  });

  test(`F-036 F-039 F-065 a waypoint that goes by its host's name and wants no header over IPv${family} sees its client's own address`, async () => {
    const asked = await reachesWaypoint(
      { address: await lab().vipOf("shop/alias", family), port: 80 },
      "plain",
      family,
    );
    assert.equal(asked.answer.proxied, undefined);
    assert.equal(asked.answer.peer.replace(/^::ffff:/, ""), await lab().addressOf("shop/alice", family));
  });

  test(`F-040 the waypoint itself reaches the pod behind it over IPv${family}, not itself again`, async () => {
    const url = `http://${endpointText(await lab().addressOf("shop/far", family), 8080)}/`;
    const [asked] = await lab().client<Asked>("shop/proxied", "get", url);
    assert.deepEqual([asked?.status, asked?.answer.pod], [200, "shop/far"]);
  });
}

/** One request of alice that its service's or pod's waypoint answers, and both agents' lines of it. */
async function reachesWaypoint(meant: Endpoint, name: string, family: 4 | 6): Promise<AtWaypoint> {
  const url = `http://${endpointText(meant.address, meant.port)}/`;
  const [asked] = await lab().client<AtWaypoint>("shop/alice", "get", url);
  assert.equal(asked?.status, 200, JSON.stringify(asked));
  assert.equal(asked.answer.pod, `shop/${name}`);
  const source = endpointText(await lab().addressOf("shop/alice", family), asked.local);
  const outbound = await lab().accessLine("node1", `outbound of ${url}`, (line) => line["src.addr"] === source);
  const inbound = await lab().accessLine("node2", `inbound of ${url}`, ({ trace }) => trace === outbound.trace);
  const addresses = [await lab().addressOf(`shop/${name}`, 4), await lab().addressOf(`shop/${name}`, 6)];
  for (const line of [outbound, inbound]) {
    assert.equal(line.reason, "OK");
    assert.equal(line["dst.hbone_addr"], endpointText(meant.address, meant.port), "the tunnel names whom alice meant");
    assert.equal(line["src.identity"], alice);
    assert.equal(line["dst.identity"], `spiffe://cluster.local/ns/shop/sa/${name}`);
  }
  assert.ok(addresses.some((address) => outbound["dst.addr"] === endpointText(address, 15_008)));
  return asked;
}

/** A Gateway, its Service, and one pod on node2 behind an application tunnel. */
function waypoint(name: string, binding: string, address: object, clusterIPs: readonly string[]): Manifest[] {
  return [
    {
      apiVersion: "gateway.networking.k8s.io/v1",
      kind: "Gateway",
      metadata: {
        name,
        namespace: "shop",
        labels: { "istio.io/waypoint-for": "all" },
        annotations: { "ambient.istio.io/waypoint-inbound-binding": binding },
      },
      spec: {
        gatewayClassName: "istio-waypoint",
        listeners: [{ name: "mesh", port: 15_008, protocol: "HBONE" }],
      },
      status: { addresses: [address] },
    },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name, namespace: "shop" },
      spec: { selector: { app: name }, clusterIPs, ports: [{ name: "mesh", port: 15_008, targetPort: 15_008 }] },
    },
    labelled(
      pod(`shop/${name}`, {
        node: "node2",
        command: ["node", "test/e2e/apps/sandwiched.ts", "15088"],
        ports: [15_088],
      }),
      { "gateway.networking.k8s.io/gateway-name": name },
    ),
  ];
}

function useWaypoint(name: string): Record<string, string> {
  return { "istio.io/use-waypoint": name };
}

function labelled(manifest: Manifest, labels: Record<string, string>): Manifest {
  const metadata = manifest.metadata as { readonly labels?: Record<string, string> };
  return { ...manifest, metadata: { ...metadata, labels: { ...metadata.labels, ...labels } } };
}
