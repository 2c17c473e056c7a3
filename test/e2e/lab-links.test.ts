/** Links made worse by the user-space wire: what is asked for is what the connections of pods feel. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { LabHandle } from "../../lab/start.ts";
import type { LabStatus } from "../../lab/status.ts";
import type { WireCounts } from "../../lab/wire.ts";
import { labWith, runScript } from "../support/plain-lab.ts";

/** Answers a connection with as many bytes as its first line asks for, each the low byte of its place. */
const source = `require("net").createServer((s) => s.once("data", (d) => {
  const bytes = Buffer.alloc(Number(d)); for (let i = 0; i < bytes.length; i++) bytes[i] = i % 251; s.end(bytes); })
  .on("error", () => {})).listen(9000)`;

let lab: LabHandle;
let target = "";
before(async () => {
  lab = await labWith(
    `${pod("client", "node1", "setInterval(() => {}, 1000)")}\n---\n${pod("source", "node2", source, 9000)}`,
    {
      components: [],
    },
  );
  const { pods } = await lab.request<LabStatus>("GET", "/status");
  target = pods.find((one) => one.pod === "default/source")!.addresses[0]!;
});
after(() => lab.close());

test("a link's delay is felt once each way", async (t) => {
  const { connectMs: before } = await fetch(1);
  await impair({ delayMs: 40 });
  await fetch(1); // the neighbours look for each other anew
  const { connectMs } = await fetch(1);
  t.diagnostic(`connecting took ${before.toFixed(1)} ms before, ${connectMs.toFixed(1)} ms with 40 ms each way`);
  assert.ok(connectMs >= 80 && connectMs < 80 + 5 * 20, `${connectMs} ms`);
});

test("a link's rate bounds what goes over it", async (t) => {
  await impair({ delayMs: 0, rateMbit: 20 });
  const { bytes, tookMs } = await fetch(2_000_000);
  const mbit = (bytes * 8) / tookMs / 1000;
  t.diagnostic(`${mbit.toFixed(1)} Mbit/s of 20`);
  assert.ok(mbit <= 20.5, `${mbit}`);
  assert.ok(mbit >= 20 / 5, `${mbit}`);
});

test("lost, reordered and duplicated frames cost time, but no byte", async () => {
  const before = await counts();
  await impair({ rateMbit: 0, lossPercent: 2, reorderPercent: 5, duplicatePercent: 5 });
  const { bytes, isIntact } = await fetch(2_000_000);
  assert.deepEqual({ bytes, isIntact }, { bytes: 2_000_000, isIntact: true });
  const { lost, duplicated } = await counts();
  assert.ok(lost > before.lost && duplicated > before.duplicated, JSON.stringify({ lost, duplicated }));
});

test("what is no impairment is refused in a sentence, and changes nothing", async () => {
  await assert.rejects(impair({ delayMs: -1 }), /delayMs must be a number from 0 to 10000/);
  await assert.rejects(impair({ jitter: 1 }), /jitter is none of rateMbit, delayMs/);
  await assert.rejects(lab.request("POST", "/links/node9", {}), /there is no node node9/);
});

interface Fetched {
  readonly connectMs: number;
  readonly tookMs: number;
  readonly bytes: number;
  readonly isIntact: boolean;
}

/** Asks the source for so many bytes, over a connection of its own. */
async function fetch(length: number): Promise<Fetched> {
  const script = `const start = performance.now(); let connectMs, bytes = 0, isIntact = true;
    const s = require("net").connect(9000, "${target}", () => { connectMs = performance.now() - start; s.write("${length}"); });
    s.on("data", (d) => { for (const b of d) isIntact &&= b === bytes++ % 251; });
    s.on("end", () => console.log(JSON.stringify({ connectMs, tookMs: performance.now() - start - connectMs, bytes, isIntact })));
    s.on("error", (e) => { console.error(e.code); process.exit(1); });`;
  return JSON.parse(await runScript(lab, "default/client", script)) as Fetched;
}

function impair(impairments: Readonly<Record<string, number>>): Promise<unknown> {
  return lab.request("POST", "/links/node1", impairments);
}

function counts(): Promise<WireCounts> {
  return lab.request<WireCounts>("GET", "/links/node1");
}

function pod(name: string, nodeName: string, script: string, port?: number): string {
  const ports = port === undefined ? [] : [{ containerPort: port }];
  const containers = [{ name: "main", command: ["node", "-e", script], ports }];
  return JSON.stringify({ apiVersion: "v1", kind: "Pod", metadata: { name }, spec: { nodeName, containers } });
}
