import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { connect, createServer, type AddressInfo } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { systemClock } from "../../core/base/clock.ts";
import { defaultLogFilter, extendLogFilter, formatLogFilter, type LogFilter } from "../../core/base/log-filter.ts";
import { silentLog } from "../../core/base/log.ts";
import { Profiles } from "./profiles.ts";
import { AdminServer } from "./server.ts";

const folder = mkdtempSync(join(tmpdir(), "admin-"));
const socketPath = join(folder, "admin.sock");
let port = 0;
let quits = 0;
let filter: LogFilter = defaultLogFilter;
const profiles = new Profiles(systemClock, () => false);
const admin = new AdminServer(
  {
    dump: () => Promise.resolve({ workloads: [] }),
    resources: () => ({}),
    logLevel: ({ reset, level }) => {
      const extended = extendLogFilter(reset ? defaultLogFilter : filter, level);
      if ("unknown" in extended) return extended;
      filter = extended;
      return formatLogFilter(filter);
    },
    profile: (thread, asked) => profiles.take(thread, asked),
    quit: () => (quits += 1),
    yield: () => {},
  },
  silentLog,
);
before(async () => {
  port = await freePort();
  assert.equal(await admin.listenLocally(port), undefined);
  assert.equal(await admin.listenAt(socketPath), undefined);
});
after(() => {
  admin.close();
  rmSync(folder, { recursive: true });
});

test("F-012 H092 no address but loopback is listened at", async () => {
  const own = Object.values(networkInterfaces()).flatMap((all) => (all ?? []).filter(({ internal }) => !internal));
  for (const address of own.map(({ address }) => address).filter((one) => !one.startsWith("fe80"))) {
    const outcome = await new Promise<string>((resolve) => {
      const socket = connect({ host: address, port });
      socket.on("connect", () => resolve("connected"));
      socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? ""));
    });
    assert.equal(outcome, "ECONNREFUSED", address);
  }
  assert.equal((await ask("GET", "/config_dump")).status, 200);
});

test("H092 a page that rebinds a name, and one of another site, are refused and change nothing", async () => {
  const refusals: readonly (readonly [string, string, Record<string, string>])[] = [
    ["GET", "/config_dump", { host: "attacker.example" }],
    ["GET", "/config_dump", { host: "localhost.attacker.example:15000" }],
    ["GET", "/config_dump", { host: "10.0.0.7:15000" }],
    ["POST", "/quitquitquit", { host: `attacker.example:${port}` }],
    ["POST", "/quitquitquit", { origin: "https://attacker.example" }],
    ["POST", "/quitquitquit", { origin: "null" }],
    ["POST", "/logging?level=off", { origin: "http://localhost.attacker.example" }],
    ["POST", "/logging?level=off", { "sec-fetch-site": "cross-site" }],
    ["GET", "/", { "sec-fetch-site": "same-site" }],
  ];
  for (const [method, path, headers] of refusals) assert.equal((await ask(method, path, headers)).status, 403, path);
  assert.deepEqual([quits, formatLogFilter(filter)], [0, "info"]);
  for (const host of ["localhost", "LOCALHOST:40123", "127.0.0.1:15000", "[::1]:15000"]) {
    assert.equal((await ask("GET", "/config_dump", { host })).status, 200, host);
  }
  assert.equal((await ask("GET", "/", { "sec-fetch-site": "none" })).status, 200);
  assert.equal((await ask("POST", "/logging", { origin: `http://localhost:${port}` })).status, 200);
});

test("H092 F-222 what changes something takes a POST: an orderly end is asked for by it alone", async () => {
  for (const path of ["/quitquitquit", "/logging", "/yield"]) assert.equal((await ask("GET", path)).status, 405, path);
  assert.equal(quits, 0);
  const answer = await ask("POST", "/quitquitquit");
  assert.deepEqual([answer.status, answer.body, quits], [200, "shutdown now\n", 1]);
  assert.equal((await ask("POST", "/quitquitquit", {}, socketPath)).status, 200);
});

test("F-216 levels are shown, added to by scope, set back, and refused with the fix when they are none", async () => {
  const say = async (query: string): Promise<string> => (await ask("POST", `/logging${query}`)).body.trim();
  assert.equal(await say(""), "current log level is info");
  assert.equal(await say("?level=access=debug,warn"), "current log level is access=debug,warn");
  assert.equal(await say("?level=dns=trace"), "current log level is access=debug,dns=trace,warn");
  const wrong = await ask("POST", "/logging?level=loud%0a");
  assert.equal(wrong.status, 400);
  assert.match(wrong.body, /^no such level: loud; write levels \(trace, debug/);
  assert.equal(await say("?level=error&reset"), "current log level is error");
  assert.equal(await say("?reset"), "current log level is info");
});

test("F-221 a profile says what the time goes to and who allocates, for as long as asked, one at a time", async () => {
  const [cpu, second] = await Promise.all([
    ask("GET", "/debug/pprof/profile?seconds=1&frequency=1000"),
    ask("GET", "/debug/pprof/heap?seconds=1"),
  ]);
  assert.deepEqual([cpu.status, second.status].sort(), [200, 409]);
  const { nodes, samples } = JSON.parse(cpu.body) as { nodes: unknown[]; samples: unknown[] };
  assert.ok(nodes.length > 0 && samples.length > 0);
  for (const query of ["seconds=0", "seconds=301", "seconds=1.5", "frequency=0", "frequency=1001", "seconds=x"]) {
    assert.equal((await ask("GET", `/debug/pprof/profile?${query}`)).status, 400, query);
  }
  assert.equal((await ask("GET", "/debug/pprof/profile?thread=99")).status, 409);
});

test("H100 F-221 a profile of the heap holds functions and sizes, and nothing of the keys that are allocated meanwhile", async () => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const pems: string[] = [];
  const allocate = setInterval(() => {
    for (let i = 0; i < 200; i++) pems.push(privateKey.export({ type: "pkcs8", format: "pem" }) as string);
  }, 20);
  const heap = await ask("GET", "/debug/pprof/heap?seconds=1");
  clearInterval(allocate);
  assert.ok("head" in (JSON.parse(heap.body) as object));
  assert.ok(pems.length > 200);
  for (const part of pems[0]!.split("\n").filter((line) => line !== "")) assert.equal(heap.body.includes(part), false);
  assert.equal((await ask("GET", "/debug/pprof/heap/snapshot")).status, 404);
});

test("the index names every path, and what is none is not found", async () => {
  const { body, status } = await ask("GET", "/");
  assert.equal(status, 200);
  for (const path of ["config_dump", "wds", "logging", "quitquitquit", "debug/pprof/profile", "debug/pprof/heap"]) {
    assert.ok(body.includes(path), path);
  }
  assert.equal((await ask("GET", "/metrics")).status, 404);
  assert.equal((await ask("GET", "//[")).status, 400);
});

async function ask(
  method: string,
  path: string,
  headers: Record<string, string> = {},
  by?: string,
): Promise<{ status: number; body: string }> {
  const where = by === undefined ? { host: "127.0.0.1", port } : { socketPath: by };
  return new Promise((resolve, reject) => {
    const asked = request({ ...where, method, path, headers, agent: false }, (response) => {
      let body = "";
      response.on("data", (chunk: Buffer) => (body += chunk.toString()));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    });
    asked.on("error", reject);
    asked.end();
  });
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port: free } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return free;
}
