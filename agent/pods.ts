/**
 * The pods this agent serves. A pod's three listening sockets are opened here, inside its namespace, and every worker accepts from
 * its own duplicate of them; the originals stay, so that a worker that dies can be replaced without a connection refused.
 */
import type { Clock } from "../core/base/clock.ts";
import type { Log } from "../core/base/log.ts";
import { TypedError } from "../core/base/errors.ts";
import { LinuxError } from "../core/linux/errno.ts";
import { inspectListener } from "../core/linux/listening-socket.ts";
import { namespaceIdentity } from "../core/linux/namespace.ts";
import { hasNetwork } from "../core/linux/network-links.ts";
import { closeDescriptor, duplicateDescriptor } from "../core/linux/sockets.ts";
import { listenerName } from "../core/protocol/listener-store/messages.ts";
import type { PodInfo } from "../core/protocol/zds/messages.ts";
import {
  ListenError,
  openPodListeners,
  provenSockets,
  socketsOf,
  wantedListeners,
  type ListenSettings,
} from "./listeners/pod-listeners.ts";
import type { HeldListener, StoreClient } from "./listeners/store-client.ts";
import { PodConnections, podConnectionCells } from "./pod-connections.ts";
import {
  descriptorsOf,
  type FromWorker,
  type PodDelivery,
  type PodDescriptors,
  type ToWorker,
} from "./worker-messages.ts";

export class PodError extends TypedError<
  | ListenError["type"]
  | { readonly code: "pods.worker"; readonly uid: string; readonly reason: string }
  | { readonly code: "pods.replaced"; readonly uid: string } // a later request took its place
  | { readonly code: "pods.ending"; readonly uid: string } // this agent is to end: another one serves
> {}

export interface PodsModules {
  readonly clock: Clock;
  readonly log: Log;
  /** Indexes of the workers that serve; one that joins later gets `deliveries()`. */
  readonly workers: () => readonly number[];
  readonly broadcast: (message: ToWorker) => void;
  /** Hands a worker its own copy. */
  readonly serve: (worker: number, pod: PodDelivery) => void;
  /** The set of pods has changed. */
  readonly onChange: () => void;
  /** Where sockets outlive this process; undefined where there is no such place. */
  readonly store?: Pick<StoreClient, "take" | "put" | "drop"> | undefined;
}

export interface PodsSettings extends ListenSettings {
  /** How long 15008 stays open after a pod has left. */
  readonly lingerMs: number;
}

/** One row of the admin dump. */
export interface PodRow {
  readonly uid: string;
  readonly info: PodInfo;
  readonly state: "Up" | "Pending" | "Leaving";
  readonly error?: PodError["type"];
}

type PodState =
  | {
      readonly phase: "opening";
      readonly listeners: PodDescriptors;
      /** Indexes of the workers that do not listen yet. */
      readonly missing: Set<number>;
      readonly settle: (error?: PodError) => void;
    }
  | { readonly phase: "up"; readonly listeners: PodDescriptors }
  | { readonly phase: "pending"; readonly error: PodError }; // tried again every five seconds

interface Pod {
  readonly uid: string;
  readonly info: PodInfo;
  /** Ours: closed when nothing of the pod is left. */
  readonly netns: number;
  transparent: boolean;
  /** How many of its sockets an earlier agent had opened. */
  inherited: number;
  /** It had an interface beside loopback when it came: without one it is no more. */
  readonly hadNetwork: boolean;
  readonly connections: SharedArrayBuffer;
  readonly home: number | undefined;
  state: PodState;
  /** An attempt to serve it that is under way, shared by all who ask for one. */
  attempt?: Promise<PodError | undefined> | undefined;
}

/** A pod that has left; its namespace stays open until every worker is done with it. */
interface Leaving {
  readonly pod: Pod;
  /** Indexes of the workers that still accept. */
  readonly accepting: Set<number>;
  /** Indexes of the workers that still have something of it. */
  readonly busy: Set<number>;
  /** Settles when nobody accepts any more. */
  readonly closed: Promise<void>;
  readonly settle: () => void;
  isDead?: boolean;
}

export class Pods {
  readonly #modules: PodsModules;
  readonly #settings: PodsSettings;
  readonly #pods = new Map<string, Pod>();
  readonly #leaving = new Map<string, Leaving[]>();
  #cancelRetry: (() => void) | undefined;
  #cancelWatch: (() => void) | undefined;
  /** The process ends: no pod is served any more. */
  #isLettingGo = false;

  constructor(settings: PodsSettings, modules: PodsModules) {
    this.#settings = settings;
    this.#modules = modules;
  }

