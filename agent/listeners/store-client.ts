/**
 * The agent's end of the listener store: the node daemon keeps duplicates of its pods' listening sockets, so that they, and the
 * connections that wait in them, outlive this process. Everything here is a help and nothing a condition: without a store, or with one
 * that does not answer, pods are served all the same. Wire: core/protocol/listener-store.
 */
import { Backoff } from "../../core/base/backoff.ts";
import type { Clock } from "../../core/base/clock.ts";
import type { Log } from "../../core/base/log.ts";
import { systemRandom } from "../../core/base/random.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { connectSeqpacket, type SeqpacketConnection } from "../../core/linux/seqpacket.ts";
import { closeDescriptor } from "../../core/linux/sockets.ts";
import {
  decodeStoreResponse,
  encodeStoreRequest,
  listenerName,
  ListenerStoreError,
  type StoredListener,
  type StoreRequest,
  type StoreResponse,
} from "../../core/protocol/listener-store/messages.ts";

/** A socket that this agent serves. */
export interface HeldListener {
  readonly listener: StoredListener;
  /** The holder's: it goes on being so. */
  readonly fd: number;
}

/** A socket that the store gave us. */
export interface TakenListener {
  readonly listener: StoredListener;
  /** Whoever asked closes it. What the store said of it is not proven. */
  readonly fd: number;
}

export interface StoreClientOptions {
  readonly path: string;
  readonly clock: Clock;
  readonly log: Log;
  /** What this agent serves now, of one pod or of all: put again to a store that has started anew. */
  readonly held: (uid?: string) => Iterable<HeldListener>;
  /** A store is there, for the first time or again. */
  readonly onConnected: () => void;
}

type Job =
  | { readonly kind: "take"; readonly uid: string; readonly settle: (taken: TakenListener[]) => void }
  | { readonly kind: "put"; readonly uid: string; readonly name: string } // whatever is held there by the time it is sent
  | { readonly kind: "drop"; readonly uid: string }
  | { readonly kind: "serving" }
  | { readonly kind: "successor"; readonly settle: (serving: boolean) => void };

interface Asked {
  readonly job: Job;
  readonly taken: TakenListener[];
  readonly cancelDeadline: () => void;
}

export class StoreClient {
  readonly #options: StoreClientOptions;
  readonly #backoff = new Backoff(retryBackoff, systemRandom);
  #connection: SeqpacketConnection | undefined;
  #cancelRetry: (() => void) | undefined;
  /** The one that the store is to answer next. */
  #asked: Asked | undefined;
  readonly #queue: Job[] = [];
  #serving = false;
  #closed = false;
  #lastError = "";

  constructor(options: StoreClientOptions) {
    this.#options = options;
  }

  /** Connects, and goes on doing so; where a store is there, this has reached it when it returns. */
  start(): void {
    this.#connect();
  }

