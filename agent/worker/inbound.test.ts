import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { before, test, type TestContext } from "node:test";
import { pino } from "pino";
import { alice, bob, root } from "../../test/support/hbone-pair.ts";
import { identityOf, testIdentity } from "../../test/support/identities.ts";
import { application, LoopbackMesh, ownAddresses, type LoopbackPod } from "../../test/support/loopback-mesh.ts";
import { backs, cidr, gatewayAt, pod, policy, port, ruleOf, service } from "../../test/support/mesh.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { endOf } from "../../test/support/sockets.ts";
import { TunnelClient } from "../../test/support/tunnel-client.ts";
import { until } from "../../test/support/until.ts";
import { decodeProxyHeader } from "../../core/protocol/proxy-protocol/v2.ts";
import type { MeshUpdate } from "../../core/decision/mesh-state.ts";
import type { TlsIdentity } from "../tunnel/tls.ts";

const skip = enterNamespaces() ?? false;
const [aliceAddress, bobAddress, waypointAddress] = ["10.99.0.2", "10.99.0.3", "10.99.0.40"];
const waypointIdentity = testIdentity(root, identityOf("waypoint"));

interface Scene {
  readonly mesh: LoopbackMesh;
  readonly bob: LoopbackPod;
  readonly appPort: number;
  /** What bob's application has accepted. */
  readonly accepted: Socket[];
  /** A tunnel to bob. */
  readonly tunnel: (as?: TlsIdentity, from?: string) => TunnelClient;
}

before(async () => {
  if (skip === false) await ownAddresses();
});

/** A worker that serves bob, whose application sends back what it reads. */
async function scene(
  t: TestContext,
  update: MeshUpdate = {},
  options: ConstructorParameters<typeof LoopbackMesh>[0] & {
    onApp?: (socket: Socket) => void;
    /** Where the application listens, if not at the pod's address. */
    host?: string;
    identity?: "none";
  } = {},
): Promise<Scene> {
  const accepted: Socket[] = [];
  const app = await application(options.host ?? bobAddress, (socket) => {
    accepted.push(socket);
    if (options.onApp) options.onApp(socket);
    else socket.pipe(socket);
  });
  t.after(app.close);
  const mesh = new LoopbackMesh(options);
  t.after(() => mesh.close());
  mesh.apply({ workloads: [pod("default/alice", aliceAddress), pod("default/bob", bobAddress)], ...update });
  const served = await mesh.serve("default/bob", bobAddress, options.identity);
  const tunnel = (as = alice, from = aliceAddress): TunnelClient => {
    const client = new TunnelClient({ address: bobAddress, port: served.hbonePort }, as, from);
    t.after(() => client.close());
    return client;
  };
  return { mesh, bob: served, appPort: app.port, accepted, tunnel };
}

test(
  "F-060 F-069 H018 each stream is answered by the status of its fault, in the order of the questions",
  { skip },
  async (t) => {
    const { mesh, appPort, tunnel } = await scene(t, {
      workloads: [pod("default/alice", aliceAddress), pod("default/bob", bobAddress, { policies: ["default/p"] })],
      policies: [
        policy("default/p", {
          scope: "selector",
          action: "deny",
          rules: [ruleOf({ destinationPorts: [1, 15_008] })],
        }),
      ],
    });
    const client = tunnel();
    const rows: [string, number, string][] = [
      // Loopback is nobody's before its port is looked at, the port before policies, policies before the application.
      ["127.0.0.1:15008", 400, "DEST_NOT_LOCAL"],
      [`${aliceAddress}:15008`, 400, "DEST_NOT_LOCAL"],
      ["nobody.default.svc.cluster.local:15008", 503, "UNKNOWN_HOSTNAME"],
      [`${bobAddress}:15008`, 503, "RECURSIVE_CALL"],
      [`${bobAddress}:1`, 401, "POLICY_DENIED"],
      [`${bobAddress}:9`, 503, "CONNECT_REFUSED"],
    ];
    for (const [authority, status, reason] of rows) {
      const connects = mesh.connects;
      assert.equal(await client.status(authority), status, authority);
      const line = await mesh.line("inbound", (one) => one["dst.hbone_addr"] === authority);
      assert.equal(line["reason"], reason);
      assert.equal(mesh.connects - connects, reason === "CONNECT_REFUSED" ? 1 : 0, "who is refused is not connected");
    }
    const { status, stream } = await client.connect(`${bobAddress}:${appPort}`);
    assert.equal(status, 200);
    assert.equal(await reply(stream, "hello"), "hello");
    assert.equal(await client.status(`${bobAddress}:${appPort}`), 200, "the tunnel lives");
  },
);

