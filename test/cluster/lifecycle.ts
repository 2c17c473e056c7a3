/** A cluster's beginning and end. */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { processStat } from "../../core/linux/procfs.ts";
import { messageOf } from "../../core/base/errors.ts";
import { until } from "../support/until.ts";
import { mustRun } from "./command.ts";
import { prepareControlPlane, startControlPlane } from "./control-plane.ts";
import { removeCgroup } from "./host/cgroups.ts";
import { createHub, removeNetwork } from "./host/network.ts";
import { killAll, running } from "./host/processes.ts";
import { writeBuiltinImages } from "./images/builtin.ts";
import { bridge, kubeconfig, logFolder, nodeLayouts, stateFolder, type NodeLayout } from "./layout.ts";
import { writeKubeconfig } from "./kubeconfig.ts";
import { initOf, loadImage, prepareNode, startNode, stopNode } from "./node.ts";
import { environmentOf, type Parts } from "./parts/parts.ts";
import { administrator, createAuthority } from "./pki.ts";
import type { Say } from "./say.ts";
import { traces } from "./traces.ts";

/** Written last, with what the cluster was made of: without it a start goes on, or was interrupted. */
const upFile = join(stateFolder, "up");
const starterFile = "starter";

/** What is on the machine: nothing, a cluster, one that another process is starting, or the rest of one. */
export function stateOfCluster(): "absent" | "up" | "starting" | "broken" {
  if (!existsSync(stateFolder)) return running().length === 0 ? "absent" : "broken";
  if (!existsSync(upFile)) return starterLives() ? "starting" : "broken";
  // The machine was started anew: of the cluster only files are left.
  return existsSync(`/sys/class/net/${bridge}`) ? "up" : "broken";
}

/** Whether this process is in the middle of a start. */
export function startsHere(): boolean {
  return stateOfCluster() === "starting" && starter()?.pid === process.pid;
}

/** Whether the cluster that is up was made of these parts. */
export function isMadeOf(parts: Parts): boolean {
  return readFileSync(upFile, "utf8") === JSON.stringify(parts);
}

/**
 * From nothing to two nodes Ready and DNS answering.
 * @returns false when another process began in the same moment.
 */
export async function bringUp(parts: Parts, say: Say): Promise<boolean> {
  const env = environmentOf(parts);
  if (!claim()) return false;
  say("Starting the control plane and two nodes…");
  try {
    await Promise.all([createAuthority(), createHub(env)]);
    const archives = writeBuiltinImages(parts);
    await Promise.all([
      prepareControlPlane().then(() => startControlPlane(env)),
      writeKubeconfig(kubeconfig, administrator),
      ...nodeLayouts.map((node) => bringNodeUp(node, parts, archives, env)),
    ]);
    say("The API server answers and containerd runs; waiting for nodes and DNS…");
    await kubectl(env, ["apply", "-f", join(import.meta.dirname, "coredns.yaml")]);
    await nodesReady(env);
    await dnsReady(env);
  } catch (thrown) {
    throw new Error(`${messageOf(thrown)}${whatEnded()}`, { cause: thrown });
  }
  writeFileSync(upFile, JSON.stringify(parts));
  return true;
}

/** Starts again what of a cluster does not run: a test may have ended in the middle of an outage that it made. */
export async function mend(parts: Parts, say: Say): Promise<void> {
  const env = environmentOf(parts);
  const off = nodeLayouts.filter((node) => initOf(node) === undefined);
  if (off.length > 0) say(`Starting ${off.map(({ name }) => name).join(" and ")} again…`);
  await Promise.all([startControlPlane(env), ...off.map((node) => stopNode(node).then(() => startNode(node, env)))]);
  await nodesReady(env);
}

