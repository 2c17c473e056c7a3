import assert from "node:assert/strict";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { silentLog } from "../../../core/base/log.ts";
import { until } from "../../../test/support/until.ts";
import { KubernetesClient } from "./client.ts";
import { explainKubeError, KubeError, mayPass, retryAfterOf, statusOf, type KubeErrorData } from "./errors.ts";
import { collectionPath, objectPath, resourceName } from "./paths.ts";

const path = "/api/v1/pods";

test("an answer that refuses becomes an error with its status, reason and message", async (t) => {
  const status = { kind: "Status", reason: "Conflict", message: "changed", details: { retryAfterSeconds: 2 } };
  const { client } = await setUp(t, (_url, response) => response.writeHead(409).end(JSON.stringify(status)));
  const error = await client.get(path);
  assert.ok(error instanceof KubeError);
  assert.deepEqual(error.type, {
    code: "kube.conflict",
    method: "GET",
    path,
    status: 409,
    reason: "Conflict",
    message: "changed",
    retryAfterMs: 2_000,
  });
});

test("every status that matters has a code of its own", async (t) => {
  const codes: Record<number, string> = {
    401: "kube.unauthorized",
    403: "kube.forbidden",
    404: "kube.not-found",
    409: "kube.conflict",
    410: "kube.gone",
    422: "kube.status",
    500: "kube.status",
  };
  const { client } = await setUp(t, (url, response) => response.writeHead(Number(url.slice(1))).end("words"));
  for (const [status, code] of Object.entries(codes)) {
    const error = await client.get(`/${status}`);
    assert.ok(error instanceof KubeError);
    assert.equal(error.type.code, code);
    assert.equal(statusOf(error), Number(status));
    assert.equal(mayPass(error), status === "500");
  }
});

test("after a 401 the credentials are read anew", async (t) => {
  let refreshed = 0;
  const { client } = await setUp(t, (_url, response) => response.writeHead(401).end(), {
    onRefresh: () => refreshed++,
  });
  await client.get(path);
  assert.equal(refreshed, 1);
});

test("a server that does not answer in time is given up", async (t) => {
  const { client } = await setUp(t, () => undefined, { timeoutMs: 100 });
  const error = await client.get(path);
  assert.ok(error instanceof KubeError && error.type.code === "kube.timeout");
  assert.match(explainKubeError(error), /did not answer within 0 s.*Check/);
});

test("a server that begins an answer and never ends it is given up", async (t) => {
  const { client } = await setUp(t, (_url, response) => void response.writeHead(200).write("{"), { timeoutMs: 100 });
  const error = await client.get(path);
  assert.ok(error instanceof KubeError && error.type.code === "kube.timeout");
});

test("an answer that breaks off is no answer", async (t) => {
  const { client } = await setUp(t, (_url, response) => {
    response.writeHead(200, { "content-length": "100" }).write('{"kind":"Pod"}', () => response.destroy());
  });
  const error = await client.get(path);
  assert.ok(error instanceof KubeError && error.type.code === "kube.unreachable");
});

test("an answer beyond the limit is not read to its end", async (t) => {
  const { client } = await setUp(t, (_url, response) => response.writeHead(200).end("x".repeat(100_000)), {
    limitBytes: 50_000,
  });
  const error = await client.get(path);
  assert.ok(error instanceof KubeError && error.type.code === "kube.too-large");
});

test("a server that is not there is said so with its address", async (t) => {
  const { client, server } = await setUp(t, () => undefined);
  await new Promise((resolve) => server.close(resolve));
  const error = await client.get(path);
  assert.ok(error instanceof KubeError && error.type.code === "kube.unreachable");
  assert.match(explainKubeError(error), /http:\/\/127\.0\.0\.1:\d+ cannot be reached \(ECONNREFUSED\)/);
});

test("a caller can give up", async (t) => {
  const { client } = await setUp(t, () => undefined);
  const abort = new AbortController();
  const answer = client.get(path, { signal: abort.signal });
  abort.abort();
  const error = await answer;
  assert.ok(error instanceof KubeError && error.type.code === "kube.aborted");
  const later = await client.get(path, { signal: abort.signal });
  assert.ok(later instanceof KubeError && later.type.code === "kube.aborted");
});

test("a read that met a connection just being closed is made again, a write is not", async (t) => {
  const sockets = new Set<Socket>();
  let requests = 0;
  let isClosing = false;
  const { client, server } = await setUp(t, (_url, response) => {
    requests++;
    if (isClosing) {
      isClosing = false;
      response.socket?.resetAndDestroy();
      return;
    }
    response.writeHead(200).end("{}");
  });
  server.on("connection", (socket: Socket) => sockets.add(socket));
  await client.get(path);
  isClosing = true;
  assert.deepEqual(await client.get(path), {});
  assert.equal(requests, 3);
  isClosing = true;
  const error = await client.create(path, {});
  assert.ok(error instanceof KubeError && error.type.code === "kube.unreachable");
  assert.equal(requests, 4);
});

