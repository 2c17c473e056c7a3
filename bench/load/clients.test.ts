import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test, type TestContext } from "node:test";
import { answerLength } from "./answer-length.ts";
import type { FixedRateResult } from "./fixed-rate-client.ts";
import type { Held } from "./hold-client.ts";

async function listening(t: TestContext, answer: RequestListener) {
  const server = createServer(answer);
  let connections = 0;
  server.on("connection", () => (connections += 1));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close().closeAllConnections());
  return { port: String((server.address() as AddressInfo).port), connections: () => connections };
}

function client(name: string, ...rest: string[]) {
  const child = spawn(process.execPath, [join(import.meta.dirname, `${name}.ts`), "127.0.0.1", ...rest]);
  const output = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output.stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (output.stderr += text));
  const ended = once(child, "close").then(([code]) => ({ code: code as number | null, ...output }));
  return { child, ended };
}

test("a second at a fixed rate is as many answered requests, after a warm-up that isn't counted", async (t) => {
  let requests = 0;
  const { port, connections } = await listening(t, (_, response) => {
    requests += 1;
    response.end("x".repeat(1024));
  });
  const { code, stdout, stderr } = await client("fixed-rate-client", port, "/", "200", "4", "1").ended;
  assert.equal(code, 0, stderr);
  const result = JSON.parse(stdout) as FixedRateResult;
  assert.equal(result.requests, 200);
  assert(result.p50Us > 0 && result.p50Us <= result.p99Us && result.p99Us <= result.p999Us);
  // Half a second of warm-up, and one on each connection to learn how long an answer is.
  assert.equal(requests, 200 + 100 + 4);
  assert.equal(connections(), 4);
});

test("answers that are no success, or not all alike, are said and fail", async (t) => {
  const refusing = await listening(t, (_, response) => response.writeHead(503).end());
  const refused = await client("fixed-rate-client", refusing.port, "/", "100", "1", "1").ended;
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /503/);
  let count = 0;
  const growing = await listening(t, (_, response) => response.end("x".repeat((count += 1))));
  const grown = await client("fixed-rate-client", growing.port, "/", "100", "1", "1").ended;
  assert.equal(grown.code, 1);
  assert.match(grown.stderr, /longer than the first/);
});

test("held connections stay as they were used, more come when told, and all go with the client's input", async (t) => {
  const { port, connections } = await listening(t, (_, response) => response.end("hello"));
  const { child, ended } = client("hold-client", port, "/", "4");
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async (more: number): Promise<Held> => {
    child.stdin.write(`${more}\n`);
    const { value } = await lines.next();
    return JSON.parse(String(value)) as Held;
  };
  assert.equal((await ask(10)).open, 10);
  assert.equal((await ask(3)).open, 13);
  assert.equal(connections(), 13);
  child.stdin.end();
  assert.equal((await ended).code, 0);
});

test("an answer's length is known once its head is whole, and only of a success that says it", () => {
  const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");
  const head = "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 10\r\n\r\n";
  assert.equal(answerLength(bytes(head.slice(0, -1))), undefined);
  assert.equal(answerLength(bytes(head)), head.length + 10);
  assert.equal(answerLength(bytes("HTTP/1.1 404 No\r\n\r\n")), 'the server answered "HTTP/1.1 404 No"');
  assert.match(String(answerLength(bytes("HTTP/1.1 200 OK\r\n\r\n"))), /how long/);
});
