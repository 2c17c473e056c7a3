/**
 * Pods of one node: an agent as it is shipped, whose node daemon offers one pod after the other. Each is a real network namespace, in which the
 * agent listens, and an identity of its own, for which it holds a certificate (of an authority in the agent itself: signing it is part of
 * what is measured, and costs some 100 µs). No traffic: what a pod costs by being there.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../../core/base/errors.ts";
import { createNetworkNamespace, inNamespace } from "../../core/linux/namespace.ts";
import { setUp } from "../../core/linux/netlink/links.ts";
import { compiledPrograms } from "../../lab/compiled.ts";
import { checkoutRoot, childEnvironment } from "../../lab/programs.ts";
import { cpuSeconds, residentBytes } from "../measure/processes.ts";
import type { GrowthScenario, Values } from "../scenarios/scenario.ts";
import { scratchFolder, type Scratch } from "../scratch.ts";
import { growthIn } from "./kept-scene.ts";
import { NodeDaemon, type OfferedPod } from "./node-daemon.ts";

export function growthPods(workers: number): GrowthScenario {
  return growthIn({
    name: "growth-pods",
    sizes,
    open: () => PodsNode.start(workers),
    measure: (node, size) => node.measure(size),
  });
}

class PodsNode {
  readonly #daemon: NodeDaemon;
  readonly #agent: ChildProcess;
  readonly #pid: number;
  readonly #scratch: Scratch;
  readonly #netns: number;
  #pods = 0;
  #none = { bytes: 0, descriptors: 0 };

  /** @returns why there is none, in one sentence. */
  static async start(workers: number): Promise<PodsNode | string> {
    let netns: number;
    try {
      netns = createNetworkNamespace();
    } catch (error) {
      return `a node's pods need root (${messageOf(error)})`;
    }
    const failure = await setUp("lo", { netns });
    if (failure !== undefined) throw failure;
    const scratch = scratchFolder("bench-growth-");
    const socket = join(scratch.path, "zds.sock");
    const daemon = new NodeDaemon(socket);
    const program = join(await compiledPrograms(), "bin/ambientd.js");
    const agent = inNamespace(netns, () =>
      spawn("setpriv", ["--pdeathsig", "KILL", "--", process.execPath, program, "agent"], {
        cwd: checkoutRoot,
        env: childEnvironment(environment(scratch.path, socket, workers)),
        stdio: "ignore",
      }),
    );
    const node = new PodsNode(daemon, agent, scratch, netns);
    try {
      await node.#begin();
      return node;
    } catch (error) {
      await node.close();
      throw error;
    }
  }

  private constructor(daemon: NodeDaemon, agent: ChildProcess, scratch: Scratch, netns: number) {
    if (agent.pid === undefined) throw new Error("the agent does not start");
    this.#daemon = daemon;
    this.#agent = agent;
    this.#pid = agent.pid;
    this.#scratch = scratch;
    this.#netns = netns;
  }

  async measure(size: number): Promise<Values> {
    const offers: (() => Promise<void>)[] = [];
    for (let at = this.#pods; at < size; at++) offers.push(await this.#daemon.make(podAt(at)));
    this.#pods = size;
    const before = { cpu: cpuSeconds([this.#pid]), ms: performance.now() };
    for (const offer of offers) await offer();
    const addedMs = performance.now() - before.ms;
    // What is done for a pod after it is served, its certificate among it, is paid for too; that garbage is collected at rest, is not.
    await sleep(1_000);
    const added = cpuSeconds([this.#pid]) - before.cpu;
    await sleep(settleMs);
    const { bytes, descriptors } = this.#holding();
    const settled = cpuSeconds([this.#pid]);
    await sleep(idleMs);
    const idle = cpuSeconds([this.#pid]) - settled;
    return {
      "growth-pods.add-time": addedMs / offers.length,
      "growth-pods.add-cpu": (added / offers.length) * 1e6,
      "growth-pods.idle-cpu": (idle / idleMs) * 1e6,
      "growth-pods.memory": (bytes - this.#none.bytes) / 1e6,
      "growth-pods.descriptors": descriptors - this.#none.descriptors,
    };
  }

  async close(): Promise<void> {
    this.#daemon.close();
    const ended = once(this.#agent, "exit");
    if (this.#agent.exitCode === null && this.#agent.signalCode === null) {
      this.#agent.kill("SIGKILL");
      await ended;
    }
    closeSync(this.#netns);
    this.#scratch.remove();
  }

  /** One pod first, which warms up what all of them use. */
  async #begin(): Promise<void> {
    await this.#daemon.begin();
    await (
      await this.#daemon.make(podAt(sizes.at(-1) ?? 0))
    )();
    await sleep(settleMs);
    this.#none = this.#holding();
  }

  #holding(): { readonly bytes: number; readonly descriptors: number } {
    return { bytes: residentBytes([this.#pid]), descriptors: readdirSync(`/proc/${this.#pid}/fd`).length };
  }
}

/** The names of a pod of this node, and of its workload in the mesh. */
export function podAt(at: number): OfferedPod {
  return { uid: `uid-${at}`, name: `pod-${at}`, namespace: `team-${at % 10}`, serviceAccount: `account-${at}` };
}

/** The mesh as a file: one workload for each pod that there will be. It says nothing of nodes: certificates are fetched when pods come. */
export function podsMesh(count: number): string {
  const workloads = Array.from({ length: count }, (_, at) => {
    const { uid, name, namespace, serviceAccount } = podAt(at);
    const workloadIps = [`10.66.${at >> 8}.${at & 255}`];
    return { uid, name, namespace, serviceAccount, workloadIps, protocol: "HBONE" };
  });
  return JSON.stringify({ workloads }); // which is YAML
}

function environment(folder: string, socket: string, workers: number): Record<string, string> {
  const mesh = join(folder, "mesh.yaml");
  writeFileSync(mesh, podsMesh((sizes.at(-1) ?? 0) + 1));
  return {
    LOCAL_XDS_PATH: mesh,
    XDS_ADDRESS: "",
    CA_ADDRESS: "",
    FAKE_CA: "true",
    AMBIENTD_FAKE_CA_DIR: join(folder, "ca"),
    NODE_ENV: "test",
    INPOD_UDS: socket,
    NODE_NAME: nodeName,
    ZTUNNEL_WORKER_THREADS: String(workers),
  };
}

const sizes = [5, 10, 25, 50, 100, 250];
const nodeName = "node1";
/** Longer than an agent waits until it calls itself idle. */
const settleMs = 8_000;
const idleMs = 4_000;
