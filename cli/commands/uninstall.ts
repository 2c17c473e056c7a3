/** `ambientctl uninstall`: every pod out of the mesh, live, then everything of ours away; says what is left, if anything is. */
import { Command } from "commander";
import { collectionPath } from "../../control/sources/kubernetes/paths.ts";
import { KubeError } from "../../control/sources/kubernetes/errors.ts";
import { isCaptured } from "../analyze/pod-capture.ts";
import { hasEnded, nameOf, type ApiPod } from "../clients/api-objects.ts";
import { tryListAll, type Cluster } from "../clients/cluster.ts";
import { defaultNamespace, findComponents } from "../clients/components.ts";
import { findHelm, helmCluster, knowsRelease, runHelm } from "../clients/helm.ts";
import { exitCodes } from "../exit-codes.ts";
import { globalsOf } from "../global-options.ts";
import { Failure } from "../render/failure.ts";
import { say } from "../render/output.ts";
import { chooseCluster } from "../target.ts";
import { addHelmOptions } from "./install.ts";

interface Options {
  readonly helm?: string;
  readonly release: string;
  readonly wait: boolean;
  readonly timeout?: string;
  readonly dryRun: boolean;
}

export function uninstallCommand(): Command {
  const command = new Command("uninstall").description(
    "take every pod out of the mesh as it runs, then ambientd out of the cluster",
  );
  return addHelmOptions(command)
    .option("--no-wait", "don't wait until everything is gone")
    .option("--timeout <time>", "how long Helm waits: 5m")
    .option("--dry-run", "say what would happen, change nothing", false)
    .argument("[helm flags...]", "more for Helm, after --")
    .action(async (more: string[], options: Options) => {
      const flags = globalsOf(command);
      const cluster = await chooseCluster(command, "A lab ends with its npm start.");
      const toCluster = helmCluster(flags);
      const helm = await findHelm(options.helm, process.env["PATH"]);
      if (helm instanceof Failure) throw helm;
      const namespace = flags.namespace ?? (await whereItIs(cluster));
      if (!(await knowsRelease(helm, options.release, ["--namespace", namespace, ...toCluster]))) {
        throw new Failure(
          `Helm knows no release ${options.release} in namespace ${namespace}.`,
          "helm list --all-namespaces shows where it is: -n NAMESPACE, --release NAME.",
        );
      }
      const before = await capturedPods(cluster);
      if (before !== undefined) say(`Pods in the mesh, which will talk in plaintext: ${before.length}.`);
      const code = await runHelm(helm, [...helmUninstall(options, namespace), ...toCluster, ...more], false);
      if (code !== 0) {
        throw new Failure(
          `Helm ended with ${code}, and ambientd may still be installed.`,
          `If its release job failed, this says why: kubectl -n ${namespace} logs job/ambientd-release`,
          exitCodes.failed,
        );
      }
      if (options.dryRun) return say("That was a dry run: nothing was changed.");
      await sayWhatIsLeft(cluster);
    });
}

function helmUninstall({ release, wait, timeout, dryRun }: Options, namespace: string): string[] {
  return [
    "uninstall",
    release,
    "--namespace",
    namespace,
    ...(wait ? ["--wait"] : []),
    ...(timeout === undefined ? [] : ["--timeout", timeout]),
    ...(dryRun ? ["--dry-run"] : []),
  ];
}

/** The namespace it was found in; the usual one where it isn't. @throws Failure where there are several. */
async function whereItIs(cluster: Cluster): Promise<string> {
  const namespaces = [...new Set((await findComponents(cluster)).map(({ namespace }) => namespace))];
  if (namespaces.length > 1) {
    throw new Failure(`ambientd runs in ${namespaces.join(" and ")}.`, "Say which one goes: -n NAMESPACE.");
  }
  return namespaces[0] ?? defaultNamespace;
}

async function sayWhatIsLeft(cluster: Cluster): Promise<void> {
  const left = await capturedPods(cluster);
  if (left === undefined) return say("You may not list pods, so whether any is left in the mesh is unknown.");
  if (left.length === 0) return say("No pod is left in the mesh.");
  process.exitCode = exitCodes.failed;
  say(
    `${left.length} pods still say that they are captured: ${left.slice(0, 10).map(nameOf).join(", ")}${left.length > 10 ? ", …" : ""}.`,
  );
  say("  Their node's daemon didn't release them. Restart those pods: a new one holds no rule of ours.");
}

/** undefined: may not be listed. */
async function capturedPods(cluster: Cluster): Promise<ApiPod[] | undefined> {
  const pods = await tryListAll<ApiPod>(cluster, collectionPath("Pod"));
  return pods instanceof KubeError ? undefined : pods.filter((pod) => isCaptured(pod) && !hasEnded(pod));
}
