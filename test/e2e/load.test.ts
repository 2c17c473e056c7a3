/** Many connections, and connections that break: what they cost, and what is given back. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { allClosed, descriptorsBesideTunnels, tunnelsOf } from "../support/agent-process.ts";
import { useLab } from "../support/mesh-lab.ts";
import { idlePod, namespace, pod, service } from "../support/manifests.ts";
import { until } from "../support/until.ts";

const lab = useLab([
  namespace("shop", { ambient: true }),
  idlePod("shop/alice", { node: "node1" }),
  pod("shop/far", { node: "node2" }),
  service("shop/far"),
]);

const nodes = ["node1", "node2"] as const;

test("F-100 F-103 1,000 connections one after another take at most one handshake per worker", async (t) => {
  const started = performance.now();
  const [result] = await lab().client("shop/alice", "sequence", await far(9000), 1_000);
  const ms = Math.round(performance.now() - started);
  assert.equal(result?.["good"], 1_000);
  const outbound = (await tunnelsOf(lab(), "node1")).map((worker) => worker.outbound.handshakes);
  const inbound = (await tunnelsOf(lab(), "node2")).map((worker) => worker.inbound.handshakes);
  const served = countBy((await outboundLines(9000)).map(({ worker }) => `worker ${String(worker)}`));
  t.diagnostic(
    `${ms} ms; handshakes out ${outbound.join(" + ")}, in ${inbound.join(" + ")}; ${JSON.stringify(served)}`,
  );
  assert.ok(outbound.length >= 2, "there are several workers");
  assert.ok(
    outbound.every((handshakes) => handshakes <= 1),
    "no worker opened a second tunnel",
  );
  assert.equal(sum(inbound), sum(outbound), "nobody else opened one");
});

test("2,000 connections at once are all answered", async (t) => {
  const started = performance.now();
  const [result] = await lab().client("shop/alice", "crowd", await far(9000), 2_000);
  assert.equal(result?.["good"], 2_000);
  const opened = sum((await tunnelsOf(lab(), "node1")).map((worker) => worker.outbound.open));
  t.diagnostic(`${Math.round(performance.now() - started)} ms; ${opened} tunnels`);
});

test("1,000 connections that break leave nothing behind", async (t) => {
  // Each worker keeps one descriptor for the way back from the first namespace it enters.
  await lab().client("shop/alice", "crowd", await far(9000), 200);
  await nothingOpen();
  const started = performance.now();
  const before = await Promise.all(nodes.map((node) => descriptorsBesideTunnels(lab(), node)));
  for (const port of [9000, 9005]) {
    const [result] = await lab().client("shop/alice", "breakage", await far(port), 500);
    assert.equal(result?.["broken"], 500);
  }
  await nothingOpen();
  await until("all descriptors are given back", 15_000, async () => {
    const now = await Promise.all(nodes.map((node) => descriptorsBesideTunnels(lab(), node)));
    if (now.some((count, i) => count > before[i]!))
      throw new Error(`${now.join(", ")} instead of ${before.join(", ")}`);
    return true;
  });
  const reasons = countBy((await outboundLines(9000)).concat(await outboundLines(9005)).map(({ reason }) => reason));
  t.diagnostic(`${Math.round(performance.now() - started)} ms`);
  t.diagnostic(`reasons of all so far: ${JSON.stringify(reasons)}`);
  assert.equal(reasons["INTERNAL_BUG"], undefined);
});

test("both agents answer as before after all that", async () => {
  const [result] = await lab().client("shop/alice", "crowd", await far(9000), 100);
  assert.equal(result?.["good"], 100);
});

/** The server by its virtual address. */
async function far(port: number): Promise<string> {
  return `${await lab().vipOf("shop/far")}:${port}`;
}

async function nothingOpen(): Promise<void> {
  for (const node of nodes) await allClosed(lab(), node);
}

async function outboundLines(port: number): ReturnType<ReturnType<typeof lab>["accessLog"]> {
  const lines = await lab().accessLog("node1");
  return lines.filter(
    (record) => record.direction === "outbound" && String(record["dst.hbone_addr"]).endsWith(`:${port}`),
  );
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function countBy(texts: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const text of texts) counts[text] = (counts[text] ?? 0) + 1;
  return counts;
}
