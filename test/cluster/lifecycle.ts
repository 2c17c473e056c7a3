/** A cluster's beginning and end. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "../support/until.ts";
import { mustRun } from "./command.ts";
import { startControlPlane } from "./control-plane.ts";
import { removeCgroup } from "./host/cgroups.ts";
import { createHub, removeNetwork } from "./host/network.ts";
import { killAll, running } from "./host/processes.ts";
import { writeBuiltinImages } from "./images/builtin.ts";
import { kubeconfig, nodeLayouts, stateFolder, type NodeLayout } from "./layout.ts";
import { writeKubeconfig } from "./kubeconfig.ts";
import { loadImage, prepareNode, startNode } from "./node.ts";
import { environmentOf, type Parts } from "./parts/parts.ts";
import { administrator, createAuthority } from "./pki.ts";
import type { Say } from "./say.ts";

/** Written last: a state folder without it belongs to a start that goes on, or that was interrupted. */
const upFile = join(stateFolder, "up");
const starterFile = join(stateFolder, "starter");

/** What is on the machine: nothing, a cluster that runs, one that another process is starting, or the rest of one. */
export function stateOfCluster(): "absent" | "up" | "starting" | "broken" {
  if (!existsSync(stateFolder)) return running().length === 0 ? "absent" : "broken";
  if (existsSync(upFile)) return nodeLayouts.every(({ name }) => running(name).length > 0) ? "up" : "broken";
  return starterLives() ? "starting" : "broken";
}

/** From nothing to two nodes Ready and DNS answering. */
export async function bringUp(parts: Parts, say: Say): Promise<void> {
  const env = environmentOf(parts);
  mkdirSync(stateFolder, { mode: 0o700 });
  writeFileSync(starterFile, String(process.pid));
  say("Starting the control plane and two nodes…");
  await Promise.all([createAuthority(), createHub(env)]);
  const archives = writeBuiltinImages(parts);
  const nodesUp = Promise.all(nodeLayouts.map((node) => bringNodeUp(node, parts, archives, env)));
  await Promise.all([startControlPlane(env), writeKubeconfig(kubeconfig, administrator), nodesUp]);
  say("The API server answers and containerd runs; waiting for nodes and DNS…");
  await mustRun(["kubectl", "--kubeconfig", kubeconfig, "apply", "-f", join(import.meta.dirname, "coredns.yaml")], {
    env,
  });
  await nodesReady(env);
  await dnsReady(env);
  writeFileSync(upFile, new Date().toISOString());
}

/** Everything goes, whatever state it is in: processes, links, bridge, cgroups, files. The parts stay in the cache. */
export async function bringDown(): Promise<void> {
  await killAll();
  await removeNetwork();
  for (const { cgroup } of nodeLayouts) await removeCgroup(cgroup);
  // A namespace that dies holds its mounts for a moment longer.
  await until(`${stateFolder} is gone`, 20_000, () => {
    rmSync(stateFolder, { recursive: true, force: true });
    return true;
  });
}

/** Waits while another process starts it; undefined when that one gave up. */
export async function startedByAnother(): Promise<boolean> {
  return until("the other starter is ready or gone", 300_000, () => stateOfCluster() !== "starting");
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

export async function nodesReady(
  env: NodeJS.ProcessEnv,
  names: readonly string[] = nodeLayouts.map(({ name }) => name),
): Promise<void> {
  await until(`${names.join(" and ")} registered`, 60_000, async () => kubectl(env, ["get", "node", ...names]));
  await kubectl(env, ["wait", "--for=condition=Ready", "--timeout=120s", "node", ...names]);
}

async function dnsReady(env: NodeJS.ProcessEnv): Promise<void> {
  await kubectl(env, ["-n", "kube-system", "rollout", "status", "--timeout=120s", "deployment/coredns"]);
}

function kubectl(env: NodeJS.ProcessEnv, argv: readonly string[]): Promise<string> {
  return mustRun(["kubectl", "--kubeconfig", kubeconfig, ...argv], { env });
}

function starterLives(): boolean {
  try {
    return existsSync(`/proc/${readFileSync(starterFile, "utf8")}`);
  } catch {
    return false;
  }
}