test(
  "F-061 a hostname leads to the port that the pod maps, and the access log names the service",
  { skip },
  async (t) => {
    const { mesh, appPort, tunnel } = await scene(t);
    const web = service("default/web", "10.96.0.1", [port(80, 0), port(81, 0)]);
    mesh.apply({
      services: [web],
      workloads: [pod("default/bob", bobAddress, { services: backs([web, port(80, appPort)]) })],
    });
    const client = tunnel();
    const { status, stream } = await client.connect("web.default.svc.cluster.local:80");
    assert.equal(status, 200);
    assert.equal(await reply(stream, "by name"), "by name");
    assert.equal(await client.status("web.default.svc.cluster.local:81"), 503);
    await mesh.line("inbound", (line) => line["reason"] === "NO_SERVICE_PORT");
  },
);

test(
  "F-065 an application tunnel without a protocol takes every address on its own port, from the client's address",
  { skip },
  async (t) => {
    const peers: string[] = [];
    const {
      mesh,
      appPort,
      tunnel,
      bob: served,
    } = await scene(t, {}, { onApp: (socket) => void peers.push(socket.remoteAddress ?? "") });
    mesh.apply({
      workloads: [pod("default/bob", bobAddress, { applicationTunnel: { protocol: "none", port: appPort } })],
    });
    assert.equal(served.address, bobAddress);
    assert.equal(await tunnel().status("203.0.113.9:443"), 200);
    assert.deepEqual(peers, [aliceAddress]);
  },
);

test(
  "F-066 F-067 a PROXY tunnel delivers to loopback, with a header before the client's first byte",
  { skip },
  async (t) => {
    const chunks: Buffer[] = [];
    const peers: string[] = [];
    const { mesh, appPort, tunnel } = await scene(
      t,
      {},
      {
        host: "127.0.0.1",
        onApp: (socket) => {
          peers.push(socket.remoteAddress ?? "");
          socket.on("data", (chunk) => chunks.push(chunk));
        },
      },
    );
    const vips = [
      { network: "west", address: "10.96.0.7" },
      { network: "", address: "fd00:96::7" },
      { network: "", address: "10.96.0.8" },
    ];
    mesh.apply({
      services: [service("default/far", "", [port(80, appPort)], { vips })],
      workloads: [pod("default/bob", bobAddress, { applicationTunnel: { protocol: "proxy", port: appPort } })],
    });
    const client = tunnel();
    for (const [authority, destination] of [
      ["203.0.113.9:443", { address: "203.0.113.9", port: 443 }],
      ["far.default.svc.cluster.local:80", { address: "10.96.0.8", port: 80 }],
    ] as const) {
      chunks.length = 0;
      const { status, stream } = await client.connect(authority);
      assert.equal(status, 200);
      stream.write("GET");
      await until("both have come", 5_000, () => Buffer.concat(chunks).includes("GET"));
      const bytes = Buffer.concat(chunks);
      const reading = decodeProxyHeader(bytes);
      assert.ok(!(reading instanceof Error) && reading.kind === "header");
      assert.equal(reading.header.source.address, aliceAddress);
      assert.equal(reading.header.source.port, client.session.socket.localPort);
      assert.deepEqual(reading.header.destination, destination);
      assert.deepEqual(
        reading.header.tlvs.map(({ type, value }) => [type, Buffer.from(value).toString()]),
        [[0xd0, "spiffe://cluster.local/ns/default/sa/alice"]],
      );
      assert.equal(bytes.subarray(reading.length).toString(), "GET");
      stream.end();
      stream.close();
    }
    assert.deepEqual(peers, ["127.0.0.1", "127.0.0.1"]);
  },
);

test(
  "F-066 F-067 without LOCALHOST_APP_TUNNEL a PROXY tunnel delivers to the pod's address, from the client's",
  { skip },
  async (t) => {
    const peers: string[] = [];
    const settings = { localhostApplicationTunnel: false };
    const { mesh, appPort, tunnel } = await scene(
      t,
      {},
      {
        settings,
        onApp: (socket) => {
          peers.push(socket.remoteAddress ?? "");
          socket.pipe(socket);
        },
      },
    );
    mesh.apply({
      workloads: [pod("default/bob", bobAddress, { applicationTunnel: { protocol: "proxy", port: appPort } })],
    });
    const { status, stream } = await tunnel().connect("203.0.113.9:443");
    assert.equal(status, 200);
    const header = await reply(stream, "x");
    assert.ok(header.startsWith("\r\n\r\n\0\r\nQUIT\n"));
    assert.deepEqual(peers, [aliceAddress]);
  },
);