  /** What the store keeps of that pod; nothing where it does not answer within a second. */
  take(uid: string): Promise<TakenListener[]> {
    return new Promise((settle) => this.#ask({ kind: "take", uid, settle }, "first"));
  }

  /**
   * Has what is held there kept. Never fails for the caller: a store that is away gets everything when it is back.
   * @param names as listenerName says them.
   */
  put(uid: string, names: readonly string[]): void {
    for (const name of names) this.#ask({ kind: "put", uid, name });
  }

  /** What the store keeps of that pod is of no use. */
  drop(uid: string): void {
    this.#ask({ kind: "drop", uid }, "first");
  }

  /** Says, now and to every store to come, that this agent accepts for every pod that it was told of, or takes it back. */
  sayServing(serving: boolean): void {
    if (serving && !this.#serving) this.#ask({ kind: "serving" });
    this.#serving = serving;
  }

  /** Whether an agent that came after this one serves; false where nobody can say. */
  hasSuccessor(): Promise<boolean> {
    return new Promise((settle) => this.#ask({ kind: "successor", settle }, "first"));
  }

  close(): void {
    this.#closed = true;
    this.#cancelRetry?.();
    this.#connection?.close();
    this.#giveUp();
  }

  #connect(): void {
    const { path, log, onConnected, held } = this.#options;
    const connection = connectSeqpacket(path);
    if (connection instanceof LinuxError) return this.#retry(connection.message);
    this.#connection = connection;
    this.#lastError = "";
    connection.onPacket((bytes, descriptors) => this.#answered(connection, bytes, descriptors));
    connection.onClose((error) => this.#lost(connection, error?.message ?? "closed by the node daemon"));
    log.info({ path }, "connected to the listener store");
    for (const { listener } of held())
      this.#queue.push({ kind: "put", uid: listener.uid, name: listenerName(listener) });
    if (this.#serving) this.#queue.push({ kind: "serving" });
    this.#next();
    onConnected();
  }

  #ask(job: Job, where?: "first"): void {
    if (this.#connection === undefined) return abandon(job);
    if (where === "first") this.#queue.unshift(job);
    else this.#queue.push(job);
    this.#next();
  }

  /** Lock-step: one is asked, and answered, before the next. */
  #next(): void {
    while (this.#asked === undefined && this.#connection !== undefined) {
      const job = this.#queue.shift();
      if (job === undefined) return;
      this.#send(this.#connection, job);
    }
  }

  #send(connection: SeqpacketConnection, job: Job): void {
    const message = this.#messageOf(job);
    // It has been let go meanwhile.
    if (message === undefined) return;
    const bytes = encodeStoreRequest(message.request);
    if (bytes instanceof ListenerStoreError) {
      this.#options.log.warn({ error: bytes.type }, "the listener store cannot be asked that");
      return abandon(job);
    }
    const failed = connection.send(bytes, message.fd === undefined ? [] : [message.fd]);
    const cancelDeadline = this.#options.clock.after(answerWithinMs, () =>
      this.#lost(connection, `no answer within ${answerWithinMs} ms`),
    );
    this.#asked = { job, taken: [], cancelDeadline };
    if (failed !== undefined) this.#lost(connection, failed.message);
  }

  #messageOf(job: Job): { readonly request: StoreRequest; readonly fd?: number } | undefined {
    if (job.kind === "take" || job.kind === "drop") return { request: { kind: job.kind, uid: job.uid } };
    if (job.kind !== "put") return { request: { kind: job.kind } };
    for (const { listener, fd } of this.#options.held(job.uid)) {
      if (listenerName(listener) === job.name) return { request: { kind: "put", listener }, fd };
    }
    return undefined;
  }

  #answered(connection: SeqpacketConnection, bytes: Uint8Array, descriptors: number[]): void {
    const response = decodeStoreResponse(bytes, descriptors.length);
    const asked = this.#asked;
    if (response instanceof ListenerStoreError || asked === undefined) {
      descriptors.forEach(closeDescriptor);
      const reason = response instanceof ListenerStoreError ? response.message : "an answer that nobody asked for";
      return this.#lost(connection, reason);
    }
    if (asked.job.kind === "take" && response.kind === "listener") {
      asked.taken.push({ listener: response.listener, fd: descriptors[0] ?? -1 });
      if (asked.taken.length > mostListeners) this.#lost(connection, "more sockets than a pod has");
      return;
    }
    if (!this.#settle(asked, response)) {
      descriptors.forEach(closeDescriptor);
      return this.#lost(connection, `${response.kind} in answer to ${asked.job.kind}`);
    }
    this.#backoff.reset();
    this.#next();
  }

  /** @returns whether the answer fits the question. */
  #settle(asked: Asked, response: StoreResponse): boolean {
    const { job, taken } = asked;
    if (response.kind === "error") {
      this.#options.log.warn({ asked: job.kind, reason: response.reason }, "the listener store refuses");
    } else if (job.kind === "take" || job.kind === "successor") {
      if (response.kind !== answers[job.kind]) return false;
    } else if (response.kind !== "ok") return false;
    this.#asked = undefined;
    asked.cancelDeadline();
    if (job.kind === "take") job.settle(taken);
    if (job.kind === "successor") job.settle(response.kind === "successor" && response.serving);
    return true;
  }

  #lost(connection: SeqpacketConnection, reason: string): void {
    if (this.#connection !== connection) return;
    this.#connection = undefined;
    connection.close();
    this.#giveUp();
    if (!this.#closed) this.#retry(reason);
  }

  /** Who waits does so no longer; what was to be put will be put to the next store. */
  #giveUp(): void {
    const asked = this.#asked;
    this.#asked = undefined;
    asked?.cancelDeadline();
    asked?.taken.forEach(({ fd }) => closeDescriptor(fd));
    for (const job of [...(asked === undefined ? [] : [asked.job]), ...this.#queue.splice(0)]) abandon(job);
  }

  #retry(reason: string): void {
    const { log, clock, path } = this.#options;
    if (reason !== this.#lastError) {
      log.warn(
        { path, reason },
        "no listener store; if this agent dies, connections are refused until the next one serves",
      );
    }
    this.#lastError = reason;
    this.#cancelRetry = clock.after(this.#backoff.next(), () => this.#connect());
  }
}

function abandon(job: Job): void {
  if (job.kind === "take") job.settle([]);
  if (job.kind === "successor") job.settle(false);
}

const answers = { take: "end", successor: "successor" } as const;
const retryBackoff = { firstMs: 20, capMs: 1_000, jitter: 0.2 };
/** The node daemon that waits for an acknowledgement gives us five seconds. */
const answerWithinMs = 1_000;
/** A pod has fewer; more is somebody's mistake. */
const mostListeners = 16;
