/** What an application writes arrives whole, in order and once; its half-closes and resets arrive as what they were. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { patternHash } from "./apps/pattern.ts";
import { useLab } from "../support/mesh-lab.ts";
import { idlePod, namespace, pod, service } from "../support/manifests.ts";
import { until } from "../support/until.ts";

const lab = useLab([
  namespace("shop", { ambient: true }),
  idlePod("shop/alice", { node: "node1" }),
  pod("shop/near", { node: "node1" }),
  pod("shop/far", { node: "node2" }),
  service("shop/near"),
  service("shop/far"),
]);

const gibibyte = 2 ** 30;

for (const server of ["far", "near"] as const) {
  const where = server === "far" ? "to another node" : "on one node";
  const bytes = server === "far" ? gibibyte : gibibyte / 4;
  const amount = server === "far" ? "1 GiB" : "256 MiB";

  test(`${amount} ${where} arrives whole`, { timeout: watchdogMs(bytes) }, async (t) => {
    const [got, ms] = await timed(() => transfer("upload", server, 9001, bytes));
    await assertWhole(t, got, bytes, ms);
  });

  test(`${amount} back ${where} arrives whole`, { timeout: watchdogMs(bytes) }, async (t) => {
    const [got, ms] = await timed(() => transfer("download", server, 9002, bytes));
    await assertWhole(t, got, bytes, ms);
  });

  test(
    `8 times 32 MiB ${where} and back at the same time arrive whole`,
    { timeout: watchdogMs(gibibyte / 2) },
    async (t) => {
      const each = gibibyte / 32;
      const target = `${await lab().vipOf(`shop/${server}`)}:9000`;
      const [results, ms] = await timed(() => lab().client<Received>("shop/alice", "mirror", target, each));
      t.diagnostic(`${Math.round(ms)} ms: ${((8 * each * 8) / ms / 1e6).toFixed(2)} Gbit/s each way`);
      const whole = { bytes: each, sha256: await expectedHash(each) };
      assert.deepEqual(
        results,
        Array.from({ length: 8 }, () => whole),
      );
    },
  );

  for (const family of [4, 6] as const) {
    const at = async (port: number): Promise<string> => {
      const address = await lab().addressOf(`shop/${server}`, family);
      return family === 6 ? `[${address}]:${port}` : `${address}:${port}`;
    };

    test(`F-090 a client that half-closes gets the rest of the answer, IPv${family} ${where}`, async () => {
      const [result] = await lab().client("shop/alice", "half", await at(9004));
      assert.equal(result?.["answer"], "after your half-close: half");
      await ended(server, await at(9004), "OK", "OK");
    });

    test(`a server's reset arrives at its client as a reset, IPv${family} ${where}`, async () => {
      const [result] = await lab().client("shop/alice", "reset", await at(9005));
      assert.equal(result?.["event"], "ECONNRESET");
      await ended(server, await at(9005), "UPSTREAM_RESET", "UPSTREAM_RESET");
    });

    test(`a client's reset arrives at its server as a reset, IPv${family} ${where}`, async () => {
      const before = (await errorsAt(server, 9000)).length;
      const earlier = await tracesTo(await at(9000));
      await lab().client("shop/alice", "abort", await at(9000));
      const error = await until("the server sees the end", 10_000, async () => (await errorsAt(server, 9000))[before]);
      assert.equal(error.code, "ECONNRESET");
      await ended(server, await at(9000), "CLIENT_RESET", "CLIENT_RESET", earlier);
    });

    test(`a reset after a half-close arrives while the server still answers, IPv${family} ${where}`, async () => {
      const before = (await errorsAt(server, 9006)).length;
      await lab().client("shop/alice", "finish-and-abort", await at(9006));
      const error = await until("the server sees the end", 10_000, async () => (await errorsAt(server, 9006))[before]);
      // Whether the kernel says the one or the other depends on who looks first (Linux, tcp_reset: EPIPE in CLOSE_WAIT).
      assert.match(error.code ?? "", /^(ECONNRESET|EPIPE)$/);
      await ended(server, await at(9006), "CLIENT_RESET", "CLIENT_RESET");
    });
  }
}

/** What the receiver got. */
interface Received {
  readonly bytes: number;
  readonly sha256: string;
}

async function transfer(what: "upload" | "download", server: string, port: number, bytes: number): Promise<Received> {
  const target = `${await lab().vipOf(`shop/${server}`)}:${port}`;
  const [result] = await lab().client<Received>("shop/alice", what, target, bytes);
  assert.ok(result, `the ${what} came to an end`);
  return result;
}

async function assertWhole(t: TestContext, got: Received, bytes: number, ms: number): Promise<void> {
  t.diagnostic(`${bytes} bytes in ${Math.round(ms)} ms: ${((bytes * 8) / ms / 1e6).toFixed(2)} Gbit/s`);
  assert.equal(got.bytes, bytes);
  assert.equal(got.sha256, await expectedHash(bytes));
}

const hashes = new Map<number, Promise<string>>();
function expectedHash(bytes: number): Promise<string> {
  const known = hashes.get(bytes) ?? patternHash(bytes);
  hashes.set(bytes, known);
  return known;
}

async function timed<T>(body: () => Promise<T>): Promise<[T, number]> {
  const started = performance.now();
  const result = await body();
  return [result, performance.now() - started];
}

/** Five times what 0.25 Gbit/s would take. */
function watchdogMs(bytes: number): number {
  return (5 * bytes * 8) / 0.25e6;
}

interface ServerEvent {
  readonly event: string;
  readonly port: number;
  readonly code?: string;
}

/** What the server's sockets on that port were told, oldest first. */
async function errorsAt(server: string, port: number): Promise<ServerEvent[]> {
  const node = server === "far" ? "node2" : "node1";
  const lines = (await lab().log(`${node}.pod.shop.${server}`)).split("\n").filter((line) => line.startsWith("{"));
  return lines.map((line) => JSON.parse(line) as ServerEvent).filter((e) => e.event === "error" && e.port === port);
}

/** Of the connections to that pod's port that have ended so far. */
async function tracesTo(target: string): Promise<Set<string>> {
  const records = await lab().accessLog("node1");
  return new Set(records.filter((record) => record["dst.hbone_addr"] === target).map(({ trace }) => trace));
}

/** Both agents' lines of the one connection to that pod's port that is not among the earlier ones: why it ended. */
async function ended(
  server: string,
  target: string,
  outbound: string,
  inbound: string,
  earlier: ReadonlySet<string> = new Set(),
): Promise<void> {
  const out = await lab().accessLine(
    "node1",
    `outbound to ${target}`,
    (record) => record.direction === "outbound" && record["dst.hbone_addr"] === target && !earlier.has(record.trace),
  );
  const node = server === "far" ? "node2" : "node1";
  const into = await lab().accessLine(
    node,
    `inbound to ${target}`,
    (record) => record.direction === "inbound" && record.trace === out.trace,
  );
  assert.deepEqual([out.reason, into.reason], [outbound, inbound]);
}
