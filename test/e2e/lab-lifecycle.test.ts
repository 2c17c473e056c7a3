/** The lab's life and its end: whatever link of the chain is killed, the machine is as it was before. */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { findLab } from "../../lab/attach.ts";
import { checkoutRoot } from "../../lab/programs.ts";
import {
  commandOf,
  descendants,
  hostTraces,
  inhabitants,
  isAlive,
  namespacesBelow,
  parentOf,
  youngestNow,
} from "../support/host-traces.ts";
import { until } from "../support/until.ts";

/** Puts the lab's end under the user's own eyes: pods that hold on as long as they can. */
const manifests = `
apiVersion: v1
kind: Pod
metadata: { name: stubborn, namespace: default }
spec:
  nodeName: node1
  containers: [{ name: a, command: [node, -e, 'process.on("SIGTERM", () => {}); process.on("SIGHUP", () => {}); require("net").createServer().listen(80)'] }]
---
apiVersion: v1
kind: Pod
metadata: { name: forking, namespace: default }
spec:
  nodeName: node2
  containers: [{ name: a, command: [node, -e, 'require("child_process").spawn("sleep", ["100000"], { detached: true }); setInterval(() => {}, 1000)'] }]
`;

let folder = "";
before(() => {
  folder = mkdtempSync(join(tmpdir(), "lab-lifecycle-"));
  writeFileSync(join(folder, "pods.yaml"), manifests);
});
after(() => rmSync(folder, { recursive: true }));

/** Links of the chain, from the top, and how each is found from the lab's PID 1. */
const links = {
  npm: (init: number) => parentOf(parentOf(parentOf(init))),
  "node (lab/main.ts)": (init: number) => parentOf(parentOf(init)),
  unshare: (init: number) => parentOf(init),
  "the lab's PID 1": (init: number) => init,
} as const;

for (const [link, find] of Object.entries(links))
  test(`kill -9 of ${link} ends them all and leaves nothing on the machine`, async (t) => {
    const traces = hostTraces();
    const { npm, init } = await npmStart(`kill-${Object.keys(links).indexOf(link)}`);
    const everyone = descendants(npm.pid!);
    const [namespaces, youngest] = [namespacesBelow(init), youngestNow()];
    assert.ok(namespaces.size >= 8, `the lab has namespaces of its own: ${[...namespaces].join(" ")}`);
    const victim = find(init);
    assert.match(
      commandOf(victim),
      { npm: /^npm/, "node (lab/main.ts)": /main\.ts/, unshare: /^unshare/ }[link] ?? /init\.ts/,
    );
    const killedMs = performance.now();
    process.kill(victim, "SIGKILL");
    await until("the end of every process", 10_000, () => everyone.every((pid) => !isAlive(pid)));
    t.diagnostic(`every process ended within ${(performance.now() - killedMs).toFixed(0)} ms`);
    await untilEmpty(namespaces, youngest);
    assert.deepEqual(hostTraces(), traces);
  });

test("kill -9 of npm ends a whole mesh too, and leaves nothing of it", async (t) => {
  const traces = hostTraces();
  const { npm, init } = await npmStart("kill-mesh", []);
  const everyone = descendants(npm.pid!);
  const [namespaces, youngest] = [namespacesBelow(init), youngestNow()];
  const killedMs = performance.now();
  process.kill(npm.pid!, "SIGKILL");
  await until("the end of every process", 10_000, () => everyone.every((pid) => !isAlive(pid)));
  t.diagnostic(`${everyone.length} processes ended within ${(performance.now() - killedMs).toFixed(0)} ms`);
  await untilEmpty(namespaces, youngest);
  assert.deepEqual(hostTraces(), traces);
});

for (const signal of ["SIGINT", "SIGTERM"] as const)
  test(`${signal} to npm start ends the lab in order, and it says that it succeeded`, async () => {
    const traces = hostTraces();
    const { npm, init, output } = await npmStart(`orderly-${signal}`);
    const [namespaces, youngest] = [namespacesBelow(init), youngestNow()];
    const ended = new Promise((resolve) => npm.once("exit", (code) => resolve(code)));
    process.kill(links["node (lab/main.ts)"](init), signal);
    assert.equal(await ended, 0, output());
    await untilEmpty(namespaces, youngest);
    assert.deepEqual(hostTraces(), traces);
  });

test("PID 1 buries the orphans of the lab", async () => {
  const { npm, init } = await npmStart("orphans");
  const { connectLab, execInPod } = await import("../../lab/attach.ts");
  const script = `const { spawn } = require("child_process");
    spawn("setsid", ["sh", "-c", "sleep 0.1"], { detached: true, stdio: "ignore" }).unref(); process.exit(0)`;
  for (let i = 0; i < 5; i++) await exitOf(await execInPod(init, "default/stubborn", [process.execPath, "-e", script]));
  await until("no zombie in the lab", 10_000, () => descendants(init).every((pid) => isAlive(pid)));
  assert.ok((await connectLab(init).request<{ ready: boolean }>("GET", "/status")).ready);
  process.kill(npm.pid!, "SIGKILL");
  await until("the end", 10_000, () => !isAlive(init));
});

/** Waits until nobody is left in them; says who where somebody stays. */
async function untilEmpty(namespaces: ReadonlySet<string>, youngest: bigint): Promise<void> {
  await until("the end of every namespace", 10_000, () => {
    const left = inhabitants(namespaces, youngest);
    if (left.length > 0) throw new Error(JSON.stringify(left));
    return true;
  });
}

/** `npm start` as a person types it, unless told otherwise of a lab without a mesh. Resolves when its pods run. */
async function npmStart(
  name: string,
  mesh: readonly string[] = ["--components=", "--manifests", folder],
): Promise<{ npm: ChildProcess; init: number; output: () => string }> {
  const flags = ["--name", name, ...mesh];
  const npm = spawn("npm", ["start", "--", ...flags], {
    cwd: checkoutRoot,
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let output = "";
  for (const stream of [npm.stdout, npm.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  await until("the lab", 30_000, () => {
    if (npm.exitCode !== null) throw new Error(output);
    return output.includes("everything runs");
  });
  const init = findLab(name)?.pid ?? assert.fail(output);
  return { npm, init, output: () => output };
}

function exitOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.once("exit", resolve));
}