test("F-066 a server that speaks first is heard although the header is written to it", { skip }, async (t) => {
  const { mesh, appPort, tunnel } = await scene(
    t,
    {},
    { host: "127.0.0.1", onApp: (socket) => void socket.write("220 ready") },
  );
  mesh.apply({
    workloads: [pod("default/bob", bobAddress, { applicationTunnel: { protocol: "proxy", port: appPort } })],
  });
  const { stream } = await tunnel().connect("203.0.113.9:25");
  assert.equal(await reply(stream), "220 ready");
});

test(
  "F-064 a waypoint's pod takes what is addressed to those it stands before, by the only reference or a weighted one",
  { skip },
  async (t) => {
    const { mesh, appPort, tunnel } = await scene(t);
    const front = service("default/front", "10.96.0.9", [port(15_008, 15_008)]);
    const web = service("default/web", "10.96.0.1", [port(80, 80)]);
    const workloads = [pod("default/bob", bobAddress, { services: backs([front]) })];
    const client = tunnel();
    const ask = (more: Partial<typeof web>): Promise<number> => {
      mesh.apply({ services: [front, { ...web, ...more }], workloads });
      return client.status(`10.96.0.1:${appPort}`);
    };
    assert.equal(await ask({}), 400);
    assert.equal(await ask({ waypoint: gatewayAt(front) }), 200);
    assert.equal(await ask({ weightedWaypoints: [{ destination: gatewayAt(front), weight: 1 }] }), 200);
    mesh.apply({
      services: [front],
      workloads: [...workloads, pod("default/carol", "10.99.0.6", { waypoint: gatewayAt(front) })],
    });
    assert.equal(await client.status(`10.99.0.6:${appPort}`), 200);
  },
);

test(
  "F-068 H035 plaintext to a STRICT pod reaches its application from nowhere, and to a permissive one from its own address",
  { skip },
  async (t) => {
    const { mesh, bob: served, appPort, accepted } = await scene(t);
    const strict = policy("istio-system/istio_converted_static_strict", {
      scope: "selector",
      action: "deny",
      rules: [ruleOf({ notPrincipals: [{ kind: "presence" }] })],
    });
    const target = { address: bobAddress, port: appPort };
    // A pod of the mesh, one that is known and not in it, a stranger, the node, a waypoint, the pod itself.
    const sources = [aliceAddress, "10.99.0.4", "10.99.7.7", "10.99.0.1", waypointAddress, bobAddress];
    for (const from of sources) {
      const socket = served.connectIn(target, from);
      assert.equal(await reply(socket, from), from);
      assert.equal(accepted.at(-1)?.remoteAddress, from);
      socket.destroy();
    }
    mesh.apply({
      policies: [strict],
      workloads: [
        pod("default/bob", bobAddress, { policies: [strict.key] }),
        pod("default/plain", "10.99.0.4", { tunnel: "tcp" }),
        pod("default/waypoint", waypointAddress),
        pod("default/node", "10.99.0.1", { hostNetwork: true }),
      ],
    });
    const before = accepted.length;
    for (const from of sources) {
      const connects = mesh.connects;
      assert.equal(await endOf(served.connectIn(target, from)), "ECONNRESET", from);
      const line = await mesh.line(
        "inbound",
        (one) =>
          String(one["src.addr"]).startsWith(`${from}:`) && one["reason"] !== "OK" && one["reason"] !== "CLIENT_RESET",
      );
      assert.deepEqual([line["reason"], line["policy"]], ["POLICY_MTLS_REQUIRED", strict.key]);
      assert.equal(mesh.connects, connects);
    }
    assert.equal(accepted.length, before, "no byte reached the application");
  },
);

