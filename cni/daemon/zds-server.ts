/** The daemon's end of ZDS: tells connected agents which pods to serve, and hands them the namespaces. Wire and lock-step are
 *  core/protocol/zds; here are the sockets, who may connect, and what several agents at once mean (a rolling upgrade): `add` goes
 *  to the newest, `del` to all, and when the newest leaves the one before it is told what it has missed. */
import type { Clock } from "../../core/base/clock.ts";
import { describe } from "../../core/base/errors.ts";
import type { Log } from "../../core/base/log.ts";
import type { LinuxError } from "../../core/linux/errno.ts";
import type { SeqpacketConnection } from "../../core/linux/seqpacket.ts";
import { closeDescriptor } from "../../core/linux/sockets.ts";
import { DaemonSession, type DaemonEvent } from "../../core/protocol/zds/daemon-session.ts";
import { ZdsError, type PodInfo, type ZdsRequest } from "../../core/protocol/zds/messages.ts";
import { CniError } from "./errors.ts";

export interface OfferedPod {
  readonly uid: string;
  readonly info: PodInfo;
}

export interface ZdsServerModules {
  /** The open namespace of an offered pod. It must stay open for as long as the pod is offered. */
  readonly descriptorOf: (uid: string) => number | undefined;
  /** An agent's listeners stand in that pod. May come more than once. */
  readonly onServed: (uid: string) => void;
  /** Nobody serves that pod, though it is offered. It goes on being offered. */
  readonly onRefused: (uid: string, error: CniError) => void;
  readonly clock: Clock;
  readonly log: Log;
  /** Only this user's processes are agents. */
  readonly ownUid: number;
}

/** What `ambientctl` sees of a connected agent. */
export interface LinkStatus {
  readonly pid: number;
  /** It has acknowledged the whole snapshot. */
  readonly live: boolean;
  readonly pods: number;
}

interface Link {
  readonly connection: SeqpacketConnection;
  readonly session: DaemonSession;
  /** The snapshot has been begun: the agent said hello. */
  greeted: boolean;
  readonly acknowledged: Set<string>;
  /** How often in a row it refused a pod. */
  readonly refusals: Map<string, number>;
  readonly withdrawals: Map<string, (() => void)[]>;
  readonly retries: Map<string, () => void>;
  cancelDeadline: (() => void) | undefined;
}

export class ZdsServer {
  readonly #modules: ZdsServerModules;
  readonly #offered = new Map<string, OfferedPod>();
  /** In order of arrival. */
  readonly #links: Link[] = [];

  constructor(modules: ZdsServerModules) {
    this.#modules = modules;
  }

