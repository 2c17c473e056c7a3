/** One who does not read costs little memory, and nobody else anything. One worker: all streams between two pods share a tunnel. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { allClosed, residentBytes, tunnelsOf } from "../support/agent-process.ts";
import { useLab } from "../support/mesh-lab.ts";
import { idlePod, namespace, pod, service } from "../support/manifests.ts";
import { until } from "../support/until.ts";

const lab = useLab(
  [
    namespace("shop", { ambient: true }),
    idlePod("shop/alice", { node: "node1" }),
    pod("shop/far", { node: "node2" }),
    service("shop/far"),
  ],
  { workers: 1 },
);

const nodes = ["node1", "node2"] as const;
const gibibyte = 2 ** 30;
const mebibyte = 2 ** 20;

test("a server that reads nothing of 1 GiB costs neither agent memory, nor another stream of its tunnel its speed", async (t) => {
  await assertStallIsBounded(t, "stall", 9003);
});

test("a client that reads nothing of 1 GiB costs neither agent memory, nor another stream of its tunnel its speed", async (t) => {
  await assertStallIsBounded(t, "deaf", 9002);
});

/** @param what the client does: offers bytes that its server does not read, or does not read what its server offers. */
async function assertStallIsBounded(t: TestContext, what: "stall" | "deaf", port: number): Promise<void> {
  const vip = await lab().vipOf("shop/far");
  const talkers = await lab().start("shop/alice", "converse", `${vip}:9000`, 8);
  const talked = Number((await talkers.result("the others talk", ({ trips }) => Number(trips) > 20_000))["trips"]);
  const memoryBefore = await Promise.all(nodes.map((node) => residentBytes(lab(), node)));

  const stood = (await standings()).length;
  const stalled = await lab().start("shop/alice", what, `${vip}:${port}`, gibibyte);
  // Four times half a second in which nothing more was taken.
  const standing = await until("nobody takes any more", 60_000, async () => {
    const seen = what === "deaf" ? (await standings()).slice(stood) : stalled.results;
    return seen.filter(({ event }) => event === "standing")[3];
  });
  const growth = (await memory()).map((now, i) => now - memoryBefore[i]!);
  t.diagnostic(
    `taken: ${inMebibytes(Number(standing["taken"]))}; RSS of both agents +${growth.map(inMebibytes).join(", +")}`,
  );
  for (const bytes of growth) assert.ok(bytes <= 32 * mebibyte, `grew by ${inMebibytes(bytes)}`);

  const from = talkers.results.length;
  const first = await talkers.result("the others go on", (result) => "trips" in result, from);
  const rate = `${talked} round trips before`;
  const later = await talkers.result("and on", ({ trips }) => Number(trips) > Number(first["trips"]) + 5_000, from);
  t.diagnostic(`${rate}; beside it, the worst of a quarter of a second took ${String(later["worstMs"])} ms`);
  const [worker] = await tunnelsOf(lab(), "node1");
  assert.equal(worker?.outbound.handshakes, 1, "all were in one tunnel");

  stalled.end();
  talkers.end();
  await Promise.all([stalled.ended, talkers.ended]);
  for (const node of nodes) await allClosed(lab(), node);
  const line = await lab().accessLine("node1", "the stalled connection's", (record) =>
    String(record["dst.hbone_addr"]).endsWith(`:${port}`),
  );
  assert.equal(line.reason, "CLIENT_RESET", "its client's reset was heard although nobody read");
}

function memory(): Promise<number[]> {
  return Promise.all(nodes.map((node) => residentBytes(lab(), node)));
}

/** How often the server said that nobody takes what it writes. */
async function standings(): Promise<Record<string, unknown>[]> {
  const lines = (await lab().log("node2.pod.shop.far"))
    .split("\n")
    .filter((line) => line.includes('"event":"standing"'));
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

function inMebibytes(bytes: number): string {
  return `${(bytes / mebibyte).toFixed(1)} MiB`;
}
