/**
 * The agent's own pod, served like any other as far as tunnels go: 15008 in the agent's own namespace, with the agent's own identity, so
 * that its metrics can be asked for over mutual TLS and policies say by whom (agent-wire 1.9). Nothing is captured here, and nobody's
 * address is taken on.
 */
import type { Clock } from "../core/base/clock.ts";
import type { Log } from "../core/base/log.ts";
import { hbonePort } from "../core/decision/own-ports.ts";
import { LinuxError } from "../core/linux/errno.ts";
import { closeDescriptor, duplicateDescriptor, listenTcp } from "../core/linux/sockets.ts";
import type { PodInfo } from "../core/protocol/zds/messages.ts";
import { podConnectionCells, PodConnections } from "./pod-connections.ts";
import { listenBacklog, noDescriptor, type PodDelivery } from "./worker-messages.ts";

export interface SelfProxyOptions {
  readonly info: PodInfo;
  readonly ipv6: boolean;
  /** 15008; 0: any that is free. */
  readonly port?: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Every worker is to be given its share: call `delivery` for each. */
  readonly onOpen: () => void;
}

/** No pod of the node daemon's has it: those are Kubernetes uids. */
export const selfUid = "self";

export class SelfProxy {
  readonly info: PodInfo;
  readonly #options: SelfProxyOptions;
  readonly #connections = podConnectionCells();
  #listener: number | undefined;
  #cancelRetry: () => void = () => {};
  #complained = false;
  #closed = false;

  constructor(options: SelfProxyOptions) {
    this.info = options.info;
    this.#options = options;
  }

  /** Another agent of this namespace may have the port for a while: it is tried again. */
  open(): void {
    const { ipv6, port = hbonePort, clock, log, onOpen } = this.#options;
    if (this.#closed || this.#listener !== undefined) return;
    const listener = listenTcp({ address: ipv6 ? "::" : "0.0.0.0", port, backlog: listenBacklog });
    if (!(listener instanceof LinuxError)) {
      this.#listener = listener.fd;
      return onOpen();
    }
    if (!this.#complained) log.warn({ port, error: listener.type }, "the agent itself cannot be reached by tunnel yet");
    this.#complained = true;
    this.#cancelRetry = clock.after(retryMs, () => this.open());
  }

  /** One worker's share; none while the port is not to be had. */
  delivery(): PodDelivery | undefined {
    const hbone = this.#listener === undefined ? undefined : duplicateDescriptor(this.#listener);
    if (hbone === undefined || hbone instanceof LinuxError) return undefined;
    return {
      uid: selfUid,
      info: this.info,
      netns: undefined,
      descriptors: { outbound: noDescriptor, plaintext: noDescriptor, hbone },
      transparent: false,
      connections: this.#connections,
      inherited: false,
    };
  }

  /** What it carried for this pod is gone with it. */
  workerLost(worker: number): void {
    new PodConnections(this.#connections, worker).clear();
  }

  /** This thread's own socket; the workers close theirs as they drain. */
  close(): void {
    this.#closed = true;
    this.#cancelRetry();
    if (this.#listener !== undefined) closeDescriptor(this.#listener);
    this.#listener = undefined;
  }
}

const retryMs = 1_000;
