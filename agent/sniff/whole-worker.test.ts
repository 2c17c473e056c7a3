/** Requests through whole workers, between foreign clients and servers that know nothing of it, and what is then counted. */
import assert from "node:assert/strict";
import { once } from "node:events";
import * as http from "node:http";
import * as http2 from "node:http2";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { before, test, type TestContext } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { systemClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import { find } from "../../scripts/peers.ts";
import { run } from "../../test/cluster/command.ts";
import { application, LoopbackMesh, ownAddresses, type LoopbackPod } from "../../test/support/loopback-mesh.ts";
import { backs, pod, port, service } from "../../test/support/mesh.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { parseMetrics, type ParsedFamily } from "../../test/support/openmetrics.ts";
import { rawService, same } from "../../test/support/raw-stream.ts";
import { until } from "../../test/support/until.ts";
import { AgentMetrics } from "../metrics/agent-metrics.ts";
import { requestLabelNames } from "../metrics/catalogue.ts";
import type { WorkerSettings } from "../worker/context.ts";

const skip = enterNamespaces() ?? false;
const [aliceAddress, bobAddress] = ["10.99.0.2", "10.99.0.3"];
const sniffing = { sniff: "http" } as const;

before(async () => {
  if (skip === false) await ownAddresses();
});

interface Scene {
  readonly mesh: LoopbackMesh;
  readonly alice: LoopbackPod;
  readonly bob: LoopbackPod;
  /** A connection of alice's to bob's application. */
  readonly connect: () => Socket;
  /** The same for programs that connect for themselves: what comes to this port goes there. */
  readonly front: () => Promise<number>;
  readonly scrape: () => Promise<Map<string, ParsedFamily>>;
  /** `protocol code grpc-status`: how many requests. */
  readonly requests: () => Promise<Record<string, number>>;
}

/** @param appPort where bob's application listens at his address. */
async function scene(t: TestContext, appPort: number, settings: Partial<WorkerSettings> = sniffing): Promise<Scene> {
  const mesh = new LoopbackMesh({ settings });
  t.after(() => mesh.close());
  const web = service("shop/web", "10.96.0.1", [port(80, appPort)]);
  mesh.apply({
    services: [web],
    workloads: [
      pod("shop/alice", aliceAddress, { workloadName: "alice-deployment" }),
      pod("shop/bob", bobAddress, { services: backs([web, port(80, appPort)]) }),
    ],
  });
  const [alice, bob] = [await mesh.serve("shop/alice", aliceAddress), await mesh.serve("shop/bob", bobAddress)];
  const metrics = new AgentMetrics({
    port: 0,
    tag: "1",
    clock: systemClock,
    log: silentLog,
    broadcast: (message) => mesh.send(message),
    sources: {
      workers: () => 1,
      restarts: () => 0,
      pods: () => [],
      certificates: () => [],
      gates: () => [],
      xds: () => undefined,
      workloads: () => [],
      droppedLines: () => 0,
    },
  });
  t.after(() => metrics.close());
  mesh.heard = (message) => {
    if (message.kind === "metrics") metrics.receive(0, message);
  };
  await until("metrics can be asked for", 5_000, () => metrics.port);
  const connect = (): Socket => alice.connectOut({ address: "10.96.0.1", port: 80 });
  const scrape = async (): Promise<Map<string, ParsedFamily>> => {
    const accept = { accept: "application/openmetrics-text" };
    const answer = await fetch(`http://127.0.0.1:${metrics.port}/metrics`, { headers: accept });
    return parseMetrics(await answer.text(), "openmetrics");
  };
  return {
    mesh,
    alice,
    bob,
    connect,
    scrape,
    front: async () => {
      const server = createServer({ allowHalfOpen: true }, (socket) => {
        const onward = connect();
        socket.on("error", () => onward.destroy());
        socket.pipe(onward);
        onward.pipe(socket);
      });
      t.after(() => server.close());
      return listening(server, "127.0.0.1");
    },
    requests: async () => {
      const samples = (await scrape()).get("istio_requests")?.samples ?? [];
      const outcomes = samples.map(({ labels, value }): [string, number] => {
        const { request_protocol: protocol, response_code: code, grpc_response_status: grpcStatus } = labels;
        return [`${protocol} ${code} ${grpcStatus}`.trim(), value];
      });
      return Object.fromEntries(outcomes.sort());
    },
  };
}

test(
  "keep-alive, chunked, HEAD, 204, 500 and bodies both ways between node:http's client and server count exactly",
  { skip },
  async (t) => {
    const server = http.createServer((request, response) => {
      request.resume().on("end", () => {
        response.statusCode = Number(request.url?.slice(1));
        if (response.statusCode === 204) return void response.end();
        response.write("y".repeat(70_000));
        response.end("z");
      });
    });
    t.after(() => server.closeAllConnections());
    const { connect, requests, scrape, mesh } = await scene(t, await listening(server));
    const agent = new http.Agent({ keepAlive: true, maxSockets: 2 });
    t.after(() => agent.destroy());
    agent.createConnection = () => connect();
    const ask = async (method: string, code: number, body = ""): Promise<number> => {
      const asked = http.request({ agent, method, path: `/${code}`, host: "web" });
      if (body === "") asked.end();
      else asked.end(body);
      const [answer] = (await once(asked, "response")) as [http.IncomingMessage];
      let octets = 0;
      for await (const chunk of answer) octets += (chunk as Buffer).length;
      return octets;
    };
    const asked: Promise<number>[] = [];
    for (let i = 0; i < 20; i++)
      asked.push(ask("GET", 200), ask("POST", 500, "x".repeat(100_000)), ask("HEAD", 200), ask("DELETE", 204));
    const octets = await Promise.all(asked);
    assert.deepEqual(octets.slice(0, 4), [70_001, 70_001, 0, 0]);
    // Node's client takes another one after each HEAD.
    assert.ok(mesh.connects < 30, "they share connections");
    assert.deepEqual(await requests(), { "http 200": 40, "http 204": 20, "http 500": 20 });

    const families = await scrape();
    const labels = families.get("istio_requests")?.samples[0]?.labels ?? {};
    assert.deepEqual(Object.keys(labels), requestLabelNames);
    assert.deepEqual(labels, {
      reporter: "destination",
      source_workload: "alice-deployment",
      source_canonical_service: "alice",
      source_canonical_revision: "latest",
      source_workload_namespace: "shop",
      source_principal: "spiffe://cluster.local/ns/shop/sa/alice",
      source_app: "alice",
      source_version: "latest",
      source_cluster: "Kubernetes",
      destination_service: "web.shop.svc.cluster.local",
      destination_service_namespace: "shop",
      destination_service_name: "web",
      destination_workload: "bob",
      destination_canonical_service: "bob",
      destination_canonical_revision: "latest",
      destination_workload_namespace: "shop",
      destination_principal: "spiffe://cluster.local/ns/shop/sa/bob",
      destination_app: "bob",
      destination_version: "latest",
      destination_cluster: "Kubernetes",
      request_protocol: "http",
      response_code: labels["response_code"],
      grpc_response_status: "",
      response_flags: "-",
      connection_security_policy: "mutual_tls",
    });
    const durations = families.get("istio_request_duration_milliseconds")?.samples ?? [];
    const counts = durations.filter(({ name }) => name.endsWith("_count")).map(({ value }) => value);
    assert.deepEqual(counts.sort(), [20, 20, 40]);
    const sums = durations.filter(({ name }) => name.endsWith("_sum")).map(({ value }) => value);
    assert.ok(sums.every((sum) => sum > 0));
  },
);

test("nothing is counted unless it is asked for", { skip }, async (t) => {
  const server = http.createServer((_request, response) => response.end("hello"));
  const { connect, scrape, mesh } = await scene(t, await listening(server), {});
  const asked = http.get({ createConnection: () => connect(), host: "web" });
  const [answer] = (await once(asked, "response")) as [http.IncomingMessage];
  answer.resume();
  await mesh.line("inbound");
  const families = await scrape();
  assert.equal(families.has("istio_tcp_connections_opened"), true);
  assert.equal(families.has("istio_requests"), false);
  assert.equal(families.has("istio_request_duration_milliseconds"), false);
});

test(
  "node:http2's streams count by themselves, with their own codes, and one that was reset has none",
  { skip },
  async (t) => {
    const server = http2.createServer();
    const unanswered = Promise.withResolvers<void>();
    server.on("stream", (stream, headers) => {
      stream.on("error", () => {});
      const code = Number(String(headers[":path"]).slice(1));
      if (code === 0) return unanswered.resolve();
      stream.additionalHeaders({ ":status": 103 });
      stream.respond({ ":status": code, "x-some": "y".repeat(3_000), "x-other": String(code) });
      stream.end(code === 204 ? undefined : "z".repeat(50_000));
    });
    const sessions = new Set<http2.ServerHttp2Session>();
    server.on("session", (session) => sessions.add(session));
    t.after(() => sessions.forEach((session) => session.destroy()));
    const { connect, requests } = await scene(t, await listening(server));
    const session = http2.connect("http://web", { createConnection: () => connect() });
    t.after(() => session.destroy());
    const ask = async (code: number, body?: string): Promise<void> => {
      const stream = session.request({
        ":path": `/${code}`,
        ":method": body === undefined ? "GET" : "POST",
        cookie: "c".repeat(code * 5),
      });
      stream.on("error", () => {});
      stream.end(body);
      await new Promise((resolve) => stream.resume().on("close", resolve));
    };
    const asked: Promise<void>[] = [];
    for (let i = 0; i < 30; i++) asked.push(ask(200), ask(503, "x".repeat(20_000)), ask(204), ask(404));
    await Promise.all(asked);
    const cancelled = session.request({ ":path": "/0" });
    cancelled.on("error", () => {});
    await unanswered.promise;
    cancelled.close(http2.constants.NGHTTP2_CANCEL);
    await new Promise((resolve) => cancelled.on("close", resolve));
    await ask(200);
    assert.deepEqual(await requests(), {
      "http2 0": 1,
      "http2 200": 31,
      "http2 204": 30,
      "http2 404": 30,
      "http2 503": 30,
    });
  },
);

test("gRPC calls count with their status, also where trailers are all there is", { skip }, async (t) => {
  const path = "/test.Echo/Say";
  const server = new grpc.Server();
  server.addService(rawService(path, false), {
    call: ({ request }: { request: Buffer }, answer: grpc.sendUnaryData<Buffer>) => {
      const code = Number(request.toString());
      if (code === 0) answer(null, Buffer.from("fine"));
      else answer({ code, details: "as you wish" });
    },
  });
  const appPort = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`${bobAddress}:0`, grpc.ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  t.after(() => server.forceShutdown());
  const { front, requests } = await scene(t, appPort);
  const client = new grpc.Client(`127.0.0.1:${await front()}`, grpc.credentials.createInsecure());
  t.after(() => client.close());
  const say = (code: number): Promise<number> =>
    new Promise((resolve) => {
      client.makeUnaryRequest(path, same, same, Buffer.from(String(code)), (error) =>
        resolve(error === null ? 0 : error.code),
      );
    });
  const codes = await Promise.all([0, 0, 0, 5, 5, 14].map(say));
  assert.deepEqual(codes, [0, 0, 0, 5, 5, 14]);
  const notThere = client.makeUnaryRequest("/test.Echo/None", same, same, Buffer.from("0"), () => {});
  await once(notThere, "status");
  assert.deepEqual(await requests(), { "grpc 200 0": 3, "grpc 200 5": 2, "grpc 200 12": 1, "grpc 200 14": 1 });
});

const curl = skip === false && find("curl") === undefined ? "no curl here" : skip;
test("curl's requests count, of HTTP/1.1 and 1.0, and of HTTP/2 by prior knowledge", { skip: curl }, async (t) => {
  const server = http.createServer((request, response) => {
    request.resume();
    response.statusCode = request.url === "/missing" ? 404 : 200;
    response.end("hello");
  });
  const { front, requests } = await scene(t, await listening(server));
  const url = `http://127.0.0.1:${await front()}`;
  const ask = async (...argv: string[]): Promise<void> => {
    const { code, stderr } = await run(["curl", "--silent", "--show-error", "--output", "/dev/null", ...argv], {
      timeoutMs: 20_000,
    });
    assert.equal(code, 0, stderr);
  };
  await ask(
    `${url}/a`,
    "--next",
    "--output",
    "/dev/null",
    `${url}/missing`,
    "--next",
    "--output",
    "/dev/null",
    "--head",
    `${url}/a`,
  );
  await ask("--data-binary", "@/bin/sh", `${url}/a`);
  await ask("--header", "transfer-encoding: chunked", "--data-binary", "@/bin/sh", `${url}/a`);
  await ask("--http1.0", `${url}/a`);
  assert.deepEqual(await requests(), { "http 200": 5, "http 404": 1 });

  const second = http2.createServer((_request, response) => response.end("hello"));
  const two = await scene(t, await listening(second));
  await ask("--http2-prior-knowledge", `http://127.0.0.1:${await two.front()}/a`);
  assert.deepEqual(await two.requests(), { "http2 200": 1 });
});

test(
  "a connection that ends under a request counts it as one without an answer, or with the code that began",
  { skip },
  async (t) => {
    const server = http.createServer((request, response) => {
      if (request.url === "/none") return void request.socket.resetAndDestroy();
      response.writeHead(200, { "content-length": 10 });
      response.write("half");
      begun = response.socket ?? undefined;
    });
    let begun: Socket | undefined;
    const { connect, requests } = await scene(t, await listening(server));
    for (const path of ["/none", "/half"]) {
      const asked = http.get({ createConnection: () => connect(), path });
      asked.on("response", (answer) => {
        answer.on("error", () => {}).resume();
        // What is on its way is lost with a reset.
        begun?.resetAndDestroy();
      });
      asked.on("error", () => {});
      await new Promise((resolve) => asked.on("close", resolve));
    }
    await until("both are counted", 5_000, async () => Object.keys(await requests()).length === 2);
    assert.deepEqual(await requests(), { "http 0": 1, "http 200": 1 });
  },
);

test("what is no HTTP passes untouched and counts as nothing, whoever speaks first", { skip }, async (t) => {
  const greeting = await application(bobAddress, (socket) => {
    socket.write("220 mail ready\r\n");
    socket.pipe(socket);
  });
  t.after(greeting.close);
  const { connect, requests, bob } = await scene(t, greeting.port);
  for (const socket of [connect(), bob.connectIn({ address: bobAddress, port: greeting.port })]) {
    const heard: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => heard.push(chunk));
    socket.write(Buffer.from("\x16\x03\x01GET / HTTP/1.1\r\n\r\n", "latin1"));
    socket.end("bye");
    await once(socket, "end");
    assert.equal(Buffer.concat(heard).toString("latin1"), "220 mail ready\r\n\x16\x03\x01GET / HTTP/1.1\r\n\r\nbye");
  }
  assert.deepEqual(await requests(), {});
});

test("plaintext from outside the mesh counts as well, from nobody who is known", { skip }, async (t) => {
  const server = http.createServer((_request, response) => response.end("hello"));
  const appPort = await listening(server);
  const { bob, scrape } = await scene(t, appPort);
  const asked = http.get({
    createConnection: () => bob.connectIn({ address: bobAddress, port: appPort }),
    host: "web",
  });
  const [answer] = (await once(asked, "response")) as [http.IncomingMessage];
  await once(answer.resume(), "end");
  const labels = (await scrape()).get("istio_requests")?.samples[0]?.labels ?? {};
  assert.equal(labels["source_workload"], "unknown");
  assert.equal(labels["destination_workload"], "bob");
  assert.equal(labels["connection_security_policy"], "unknown");
});

async function listening(server: Server | http.Server | http2.Http2Server, address = bobAddress): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, address, resolve));
  server.unref?.();
  return (server.address() as AddressInfo).port;
}