test(
  "F-026 H034 whoever connects to our ports directly is accepted, ended with a reason, and comes back to nobody",
  { skip },
  async (t) => {
    const { mesh, bob: served } = await scene(t);
    const connects = mesh.connects;
    const sources = { pod: bobAddress, localhost: "127.0.0.1", stranger: "10.99.7.7" };
    let expected = 0;
    for (const from of Object.values(sources)) {
      for (const own of [15_001, 15_006] as const) {
        assert.equal(await endOf(served.connectTo(own, from)), "ECONNRESET", `${from} to ${own}`);
        expected += 1;
      }
      for (const port of [15_001, 15_006, 15_008, 15_053]) {
        for (const address of [bobAddress, "127.0.0.1"]) {
          assert.equal(
            await endOf(served.connectIn({ address, port }, from)),
            "ECONNRESET",
            `${from} to ${address}:${port} on 15006`,
          );
          assert.equal(
            await endOf(served.connectOut({ address, port })),
            "ECONNRESET",
            `to ${address}:${port} on 15001`,
          );
          expected += 2;
        }
      }
    }
    await until(
      "every one has its line",
      5_000,
      () => mesh.lines.filter(({ reason }) => reason === "RECURSIVE_CALL").length === expected,
    );
    // 15008 takes TLS only: whoever talks in clear gets no further.
    for (const from of Object.values(sources)) {
      const socket = connect({ host: bobAddress, port: served.hbonePort, localAddress: from });
      socket.write("GET / HTTP/1.1\r\n\r\n");
      assert.match(await endOf(socket), /^(end|ECONNRESET)$/, from);
    }
    await until(
      "they have their lines too",
      5_000,
      () => mesh.lines.filter(({ reason }) => reason === "TLS_HANDSHAKE_FAILED").length === 3,
    );
    assert.equal(mesh.connects, connects, "nothing was connected to");
  },
);

test(
  "H040 a burst that comes before the pod's workload and certificate waits for both, is served, and asks once",
  { skip },
  async (t) => {
    const { mesh, appPort, tunnel } = await scene(t, { workloads: [] }, { identity: "none" });
    const wanted = (): number => mesh.messages.filter(({ kind }) => kind === "certificate-wanted").length;
    const clients = Array.from({ length: 10 }, () => tunnel());
    const asked = clients.flatMap((client) =>
      Array.from({ length: 5 }, () => client.status(`${bobAddress}:${appPort}`)),
    );
    const tcp = clients.map(({ session }) => new Promise((resolve) => session.socket.once("connect", resolve)));
    await Promise.race([Promise.all(tcp), Promise.all(asked)]);
    assert.equal(wanted(), 0, "nobody knows yet whose certificate");
    mesh.apply({ workloads: [pod("default/bob", bobAddress)] });
    await until("somebody asks for it", 5_000, () => wanted() > 0);
    mesh.certifyPod("default/bob");
    assert.deepEqual(new Set(await Promise.all(asked)), new Set([200]));
    assert.equal(wanted(), 1, "one fetch for all of them");
  },
);

test(
  "H040 plaintext that waits in vain for control to tell of its pod is reset; a tunnel is told at once that it was withdrawn",
  { skip },
  async (t) => {
    const { mesh, bob: served, appPort, tunnel } = await scene(t, {}, { deadlineMs: 300 });
    const client = tunnel();
    assert.equal(await client.status(`${bobAddress}:${appPort}`), 200);
    mesh.apply({ removed: { addresses: ["Kubernetes//Pod/default/bob"] } });
    const target = { address: bobAddress, port: appPort };
    const [status, end] = await Promise.all([
      client.status(`${bobAddress}:${appPort}`),
      endOf(served.connectIn(target)),
    ]);
    assert.deepEqual([status, end], [503, "ECONNRESET"]);
    await until("both say why", 5_000, () => {
      const reasons = mesh.lines.map(({ reason }) => reason);
      return reasons.includes("NO_WORKLOAD") && reasons.includes("WORKLOAD_GONE");
    });
  },
);