  /** A connection that was just accepted; call it in the same turn. */
  accept(connection: SeqpacketConnection): void {
    const { pid, uid } = connection.peer();
    const { clock, log, ownUid } = this.#modules;
    if (uid !== ownUid) {
      log.warn({ code: "PEER_DENIED", pid, uid }, "a stranger on the agents' socket was sent away");
      return connection.close();
    }
    if (this.#links.length >= maxLinks) {
      log.warn({ pid, links: maxLinks }, "too many agents on the socket: the newest was sent away");
      return connection.close();
    }
    const link: Link = {
      connection,
      session: new DaemonSession(clock.nowMs()),
      greeted: false,
      acknowledged: new Set(),
      refusals: new Map(),
      withdrawals: new Map(),
      retries: new Map(),
      cancelDeadline: undefined,
    };
    this.#links.push(link);
    connection.onPacket((bytes, descriptors) => this.#receive(link, bytes, descriptors));
    connection.onClose((error) => this.#drop(link, error));
    this.#pump(link);
  }

  /** From now on agents shall hold this pod. Answers by onServed or onRefused, never during this call. */
  offer(pod: OfferedPod): void {
    this.#offered.set(pod.uid, pod);
    const newest = this.#newest();
    if (newest === undefined) queueMicrotask(() => this.#refuse(pod, { code: "cni.no-agent" }));
    else if (newest.acknowledged.has(pod.uid)) queueMicrotask(() => this.#served(pod));
    else this.#submit(newest, { kind: "add", ...pod });
  }

  /** Settles when every agent has acknowledged, or its link is gone; a link has 5 s. */
  async withdraw(uid: string): Promise<void> {
    this.#offered.delete(uid);
    const answers = this.#links
      .filter((link) => link.greeted)
      .map((link) => {
        const { promise, resolve } = Promise.withResolvers<void>();
        link.withdrawals.set(uid, [...(link.withdrawals.get(uid) ?? []), resolve]);
        this.#submit(link, { kind: "del", uid });
        return promise;
      });
    await Promise.all(answers);
  }

  /** Whether agents shall hold the pod, be one connected or not. */
  offers(uid: string): boolean {
    return this.#offered.has(uid);
  }

  /** Whether an agent that is connected now has acknowledged the pod. */
  serves(uid: string): boolean {
    return this.#links.some((link) => link.acknowledged.has(uid));
  }

  links(): LinkStatus[] {
    return this.#links.map(({ connection, session, acknowledged }) => ({
      pid: connection.peer().pid,
      live: session.live,
      pods: acknowledged.size,
    }));
  }

  close(): void {
    for (const link of [...this.#links]) {
      link.connection.close();
      this.#forget(link);
    }
  }

  #receive(link: Link, bytes: Uint8Array, descriptors: readonly number[]): void {
    // An agent sends none; what came nevertheless must not stay open here.
    descriptors.forEach(closeDescriptor);
    const event = link.session.receive(bytes, descriptors.length);
    if (event instanceof ZdsError) return this.#fail(link, event);
    this.#handle(link, event);
    this.#pump(link);
  }

  #handle(link: Link, event: DaemonEvent): void {
    if (event.kind === "hello") {
      link.greeted = true;
      const { descriptorOf, log } = this.#modules;
      const snapshot = [...this.#offered.values()].map((pod) =>
        descriptorOf(pod.uid) === undefined
          ? ({ kind: "keep", uid: pod.uid } as const)
          : ({ kind: "add", ...pod } as const),
      );
      log.info({ pid: link.connection.peer().pid, pods: snapshot.length }, "an agent connected");
      return link.session.begin(snapshot);
    }
    const { request, error } = event;
    switch (request.kind) {
      case "snapshot-sent":
        return;
      case "del":
        link.acknowledged.delete(request.uid);
        if (error !== undefined) this.#modules.log.warn({ uid: request.uid, error }, "an agent refused a del");
        for (const resolve of link.withdrawals.get(request.uid) ?? []) resolve();
        link.withdrawals.delete(request.uid);
        return;
      case "add":
      case "keep":
        return this.#answered(link, request.uid, error);
    }
  }

