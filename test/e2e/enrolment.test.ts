/** Namespaces join the mesh and leave it while their pods are at work. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { checkoutRoot } from "../../lab/programs.ts";
import { endpointText, isInboundOf, isOutboundOf, wentDirectly, type Asked } from "../support/answers.ts";
import { idlePod, namespace, pod, service, type Manifest } from "../support/manifests.ts";
import { useLab, type RunningClient } from "../support/mesh-lab.ts";
import { until } from "../support/until.ts";
import type { TracesOfMesh } from "./apps/traces-of-mesh.ts";

const lab = useLab(town(false));
const pods = ["town/walker", "town/hall"] as const;

test("a namespace is labelled and unlabelled under a client that loops: new connections are captured and set free, open ones go on, none fails", async (t) => {
  const url = `http://${await lab().vipOf("town/hall")}/`;
  const echo = endpointText(await lab().addressOf("town/hall"), 9000);
  const loop = await lab().start("town/walker", "loop", url);
  await lastRequests(loop, "requests before the label", 20, wentDirectly);
  const before = await lab().start("town/walker", "hold", echo);
  await speaks(before, "before the label");
  for (const name of pods) assert.deepEqual(await traces(name), nothing, `in ${name} before`);

  const labelled = Date.now();
  await lab().apply("mesh.yaml", ...town(true));
  await lastRequests(loop, "captured requests", 20, (asked) => !wentDirectly(asked));
  const firstCaptured = requestsOf(loop).find((asked) => !wentDirectly(asked));
  t.diagnostic(`first captured ${Number(firstCaptured?.at) - labelled} ms after the label was set`);
  await until("tunnels at both ends", 30_000, () => isTunnelled(loop));
  for (const name of pods) {
    const found = await traces(name);
    assert.ok(found.chains.length > 0 && found.rules.length > 0 && found.routes.length > 0, `in ${name}, captured`);
    assert.deepEqual([...new Set(found.listeners)].sort(), [15001, 15006, 15008, 15053]);
  }
  await speaks(before, "while captured");
  const during = await lab().start("town/walker", "hold", echo);
  await speaks(during, "opened while captured");
  const duringPort = await localPort(during);

  const unlabelled = Date.now();
  await lab().apply("mesh.yaml", ...town(false));
  await lastRequests(loop, "requests set free", 20, wentDirectly);
  const lastCaptured = requestsOf(loop).findLast((asked) => !wentDirectly(asked));
  t.diagnostic(`last captured ${Number(lastCaptured?.at) - unlabelled} ms after the label was taken away`);
  await speaks(before, "after the label");
  await speaks(during, "after the label, in its tunnel");

  loop.end();
  await loop.ended;
  const failed = requestsOf(loop).filter(({ status }) => status !== 200);
  t.diagnostic(`${loop.results.length} requests, ${failed.length} failed`);
  assert.deepEqual(failed, []);

  // Both are still open, at both ends, and end in order.
  const events = await lab().log("node2.pod.town.hall");
  assert.doesNotMatch(events, /"event":"close","port":9000/);
  assert.doesNotMatch(events, /"event":"error"/);
  for (const held of [before, during]) {
    held.end();
    await held.ended;
    assert.equal(held.results.at(-1)?.["event"], "closed");
  }
  for (const [node, direction] of [
    ["node1", "outbound"],
    ["node2", "inbound"],
  ] as const) {
    const line = await lab().accessLine(node, `the captured connection's, ${direction}`, (record) =>
      direction === "outbound"
        ? record["src.addr"].endsWith(`:${duringPort}`)
        : record.direction === "inbound" && String(record["dst.hbone_addr"]) === echo,
    );
    assert.equal(line.protocol, "hbone");
    assert.equal(line.reason, "OK");
  }
  assert.doesNotMatch(await lab().log("node2.pod.town.hall"), /"event":"error"/);

  const drained = performance.now();
  for (const name of pods)
    await until(`nothing of the mesh in ${name}`, 60_000, async () => isNothing(await traces(name)));
  t.diagnostic(
    `nothing left in the pods ${Math.round(performance.now() - drained)} ms after the last captured connection`,
  );
});

test("joining and leaving again and again fails no request and leaves nothing behind", async (t) => {
  const vips = [await lab().vipOf("town/hall", 4), await lab().vipOf("town/hall", 6)];
  const urls = [
    ...vips.map((vip) => `http://${endpointText(vip, 80)}/`),
    `http://${endpointText(await lab().addressOf("town/hall", 4), 8080)}/`,
    `http://${endpointText(await lab().addressOf("town/hall", 6), 8080)}/`,
  ];
  const loops = await Promise.all(urls.map((url) => lab().start("town/walker", "loop", url)));
  const all = (what: string, wanted: (asked: Asked) => boolean): Promise<unknown> =>
    Promise.all(loops.map((loop) => lastRequests(loop, what, 10, wanted)));
  await all("requests before the first label", wentDirectly);
  for (let round = 0; round < 3; round++) {
    await lab().apply("mesh.yaml", ...town(true));
    await all("captured requests", (asked) => !wentDirectly(asked));
    await lab().apply("mesh.yaml", ...town(false));
    await all("requests set free", wentDirectly);
  }
  for (const loop of loops) loop.end();
  await Promise.all(loops.map((loop) => loop.ended));
  const requests = loops.flatMap(requestsOf);
  const failed = requests.filter(({ status }) => status !== 200);
  t.diagnostic(`${requests.length} requests in 3 rounds, ${failed.length} failed`);
  assert.deepEqual(failed, []);
  for (const name of pods)
    await until(`nothing of the mesh in ${name}`, 60_000, async () => isNothing(await traces(name)));
});

test("a namespace that is labelled again while its agents still linger on 15008 is captured again at once", async (t) => {
  const loop = await lab().start("town/walker", "loop", `http://${endpointText(await lab().vipOf("town/hall"), 80)}/`);
  await lab().apply("mesh.yaml", ...town(true));
  await lastRequests(loop, "captured requests", 5, (asked) => !wentDirectly(asked));
  loop.end();
  await loop.ended;
  await lab().apply("mesh.yaml", ...town(false));
  await until("15008 and DNS alone", 20_000, async () => {
    const { listeners } = await traces("town/walker");
    return listeners.length > 0 && listeners.every((port) => port === 15_008 || port === 15_053);
  });
  const labelled = performance.now();
  await lab().apply("mesh.yaml", ...town(true));
  await until("the ports of captures again", 20_000, async () => {
    const { listeners, chains } = await traces("town/walker");
    return chains.length > 0 && listeners.includes(15_001) && listeners.includes(15_008);
  });
  t.diagnostic(`served again within ${Math.round(performance.now() - labelled)} ms`);
  for (const node of ["node1", "node2"])
    assert.doesNotMatch(await lab().log(`${node}.agent`), /closed by the node daemon/, "an offer went unanswered");
});

function town(ambient: boolean): Manifest[] {
  return [
    namespace("town", { ambient }),
    idlePod("town/walker", { node: "node1" }),
    pod("town/hall", { node: "node2" }),
    service("town/hall"),
  ];
}

/** Waits until the last `count` requests, all of them begun from now on, are all as wanted. */
async function lastRequests(
  loop: RunningClient,
  what: string,
  count: number,
  wanted: (asked: Asked) => boolean,
): Promise<void> {
  const start = loop.results.length;
  await until(what, 30_000, () => {
    const last = requestsOf(loop).slice(start).slice(-count);
    return last.length === count && last.every((asked) => asked.status === 200 && wanted(asked));
  });
}

