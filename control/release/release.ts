/**
 * What goes before an uninstall, while everything still runs: the daemons put their nodes back as they were, control ends,
 * and what control wrote is deleted. Each step may be repeated: whoever is interrupted starts again from the first.
 */
import type { Clock } from "../../core/base/clock.ts";
import type { Log } from "../../core/base/log.ts";
import { explainKubeError, isNotFound, KubeError, mayPass } from "../sources/kubernetes/errors.ts";
import { collectionPath, objectPath } from "../sources/kubernetes/paths.ts";
import type { ReleaseConfig } from "./config.ts";
import {
  cniName,
  controlName,
  redirectionAnnotation,
  releaseAnnotation,
  releasedAnnotation,
  selectorOf,
} from "./names.ts";
import { listAll, type ReleaseClient, type StoredObject, type StoredPod } from "./objects.ts";
import { prune } from "./prune.ts";

export interface ReleaseModules {
  readonly client: ReleaseClient;
  readonly clock: Clock;
  readonly log: Log;
}

/** A node that is not as it was, and what is known of it. */
export interface MissingNode {
  readonly node: string;
  readonly why: string;
}

export type ReleaseOutcome =
  | { readonly kind: "released"; readonly nodes: number; readonly deleted: readonly string[] }
  /** Nothing was deleted; what is released stays so. */
  | { readonly kind: "missing"; readonly nodes: readonly MissingNode[]; readonly afterMs: number }
  /** Nodes are released; control's pods were still there. */
  | { readonly kind: "control-stays"; readonly pods: readonly string[]; readonly afterMs: number }
  | { readonly kind: "refused"; readonly doing: string; readonly error: KubeError };

export async function release(
  config: Pick<ReleaseConfig, "namespace" | "timeoutMs" | "keepRoot" | "keepControl">,
  modules: ReleaseModules,
): Promise<ReleaseOutcome> {
  const run = new Run(config.namespace, config.timeoutMs, modules);
  const nodes = await run.freeNodes();
  if (typeof nodes !== "number") return nodes;
  if (config.keepControl) return { kind: "released", nodes, deleted: [] };
  const stays = await run.endControl();
  if (stays !== undefined) return stays;
  const deleted = await prune(config, modules.client);
  if (deleted instanceof KubeError) return { kind: "refused", doing: "deleting what control wrote", error: deleted };
  return { kind: "released", nodes, deleted };
}

/** For a person; a failure ends with what to do. */
export function explainOutcome(outcome: ReleaseOutcome, namespace: string): string {
  const undo = `To keep the mesh instead: kubectl -n ${namespace} annotate daemonset ${cniName} ${releaseAnnotation}-`;
  switch (outcome.kind) {
    case "released": {
      const deleted = outcome.deleted.length === 0 ? "" : `; deleted ${outcome.deleted.join(", ")}`;
      return `Every node is as it was before (${outcome.nodes})${deleted}.`;
    }
    case "missing": {
      const nodes = outcome.nodes.map(({ node, why }) => `${node} (${why})`).join(", ");
      return (
        `After ${Math.round(outcome.afterMs / 1_000)} s these nodes are not released: ${nodes}. Nothing was deleted. ` +
        `Bring them back, or remove them from the cluster, and uninstall again (--no-hooks leaves their pods as they are, ` +
        `cut off). ${undo}`
      );
    }
    case "control-stays":
      return (
        `Every node is released, but ${outcome.pods.join(", ")} did not end within ${Math.round(outcome.afterMs / 1_000)} s. ` +
        `Look at kubectl -n ${namespace} describe pod, and uninstall again. ${undo}`
      );
    case "refused":
      return `Stopped while ${outcome.doing}. ${explainKubeError(outcome.error)} Then uninstall again. ${undo}`;
  }
}

class Run {
  readonly #namespace: string;
  readonly #timeoutMs: number;
  readonly #modules: ReleaseModules;
  readonly #startedMs: number;

  constructor(namespace: string, timeoutMs: number, modules: ReleaseModules) {
    this.#namespace = namespace;
    this.#timeoutMs = timeoutMs;
    this.#modules = modules;
    this.#startedMs = modules.clock.nowMs();
  }

