/**
 * The mesh's root in every namespace, as ConfigMap `istio-ca-root-cert`: what pods bootstrap their trust from. Created where
 * it lacks and put right where it differs, by the replica that leads.
 */
import { Backoff } from "../../core/base/backoff.ts";
import type { Clock } from "../../core/base/clock.ts";
import type { Log } from "../../core/base/log.ts";
import type { Random } from "../../core/base/random.ts";
import { isConflict, isNotFound, KubeError } from "../sources/kubernetes/errors.ts";
import { collectionPath, objectPath } from "../sources/kubernetes/paths.ts";
import type { ObjectDelta } from "../sources/source.ts";
import type { MeshAuthority } from "./ca/mesh-authority.ts";

/** As the API server has it. */
export interface ConfigMap {
  readonly metadata?: {
    readonly name?: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly data?: Readonly<Record<string, string>>;
}

/** What is needed of a Kubernetes client. */
export interface ConfigMapClient {
  create<T>(path: string, body: object): Promise<T | KubeError>;
  patch<T>(path: string, body: object, type: "merge"): Promise<T | KubeError>;
}

export interface RootConfigMapsModules {
  readonly client: ConfigMapClient;
  readonly authority: MeshAuthority;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export const rootConfigMapName = "istio-ca-root-cert";

export class RootConfigMaps {
  readonly #modules: RootConfigMapsModules;
  readonly #backoff: Backoff;
  readonly #unfollow: () => void;
  readonly #namespaces = new Set<string>();
  /** The ConfigMap of each namespace that has one. */
  readonly #actual = new Map<string, ConfigMap>();
  /** How often one was put right lately: somebody may be putting it wrong as often. */
  readonly #repairs = new Map<string, { readonly count: number; readonly atMs: number }>();
  readonly #due = new Set<string>();
  readonly #busy = new Set<string>();
  #leads = false;
  #cancelRetry: (() => void) | undefined;

  constructor(modules: RootConfigMapsModules) {
    this.#modules = modules;
    this.#backoff = new Backoff({ firstMs: 200, capMs: 30_000, jitter: 0.2 }, modules.random);
    this.#unfollow = modules.authority.onChange(() => this.#compareAll());
  }

  /** Namespaces come and go. One that is being deleted takes nothing new. */
  apply(deltas: readonly ObjectDelta[]): void {
    for (const { op, object } of deltas) {
      if (object.kind !== "Namespace") continue;
      const { name, deletionTimestamp } = object.metadata;
      if (op === "removed") this.#repairs.delete(name);
      if (op === "removed" || deletionTimestamp !== undefined || ignored.has(name)) this.#namespaces.delete(name);
      else {
        this.#namespaces.add(name);
        this.#due.add(name);
      }
    }
    this.#work();
  }

  /** What a namespace's ConfigMap is now; undefined where there is none. */
  observe(namespace: string, configMap: ConfigMap | undefined): void {
    if (configMap === undefined) this.#actual.delete(namespace);
    else this.#actual.set(namespace, configMap);
    this.#due.add(namespace);
    this.#work();
  }

  /** Whether it is this replica's turn to write: not before it was told of all ConfigMaps there are. */
  lead(leads: boolean): void {
    this.#leads = leads;
    if (leads) this.#compareAll();
  }

  close(): void {
    this.#leads = false;
    this.#unfollow();
    this.#cancelRetry?.();
  }

  #compareAll(): void {
    for (const name of this.#namespaces) this.#due.add(name);
    this.#work();
  }

  #work(): void {
    if (!this.#leads) return;
    for (const namespace of this.#due) {
      if (this.#busy.size >= lanes) return;
      if (this.#busy.has(namespace)) continue;
      this.#due.delete(namespace);
      if (!this.#namespaces.has(namespace) || this.#isRight(namespace)) continue;
      const pauseMs = this.#pauseOf(namespace);
      if (pauseMs > 0) {
        this.#again(pauseMs);
        continue;
      }
      this.#busy.add(namespace);
      void this.#write(namespace).finally(() => {
        this.#busy.delete(namespace);
        this.#work();
      });
    }
  }

  #isRight(namespace: string): boolean {
    const actual = this.#actual.get(namespace);
    return (
      actual?.data?.[rootKey] === this.#modules.authority.chain.rootsPem && actual.metadata?.labels?.[label] === "true"
    );
  }

  async #write(namespace: string): Promise<void> {
    const { client, authority, log } = this.#modules;
    const content = { metadata: { labels: { [label]: "true" } }, data: { [rootKey]: authority.chain.rootsPem } };
    const isThere = this.#actual.has(namespace);
    const written = isThere
      ? await client.patch<ConfigMap>(objectPath("ConfigMap", namespace, rootConfigMapName), content, "merge")
      : await client.create<ConfigMap>(collectionPath("ConfigMap", namespace), {
          apiVersion: "v1",
          kind: "ConfigMap",
          ...content,
          metadata: { name: rootConfigMapName, namespace, ...content.metadata },
        });
    if (!(written instanceof KubeError)) {
      this.#actual.set(namespace, written);
      this.#backoff.reset();
      this.#noteRepair(namespace);
      log.info({ namespace, isNew: !isThere }, "root published");
      return;
    }
    // Created or deleted under our hands: the watch tells, and then it is looked at again.
    if (isThere ? isNotFound(written) : isConflict(written)) return this.#later();
    if (!this.#namespaces.has(namespace)) return;
    log.warn({ error: written.type, namespace }, "the root can't be published; tried again");
    this.#later();
  }

  #later(): void {
    if (this.#cancelRetry === undefined) this.#again(this.#backoff.next());
  }

  #again(afterMs: number): void {
    const again = (): void => {
      this.#cancelRetry = undefined;
      this.#compareAll();
    };
    this.#cancelRetry ??= this.#modules.clock.after(afterMs, again);
  }

  #noteRepair(namespace: string): void {
    const { clock, log } = this.#modules;
    const before = this.#repairs.get(namespace);
    const nowMs = clock.nowMs();
    const count = before === undefined || nowMs - before.atMs > forgottenMs ? 1 : before.count + 1;
    this.#repairs.set(namespace, { count, atMs: nowMs });
    if (count === repairsAtOnce + 1) {
      log.warn({ namespace }, "somebody keeps changing the root's ConfigMap: is there another control plane?");
    }
  }

  /** Milliseconds until it may be put right again: none at first, then longer and longer. */
  #pauseOf(namespace: string): number {
    const { count, atMs } = this.#repairs.get(namespace) ?? { count: 0, atMs: 0 };
    if (count <= repairsAtOnce) return 0;
    const restMs = Math.min(longestPauseMs, 500 * 2 ** (count - repairsAtOnce));
    return atMs + restMs - this.#modules.clock.nowMs();
  }
}

const rootKey = "root-cert.pem";
const label = "istio.io/config";
/** As istiod has it (pkg/config/constants, IgnoredNamespaces). */
const ignored: ReadonlySet<string> = new Set(["kube-public", "kube-node-lease", "local-path-storage"]);
const lanes = 8;
const repairsAtOnce = 5;
const longestPauseMs = 30_000;
/** After so long without one, earlier repairs count no more. */
const forgottenMs = 120_000;
