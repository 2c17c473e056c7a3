/** Who is meant by the plugin's event, and where that pod stands: a name is no proof, for a pod is made anew under its name, and a
 *  namespace is none, for a runtime makes it anew for the same pod. What counts is the pod's UID and the namespace that is captured. */
import { closeSync } from "node:fs";
import type { Clock } from "../../core/base/clock.ts";
import type { NamespaceIdentity } from "../../core/linux/namespace.ts";
import type { AskedObjects } from "./asked-objects.ts";
import { CniError, type CniFailure } from "./errors.ts";
import type { NodeNamespaces } from "./node-namespaces.ts";
import type { PluginCase, PluginEvent, PluginView } from "./plugin-server.ts";
import { openAt, sameNamespace, type PodNamespaces } from "./pod-namespaces.ts";
import type { PodStatus } from "./pod-status.ts";
import type { Reconciler } from "./reconcile.ts";

/** For a source that shows every pod before it is made, and namespaces that are named by UID. */
export function admitByName(reconciler: Reconciler): (event: PluginEvent) => PluginCase {
  return ({ podName, podNamespace }) => {
    const row = (): PodStatus | undefined =>
      reconciler
        .status()
        // A predecessor of that name, which is on its way out, is not meant.
        .find(({ name, namespace, because }) => name === podName && namespace === podNamespace && because !== "gone");
    reconciler.nudge(row()?.uid ?? "");
    return { view: () => viewOf(row()), close: () => {} };
  };
}

export interface AdmissionModules {
  readonly reconciler: Pick<Reconciler, "statusOf" | "nudge" | "replaced">;
  readonly namespaces: Pick<PodNamespaces, "held">;
  readonly finder: Pick<NodeNamespaces, "seenFromHere">;
  readonly objects: Pick<AskedObjects, "ask" | "find">;
  /** The plugin says where the namespace of a pod is and what addresses it has; brings the rows up to date. */
  readonly told: (uid: string, path: string, addresses: readonly string[]) => void;
  /** Objects that were asked for have come: bring the rows up to date, and tell who waits. */
  readonly learnt: () => void;
  readonly clock: Clock;
}

/** For a cluster's node. */
export function admitByUid(modules: AdmissionModules): (event: PluginEvent) => PluginCase {
  return (event) => {
    const admission = new Admission(event, modules);
    void admission.identify();
    return admission;
  };
}

class Admission implements PluginCase {
  readonly #event: PluginEvent;
  readonly #modules: AdmissionModules;
  readonly #path: string | undefined;
  readonly #identity: NamespaceIdentity | CniError;
  /** Of the pod's object, once it is known that the runtime means that very pod. */
  #uid: string | undefined;
  #problem: CniFailure | undefined;
  #isTold = false;
  #isClosed = false;
  #cancelRetry: (() => void) | undefined;

  constructor(event: PluginEvent, modules: AdmissionModules) {
    this.#event = event;
    this.#modules = modules;
    this.#path = modules.finder.seenFromHere(event.netns);
    this.#identity = identityAt(this.#path, event.netns);
  }

  view(): PluginView {
    const row = this.#uid === undefined ? undefined : this.#row(this.#uid);
    if (row === undefined)
      return { kind: "unknown", ...(this.#problem === undefined ? {} : { reason: this.#problem }) };
    if (row.want !== "enrol") return viewOf(row);
    if (this.#identity instanceof CniError) return { kind: "waiting", reason: this.#identity.type };
    this.#tell(row.uid);
    const held = this.#modules.namespaces.held(row.uid);
    if (held === undefined || sameNamespace(held.identity, this.#identity)) return viewOf(row);
    // Made anew: what is captured is the last one.
    this.#modules.reconciler.replaced(row.uid);
    return { kind: "waiting", reason: { code: "cni.netns-replaced" } };
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelRetry?.();
  }

  /** Finds out who is meant, as long as somebody waits for it. */
  async identify(): Promise<void> {
    const { clock, learnt } = this.#modules;
    const problem = await this.#identifyOnce();
    if (this.#isClosed) return;
    this.#problem = problem;
    if (problem !== undefined) this.#cancelRetry = clock.after(retryMs, () => void this.identify());
    learnt();
  }

  async #identifyOnce(): Promise<CniFailure | undefined> {
    const { podName, podNamespace, podUid } = this.#event;
    const { objects } = this.#modules;
    // The labels of the namespace have a say: without it a pod that shall be captured would pass.
    const namespace = await objects.find({ kind: "Namespace", namespace: "", name: podNamespace });
    if (namespace === undefined) return { code: "cni.pod-unknown", missing: `namespace ${podNamespace}` };
    if (namespace instanceof CniError) return namespace.type;
    if (podUid !== undefined && this.#row(podUid) !== undefined) {
      this.#uid = podUid;
      return undefined;
    }
    const pod = await objects.ask({ kind: "Pod", namespace: podNamespace, name: podName });
    if (pod instanceof CniError) return pod.type;
    if (pod === undefined) return { code: "cni.pod-unknown", missing: `pod ${podNamespace}/${podName}` };
    const { uid, annotations } = pod.metadata;
    const isMeant = podUid === undefined || podUid === uid || podUid === annotations["kubernetes.io/config.mirror"];
    if (!isMeant)
      return { code: "cni.pod-unknown", missing: `pod with UID ${podUid}; that of this name now has UID ${uid}` };
    this.#uid = uid;
    return undefined;
  }

  #tell(uid: string): void {
    if (this.#isTold || this.#path === undefined) return;
    this.#isTold = true;
    this.#modules.told(uid, this.#path, this.#event.addresses);
    this.#modules.reconciler.nudge(uid);
  }

  #row(wanted: string): PodStatus | undefined {
    const row = this.#modules.reconciler.statusOf(wanted);
    return row?.because === "gone" ? undefined : row;
  }
}

function viewOf(row: PodStatus | undefined): PluginView {
  if (row === undefined) return { kind: "unknown" };
  if (row.want !== "enrol") return { kind: "excluded" };
  if (row.phase === "enrolled" && row.served) return { kind: "enrolled" };
  const reason = row.phase === "enrolled" ? { code: "cni.no-agent" } : row.reason;
  return { kind: "waiting", ...(reason === undefined ? {} : { reason }) };
}

function identityAt(path: string | undefined, told: string): NamespaceIdentity | CniError {
  if (path === undefined)
    return new CniError({ code: "cni.netns-invalid", path: told, reason: "not-visible-from-here" });
  const opened = openAt(path);
  if (opened instanceof CniError) return opened;
  closeSync(opened.fd);
  return opened.identity;
}

const retryMs = 300;
