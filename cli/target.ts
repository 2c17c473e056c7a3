/** Which mesh a command means: a lab on this machine, or a cluster. Never guessed in silence. */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import { listLabs } from "../lab/attach.ts";
import { openCluster, type Cluster } from "./clients/cluster.ts";
import { chooseLab, type ChosenLab } from "./clients/lab.ts";
import { globalsOf, type GlobalOptions } from "./global-options.ts";
import { Failure } from "./render/failure.ts";
import { say } from "./render/output.ts";

export type Target =
  { readonly kind: "lab"; readonly lab: ChosenLab } | { readonly kind: "cluster"; readonly cluster: Cluster };

/** What can be known before anybody is asked. */
export interface Surroundings {
  readonly flags: GlobalOptions;
  /** Names of the labs that run. */
  readonly labs: readonly string[];
  /** Where a cluster's address would come from; undefined where nothing names one. */
  readonly kubeconfig: "$KUBECONFIG" | "~/.kube/config" | "this pod's service account" | undefined;
}

export type Choice =
  | { readonly kind: "lab"; readonly note?: string }
  | { readonly kind: "cluster" }
  | { readonly kind: "neither"; readonly what: string; readonly nextStep: string };

/** A flag decides; without one a lab that runs, else a cluster. Pure. */
export function choose({ flags, labs, kubeconfig }: Surroundings): Choice {
  const ofCluster = clusterFlags.filter((flag) => flags[flag] !== undefined).map((flag) => `--${flag}`);
  const [named] = ofCluster;
  if (flags.lab !== undefined && named !== undefined) {
    return {
      kind: "neither",
      what: `--lab ${flags.lab} and ${named} mean two different meshes.`,
      nextStep: `Leave out ${named} to ask the lab, or --lab to ask the cluster.`,
    };
  }
  if (flags.lab !== undefined) return { kind: "lab" };
  if (named !== undefined) return { kind: "cluster" };
  const [lab] = labs;
  if (lab !== undefined) {
    if (kubeconfig === undefined) return { kind: "lab" };
    const which = labs.length > 1 ? "A lab runs" : `Lab ${lab} runs`;
    return {
      kind: "lab",
      note: `${which} here and is asked; --context or --kubeconfig asks a cluster (${kubeconfig} names one).`,
    };
  }
  if (kubeconfig !== undefined) return { kind: "cluster" };
  return {
    kind: "neither",
    what: "There is no mesh to ask: no lab of yours runs on this machine, and nothing names a cluster.",
    nextStep: "Start a lab in another terminal (npm start), or name a cluster: --kubeconfig FILE, or KUBECONFIG=FILE.",
  };
}

/** @throws Failure where there is nothing to ask, or where two are meant. */
export async function chooseTarget(command: Command): Promise<Target> {
  const flags = globalsOf(command);
  const choice = choose({
    flags,
    labs: listLabs().map(({ name }) => name),
    kubeconfig: kubeconfigInForce(process.env),
  });
  if (choice.kind === "neither") throw new Failure(choice.what, choice.nextStep);
  if (choice.kind === "cluster") return { kind: "cluster", cluster: await openCluster(flags) };
  if (choice.note !== undefined) say(choice.note);
  return { kind: "lab", lab: chooseLab(command) };
}

/** For commands that only a cluster knows. @param instead what does the same for a lab. */
export async function chooseCluster(command: Command, instead: string): Promise<Cluster> {
  const flags = globalsOf(command);
  if (flags.lab !== undefined) {
    throw new Failure(`${pathOf(command)} is for clusters, and --lab ${flags.lab} names a lab.`, instead);
  }
  const named = clusterFlags.some((flag) => flags[flag] !== undefined);
  if (!named && kubeconfigInForce(process.env) === undefined) {
    throw new Failure(
      `${pathOf(command)} is for clusters, and nothing names one.`,
      "Name a cluster: --kubeconfig FILE, or KUBECONFIG=FILE. " + instead,
    );
  }
  return openCluster(flags);
}

/** As kubectl looks: KUBECONFIG, a list of files, before the one at home, before a pod's own service account. */
export function kubeconfigInForce(environment: NodeJS.ProcessEnv): Surroundings["kubeconfig"] {
  if ((environment["KUBECONFIG"] ?? "") !== "") return "$KUBECONFIG";
  if (existsSync(join(environment["HOME"] ?? homedir(), ".kube/config"))) return "~/.kube/config";
  return environment["KUBERNETES_SERVICE_HOST"] === undefined ? undefined : "this pod's service account";
}

function pathOf(command: Command): string {
  const names: string[] = [];
  for (let at: Command | null = command; at !== null; at = at.parent) names.unshift(at.name());
  return names.join(" ");
}

const clusterFlags = ["kubeconfig", "context", "cluster", "user"] as const;