test("H047 whatever headers claim, policies see the certificate and the TCP peer", { skip }, async (t) => {
  const { mesh, appPort, tunnel, accepted } = await scene(t);
  const allow = policy("default/admin-only", {
    rules: [
      ruleOf({ namespaces: [{ kind: "exact", value: "admin" }] }),
      ruleOf({ principals: [{ kind: "exact", value: "cluster.local/ns/admin/sa/root" }] }),
      ruleOf({ sourceIps: [cidr("10.99.0.66/32")] }),
    ],
  });
  mesh.apply({ policies: [allow] });
  const uri = "spiffe://cluster.local/ns/admin/sa/root";
  const claims: Record<string, string | string[]>[] = [
    { baggage: "k8s.cluster.name=Kubernetes,k8s.namespace.name=admin,k8s.deployment.name=root,service.name=root" },
    { baggage: ["k8s.namespace.name=default", "k8s.namespace.name=admin"] },
    { forwarded: 'for="10.99.0.66:1";host=web.admin.svc.cluster.local;by=10.99.0.66' },
    { forwarded: ['for="10.99.0.66:1"', "for=10.99.0.66"] },
    { "x-forwarded-for": ["10.99.0.66", "10.99.0.66, 10.99.0.66"] },
    { "x-forwarded-client-cert": `By=${uri};Hash=00;URI=${uri}` },
    { "x-forwarded-network": "elsewhere", baggage: "k8s.namespace.name=admin", forwarded: "for=10.99.0.66" },
    { authorization: "Bearer root", "x-envoy-external-address": "10.99.0.66", "x-real-ip": "10.99.0.66" },
    { "x-envoy-peer-metadata": uri, "x-spiffe-id": uri, via: uri },
  ];
  const client = tunnel();
  for (const headers of claims) {
    assert.equal(await client.status(`${bobAddress}:${appPort}`, headers), 401, JSON.stringify(headers));
  }
  assert.equal(accepted.length, 0);
  await until(
    "each has its line",
    5_000,
    () => mesh.lines.filter(({ reason }) => reason === "POLICY_NOT_ALLOWED").length === claims.length,
  );
  for (const line of mesh.lines) assert.equal(line["src.identity"], "spiffe://cluster.local/ns/default/sa/alice");
  mesh.apply({ removed: { policies: [allow.key] } });
  for (const headers of claims) {
    const { status, stream } = await client.connect(`${bobAddress}:${appPort}`, headers);
    assert.equal(status, 200);
    assert.equal(accepted.at(-1)?.remoteAddress, aliceAddress, "the application sees the TCP peer");
    stream.close();
  }
});

test("F-162 F-173 F-174 verdicts of policies are logged, those of a dry run as such", { skip }, async (t) => {
  for (const level of ["info", "debug"] as const) {
    for (const policyInfoLogging of [false, true]) {
      const lines: Record<string, unknown>[] = [];
      const policyLog = pino(
        { level, base: { scope: "policy" }, messageKey: "message" },
        { write: (text: string) => void lines.push(JSON.parse(text) as Record<string, unknown>) },
      );
      const { mesh, appPort, tunnel } = await scene(t, {}, { policyLog, settings: { policyInfoLogging } });
      const principals = [{ kind: "exact", value: "cluster.local/ns/default/sa/alice" }] as const;
      mesh.apply({
        policies: [
          policy("default/trial", { action: "deny", dryRun: true, rules: [ruleOf({ principals })] }),
          policy("default/real", { action: "deny", rules: [ruleOf({ destinationPorts: [1] })] }),
          policy("default/let-in", { rules: [ruleOf({ destinationPorts: [appPort] })] }),
        ],
      });
      const client = tunnel();
      assert.equal(await client.status(`${bobAddress}:${appPort}`), 200, "a dry run refuses nobody");
      assert.equal(await client.status(`${bobAddress}:1`), 401);
      assert.equal(await client.status(`${bobAddress}:2`), 401);
      const said = lines.map(({ policy, verdict, dry_run }) => [policy, verdict, dry_run]);
      const expected = [
        ["default/trial", "deny", true],
        ["default/let-in", "allow", undefined],
        ["default/trial", "deny", true],
        ["default/real", "deny", undefined],
        ["default/trial", "deny", true],
        [undefined, "deny", undefined],
      ];
      assert.deepEqual(said, level === "debug" || policyInfoLogging ? expected : []);
      for (const line of lines) {
        assert.equal(line["scope"], "policy");
        assert.equal(line["level"], policyInfoLogging ? 30 : 20);
        assert.equal(line["src.identity"], "spiffe://cluster.local/ns/default/sa/alice");
      }
      const denial = await mesh.line("inbound", (line) => line["reason"] === "POLICY_DENIED");
      assert.equal(denial["policy"], "default/real");
      assert.equal(
        mesh.lines.some((line) => line["policy"] === "default/trial"),
        false,
      );
      client.close();
      mesh.close();
      await until("it is gone", 5_000, () => mesh.messages.some(({ kind }) => kind === "drained"));
    }
  }
});