/** Everything goes, whatever state it is in: processes, links, bridge, cgroups, files. The parts stay in the cache. */
export async function bringDown(): Promise<void> {
  await killAll();
  await removeNetwork();
  for (const { cgroup } of nodeLayouts) await removeCgroup(cgroup);
  const own = basename(stateFolder);
  for (const name of readdirSync(dirname(stateFolder)))
    if (name === own || name.startsWith(`${own}.`))
      rmSync(join(dirname(stateFolder), name), { recursive: true, force: true });
  await until("nothing of the cluster is left", 20_000, () => {
    const left = traces();
    if (left.length > 0) throw new Error(left.join(", "));
    return true;
  });
}

/** Waits while another process starts it, or gives up. */
export async function startedByAnother(): Promise<void> {
  await until("another process has started the cluster or ended", 300_000, () => stateOfCluster() !== "starting");
}

async function bringNodeUp(
  node: NodeLayout,
  parts: Parts,
  archives: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<void> {
  await prepareNode(node, parts);
  await startNode(node, env);
  for (const archive of archives) await loadImage(node, archive, env);
}

/**
 * Resolves when the nodes are Ready.
 * @param sinceMs (Unix ms) and their kubelets said so after that: what one said before its end counts for nothing.
 */
export async function nodesReady(
  env: NodeJS.ProcessEnv,
  names: readonly string[] = nodeLayouts.map(({ name }) => name),
  sinceMs = 0,
): Promise<void> {
  await until(`${names.join(" and ")} Ready`, 120_000, async () => {
    const { items } = JSON.parse(await kubectl(env, ["get", "nodes", "-o", "json"])) as { items: NodeFacts[] };
    const ready = items.filter(({ status }) =>
      status.conditions.some(
        (condition) =>
          condition.type === "Ready" &&
          condition.status === "True" &&
          Date.parse(condition.lastHeartbeatTime) > sinceMs,
      ),
    );
    return names.every((name) => ready.some(({ metadata }) => metadata.name === name));
  });
}

interface NodeFacts {
  readonly metadata: { readonly name: string };
  readonly status: { readonly conditions: readonly { type: string; status: string; lastHeartbeatTime: string }[] };
}

async function dnsReady(env: NodeJS.ProcessEnv): Promise<void> {
  await kubectl(env, ["-n", "kube-system", "rollout", "status", "--timeout=120s", "deployment/coredns"]);
}

function kubectl(env: NodeJS.ProcessEnv, argv: readonly string[]): Promise<string> {
  return mustRun(["kubectl", "--kubeconfig", kubeconfig, ...argv], { env });
}

/** Of several that begin at once, one gets the folder, with its own name already in it. */
function claim(): boolean {
  const own = `${stateFolder}.${process.pid}`;
  mkdirSync(own, { mode: 0o700 });
  writeFileSync(join(own, starterFile), JSON.stringify(processOf(process.pid)));
  try {
    renameSync(own, stateFolder);
    return true;
  } catch {
    rmSync(own, { recursive: true });
    return false;
  }
}

function starterLives(): boolean {
  const found = starter();
  return found !== undefined && processOf(found.pid).startTime === found.startTime;
}

function starter(): Starter | undefined {
  try {
    return JSON.parse(readFileSync(join(stateFolder, starterFile), "utf8")) as Starter;
  } catch {
    return undefined;
  }
}

/** Both together name a process: its id alone may be a later one's. */
interface Starter {
  readonly pid: number;
  readonly startTime: string;
}

function processOf(pid: number): Starter {
  return { pid, startTime: String(processStat(pid)?.startTime) };
}

/** What nodes wrote of parts that ended: the likely cause when something is waited for in vain. */
function whatEnded(): string {
  const lines = nodeLayouts.flatMap(({ name }) => {
    const log = join(logFolder, `${name}.log`);
    return existsSync(log)
      ? readFileSync(log, "utf8")
          .split("\n")
          .filter(Boolean)
          .map((line) => `${name}: ${line}`)
      : [];
  });
  return lines.length === 0 ? "" : `\n${lines.slice(-10).join("\n")}`;
}