test("requests share a connection, and a stream has its own", async (t) => {
  const sockets = new Set<unknown>();
  const { client } = await setUp(t, (url, response) => {
    sockets.add(response.socket);
    if (url.includes("watch")) response.writeHead(200).write("{}\n");
    else response.writeHead(200).end("{}");
  });
  const abort = new AbortController();
  let heard = 0;
  const stream = client.stream("/watch", { signal: abort.signal, onData: () => heard++ });
  await until("the stream is open", 5_000, () => heard > 0);
  for (let round = 0; round < 5; round++) await client.get(path);
  assert.equal(sockets.size, 2);
  abort.abort();
  const error = await stream;
  assert.equal(error?.type.code, "kube.aborted");
});

test("a stream ends in order, by a cut, or for want of bytes", async (t) => {
  const { client } = await setUp(t, (url, response) => {
    response.writeHead(200).write("a", () => {
      if (url.includes("end")) response.end("b");
      if (url.includes("cut")) response.destroy();
    });
  });
  const ended = async (name: string, silenceMs?: number) => {
    let text = "";
    const onData = (chunk: Buffer) => (text += chunk.toString());
    const error = await client.stream(`/${name}`, { onData, ...(silenceMs === undefined ? {} : { silenceMs }) });
    return [error?.type.code, text];
  };
  assert.deepEqual(await ended("end"), [undefined, "ab"]);
  assert.deepEqual(await ended("cut"), ["kube.unreachable", "a"]);
  assert.deepEqual(await ended("silent", 100), ["kube.timeout", "a"]);
});

test("a token is in no error, whatever fails", async (t) => {
  const answers: ((response: ServerResponse) => unknown)[] = [
    (response) => response.writeHead(401).end("{}"),
    (response) => response.writeHead(200).end("not json"),
    (response) => response.destroy(),
  ];
  const { client } = await setUp(t, (_url, response) => void answers.shift()?.(response));
  for (let round = 0; round < 3; round++) {
    const error = await client.create(path, { secret: "body" });
    assert.ok(error instanceof KubeError);
    const said = JSON.stringify(error.type) + error.message + error.stack + explainKubeError(error);
    assert.doesNotMatch(said, /secret-token|"body"/);
  }
});

test("every failure has a sentence, and those that a person can mend say how", () => {
  const answer = { method: "GET", path, status: 400, reason: "R", message: "M" };
  const all: KubeErrorData[] = [
    { code: "kube.unauthorized", ...answer },
    { code: "kube.forbidden", ...answer },
    { code: "kube.not-found", ...answer },
    { code: "kube.conflict", ...answer },
    { code: "kube.gone", ...answer },
    { code: "kube.status", ...answer },
    { code: "kube.unreachable", method: "GET", path, server: "https://x", reason: "ECONNREFUSED" },
    { code: "kube.timeout", method: "GET", path, server: "https://x", afterMs: 30_000 },
    { code: "kube.aborted", method: "GET", path },
    { code: "kube.malformed", method: "GET", path, reason: "R" },
    { code: "kube.too-large", method: "GET", path, limitBytes: 5 },
    { code: "kube.credentials", reason: "R" },
    { code: "kube.config", reason: "R" },
  ];
  const sentences = all.map((data) => explainKubeError(new KubeError(data)));
  for (const sentence of sentences) assert.match(sentence, /^[A-Z].+/);
  assert.equal(new Set(sentences).size, all.length);
  assert.equal(sentences.filter((sentence) => /(Check|Ask|Try|Set|Log in)/.test(sentence)).length, 9);
  assert.equal(retryAfterOf(new KubeError(all[0]!)), undefined);
});

test("paths are made of group, version, namespace and name, and names are quoted", () => {
  assert.equal(collectionPath("Pod"), "/api/v1/pods");
  assert.equal(collectionPath("Lease", "a"), "/apis/coordination.k8s.io/v1/namespaces/a/leases");
  assert.equal(collectionPath("Node", "a"), "/api/v1/nodes");
  assert.equal(objectPath("Pod", "a", "../x", "status"), "/api/v1/namespaces/a/pods/..%2Fx/status");
  assert.equal(resourceName("Gateway"), "gateways.gateway.networking.k8s.io");
});

interface SetUp {
  readonly timeoutMs?: number;
  readonly limitBytes?: number;
  readonly onRefresh?: () => void;
}

async function setUp(
  t: TestContext,
  answer: (url: string, response: ServerResponse) => unknown,
  { onRefresh, ...options }: SetUp = {},
): Promise<{ client: KubernetesClient; server: Server }> {
  const server = createServer((request, response) => void answer(request.url ?? "", response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const connection = {
    server: new URL(`http://127.0.0.1:${port}`),
    namespace: "default",
    credentials: () => Promise.resolve({ headers: { authorization: "Bearer secret-token" }, tls: {} }),
    refresh: () => onRefresh?.(),
  };
  const client = new KubernetesClient({ connection, log: silentLog, userAgent: "test", ...options });
  t.after(() => {
    client.close();
    server.closeAllConnections();
    server.close();
  });
  return { client, server };
}
