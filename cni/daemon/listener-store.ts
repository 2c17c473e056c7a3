/**
 * Keeps duplicates of the sockets that the agent listens on in pods, so that an agent's end closes none: connections wait in the kernel
 * until the next agent takes the sockets over. In memory only: when the daemon ends, the agent puts them again.
 */
import type { Log } from "../../core/base/log.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { inspectListener, isSocketIn } from "../../core/linux/listening-socket.ts";
import type { SeqpacketConnection } from "../../core/linux/seqpacket.ts";
import { closeDescriptor } from "../../core/linux/sockets.ts";
import {
  decodeStoreRequest,
  encodeStoreResponse,
  listenerName,
  ListenerStoreError,
  type StoredListener,
  type StoreRequest,
  type StoreResponse,
} from "../../core/protocol/listener-store/messages.ts";

export interface ListenerStoreModules {
  /** The open namespace of a pod that agents shall serve now; of no other pod anything is kept. */
  readonly namespaceOf: (uid: string) => number | undefined;
  readonly log: Log;
  /** Only this user's processes are agents. */
  readonly ownUid: number;
}

interface Kept {
  readonly listener: StoredListener;
  readonly fd: number;
}

interface Link {
  readonly connection: SeqpacketConnection;
  /** It accepts for every pod that it was told of. */
  serving: boolean;
}

/** An agent listens on three ports in a pod, and for DNS on four sockets more: two protocols, two loopbacks. More than eight is no agent of ours. */
export const maxListenersPerPod = 8;

export class ListenerStore {
  readonly #modules: ListenerStoreModules;
  readonly #kept = new Map<string, Kept[]>();
  /** In order of arrival. */
  readonly #links: Link[] = [];

  constructor(modules: ListenerStoreModules) {
    this.#modules = modules;
  }

  /** A connection that was just accepted; call it in the same turn. */
  accept(connection: SeqpacketConnection): void {
    const { pid, uid } = connection.peer();
    const { log, ownUid } = this.#modules;
    if (uid !== ownUid) {
      log.warn({ code: "PEER_DENIED", pid, uid }, "a stranger on the listener store's socket was sent away");
      return connection.close();
    }
    if (this.#links.length >= maxLinks) {
      log.warn({ pid, links: maxLinks }, "too many agents on the listener store's socket: the newest was sent away");
      return connection.close();
    }
    const link: Link = { connection, serving: false };
    this.#links.push(link);
    connection.onPacket((bytes, descriptors) => this.#receive(link, bytes, descriptors));
    connection.onClose(() => this.#forget(link));
  }

  /** The pod is served no more: its sockets close, unless an agent still has them. */
  drop(uid: string): void {
    for (const { fd } of this.#kept.get(uid) ?? []) closeDescriptor(fd);
    this.#kept.delete(uid);
  }

  /** Sockets kept, of all pods. */
  get size(): number {
    return [...this.#kept.values()].reduce((sum, kept) => sum + kept.length, 0);
  }

  close(): void {
    for (const { connection } of this.#links) connection.close();
    this.#links.length = 0;
    for (const uid of [...this.#kept.keys()]) this.drop(uid);
  }

  #receive(link: Link, bytes: Uint8Array, descriptors: readonly number[]): void {
    const request = decodeStoreRequest(bytes, descriptors.length);
    if (request instanceof ListenerStoreError) {
      descriptors.forEach(closeDescriptor);
      const { pid } = link.connection.peer();
      this.#modules.log.warn({ pid, error: request.type }, "a packet that is none ended a link to the listener store");
      return this.#end(link);
    }
    this.#answer(link, request, descriptors);
  }

  #answer(link: Link, request: StoreRequest, [fd]: readonly number[]): void {
    switch (request.kind) {
      case "put": {
        const objection = this.#put(request.listener, fd ?? -1);
        return this.#say(link, objection === undefined ? { kind: "ok" } : { kind: "error", reason: objection });
      }
      case "take":
        for (const kept of this.#kept.get(request.uid) ?? [])
          this.#say(link, { kind: "listener", listener: kept.listener }, [kept.fd]);
        return this.#say(link, { kind: "end", uid: request.uid });
      case "drop":
        this.drop(request.uid);
        return this.#say(link, { kind: "ok" });
      case "serving":
        link.serving = true;
        return this.#say(link, { kind: "ok" });
      case "successor":
        return this.#say(link, { kind: "successor", serving: this.#hasSuccessor(link) });
    }
  }

  /** @returns why it isn't kept; the descriptor is then closed. */
  #put(listener: StoredListener, fd: number): string | undefined {
    const { uid } = listener;
    const name = listenerName(listener);
    const objection = this.#objection(listener, fd);
    if (objection !== undefined) {
      closeDescriptor(fd);
      this.#modules.log.warn({ uid, listener: name, objection }, "a socket was not taken into the listener store");
      return objection;
    }
    const kept = this.#kept.get(uid) ?? [];
    const earlier = kept.find((one) => listenerName(one.listener) === name);
    if (earlier !== undefined) closeDescriptor(earlier.fd);
    this.#kept.set(uid, [...kept.filter((one) => one !== earlier), { listener, fd }]);
    return undefined;
  }

  #objection(listener: StoredListener, fd: number): string | undefined {
    const { uid, port, transparent, protocol = "tcp", address } = listener;
    const netns = this.#modules.namespaceOf(uid);
    if (netns === undefined) return "no such pod is served here";
    const found = inspectListener(fd);
    if (found === undefined) return "not a listening socket";
    if (found.port !== port) return `it listens on port ${found.port}`;
    if (found.protocol !== protocol) return `it speaks ${found.protocol}`;
    if (found.address !== address) return `it listens at ${found.address ?? "every address"}`;
    if (found.transparent !== transparent) return "what was said of transparency isn't so";
    if (!isSocketIn(fd, netns)) return "it is not in the pod's namespace";
    const name = listenerName(listener);
    const others = (this.#kept.get(uid) ?? []).filter((kept) => listenerName(kept.listener) !== name);
    return others.length >= maxListenersPerPod ? `the pod has ${maxListenersPerPod} already` : undefined;
  }

  #hasSuccessor(link: Link): boolean {
    return this.#links.slice(this.#links.indexOf(link) + 1).some(({ serving }) => serving);
  }

  #say(link: Link, response: StoreResponse, descriptors: readonly number[] = []): void {
    const bytes = encodeStoreResponse(response);
    if (bytes instanceof ListenerStoreError) {
      this.#modules.log.error({ error: bytes.type }, "internal bug: an answer of the listener store can't be said");
      return this.#end(link);
    }
    // One that doesn't read its answers is no use to anybody; it may connect again.
    if (link.connection.send(bytes, descriptors) instanceof LinuxError) this.#end(link);
  }

  #end(link: Link): void {
    link.connection.close();
    this.#forget(link);
  }

  #forget(link: Link): void {
    const at = this.#links.indexOf(link);
    if (at >= 0) this.#links.splice(at, 1);
  }
}

/** A rolling upgrade needs two. */
const maxLinks = 16;