  #answered(link: Link, uid: string, error: string | undefined): void {
    const pod = this.#offered.get(uid);
    if (error === undefined) {
      link.acknowledged.add(uid);
      link.refusals.delete(uid);
      // Withdrawn while the answer was on its way: its del is on its way too.
      if (pod !== undefined) this.#served(pod);
      return;
    }
    const reason = error.slice(0, 256);
    this.#modules.log.warn({ uid, reason }, "an agent refused a pod; it is offered again");
    link.acknowledged.delete(uid);
    if (pod === undefined) return;
    this.#offerAgain(link, uid);
    this.#refuse(pod, { code: "cni.agent-refused", reason });
  }

  #offerAgain(link: Link, uid: string): void {
    const refusals = (link.refusals.get(uid) ?? 0) + 1;
    link.refusals.set(uid, refusals);
    link.retries.get(uid)?.();
    const delayMs = Math.min(firstRetryMs * 2 ** (refusals - 1), maxRetryMs);
    const cancel = this.#modules.clock.after(delayMs, () => {
      link.retries.delete(uid);
      const pod = this.#offered.get(uid);
      if (pod !== undefined && !link.acknowledged.has(uid)) this.#submit(link, { kind: "add", ...pod });
    });
    link.retries.set(uid, cancel);
  }

  #submit(link: Link, change: ZdsRequest & { readonly kind: "add" | "del" }): void {
    link.session.submit(change);
    this.#pump(link);
  }

  /** Sends what may be sent now, and watches the deadline of what was. */
  #pump(link: Link): void {
    for (;;) {
      const outgoing = link.session.poll(this.#modules.clock.nowMs());
      if (outgoing === undefined) break;
      if (outgoing instanceof ZdsError) {
        this.#modules.log.error({ error: outgoing.type }, "a pod that no agent can be told of");
        continue;
      }
      const failure = this.#send(link, outgoing.request, outgoing.bytes);
      if (failure !== undefined) return this.#fail(link, failure);
    }
    link.cancelDeadline?.();
    link.cancelDeadline = undefined;
    const { deadlineMs } = link.session;
    if (deadlineMs === undefined) return;
    const { clock } = this.#modules;
    link.cancelDeadline = clock.after(Math.max(0, deadlineMs - clock.nowMs()), () => {
      link.cancelDeadline = undefined;
      const late = link.session.expire(clock.nowMs());
      // A late answer would be taken for the next one's: this link has none any more.
      if (late === undefined) this.#pump(link);
      else this.#fail(link, late);
    });
  }

  #send(link: Link, request: ZdsRequest, bytes: Uint8Array): LinuxError | CniError | undefined {
    if (request.kind !== "add") return link.connection.send(bytes);
    const fd = this.#modules.descriptorOf(request.uid);
    if (fd === undefined) return new CniError({ code: "cni.netns-missing", path: request.uid });
    return link.connection.send(bytes, [fd]);
  }

  #fail(link: Link, error: ZdsError | LinuxError | CniError): void {
    link.connection.close();
    this.#drop(link, error);
  }

  /** The agent goes on serving what it has; when it comes back it gets a snapshot. */
  #drop(link: Link, error: ZdsError | LinuxError | CniError | undefined): void {
    if (!this.#links.includes(link)) return;
    const wasNewest = this.#newest() === link;
    this.#forget(link);
    const { pid } = link.connection.peer();
    if (error === undefined) this.#modules.log.info({ pid }, "an agent disconnected");
    else this.#modules.log.warn({ pid, error: describe(error.type) }, "the link to an agent was closed");
    const heir = this.#newest();
    for (const pod of this.#offered.values()) {
      if (heir === undefined) this.#refuse(pod, { code: "cni.no-agent" });
      else if (wasNewest && !heir.acknowledged.has(pod.uid)) this.#submit(heir, { kind: "add", ...pod });
    }
  }

  #forget(link: Link): void {
    this.#links.splice(this.#links.indexOf(link), 1);
    link.cancelDeadline?.();
    for (const cancel of link.retries.values()) cancel();
    for (const resolvers of link.withdrawals.values()) for (const resolve of resolvers) resolve();
    link.withdrawals.clear();
    link.acknowledged.clear();
  }

  /** The last that came and has said hello: one that is silent must not swallow what others wait for. */
  #newest(): Link | undefined {
    return this.#links.findLast((link) => link.greeted);
  }

  #served(pod: OfferedPod): void {
    if (this.#offered.get(pod.uid) === pod && this.serves(pod.uid)) this.#modules.onServed(pod.uid);
  }

  #refuse(pod: OfferedPod, type: CniError["type"]): void {
    if (this.#offered.get(pod.uid) === pod && !this.serves(pod.uid))
      this.#modules.onRefused(pod.uid, new CniError(type));
  }
}

/** A rolling upgrade needs two. */
const maxLinks = 16;
const firstRetryMs = 500;
const maxRetryMs = 5000;
