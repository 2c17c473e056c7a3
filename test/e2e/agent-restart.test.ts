/** An agent killed -9: what its pods notice, and what the wire does. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { idlePod, namespace, pod, service } from "../support/manifests.ts";
import { useLab } from "../support/mesh-lab.ts";
import { until } from "../support/until.ts";

const lab = useLab([
  namespace("mesh", { ambient: true }),
  namespace("plain"),
  idlePod("mesh/client", { node: "node1" }),
  pod("mesh/server", { node: "node2" }),
  service("mesh/server"),
  idlePod("plain/client", { node: "node1" }),
]);

const marker = "never-to-be-seen-on-the-link";
const url = `http://server.mesh.svc/${marker}`;
/** From the agent's word that it is connected to the node daemon to the first request that is answered. */
const servedWithinMs = 2_000;

describe("an agent killed -9 under a looping client", () => {
  it("F-152 on the client's node serves its pods again from the daemon's snapshot, and nothing leaks meanwhile", (t) =>
    survives(t, "node1"));

  it("F-152 on the server's node serves its pods again from the daemon's snapshot, and nothing leaks meanwhile", (t) =>
    survives(t, "node2"));

  it("and without control refuses rather than leaks, until control is back", async (t) => {
    await lab().sniff("node1", marker);
    const loop = await lab().start("mesh/client", "loop", url);
    await loop.result("an answer before", ({ status }) => status === 200);
    await lab().act("control", "stop", "SIGKILL");
    await lab().signal("node1.agent", "SIGKILL");
    const before = loop.results.length;
    await loop.result("a refusal by the new agent, which knows no workload", ({ error, ms }) => {
      return error !== undefined && Number(ms) > 1_000;
    });
    const back = Date.now();
    await lab().act("control", "cont");
    const served = await loop.result("an answer with control back", ({ status }) => status === 200, before);
    loop.end();
    await loop.ended;
    const seen = await markersOn("node1");
    t.diagnostic(`served ${Number(served["at"]) - back} ms after control was started; ${seen} markers on the link`);
    assert.equal(seen, 0);
  });

  it("is watched by a sniffer that would have seen it", async () => {
    await lab().sniff("node1", marker);
    await lab().client("plain/client", "get", url);
    await until("the marker, from outside the mesh", 10_000, async () => (await markersOn("node1")) > 0);
  });
});

describe("a node daemon killed -9", () => {
  it("F-156 leaves its pods served and captured, and open connections open, and takes them up again", async (t) => {
    await lab().sniff("node2", marker);
    const held = await lab().start("mesh/client", "hold", "server.mesh.svc:9000");
    held.send("before");
    await held.result("an echo", ({ event }) => event === "echo");
    const loop = await lab().start("mesh/client", "loop", url);
    await loop.result("an answer before", ({ status }) => status === 200);
    const daemonLines = (await logOf("node2.cni")).length;

    await lab().signal("node2.cni", "SIGKILL");
    const connected = await until("the agent is back at the new daemon", 25_000, async () =>
      (await logOf("node2.cni")).slice(daemonLines).find(({ message }) => message === "an agent connected"),
    );
    assert.ok(Number(connected["pods"]) >= 1, "it knows the pod again");
    const count = loop.results.length;
    await until("twenty more answers", 10_000, () => loop.results.length >= count + 20);
    held.send("after");
    await until("an echo after", 10_000, () => held.results.filter(({ event }) => event === "echo").length === 2);
    for (const client of [held, loop]) client.end();
    await Promise.all([held.ended, loop.ended]);
    const failed = loop.results.filter(({ status }) => status !== 200);
    assert.deepEqual(failed, []);
    const seen = await markersOn("node2");
    t.diagnostic(`${loop.results.length} requests, ${failed.length} failed; ${seen} markers on the link`);
    assert.equal(seen, 0);
  });
});

async function survives(t: TestContext, node: string): Promise<void> {
  await lab().sniff(node, marker);
  const loop = await lab().start("mesh/client", "loop", url);
  await loop.result("an answer before", ({ status }) => status === 200);
  const agentLines = (await logOf(`${node}.agent`)).length;
  const daemonLines = (await logOf(`${node}.cni`)).length;

  const killed = Date.now();
  await lab().signal(`${node}.agent`, "SIGKILL");
  const reconnected = await until("the new agent meets the node daemon", 25_000, async () =>
    (await logOf(`${node}.agent`)).slice(agentLines).find(({ message }) => message === "connected to the node daemon"),
  );
  const reconnectedAt = Date.parse(String(reconnected["time"]));
  const served = await loop.result("an answer after", ({ status, at }) => status === 200 && Number(at) > reconnectedAt);
  const tookMs = Number(served["at"]) - reconnectedAt;
  // Not one good answer and then failures again.
  const count = loop.results.length;
  await until("twenty more answers", 10_000, () => loop.results.length >= count + 20);
  loop.end();
  await loop.ended;
  const after = loop.results.filter(({ at }) => Number(at) > Number(served["at"]));
  assert.deepEqual(
    after.filter(({ status }) => status !== 200),
    [],
  );
  const offered = (await logOf(`${node}.cni`))
    .slice(daemonLines)
    .find(({ message }) => message === "an agent connected");
  assert.ok(Number(offered?.["pods"]) >= 1, "the snapshot named the pod");
  const seen = await markersOn(node);
  const failed = loop.results.filter(({ status }) => status !== 200);
  t.diagnostic(
    `${node}: served ${tookMs} ms after the ZDS reconnect, ${Number(served["at"]) - killed} ms after the kill; ` +
      `${loop.results.length} requests, ${failed.length} failed meanwhile; ${seen} markers on the link`,
  );
  assert.equal(seen, 0);
  assert.ok(tookMs < 5 * servedWithinMs, `${tookMs} ms`);
}

/** Frames on a link that held the marker, of frames that were all looked at. */
async function markersOn(node: string): Promise<number> {
  const { marked, dropped, frames } = await lab().sniffed(node);
  assert.equal(dropped, 0, "the sniffer kept up");
  assert.ok(frames > 0, "there was something to see");
  return marked[marker] ?? 0;
}

async function logOf(process: string): Promise<Record<string, unknown>[]> {
  const text = await lab().log(process);
  return text
    .split("\n")
    .flatMap((line) => (line.startsWith("{") ? [JSON.parse(line) as Record<string, unknown>] : []));
}
