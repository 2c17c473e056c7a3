/**
 * The agent's end of ZDS: a connection to the node daemon, kept for ever, over which it is told which pods to serve. The rules of
 * the conversation are core/protocol/zds/agent-session.ts; here are the socket, the descriptors and the answers.
 */
import { Backoff } from "../core/base/backoff.ts";
import type { Clock } from "../core/base/clock.ts";
import type { Log } from "../core/base/log.ts";
import { systemRandom } from "../core/base/random.ts";
import { LinuxError } from "../core/linux/errno.ts";
import { isNetworkNamespace } from "../core/linux/namespace.ts";
import { connectSeqpacket, type SeqpacketConnection } from "../core/linux/seqpacket.ts";
import { closeDescriptor } from "../core/linux/sockets.ts";
import { newAgentSession, receive, type AgentSession, type AgentTask } from "../core/protocol/zds/agent-session.ts";
import { decodeRequest, encodeResponse, hello, ZdsError, type PodInfo } from "../core/protocol/zds/messages.ts";

export interface ZdsPods {
  /** Settles when the pod is served, with an error text if it is not. The descriptor is the callee's. */
  serve(uid: string, info: PodInfo, netns: number): Promise<string | undefined>;
  has(uid: string): boolean;
  stop(uid: string): void;
  stopOthers(named: ReadonlySet<string>): void;
}

export interface ZdsClientOptions {
  readonly path: string;
  readonly pods: ZdsPods;
  readonly clock: Clock;
  readonly log: Log;
  readonly onPhase: (phase: ZdsPhase) => void;
}

export type ZdsPhase = "disconnected" | "snapshot" | "live";

export class ZdsClient {
  readonly #options: ZdsClientOptions;
  readonly #backoff = new Backoff(retryBackoff, systemRandom);
  #connection: SeqpacketConnection | undefined;
  #cancelRetry: (() => void) | undefined;
  #closed = false;
  #lastError = "";

  constructor(options: ZdsClientOptions) {
    this.#options = options;
    this.#connect();
  }

  /** Pods go on being served. */
  close(): void {
    this.#closed = true;
    this.#cancelRetry?.();
    this.#connection?.close();
  }

  #connect(): void {
    const { path, log, onPhase } = this.#options;
    const connection = connectSeqpacket(path);
    if (connection instanceof LinuxError) return this.#retry(connection.message);
    const sent = connection.send(hello());
    if (sent !== undefined) {
      connection.close();
      return this.#retry(sent.message);
    }
    this.#connection = connection;
    this.#lastError = "";
    log.info({ path }, "connected to the node daemon");
    onPhase("snapshot");
    const conversation = new Conversation(connection, this.#options, {
      snapshotTaken: () => {
        this.#backoff.reset();
        onPhase("live");
      },
      ended: (error) => {
        connection.close();
        this.#lost(error?.message ?? "closed by the node daemon");
      },
    });
    connection.onPacket((bytes, descriptors) => conversation.packet(bytes, descriptors));
    connection.onClose((error) => conversation.end(error));
  }

  #lost(reason: string): void {
    if (this.#connection === undefined) return;
    this.#connection = undefined;
    if (this.#closed) return;
    this.#options.onPhase("disconnected");
    this.#retry(reason);
  }

  #retry(reason: string): void {
    const { log, clock, path } = this.#options;
    const retryMs = this.#backoff.next();
    // A daemon that is away for an hour is told of once.
    if (reason !== this.#lastError)
      log.warn({ path, reason }, "no node daemon; pods that are served go on being served");
    this.#lastError = reason;
    this.#cancelRetry = clock.after(retryMs, () => this.#connect());
  }
}

interface ConversationListener {
  /** Every pod the daemon knows has been named. */
  snapshotTaken(): void;
  ended(error?: ZdsError | LinuxError): void;
}

/** A local socket costs little to try: a daemon that comes back is not kept waiting for the field's 15 s. */
const retryBackoff = { firstMs: 20, capMs: 1_000, jitter: 0.2 };

/** One connection's packets, one at a time: the next is looked at once the last has been answered. */
class Conversation {
  readonly #connection: SeqpacketConnection;
  readonly #options: ZdsClientOptions;
  readonly #listener: ConversationListener;
  #session: AgentSession = newAgentSession;
  #turn: Promise<void> = Promise.resolve();
  #ended = false;

  constructor(connection: SeqpacketConnection, options: ZdsClientOptions, listener: ConversationListener) {
    this.#connection = connection;
    this.#options = options;
    this.#listener = listener;
  }

  packet(bytes: Uint8Array, descriptors: number[]): void {
    this.#turn = this.#turn
      .then(() => this.#take(bytes, descriptors))
      .catch((thrown: unknown) => {
        this.#options.log.error({ err: thrown }, "internal bug while answering the node daemon");
        this.end();
      });
  }

  end(error?: ZdsError | LinuxError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#listener.ended(error);
  }

  async #take(bytes: Uint8Array, descriptors: number[]): Promise<void> {
    if (this.#ended) return descriptors.forEach(closeDescriptor);
    const request = decodeRequest(bytes, descriptors.length);
    const next = request instanceof ZdsError ? request : receive(this.#session, request, this.#options.clock.nowMs());
    if (next instanceof ZdsError) {
      descriptors.forEach(closeDescriptor);
      this.#options.log.error({ error: next.type }, "the node daemon broke the protocol");
      this.#answer(next.message);
      return this.end(next);
    }
    const error = await this.#perform(next.task, descriptors[0]);
    this.#session = next.session;
    this.#answer(error);
    if (next.task.kind === "stop-others") this.#listener.snapshotTaken();
  }

  /** @returns what to refuse with, or undefined when it is done. */
  async #perform(task: AgentTask, descriptor: number | undefined): Promise<string | undefined> {
    const { pods } = this.#options;
    switch (task.kind) {
      case "serve":
        if (descriptor === undefined) return "no descriptor came along";
        if (!isNetworkNamespace(descriptor)) {
          closeDescriptor(descriptor);
          return "the descriptor is no network namespace";
        }
        return pods.serve(task.uid, task.info, descriptor);
      case "keep":
        return pods.has(task.uid) ? undefined : "not served here, and no descriptor came along";
      case "stop":
        return void pods.stop(task.uid);
      case "stop-others":
        return void pods.stopOthers(task.named);
    }
  }

  #answer(error: string | undefined): void {
    const failed = this.#connection.send(encodeResponse(error === undefined ? {} : { error }));
    if (failed !== undefined) this.end(failed);
  }
}