/** The last requests that both agents have told of went through tunnels. */
async function isTunnelled(loop: RunningClient): Promise<boolean> {
  const lines = [...(await lab().accessLog("node1")), ...(await lab().accessLog("node2"))];
  const told = requestsOf(loop).flatMap((asked) => {
    const outbound = lines.find((record) => isOutboundOf(record, asked));
    const inbound = lines.find((record) => isInboundOf(record, asked));
    return outbound === undefined || inbound === undefined ? [] : [[outbound.protocol, inbound.protocol]];
  });
  return told.length > 0 && told.slice(-5).every(([out, into]) => out === "hbone" && into === "hbone");
}

async function speaks(held: RunningClient, text: string): Promise<void> {
  held.send(text);
  await held.result(`the echo of "${text}"`, (result) => result["text"] === text);
}

async function localPort(held: RunningClient): Promise<number> {
  return Number((await held.result("its port", ({ event }) => event === "connected"))["local"]);
}

function requestsOf(loop: RunningClient): Asked[] {
  return loop.results as unknown as Asked[];
}

async function traces(name: string): Promise<TracesOfMesh> {
  const script = join(checkoutRoot, "test/e2e/apps/traces-of-mesh.ts");
  const { code, stdout, stderr } = await lab().run(name, [process.execPath, script]);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout) as TracesOfMesh;
}

function isNothing(found: TracesOfMesh): boolean {
  return Object.values(found).every((list: readonly unknown[]) => list.length === 0);
}

const nothing: TracesOfMesh = { chains: [], rules: [], routes: [], listeners: [] };
