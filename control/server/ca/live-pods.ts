/** Which service accounts live on which node: what decides whose certificates a node's agent may have. */
import type { Node, Pod } from "../../sources/objects.ts";
import type { ObjectDelta } from "../../sources/source.ts";

export class LivePods {
  readonly #pods = new Map<string, Pod>();
  readonly #nodes = new Map<string, Node>();
  /** `node/namespace/service account` → keys of the pods that are live there. */
  readonly #residents = new Map<string, Set<string>>();

  apply(deltas: readonly ObjectDelta[]): void {
    for (const { op, object } of deltas) {
      if (object.kind === "Pod") {
        this.#remove(keyOf(object));
        if (op === "put") this.#put(object);
      } else if (object.kind === "Node") {
        if (op === "put") this.#nodes.set(object.metadata.name, object);
        else this.#nodes.delete(object.metadata.name);
      }
    }
  }

  /** Whether a pod that may still run has this service account on this node. */
  lives(node: string, namespace: string, serviceAccount: string): boolean {
    return this.#residents.has(`${node}/${namespace}/${serviceAccount}`);
  }

  pod(namespace: string, name: string): Pod | undefined {
    return this.#pods.get(`${namespace}/${name}`);
  }

  node(name: string): Node | undefined {
    return this.#nodes.get(name);
  }

  #put(pod: Pod): void {
    const key = keyOf(pod);
    this.#pods.set(key, pod);
    if (!isLive(pod)) return;
    const home = homeOf(pod);
    const residents = this.#residents.get(home);
    if (residents === undefined) this.#residents.set(home, new Set([key]));
    else residents.add(key);
  }

  #remove(key: string): void {
    const pod = this.#pods.get(key);
    if (pod === undefined) return;
    this.#pods.delete(key);
    const home = homeOf(pod);
    const residents = this.#residents.get(home);
    residents?.delete(key);
    if (residents?.size === 0) this.#residents.delete(home);
  }
}

/**
 * A pod that has ended no longer needs an identity: whoever still asks in its name is not it. One that is being deleted
 * still runs until its phase says otherwise, and one that is pending is about to.
 */
export function isLive({ spec, status }: Pod): boolean {
  return spec.nodeName !== "" && status.phase !== "Succeeded" && status.phase !== "Failed";
}

function keyOf({ metadata }: Pod): string {
  return `${metadata.namespace}/${metadata.name}`;
}

function homeOf({ metadata, spec }: Pod): string {
  return `${spec.nodeName}/${metadata.namespace}/${spec.serviceAccountName}`;
}
