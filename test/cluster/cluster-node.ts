/** One node as tests use it. */
import { run, type CommandOptions, type Finished } from "./command.ts";
import type { NodeLayout } from "./layout.ts";

import { nodesReady } from "./nodes-ready.ts";
import { enter, initOf, loadImage, startNode, stopNode } from "./node.ts";

export class ClusterNode {
  readonly name: string;
  readonly address: string;
  /** CIDR of its pods. */
  readonly podRange: string;
  /** The host's end of the node's link: every frame that enters or leaves the node passes it. For AF_PACKET. */
  readonly linkInterface: string;
  readonly layout: NodeLayout;
  readonly #env: NodeJS.ProcessEnv;

  constructor(layout: NodeLayout, env: NodeJS.ProcessEnv) {
    this.name = layout.name;
    this.address = layout.address;
    this.podRange = layout.podRange;
    this.linkInterface = layout.linkInterface;
    this.layout = layout;
    this.#env = env;
  }

  /** Its init process as the host numbers it; undefined while the node is off. */
  get pid(): number | undefined {
    return initOf(this.layout);
  }

  /** @param archive an image archive (OCI or Docker), a tar that is not compressed. */
  loadImage(archive: string): Promise<void> {
    return loadImage(this.layout, archive, this.#env);
  }

  /** The command that runs another in the node's mount, network and process namespaces. */
  enter(argv: readonly string[]): string[] {
    return [...enter(this.layout), ...argv];
  }

  /** Runs a command there. */
  nsenter(argv: readonly string[], options: Omit<CommandOptions, "env"> = {}): Promise<Finished> {
    return run(this.enter(argv), { ...options, env: this.#env });
  }

  /** Pulls the plug. */
  powerOff(): Promise<void> {
    return stopNode(this.layout);
  }

  /** Resolves when its containerd runs; it is Ready, and its pods are back, later. */
  powerOn(): Promise<void> {
    return startNode(this.layout, this.#env);
  }

  /** Everything of it ends at once, then it starts again. Resolves when its kubelet has said Ready anew. */
  async reboot(): Promise<void> {
    await this.powerOff();
    const now = Date.now();
    await this.powerOn();
    await nodesReady([this.name], now);
  }
}