  /**
   * Serves a pod; settles when every worker listens. The same pod in the same namespace is served already; in another one it is
   * a new pod. A failed one is kept and tried again.
   * @param netns descriptor of its namespace, owned from now on.
   */
  async serve(uid: string, info: PodInfo, netns: number): Promise<PodError | undefined> {
    if (this.#isLettingGo) {
      closeDescriptor(netns);
      return new PodError({ code: "pods.ending", uid });
    }
    const known = this.#pods.get(uid);
    if (known !== undefined && sameNamespace(known.netns, netns)) {
      closeDescriptor(netns);
      return known.state.phase === "up" ? undefined : this.#open(known);
    }
    if (known !== undefined) this.stop(uid);
    const pod: Pod = {
      uid,
      info,
      netns,
      transparent: false,
      inherited: 0,
      hadNetwork: hasNetwork(netns),
      connections: podConnectionCells(),
      home: this.#nextHome(),
      state: { phase: "pending", error: new PodError({ code: "pods.replaced", uid }) },
    };
    this.#pods.set(uid, pod);
    this.#modules.onChange();
    return this.#open(pod);
  }

  has(uid: string): boolean {
    return this.#pods.has(uid);
  }

  /** Ends serving a pod: nothing new is accepted, what is open goes on to its end. An unknown one is done already. */
  stop(uid: string): void {
    const pod = this.#pods.get(uid);
    if (pod === undefined) return;
    if (this.#release(pod)) this.#modules.broadcast({ kind: "leave", uid, lingerMs: this.#settings.lingerMs });
    this.#modules.onChange();
  }

  /** Ends every pod that is not named: the daemon's snapshot is complete. */
  stopOthers(named: ReadonlySet<string>): void {
    for (const uid of [...this.#pods.keys()]) if (!named.has(uid)) this.stop(uid);
  }

  /** @param worker index of who says so. */
  receive(message: Extract<FromWorker, { readonly uid: string }>, worker: number): void {
    switch (message.kind) {
      case "pod-serving":
        return this.#served(message.uid, worker);
      case "pod-failed":
        return this.#failed(message.uid, message.detail);
      case "pod-closed":
        return this.#closed(message.uid, worker);
      case "pod-gone":
        return this.#gone(message.uid, worker);
    }
  }

  /** Of every pod that has connections here or may get some: those that leave need their identity to the end. */
  infos(): PodInfo[] {
    return [...this.#pods.values(), ...this.#left()].map(({ info }) => info);
  }

  rows(): PodRow[] {
    const rows = [...this.#pods.values()].map(({ uid, info, state }): PodRow => {
      if (state.phase === "pending") return { uid, info, state: "Pending", error: state.error.type };
      return { uid, info, state: state.phase === "up" ? "Up" : "Pending" };
    });
    const leaving = [...this.#leaving.values()].flat();
    return [...rows, ...leaving.map(({ pod: { uid, info } }): PodRow => ({ uid, info, state: "Leaving" }))];
  }

  /** Uids of pods that have no listeners, or inherited ones that nothing is accepted from yet. */
  pending(): string[] {
    const isPending = ({ state, inherited }: Pod): boolean =>
      state.phase === "pending" || (state.phase === "opening" && inherited > 0);
    return [...this.#pods.values()].filter(isPending).map(({ uid }) => uid);
  }

  /** The sockets of a pod, or of all. They stay this object's. */
  *held(uid?: string): Generator<HeldListener> {
    const one = uid === undefined ? undefined : this.#pods.get(uid);
    for (const pod of uid === undefined ? this.#pods.values() : one === undefined ? [] : [one]) {
      if (!("listeners" in pod.state)) continue;
      for (const { fd, ...where } of socketsOf(pod.state.listeners, this.#settings.dns?.port ?? 0)) {
        const transparent = inspectListener(fd)?.transparent === true;
        yield { listener: { uid: pod.uid, transparent, ...where }, fd };
      }
    }
  }

  /**
   * Closes this thread's own copies of all sockets, once and for good: what arrives from now on is the store's to keep, and the next
   * agent's to accept. The workers, told to drain, leave every pod by themselves; its namespace stays open until they have.
   */
  letGo(): void {
    this.#isLettingGo = true;
    this.#cancelRetry?.();
    for (const pod of [...this.#pods.values()]) this.#release(pod);
  }

  /** Tries again what could not be served, without waiting for its turn. */
  retryPending(): void {
    for (const pod of [...this.#pods.values()]) if (pod.state.phase === "pending") void this.#open(pod);
  }

  /** Copies for a worker that takes a dead one's place. */
  deliveries(): PodDelivery[] {
    const deliveries: PodDelivery[] = [];
    for (const pod of this.#pods.values()) {
      if (!("listeners" in pod.state)) continue;
      const delivery = deliveryOf(pod, pod.state.listeners);
      if (!(delivery instanceof LinuxError)) deliveries.push(delivery);
      else this.#modules.log.error({ uid: pod.uid, error: delivery.type }, "the new worker cannot serve this pod");
    }
    return deliveries;
  }

  /** A worker died with what it had: nobody else will say that its share is done. Its successor is given the pods that stay. */
  workerLost(worker: number): void {
    for (const { connections } of [...this.#pods.values(), ...this.#left()])
      new PodConnections(connections, worker).clear();
    for (const [uid, pods] of [...this.#leaving]) {
      for (const _ of pods) {
        this.#closed(uid, worker);
        this.#gone(uid, worker);
      }
    }
    for (const { uid, state } of this.#pods.values()) if (state.phase === "opening") this.#served(uid, worker);
  }

  /** The worker that is home to the fewest pods. */
  #nextHome(): number | undefined {
    const guests = new Map(this.#modules.workers().map((worker) => [worker, 0]));
    for (const { home } of this.#pods.values()) {
      const known = home === undefined ? undefined : guests.get(home);
      if (home !== undefined && known !== undefined) guests.set(home, known + 1);
    }
    const [fewest] = [...guests].sort(([, one], [, other]) => one - other);
    return fewest?.[0];
  }

  /** No more of it is served. @returns whether workers have something of it. */
  #release(pod: Pod): boolean {
    const { uid, state } = pod;
    this.#pods.delete(uid);
    if (state.phase === "pending") {
      closeDescriptor(pod.netns);
      return false;
    }
    closeListeners(state.listeners);
    if (state.phase === "opening") state.settle(new PodError({ code: "pods.replaced", uid }));
    const { promise, resolve } = Promise.withResolvers<void>();
    const workers = this.#modules.workers();
    const leaving = { pod, accepting: new Set(workers), busy: new Set(workers), closed: promise, settle: resolve };
    this.#leaving.set(uid, [...(this.#leaving.get(uid) ?? []), leaving]);
    this.#cancelWatch ??= this.#modules.clock.after(watchEveryMs, () => this.#watch());
    return true;
  }

  /** A pod that left and has lost its network is dead: its descriptor would keep the namespace, and whatever is open in it, for ever. */
  #watch(): void {
    this.#cancelWatch = undefined;
    for (const leaving of [...this.#leaving.values()].flat()) {
      const { pod } = leaving;
      if (pod.hadNetwork && !leaving.isDead && !hasNetwork(pod.netns)) {
        leaving.isDead = true;
        this.#modules.log.info({ uid: pod.uid, pod: podName(pod) }, "pod is gone: what is open there is ended");
        this.#modules.broadcast({ kind: "pod-dead", uid: pod.uid });
      }
    }
    if (this.#leaving.size > 0) this.#cancelWatch = this.#modules.clock.after(watchEveryMs, () => this.#watch());
  }

  /** Pods that workers still have something of. */
  #left(): Pod[] {
    return [...this.#leaving.values()].flat().map(({ pod }) => pod);
  }

  #open(pod: Pod): Promise<PodError | undefined> {
    pod.attempt ??= this.#tryOpen(pod).finally(() => (pod.attempt = undefined));
    return pod.attempt;
  }

  async #tryOpen(pod: Pod): Promise<PodError | undefined> {
    const { uid } = pod;
    // It was here a moment ago and its 15008 lingers: the port is needed now.
    for (const { closed } of this.#leaving.get(uid) ?? []) {
      this.#modules.broadcast({ kind: "hurry", uid });
      await closed;
    }
    if (this.#pods.get(uid) !== pod) return new PodError({ code: "pods.replaced", uid });
    const taken = await this.#modules.store?.take(uid);
    if (this.#pods.get(uid) !== pod) {
      taken?.forEach(({ fd }) => closeDescriptor(fd));
      return new PodError({ code: "pods.replaced", uid });
    }
    const found = provenSockets(pod, taken ?? [], this.#settings, this.#modules.log);
    // A socket that is kept without being of use would keep its port, too. The others are put again.
    const isStoreStale = taken !== undefined && found.size < taken.length;
    if (isStoreStale) this.#modules.store?.drop(uid);
    const opened = openPodListeners(pod, found, this.#settings);
    if (opened instanceof ListenError) return this.#keepPending(pod, new PodError(opened.type));
    const { descriptors: listeners } = opened;
    pod.transparent = opened.transparent;
    pod.inherited = found.size;
    const copies = new Map<number, PodDelivery>();
    for (const worker of this.#modules.workers()) {
      const copy = deliveryOf(pod, listeners);
      if (copy instanceof LinuxError) {
        for (const { descriptors } of copies.values()) closeListeners(descriptors);
        closeListeners(listeners);
        return this.#keepPending(pod, new PodError({ code: "pods.worker", uid, reason: copy.message }));
      }
      copies.set(worker, copy);
    }
    return new Promise((settle) => {
      pod.state = { phase: "opening", listeners, settle, missing: new Set(copies.keys()) };
      const names = wantedListeners(pod.netns, this.#settings).map(listenerName);
      this.#modules.store?.put(
        uid,
        names.filter((name) => isStoreStale || !found.has(name)),
      );
      for (const [worker, copy] of copies) this.#modules.serve(worker, copy);
      // They listen already, whoever accepts: the node daemon need not wait until that is us.
      if (pod.inherited > 0) settle(undefined);
    });
  }

  #keepPending(pod: Pod, error: PodError): PodError {
    pod.state = { phase: "pending", error };
    this.#modules.log.error({ uid: pod.uid, pod: podName(pod), error: error.type }, "pod is not served; trying again");
    this.#modules.onChange();
    this.#cancelRetry ??= this.#modules.clock.after(retryEveryMs, () => this.#retry());
    return error;
  }

  #retry(): void {
    this.#cancelRetry = undefined;
    this.retryPending();
  }

  #served(uid: string, worker: number): void {
    const pod = this.#pods.get(uid);
    if (pod?.state.phase !== "opening") return;
    pod.state.missing.delete(worker);
    if (pod.state.missing.size > 0) return;
    const { settle, listeners } = pod.state;
    pod.state = { phase: "up", listeners };
    const { transparent, inherited } = pod;
    this.#modules.log.info({ uid, pod: podName(pod), transparent, inherited }, "pod is served");
    this.#modules.onChange();
    settle();
  }

  #failed(uid: string, reason: string): void {
    const pod = this.#pods.get(uid);
    if (pod?.state.phase !== "opening") return;
    const { settle, listeners } = pod.state;
    closeListeners(listeners);
    // The workers that do serve it stop, so that the next attempt begins from nothing.
    this.#modules.broadcast({ kind: "leave", uid, lingerMs: 0 });
    settle(this.#keepPending(pod, new PodError({ code: "pods.worker", uid, reason })));
  }

  #closed(uid: string, worker: number): void {
    const leaving = this.#leaving.get(uid)?.find(({ accepting }) => accepting.has(worker));
    if (leaving === undefined) return;
    leaving.accepting.delete(worker);
    if (leaving.accepting.size === 0) leaving.settle();
  }

  #gone(uid: string, worker: number): void {
    const all = this.#leaving.get(uid);
    // A pod that left twice under one uid is done with in the order in which it left.
    const leaving = all?.find(({ busy }) => busy.has(worker));
    if (all === undefined || leaving === undefined) return;
    leaving.busy.delete(worker);
    if (leaving.busy.size > 0) return;
    closeDescriptor(leaving.pod.netns);
    this.#modules.log.info({ uid, pod: podName(leaving.pod) }, "pod has left: its last connection has ended");
    const rest = all.filter((other) => other !== leaving);
    if (rest.length === 0) this.#leaving.delete(uid);
    else this.#leaving.set(uid, rest);
  }
}

const retryEveryMs = 5_000;
const watchEveryMs = 2_000;

function deliveryOf(pod: Pod, listeners: PodDescriptors): PodDelivery | LinuxError {
  const copies: number[] = [];
  for (const descriptor of descriptorsOf(listeners)) {
    const copy = duplicateDescriptor(descriptor);
    if (copy instanceof LinuxError) {
      copies.forEach(closeDescriptor);
      return copy;
    }
    copies.push(copy);
  }
  const [outbound = -1, plaintext = -1, hbone = -1, ...queries] = copies;
  const { uid, info, netns, transparent, connections, home } = pod;
  const dns = (listeners.dns ?? []).map((one, at) => ({ ...one, fd: queries[at] ?? -1 }));
  const descriptors = { outbound, plaintext, hbone, dns };
  return { uid, info, netns, transparent, inherited: pod.inherited > 0, connections, home, descriptors };
}

function closeListeners(listeners: PodDescriptors): void {
  descriptorsOf(listeners).forEach(closeDescriptor);
}

function sameNamespace(one: number, other: number): boolean {
  const [a, b] = [namespaceIdentity(one), namespaceIdentity(other)];
  return a.dev === b.dev && a.ino === b.ino;
}

function podName({ info }: Pod): string {
  return `${info.namespace}/${info.name}`;
}
