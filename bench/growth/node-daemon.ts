/** A node daemon for an agent that is measured: offers pods, one after the other, each a network namespace with nothing in it but loopback. */
import { closeSync } from "node:fs";
import { LinuxError } from "../../core/linux/errno.ts";
import { createNetworkNamespace } from "../../core/linux/namespace.ts";
import { setUp } from "../../core/linux/netlink/links.ts";
import { listenSeqpacket, type SeqpacketConnection, type SeqpacketListener } from "../../core/linux/seqpacket.ts";
import { decodeResponse, encodeRequest, ZdsError, type ZdsRequest } from "../../core/protocol/zds/messages.ts";

export interface OfferedPod {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

export class NodeDaemon {
  readonly #listener: SeqpacketListener;
  readonly #namespaces: number[] = [];
  readonly #agent = Promise.withResolvers<SeqpacketConnection>();
  #connection: SeqpacketConnection | undefined;
  #answered: ((bytes: Uint8Array) => void) | undefined;

  /** @throws LinuxError where the socket can't be had. */
  constructor(path: string) {
    const listener = listenSeqpacket(path);
    if (listener instanceof LinuxError) throw listener;
    this.#listener = listener;
    listener.onConnection((connection) => {
      let isGreeted = false;
      connection.onPacket((bytes) => {
        if (isGreeted) return this.#answered?.(bytes);
        isGreeted = true;
        this.#connection = connection;
        this.#agent.resolve(connection);
      });
    });
  }

  /** Waits for the agent, which has no pods at first. */
  async begin(): Promise<void> {
    await this.#ask({ kind: "snapshot-sent" });
  }

  /** Makes a pod's namespace: not what is to be measured. @returns what offers it; that resolves when the agent serves the pod. */
  async make({ uid, ...info }: OfferedPod): Promise<() => Promise<void>> {
    const netns = createNetworkNamespace();
    this.#namespaces.push(netns);
    const failure = await setUp("lo", { netns });
    if (failure !== undefined) throw failure;
    return () => this.#ask({ kind: "add", uid, info }, [netns]);
  }

  close(): void {
    this.#listener.close();
    this.#connection?.close();
    this.#namespaces.forEach((netns) => closeSync(netns));
  }

  /** @throws Error where the agent refuses, or does not answer. */
  async #ask(request: ZdsRequest, descriptors: readonly number[] = []): Promise<void> {
    const agent = await within(this.#agent.promise, "the agent does not come to its node daemon");
    const packet = encodeRequest(request);
    if (packet instanceof ZdsError) throw packet;
    const answer = new Promise<Uint8Array>((answered) => (this.#answered = answered));
    const failure = agent.send(packet, descriptors);
    if (failure !== undefined) throw failure;
    const response = decodeResponse(await within(answer, `the agent does not answer to ${request.kind}`));
    if (response instanceof ZdsError) throw response;
    if (response.error !== undefined) throw new Error(`the agent refuses a pod: ${response.error}`);
  }
}

async function within<T>(promise: Promise<T>, otherwise: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(otherwise)), patienceMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

const patienceMs = 20_000;
