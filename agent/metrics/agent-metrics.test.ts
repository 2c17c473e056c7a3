import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { after, before, test } from "node:test";
import { systemClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import { application, LoopbackMesh, ownAddresses, type LoopbackPod } from "../../test/support/loopback-mesh.ts";
import { backs, pod, policy, port, ruleOf, service } from "../../test/support/mesh.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { parseMetrics, sumOf, type ParsedFamily } from "../../test/support/openmetrics.ts";
import { until } from "../../test/support/until.ts";
import type { PodRow } from "../pods.ts";
import { AgentMetrics } from "./agent-metrics.ts";
import { renderMetrics } from "./render-catalogue.ts";

const skip = enterNamespaces() ?? false;
let mesh: LoopbackMesh;
let metrics: AgentMetrics;
let client: LoopbackPod;
let plainServer: LoopbackPod;
let app: { port: number; close: () => void };
let pods: PodRow[] = [];
let restarts = 0;

before(async () => {
  if (skip !== false) return;
  await ownAddresses();
  app = await application("10.99.0.3", (socket) => socket.pipe(socket));
  mesh = new LoopbackMesh();
  const web = service("shop/web", "10.96.0.1", [port(80, app.port)]);
  mesh.apply({
    services: [web],
    workloads: [
      pod("shop/alice", "10.99.0.2", {
        workloadName: "alice-deployment",
        locality: { region: "eu", zone: "a", subzone: "" },
      }),
      pod("shop/bob", "10.99.0.3", { services: backs([web, port(80, app.port)]) }),
    ],
  });
  client = await mesh.serve("shop/alice", "10.99.0.2");
  plainServer = await mesh.serve("shop/bob", "10.99.0.3");
  metrics = new AgentMetrics({
    port: 0,
    tag: "1.2.3",
    clock: systemClock,
    log: silentLog,
    broadcast: (message) => mesh.send(message),
    sources: {
      workers: () => 1,
      restarts: () => restarts,
      pods: () => pods,
      certificates: () => [
        { identity: "spiffe://a", work: "scheduled", held: { serialNumber: "0A", notBefore: 0, notAfter: 5_000 } },
        { identity: "spiffe://b", work: "queued" },
      ],
      gates: () => [{ name: "proxy" }, { name: "state manager", pending: "control" }],
      xds: () => undefined,
      workloads: () => [],
      droppedLines: () => 0,
    },
  });
  mesh.heard = (message) => {
    if (message.kind === "metrics") metrics.receive(0, message);
  };
  await until("metrics can be asked for", 5_000, () => metrics.port);
});
after(() => {
  app?.close();
  metrics?.close();
  mesh?.close();
});

test(
  "F-200 F-201 the figures of both reporters add up to the bytes that were sent, while they are sent and after",
  { skip },
  async () => {
    const before = await scrape();
    const socket = client.connectOut({ address: "10.96.0.1", port: 80 });
    socket.write("x".repeat(100_000));
    await received(socket, 100_000);
    // Open still: its bytes are there already, and it has not been closed.
    const open = await scrape();
    for (const reporter of ["source", "destination"]) {
      const grew = (name: string): number => sumOf(open, name, { reporter }) - sumOf(before, name, { reporter });
      assert.deepEqual(
        ["opened", "closed", "failed"].map((what) => grew(`istio_tcp_connections_${what}`)),
        [1, 0, 0],
      );
      assert.deepEqual([grew("istio_tcp_received_bytes"), grew("istio_tcp_sent_bytes")], [100_000, 100_000]);
      assert.equal(sumOf(open, "istio_tcp_sockets_open", { reporter }), 1);
    }
    socket.end("bye");
    await received(socket, 3);
    await until("it is over", 5_000, () => mesh.lines.filter((line) => line["reason"] === "OK").length >= 2);
    const closed = await scrape();
    for (const reporter of ["source", "destination"]) {
      const grew = (name: string): number => sumOf(closed, name, { reporter }) - sumOf(before, name, { reporter });
      assert.deepEqual(
        ["opened", "closed", "failed"].map((what) => grew(`istio_tcp_connections_${what}`)),
        [1, 1, 0],
      );
      assert.deepEqual([grew("istio_tcp_received_bytes"), grew("istio_tcp_sent_bytes")], [100_003, 100_003]);
    }
  },
);

test(
  "F-211 the inbound reporter names the service that the client asked for, both name both ends",
  { skip },
  async () => {
    const socket = client.connectOut({ address: "10.96.0.1", port: 80 });
    socket.end("x");
    await received(socket, 1);
    const samples = (await scrape()).get("istio_tcp_connections_opened")?.samples ?? [];
    for (const reporter of ["source", "destination"]) {
      const labels = samples.find((sample) => sample.labels["reporter"] === reporter)?.labels ?? {};
      assert.deepEqual(
        [
          labels["source_workload"],
          labels["destination_workload"],
          labels["destination_service"],
          labels["source_region"],
        ],
        ["alice-deployment", "bob", "web.shop.svc.cluster.local", "eu"],
      );
      assert.equal(labels["source_principal"], "spiffe://cluster.local/ns/shop/sa/alice");
      assert.equal(labels["connection_security_policy"], "mutual_tls");
      assert.equal(labels["response_flags"], "-");
    }
  },
);

test(
  "F-203 F-212 a refusal is counted with the flag of its reason, and one without a destination only as failed",
  { skip },
  async () => {
    const before = await scrape();
    mesh.apply({
      policies: [policy("shop/none", { action: "deny", rules: [ruleOf({ destinationPorts: [app.port] })] })],
    });
    const denied = plainServer.connectIn({ address: "10.99.0.3", port: app.port });
    const aimless = plainServer.connectIn({ address: "10.99.0.3", port: 15_006 });
    await Promise.all([gone(denied), gone(aimless)]);
    mesh.apply({ removed: { policies: ["shop/none"] } });
    const families = await until("both are counted", 5_000, async () => {
      const now = await scrape();
      return sumOf(now, "istio_tcp_connections_failed") - sumOf(before, "istio_tcp_connections_failed") === 2 && now;
    });
    const of = (name: string, flag: string): number =>
      sumOf(families, `istio_tcp_connections_${name}`, { reporter: "destination", response_flags: flag });
    assert.deepEqual([of("closed", "DENY"), of("failed", "DENY")], [1, 1]);
    assert.deepEqual([of("closed", "CONNECT"), of("failed", "CONNECT")], [0, 1]);
    assert.equal(sumOf(families, "ambientd_connections_ended", { reason: "POLICY_DENIED" }), 1);
    assert.equal(sumOf(families, "ambientd_connections_ended", { reason: "RECURSIVE_CALL" }), 1);
  },
);

test(
  "F-202 F-208 F-209 F-210 the agent says what it is, what it serves, what it uses, and how late its threads are",
  { skip },
  async () => {
    const info = { name: "a", namespace: "shop", serviceAccount: "a" };
    pods = [
      { uid: "1", info, state: "Up" },
      { uid: "2", info, state: "Up" },
      { uid: "3", info, state: "Pending" },
    ];
    metrics.podsChanged();
    pods = pods.slice(1);
    metrics.podsChanged();
    restarts = 2;
    const families = await scrape();
    const one = (name: string, labels?: Record<string, string>): number => sumOf(families, name, labels);
    assert.equal(one("istio_build", { component: "ztunnel", tag: "1.2.3" }), 1);
    assert.equal(one("workload_manager_active_proxy_count"), 1);
    assert.equal(one("workload_manager_pending_proxy_count"), 1);
    assert.equal(one("workload_manager_proxies_started"), 2);
    assert.equal(one("workload_manager_proxies_stopped"), 1);
    assert.equal(one("ambientd_worker_restarts"), 2);
    assert.ok(one("process_open_fds") > 5 && one("process_open_fds") < one("process_max_fds"));
    assert.ok(one("process_cpu_seconds") > 0);
    const delays = families.get("ambientd_event_loop_delay_seconds")?.samples ?? [];
    assert.deepEqual(
      delays.map(({ labels }) => `${labels["thread"]} ${labels["quantile"]}`),
      ["0 0.5", "0 0.99", "0 1", "main 0.5", "main 0.99", "main 1"],
    );
    for (const thread of ["0", "main"]) assert.ok(one("ambientd_event_loop_busy_seconds", { thread }) > 0);
    assert.deepEqual(
      [one("ambientd_ready", { gate: "proxy" }), one("ambientd_ready", { gate: "state manager" })],
      [1, 0],
    );
    assert.equal(one("ambientd_certificate_expiration_timestamp_seconds", { identity: "spiffe://a" }), 5);
    assert.equal(one("ambientd_certificates", { state: "missing" }), 1);
    assert.ok(one("ambientd_tunnel_handshakes", { direction: "outbound" }) >= 1);
  },
);

test("F-205 F-206 what other rooms count by name is there with its labels", { skip }, async () => {
  const { counters } = mesh.worker;
  counters.count("istio_crl_policy_rejections", ["destination"]);
  counters.count("istio_crl_untracked_connections", ["source"], 3);
  const query = ["A", "udp", "alice", "latest"];
  counters.count("istio_dns_requests", query, 2);
  for (const seconds of [0.0004, 0.002, 7])
    counters.observe("istio_dns_upstream_request_duration_seconds", query, seconds);
  const families = await scrape();
  assert.equal(sumOf(families, "istio_crl_policy_rejections", { reporter: "destination" }), 1);
  assert.equal(sumOf(families, "istio_crl_untracked_connections", { reporter: "source" }), 3);
  assert.equal(
    sumOf(families, "istio_dns_requests", { request_query_type: "A", source_canonical_service: "alice" }),
    2,
  );
  const buckets = families.get("istio_dns_upstream_request_duration_seconds")?.samples ?? [];
  assert.deepEqual(
    buckets.map(({ labels, value }) => [labels["le"], value]),
    [
      ["0.0005", 1],
      ["0.001", 1],
      ["0.01", 2],
      ["0.1", 2],
      ["1.0", 2],
      ["5.0", 2],
      ["+Inf", 3],
      [undefined, 7.0024],
      [undefined, 3],
    ],
  );
});

test(
  "F-201 a scrape while bytes flow changes none of them, and ten scrapes see counters that only grow",
  { skip },
  async () => {
    const socket = client.connectOut({ address: "10.96.0.1", port: 80 });
    const size = 20_000_000;
    const all = received(socket, size);
    socket.end(Buffer.alloc(size, 7));
    let last = 0;
    for (let i = 0; i < 10; i++) {
      const bytes = sumOf(await scrape(), "istio_tcp_sent_bytes", { reporter: "source" });
      assert.ok(bytes >= last);
      last = bytes;
    }
    assert.equal(await all, size);
  },
);

test(
  "F-204 a name that is looked up because somebody connects to it is counted with who that was",
  { skip },
  async () => {
    const named = service("shop/named", "10.96.0.8", [port(80, 80)]);
    const workload = pod("shop/elsewhere", "", {
      hostname: "db.example.invalid",
      tunnel: "tcp",
      services: backs([named, port(80, 80)]),
    });
    mesh.apply({ services: [named], workloads: [workload] });
    await gone(client.connectOut({ address: "10.96.0.8", port: 80 }));
    const labels = {
      source_workload: "alice-deployment",
      source_cluster: "Kubernetes",
      hostname: "db.example.invalid",
    };
    assert.ok(sumOf(await scrape(), "istio_on_demand_dns", labels) >= 1);
  },
);

test("both formats hold the same series and pass a strict reader", { skip }, async () => {
  const [open, text] = [await scrape("openmetrics"), await scrape("text")];
  const names = (families: Map<string, ParsedFamily>): string[] =>
    [...families.values()].flatMap(({ samples }) => samples.map(({ name }) => name)).sort();
  const settled = (list: string[]): string[] => [...new Set(list)];
  assert.deepEqual(settled(names(open)), settled(names(text)));
});

test("the page of metrics is what the catalogue says", () => {
  const page = readFileSync(new URL("../../docs/metrics.md", import.meta.url), "utf8");
  assert.equal(page, renderMetrics(), "run node scripts/write-metrics.ts");
});

async function scrape(format: "openmetrics" | "text" = "openmetrics"): Promise<Map<string, ParsedFamily>> {
  const accept = format === "openmetrics" ? "application/openmetrics-text" : "text/plain";
  const answer = await fetch(`http://127.0.0.1:${metrics.port}/metrics`, { headers: { accept } });
  assert.equal(answer.status, 200);
  return parseMetrics(await answer.text(), format);
}

function received(socket: Socket, bytes: number): Promise<number> {
  let count = 0;
  return new Promise((resolve) => {
    socket.on("data", (chunk) => {
      count += chunk.length;
      if (count >= bytes) resolve(count);
    });
  });
}

function gone(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.on("close", () => resolve()));
}
