/** A cluster's beginning and end. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../core/base/errors.ts";
import { until } from "../support/until.ts";
import { mustRun } from "./command.ts";
import { prepareControlPlane, startControlPlane } from "./control-plane.ts";
import { removeCgroup } from "./host/cgroups.ts";
import { createHub, removeNetwork } from "./host/network.ts";
import { killAll } from "./host/processes.ts";
import { writeBuiltinImages } from "./images/builtin.ts";
import { kubeconfig, logFolder, nodeLayouts, type NodeLayout } from "./layout.ts";
import { writeKubeconfig } from "./kubeconfig.ts";
import { initOf, loadImage, prepareNode, startNode, stopNode } from "./node.ts";
import { nodesReady } from "./nodes-ready.ts";
import { environmentOf, type Parts } from "./parts/parts.ts";
import { administrator, createAuthority } from "./pki.ts";
import type { Say } from "./say.ts";
import { claim, declareUp, removeState, stateOfCluster } from "./state.ts";
import { traces } from "./traces.ts";

/**
 * From nothing to two nodes Ready and DNS answering.
 * @returns false when another process began in the same moment.
 */
export async function bringUp(parts: Parts, say: Say): Promise<boolean> {
  const env = environmentOf(parts);
  if (!(await claim())) return false;
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
    await nodesReady();
    await dnsReady(env);
  } catch (thrown) {
    throw new Error(`${messageOf(thrown)}${whatEnded()}`, { cause: thrown });
  }
  declareUp(parts);
  return true;
}

/** Starts again what of a cluster does not run: a test may have ended in the middle of an outage that it made. */
export async function mend(parts: Parts, say: Say): Promise<void> {
  const env = environmentOf(parts);
  const off = nodeLayouts.filter((node) => initOf(node) === undefined);
  if (off.length > 0) say(`Starting ${off.map(({ name }) => name).join(" and ")} again…`);
  await Promise.all([startControlPlane(env), ...off.map((node) => stopNode(node).then(() => startNode(node, env)))]);
  await nodesReady();
}

/** Everything goes, whatever state it is in: processes, links, bridge, cgroups, files. The parts stay in the cache. */
export async function bringDown(): Promise<void> {
  await killAll();
  await removeNetwork();
  for (const { cgroup } of nodeLayouts) await removeCgroup(cgroup);
  await removeState();
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

async function dnsReady(env: NodeJS.ProcessEnv): Promise<void> {
  await kubectl(env, ["-n", "kube-system", "rollout", "status", "--timeout=120s", "deployment/coredns"]);
}

function kubectl(env: NodeJS.ProcessEnv, argv: readonly string[]): Promise<string> {
  return mustRun(["kubectl", "--kubeconfig", kubeconfig, ...argv], { env });
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
