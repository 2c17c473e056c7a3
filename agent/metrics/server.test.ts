import assert from "node:assert/strict";
import { request, type IncomingHttpHeaders } from "node:http";
import { connect, createServer, type AddressInfo } from "node:net";
import { after, test } from "node:test";
import { brotliDecompressSync, gunzipSync, inflateSync, zstdDecompressSync } from "node:zlib";
import { ManualClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import { until } from "../../test/support/until.ts";
import type { Format } from "./exposition.ts";
import { acceptsOpenMetrics, encodingOf, StatsServer } from "./server.ts";

const clock = new ManualClock();
let refused = 0;
let scrapes = 0;
/** What a scrape waits for before it says anything. */
let gate = Promise.resolve();
const server = new StatsServer({
  port: 0,
  clock,
  log: silentLog,
  onRefused: () => (refused += 1),
  async *scrape(format: Format) {
    scrapes += 1;
    await gate;
    yield `format ${format}\n`;
    yield "the end\n";
  },
});
after(() => server.close());

test("F-013 both paths answer, whatever the method, and nothing else does", async () => {
  for (const path of ["/metrics", "/stats/prometheus", "/metrics?x=1"]) {
    for (const method of ["GET", "POST", "PUT"]) {
      const { status, body } = await ask({ path, method });
      assert.deepEqual([status, body.toString()], [200, "format text\nthe end\n"]);
    }
  }
  assert.equal((await ask({ path: "/metrics", method: "HEAD" })).body.length, 0);
  assert.equal((await ask({ path: "/config_dump" })).status, 404);
});

test("F-213 OpenMetrics is spoken to whoever lists it, and every encoding is one that the reader likes", async () => {
  const accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
  const { headers, body } = await ask({ headers: { accept } });
  assert.equal(headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
  assert.equal(body.toString(), "format openmetrics\nthe end\n");
  assert.equal((await ask({})).headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
  const decoders = { gzip: gunzipSync, deflate: inflateSync, br: brotliDecompressSync, zstd: zstdDecompressSync };
  for (const [encoding, decode] of Object.entries(decoders)) {
    const answer = await ask({ headers: { "accept-encoding": encoding } });
    assert.equal(answer.headers["content-encoding"], encoding);
    assert.equal(decode(answer.body).toString(), "format text\nthe end\n");
  }
});

test("F-213 what a reader asks for by weight is what it gets", () => {
  assert.equal(encodingOf("gzip;q=0.1, br;q=0.9"), "br");
  assert.equal(encodingOf("gzip;q=0"), undefined);
  assert.equal(encodingOf("identity"), undefined);
  assert.equal(encodingOf("*"), "gzip");
  assert.equal(encodingOf("gzip;q=0, *;q=0.5"), "zstd");
  assert.equal(encodingOf(undefined), undefined);
  assert.equal(acceptsOpenMetrics("application/openmetrics-text;q=0"), false);
  assert.equal(acceptsOpenMetrics(undefined), false);
});

test("H093 of a thousand scrapes at once two are answered; the others are told to come again", async () => {
  const held = Promise.withResolvers<void>();
  gate = held.promise;
  const before = scrapes;
  const first = [ask({}), ask({})];
  await until("two are under way", 5_000, () => scrapes === before + 2);
  const rest = await Promise.all(Array.from({ length: 1_000 }, () => ask({}).catch(() => ({ status: 0 }))));
  // More connections than there may be are closed unheard.
  assert.ok(rest.every(({ status }) => status === 503 || status === 0));
  assert.ok(rest.some(({ status }) => status === 503));
  assert.equal(scrapes, before + 2);
  held.resolve();
  assert.deepEqual(
    (await Promise.all(first)).map(({ status }) => status),
    [200, 200],
  );
  gate = Promise.resolve();
  assert.equal((await ask({})).status, 200);
  assert.equal(refused, rest.filter(({ status }) => status === 503).length);
});

test("H093 a reader that takes nothing makes room for one that does", async () => {
  const held = Promise.withResolvers<void>();
  gate = held.promise;
  const before = scrapes;
  const slow = [ask({}), ask({})].map((answer) =>
    answer.then(
      ({ status }) => status,
      () => "cut",
    ),
  );
  await until("two are under way", 5_000, () => scrapes === before + 2);
  clock.advance(1_999);
  assert.equal((await ask({})).status, 503);
  clock.advance(1);
  const next = ask({});
  assert.equal(await slow[0], "cut");
  held.resolve();
  assert.equal((await next).status, 200);
  assert.equal(await slow[1], 200);
  gate = Promise.resolve();
});

test("a port that somebody else has is asked for again until it is free", async () => {
  const other = createServer().listen(0, "::");
  await new Promise((resolve) => other.once("listening", resolve));
  const { port } = other.address() as AddressInfo;
  const time = new ManualClock();
  const late = new StatsServer({
    port,
    clock: time,
    log: silentLog,
    onRefused: () => {},
    scrape: async function* () {},
  });
  await until("it has failed", 5_000, () => time.nextTimerMs() !== undefined);
  other.close();
  await until("it listens", 5_000, () => {
    time.advance(500);
    return late.port;
  });
  late.close();
});

test("what is no HTTP is answered as such and closed", async () => {
  const socket = connect(server.port ?? 0, "127.0.0.1");
  socket.write("\u0016\u0003\u0001 hello\r\n\r\n");
  const answer = await new Promise<string>((resolve) => {
    let text = "";
    socket.on("data", (chunk) => (text += chunk.toString("latin1")));
    socket.on("close", () => resolve(text));
  });
  assert.match(answer, /^HTTP\/1\.1 400 /);
});

interface Asked {
  readonly path?: string;
  readonly method?: string;
  readonly headers?: Record<string, string>;
}

async function ask({
  path = "/metrics",
  method = "GET",
  headers = {},
}: Asked): Promise<{ status: number; headers: IncomingHttpHeaders; body: Buffer }> {
  const port = await until("it listens", 5_000, () => server.port);
  return new Promise((resolve, reject) => {
    const asked = request({ host: "127.0.0.1", port, path, method, headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }),
      );
    });
    asked.on("error", reject);
    asked.end();
  });
}
