/**
 * Finds pods' namespaces on a node where nobody names them by UID: the plugin says where the runtime has put a new one, and for pods
 * that were there before, the node's processes are gone through. Neither is believed: a namespace is a pod's when it is not the node's
 * and one of its interfaces carries one of the pod's addresses.
 */
import { closeSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../core/base/clock.ts";
import type { NamespaceIdentity } from "../../core/linux/namespace.ts";
import { isOwnAddress } from "../../core/linux/sockets.ts";
import { CniError } from "./errors.ts";
import { podOfProcess, processIds, startTime } from "./host-processes.ts";
import { openAt, sameNamespace, type PodNamespace } from "./pod-namespaces.ts";

/** What has to be known of a pod to find it. */
export interface PodClue {
  /** As status says, or the plugin; canonical text. */
  readonly addresses: readonly string[];
  /** The UID that its cgroups bear: for a static pod not that of its object. */
  readonly sandboxUid: string;
}

export interface NodeNamespaceModules {
  /** The node's /proc, as mounted here. */
  readonly proc: string;
  /** The folder where the runtime keeps namespaces (/var/run/netns on the node), as mounted here. */
  readonly netnsDir: string;
  readonly clueOf: (uid: string) => PodClue | undefined;
  readonly clock: Clock;
}

type Opened = PodNamespace & { readonly path: string };

/** A process that may be in the pod's namespace. */
interface Candidate {
  readonly pid: number;
  readonly startTime: bigint;
  readonly identity: NamespaceIdentity;
}

export class NodeNamespaces {
  readonly #modules: NodeNamespaceModules;
  /** Where the plugin said it is, by pod UID, as mounted here. */
  readonly #told = new Map<string, string>();
  #scan: { readonly atMs: number; readonly candidates: ReadonlyMap<string, readonly Candidate[]> } | undefined;

  constructor(modules: NodeNamespaceModules) {
    this.#modules = modules;
  }

  /** Opens the node's own namespace; the caller's to close. */
  openHost(): Opened | CniError {
    return openAt(join(this.#modules.proc, "1/ns/net"));
  }

  /**
   * A path on the node, as the runtime calls it, where it can be seen from here.
   * @returns undefined where it cannot, e.g. because the runtime keeps namespaces in another folder.
   */
  seenFromHere(path: string): string | undefined {
    const { proc, netnsDir } = this.#modules;
    const process = /^\/proc\/([1-9]\d*)\/ns\/net$/.exec(path);
    if (process !== null) return join(proc, process[1] ?? "", "ns/net");
    if (path.startsWith("/proc/")) return undefined;
    const name = /^(?:\/[^/]+)+\/([^/]+)$/.exec(path)?.[1] ?? "";
    return plainName.test(name) ? join(netnsDir, name) : undefined;
  }

  /** From now on the pod is looked for there. */
  tell(uid: string, path: string): void {
    this.#told.set(uid, path);
  }

  forget(uid: string): void {
    this.#told.delete(uid);
  }

  /** As NamespaceFinder. */
  find(uid: string): Opened | CniError {
    const clue = this.#modules.clueOf(uid);
    if (clue === undefined || clue.addresses.length === 0) return new CniError({ code: "cni.no-address" });
    const path = this.#told.get(uid);
    const there = path === undefined ? undefined : this.#openOwned(path, clue);
    // The name is gone, as when the runtime has made the pod anew: then as if nothing had been said.
    if (there !== undefined && !(there instanceof CniError && there.type.code === "cni.netns-missing")) return there;
    return (
      this.#among(this.#candidates(clue, maxScanAgeMs), clue) ??
      this.#among(this.#candidates(clue, 0), clue) ??
      missing(this.#modules.proc)
    );
  }

  /** The oldest process counts: a younger one may have gone into a namespace of its own making. */
  #among(candidates: readonly Candidate[], clue: PodClue): Opened | undefined {
    const { proc } = this.#modules;
    for (const candidate of candidates) {
      const opened = this.#openOwned(join(proc, String(candidate.pid), "ns/net"), clue);
      if (opened instanceof CniError) continue;
      // Its id may have been given to another process between looking and opening.
      const isStill = startTime(proc, candidate.pid) === candidate.startTime;
      if (isStill && sameNamespace(opened.identity, candidate.identity)) return opened;
      closeSync(opened.fd);
    }
    return undefined;
  }

  #openOwned(path: string, { addresses }: PodClue): Opened | CniError {
    const opened = openAt(path);
    if (opened instanceof CniError || addresses.some((address) => isOwnAddress(opened.fd, address))) return opened;
    closeSync(opened.fd);
    return new CniError({ code: "cni.netns-invalid", path, reason: "none-of-the-pod's-addresses" });
  }

  #candidates({ sandboxUid }: PodClue, maxAgeMs: number): readonly Candidate[] {
    const nowMs = this.#modules.clock.nowMs();
    if (this.#scan === undefined || nowMs - this.#scan.atMs > maxAgeMs || maxAgeMs === 0)
      this.#scan = { atMs: nowMs, candidates: candidatesIn(this.#modules.proc) };
    return this.#scan.candidates.get(undashed(sandboxUid)) ?? [];
  }
}

/** One process a pod and namespace, the oldest; by UID without dashes. */
function candidatesIn(proc: string): ReadonlyMap<string, readonly Candidate[]> {
  const host = identityAt(join(proc, "1/ns/net"));
  const found = new Map<string, Candidate[]>();
  for (const pid of processIds(proc)) {
    // Before and after: one id must not lend its cgroup to another's namespace.
    const started = startTime(proc, pid);
    const identity = identityAt(join(proc, String(pid), "ns/net"));
    if (started === undefined || identity === undefined || (host !== undefined && sameNamespace(identity, host)))
      continue;
    const uid = podOfProcess(proc, pid);
    if (uid === undefined || startTime(proc, pid) !== started) continue;
    const key = undashed(uid);
    found.set(key, [...(found.get(key) ?? []), { pid, startTime: started, identity }]);
  }
  for (const [key, candidates] of found) found.set(key, oldestOfEach(candidates));
  return found;
}

function oldestOfEach(candidates: readonly Candidate[]): Candidate[] {
  const byAge = candidates.toSorted((a, b) =>
    a.startTime < b.startTime ? -1 : a.startTime > b.startTime ? 1 : a.pid - b.pid,
  );
  return byAge.filter((one, i) => !byAge.slice(0, i).some((older) => sameNamespace(older.identity, one.identity)));
}

function identityAt(path: string): NamespaceIdentity | undefined {
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    return { dev, ino };
  } catch {
    return undefined;
  }
}

function undashed(uid: string): string {
  return uid.replaceAll("-", "");
}

function missing(proc: string): CniError {
  return new CniError({ code: "cni.netns-missing", path: proc });
}

const plainName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/;

/** Many pods that are looked for at once, as in a full round, share a look at the node's processes. */
const maxScanAgeMs = 1000;
