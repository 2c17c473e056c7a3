/** The network namespaces of this node's pods, by pod UID: found, checked, and held open for as long as the pod is ours to look after.
 *  The descriptor is what counts: a path can be unmounted, or name another namespace tomorrow. */
import { closeSync } from "node:fs";
import { join } from "node:path";
import { LinuxError } from "../../core/linux/errno.ts";
import { namespaceIdentity, openNamespace, ownNamespace, type NamespaceIdentity } from "../../core/linux/namespace.ts";
import { CniError } from "./errors.ts";

export interface PodNamespace {
  /** Stays open until `release`. */
  readonly fd: number;
  readonly identity: NamespaceIdentity;
}

/** Opens a pod's namespace, wherever it is found; the descriptor is then the caller's. `path` says where that was. */
export type NamespaceFinder = (uid: string) => (PodNamespace & { readonly path: string }) | CniError;

/** For a folder that holds one bind mount a pod, named by its UID. */
export function namespacesInFolder(folder: string): NamespaceFinder {
  return (uid) => {
    // A UID is opaque and comes from an object: it must not lead out of the folder.
    if (!plainName.test(uid)) return new CniError({ code: "cni.netns-invalid", path: folder, reason: "odd-uid" });
    return openAt(join(folder, uid));
  };
}

/** @returns what is at the path, open, when it is a network namespace. */
export function openAt(path: string): (PodNamespace & { readonly path: string }) | CniError {
  const fd = openNamespace(path);
  return fd instanceof LinuxError ? refusal(fd, path) : { fd, identity: namespaceIdentity(fd), path };
}

export class PodNamespaces {
  readonly #find: NamespaceFinder;
  /** The node's, and this process's where that is another. */
  readonly #hosts: readonly NamespaceIdentity[];
  readonly #held = new Map<string, PodNamespace>();

  /** @param host the node's own namespace, when it isn't the one this process runs in. */
  constructor(find: NamespaceFinder, host?: NamespaceIdentity) {
    this.#find = find;
    const fd = ownNamespace();
    this.#hosts = [namespaceIdentity(fd), ...(host === undefined ? [] : [host])];
    closeSync(fd);
  }

  /** The one that is held, if any. */
  held(uid: string): PodNamespace | undefined {
    return this.#held.get(uid);
  }

  /** Opens it, unless it is held already. */
  hold(uid: string): PodNamespace | CniError {
    const held = this.#held.get(uid);
    if (held !== undefined) return held;
    const opened = this.#open(uid);
    if (!(opened instanceof CniError)) this.#held.set(uid, opened);
    return opened;
  }

  /** Whether the pod has another namespace now than the one that is held. One that has vanished is no other. */
  replaced(uid: string): boolean {
    const held = this.#held.get(uid);
    if (held === undefined) return false;
    const now = this.#open(uid);
    if (now instanceof CniError) return false;
    closeSync(now.fd);
    return !sameNamespace(now.identity, held.identity);
  }

  release(uid: string): void {
    const held = this.#held.get(uid);
    if (held === undefined) return;
    this.#held.delete(uid);
    closeSync(held.fd);
  }

  releaseAll(): void {
    for (const uid of [...this.#held.keys()]) this.release(uid);
  }

  /** Descriptors held, for the metrics: as many as pods are looked after. */
  get size(): number {
    return this.#held.size;
  }

  #open(uid: string): PodNamespace | CniError {
    const found = this.#find(uid);
    if (found instanceof CniError) return found;
    const { fd, identity, path } = found;
    const reason = this.#objection(uid, identity);
    if (reason === undefined) return { fd, identity };
    closeSync(fd);
    return new CniError({ code: "cni.netns-invalid", path, reason });
  }

  #objection(uid: string, identity: NamespaceIdentity): string | undefined {
    if (this.#hosts.some((host) => sameNamespace(identity, host))) return "the-node's-own";
    for (const [other, held] of this.#held)
      if (other !== uid && sameNamespace(held.identity, identity)) return `held-for-pod-${other}`;
    return undefined;
  }
}

function refusal(error: LinuxError, path: string): CniError {
  if (error.errno === "ENOENT") return new CniError({ code: "cni.netns-missing", path });
  const reason = error.type.code === "linux.not-a-namespace" ? "no-network-namespace" : error.message;
  return new CniError({ code: "cni.netns-invalid", path, reason });
}

export function sameNamespace(a: NamespaceIdentity, b: NamespaceIdentity): boolean {
  return a.dev === b.dev && a.ino === b.ino;
}

const plainName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/;