for (const requireWaypoint of [true, false]) {
  const setting = requireWaypoint ? "as it comes" : "with AMBIENTD_REQUIRE_WAYPOINT=false";
  const past = requireWaypoint ? "WAYPOINT_REQUIRED" : "in";
  const waypoint = service("default/waypoint", "10.96.0.9", [port(15_008, 15_008)]);
  const waypointPod = pod("default/waypoint", waypointAddress, { services: backs([waypoint]) });

  /** What becomes of the waypoint's tunnel, a client's, and plaintext. */
  const attempts = async ({ mesh, bob: served, appPort, tunnel, accepted }: Scene): Promise<string[]> => {
    const outcomes: string[] = [];
    for (const [as, from] of [
      [waypointIdentity, waypointAddress],
      [alice, aliceAddress],
      [alice, waypointAddress],
      [bob, bobAddress],
    ] as const) {
      const before = mesh.lines.length;
      const status = await tunnel(as, from).status(`${bobAddress}:${appPort}`);
      if (status === 200) outcomes.push("in");
      else {
        const line = await until("its line", 5_000, () =>
          mesh.lines
            .slice(before)
            .find(
              (one) =>
                one["direction"] === "inbound" &&
                one["reason"] !== "CLIENT_RESET" &&
                one["reason"] !== "OK" &&
                one["reason"] !== "PEER_RESET",
            ),
        );
        assert.equal(status, 401);
        assert.equal(line["detail"], "default/waypoint.default.svc.cluster.local:15008");
        outcomes.push(String(line["reason"]));
      }
    }
    for (const from of ["10.99.0.9", waypointAddress, bobAddress]) {
      const before = accepted.length;
      const socket = served.connectIn({ address: bobAddress, port: appPort }, from);
      const end = await Promise.race([reply(socket, "x").catch(() => endOf(socket)), endOf(socket)]);
      outcomes.push(end === "x" ? "in" : end);
      assert.equal(accepted.length - before, end === "x" ? 1 : 0);
      socket.destroy();
    }
    return outcomes;
  };
  const plainPast = requireWaypoint ? "ECONNRESET" : "in";

  test(`M02 a pod whose record names a waypoint, ${setting}`, { skip }, async (t) => {
    const made = await scene(t, {}, { settings: { requireWaypoint } });
    made.mesh.apply({
      services: [waypoint],
      workloads: [waypointPod, pod("default/bob", bobAddress, { waypoint: gatewayAt(waypoint) })],
    });
    assert.deepEqual(await attempts(made), ["in", past, past, "in", plainPast, plainPast, "in"]);
  });

  test(
    `M01 a pod behind a service with a waypoint, ${setting}, where the service asks for it and where not`,
    { skip },
    async (t) => {
      const made = await scene(t, {}, { settings: { requireWaypoint } });
      const web = service("default/web", "10.96.0.1", [port(80, made.appPort)], { waypoint: gatewayAt(waypoint) });
      made.mesh.apply({
        services: [waypoint, web],
        workloads: [waypointPod, pod("default/bob", bobAddress, { services: backs([web, port(80, made.appPort)]) })],
      });
      assert.deepEqual(new Set(await attempts(made)), new Set(["in"]));
      made.mesh.apply({ services: [{ ...web, waypointRequired: true }] });
      assert.deepEqual(await attempts(made), ["in", past, past, "in", plainPast, plainPast, "in"]);
    },
  );

  test(`M02 connections that came past a waypoint before it was there, ${setting}`, { skip }, async (t) => {
    const made = await scene(t, {}, { settings: { requireWaypoint } });
    const { stream } = await made.tunnel().connect(`${bobAddress}:${made.appPort}`);
    assert.equal(await reply(stream, "before"), "before");
    const through = await made.tunnel(waypointIdentity, waypointAddress).connect(`${bobAddress}:${made.appPort}`);
    const closed = new Promise((resolve) => stream.once("close", () => resolve("cut")));
    made.mesh.apply({
      services: [waypoint],
      workloads: [waypointPod, pod("default/bob", bobAddress, { waypoint: gatewayAt(waypoint) })],
    });
    assert.equal(
      await Promise.race([closed, reply(stream, "after").catch(() => closed)]),
      requireWaypoint ? "cut" : "after",
    );
    assert.equal(await reply(through.stream, "through"), "through");
  });
}

/** The next that comes, after `text` was sent. */
function reply(stream: NodeJS.ReadWriteStream, text?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    stream.once("data", (chunk: Buffer) => resolve(chunk.toString("latin1")));
    stream.once("error", reject);
    if (text !== undefined) stream.write(text);
  });
}
