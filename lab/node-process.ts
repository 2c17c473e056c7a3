/** A node as PID 1 holds it: its network namespace, its link, and its supervisor (lab/node.ts), restarted like a machine that reboots. */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { createNetworkNamespace, inNamespace } from "../core/linux/namespace.ts";
import type { NodePlan } from "./addresses.ts";
import type { FromNode, NodeConfig, NodeDesired, ToNode } from "./node-messages.ts";
import type { ProcessAction } from "./processes.ts";
import { childEnvironment, checkoutRoot, labProgram } from "./programs.ts";
import { linkNode, prepareNamespace } from "./topology.ts";
import { paths } from "./world.ts";

export interface NodeListener {
  readonly onSpawn: (child: ChildProcess) => void;
  readonly onMessage: (message: FromNode) => void;
  /** The supervisor ended unasked, all it ran with it; it is being started again. */
  readonly onLost: (how: string) => void;
}

export class NodeProcess {
  readonly plan: NodePlan;
  readonly netns: number;
  readonly #config: NodeConfig;
  readonly #listener: NodeListener;
  #child: ChildProcess | undefined;
  #desired = "";
  #isClosing = false;

  private constructor(config: NodeConfig, listener: NodeListener, netns: number) {
    this.plan = config.plan;
    this.netns = netns;
    this.#config = config;
    this.#listener = listener;
  }

  /** Builds the node's namespace and link, and starts its supervisor. */
  static async start(config: NodeConfig, listener: NodeListener): Promise<NodeProcess> {
    const netns = createNetworkNamespace();
    await prepareNamespace(netns);
    await linkNode(config.plan, netns);
    const node = new NodeProcess(config, listener, netns);
    node.#spawn();
    return node;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Only what differs from the last time is sent. */
  desire(desired: NodeDesired): void {
    const text = JSON.stringify(desired);
    if (text === this.#desired) return;
    this.#desired = text;
    this.#send({ kind: "desired", desired });
  }

  act(name: string, action: ProcessAction, signal: NodeJS.Signals | undefined): void {
    this.#send({ kind: "act", name, action, ...(signal === undefined ? {} : { signal }) });
  }

  /** Resolves when everything on the node has ended. */
  async shutDown(): Promise<void> {
    this.#isClosing = true;
    const child = this.#child;
    if (child === undefined) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    this.#send({ kind: "shut-down" });
    await ended;
  }

  #spawn(): void {
    const log = openSync(paths.log(`${this.plan.name}.kubelet`), "a", 0o600);
    const argv = ["--mount", "--", process.execPath, labProgram("node")];
    const child = inNamespace(this.netns, () =>
      spawn("unshare", argv, {
        cwd: checkoutRoot,
        env: childEnvironment({}),
        stdio: ["ignore", log, log, "ipc"],
      }),
    );
    closeSync(log);
    this.#child = child;
    this.#desired = "";
    this.#listener.onSpawn(child);
    child.on("message", (message) => this.#listener.onMessage(message as FromNode));
    child.once("error", () => undefined); // exit follows, or nothing did start
    child.once("exit", (code, signal) => {
      this.#child = undefined;
      if (this.#isClosing) return;
      this.#listener.onLost(signal ?? `exit ${code}`);
      // Not at once: a node that cannot start must not spin.
      setTimeout(() => this.#spawn(), restartMs);
    });
    this.#send({ kind: "config", config: this.#config });
  }

  #send(message: ToNode): void {
    if (this.#child?.connected === true) this.#child.send(message);
  }
}

const restartMs = 500;