  /** How many nodes were freed. */
  async freeNodes(): Promise<number | ReleaseOutcome> {
    const { client, log } = this.#modules;
    const doing = `asking DaemonSet ${this.#namespace}/${cniName} to release its nodes`;
    const path = objectPath("DaemonSet", this.#namespace, cniName);
    const asked = await this.#insist(() =>
      client.patch<StoredObject>(path, { metadata: { annotations: { [releaseAnnotation]: "true" } } }, "merge"),
    );
    if (isNotFound(asked)) {
      log.info({ daemonset: cniName }, "there is no node daemon to release");
      return 0;
    }
    if (asked instanceof KubeError) return { kind: "refused", doing, error: asked };
    log.info({ daemonset: cniName }, "every node was asked to release its pods");
    let said = "";
    for (;;) {
      const daemons = await this.#insist(() => this.#daemons());
      if (daemons instanceof KubeError)
        return { kind: "refused", doing: "looking at the node daemons", error: daemons };
      const missing = await this.#missing(daemons);
      if (missing instanceof KubeError) return { kind: "refused", doing: "looking for captured pods", error: missing };
      if (missing.length === 0) return daemons.length;
      const waitsFor = missing.map(({ node }) => node).join(", ");
      if (waitsFor !== said) log.info({ nodes: missing }, "waiting for nodes");
      said = waitsFor;
      if (this.#passedMs() >= this.#timeoutMs) return { kind: "missing", nodes: missing, afterMs: this.#timeoutMs };
      await this.#pause();
    }
  }

  /** Undefined once none of its pods is left: until then it would write again what is deleted. */
  async endControl(): Promise<ReleaseOutcome | undefined> {
    const { client, clock, log } = this.#modules;
    const path = objectPath("Deployment", this.#namespace, controlName, "scale");
    const scaled = await this.#insist(() => client.patch<StoredObject>(path, { spec: { replicas: 0 } }, "merge"));
    if (isNotFound(scaled)) return undefined;
    if (scaled instanceof KubeError) return { kind: "refused", doing: `scaling ${controlName} to 0`, error: scaled };
    log.info({ deployment: controlName }, "control was scaled to 0");
    const sinceMs = clock.nowMs();
    for (;;) {
      const pods = await this.#insist(() => this.#podsOf("control"));
      if (pods instanceof KubeError) return { kind: "refused", doing: "waiting for control to end", error: pods };
      const left = pods.filter((pod) => !hasEnded(pod)).map(({ metadata }) => metadata.name);
      if (left.length === 0) return undefined;
      if (clock.nowMs() - sinceMs >= controlPatienceMs) {
        return { kind: "control-stays", pods: left, afterMs: controlPatienceMs };
      }
      await this.#pause();
    }
  }

  #daemons(): Promise<StoredPod[] | KubeError> {
    return this.#podsOf("cni");
  }

  #podsOf(component: "cni" | "control"): Promise<StoredPod[] | KubeError> {
    const query = { labelSelector: selectorOf(component) };
    return listAll<StoredPod>(this.#modules.client, collectionPath("Pod", this.#namespace), query);
  }

  /** Nodes whose daemon has not said so, and, once all have, nodes with pods that are still captured. */
  async #missing(daemons: readonly StoredPod[]): Promise<MissingNode[] | KubeError> {
    const silent = daemons.filter((pod) => !hasEnded(pod) && pod.metadata.annotations?.[releasedAnnotation] !== "true");
    if (silent.length > 0 && this.#passedMs() < this.#timeoutMs) return silent.map(silence);
    const { client } = this.#modules;
    const pods = await this.#insist(() => listAll<StoredPod>(client, collectionPath("Pod")));
    if (pods instanceof KubeError) return pods;
    const missing = new Map(silent.map(silence).map((entry) => [entry.node, entry]));
    for (const [node, captured] of Map.groupBy(pods.filter(isCaptured), nodeOf)) {
      if (missing.has(node)) continue;
      const names = captured.slice(0, 3).map(({ metadata }) => `${metadata.namespace ?? ""}/${metadata.name}`);
      const more = captured.length > names.length ? ` and ${captured.length - names.length} more` : "";
      missing.set(node, { node, why: `still captured: ${names.join(", ")}${more}` });
    }
    return [...missing.values()];
  }

  /** Again and again while it may help and there is time. */
  async #insist<T>(request: () => Promise<T | KubeError>): Promise<T | KubeError> {
    for (;;) {
      const answer = await request();
      if (!(answer instanceof KubeError) || !mayPass(answer) || this.#passedMs() >= this.#timeoutMs) return answer;
      this.#modules.log.warn({ error: answer.type }, "the API server did not answer; asked again");
      await this.#pause();
    }
  }

  #passedMs(): number {
    return this.#modules.clock.nowMs() - this.#startedMs;
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => this.#modules.clock.after(pollMs, resolve));
  }
}

function silence(pod: StoredPod): MissingNode {
  const phase = pod.status?.phase ?? "Pending";
  const why = phase === "Running" ? "its daemon has not finished" : `its daemon's pod ${pod.metadata.name} is ${phase}`;
  return { node: nodeOf(pod), why };
}

function nodeOf(pod: StoredPod): string {
  return pod.spec?.nodeName ?? `the node of ${pod.metadata.name}`;
}

function hasEnded({ status }: StoredPod): boolean {
  return status?.phase === "Succeeded" || status?.phase === "Failed";
}

function isCaptured(pod: StoredPod): boolean {
  return pod.metadata.annotations?.[redirectionAnnotation] === "enabled" && !hasEnded(pod);
}

const pollMs = 1_000;
/** Its grace period, and a little. */
const controlPatienceMs = 60_000;
