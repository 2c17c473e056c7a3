/**
 * The supervisor of one node, its "kubelet": started by PID 1 in the node's network namespace and a mount namespace of its
 * own. It makes /run the node's own, keeps the node's daemons running, and its pods as PID 1 desires them.
 */
import { constants, ftruncateSync, mkdirSync, openSync, readdirSync, rmSync, symlinkSync, writeSync } from "node:fs";
import { systemClock } from "../core/base/clock.ts";
import { systemRandom } from "../core/base/random.ts";
import { bindMount } from "../core/linux/mounts.ts";
import { applyTransaction } from "../core/linux/nftables/apply.ts";
import { replaceTables } from "../core/linux/nftables/model.ts";
import type { FromNode, NodeConfig, NodeDesired, PodDesired, ToNode } from "./node-messages.ts";
import { Pod } from "./pod.ts";
import { childEnvironment, checkoutRoot } from "./programs.ts";
import { SupervisedProcess } from "./processes.ts";
import { serviceTable } from "./service-rules.ts";
import { check } from "./topology.ts";

class Node {
  readonly #config: NodeConfig;
  readonly #logFolder: number;
  readonly #hosts: number;
  readonly #daemons: readonly SupervisedProcess[];
  readonly #pods = new Map<string, Pod>();
  /** Pods that are on their way out, by `namespace/name`: their successor waits, it may have their addresses. */
  readonly #leaving = new Map<string, Promise<void>>();
  #desired: NodeDesired = { pods: [], routes: [], hosts: "", daemonsMayStart: false };
  #rules = "";
  #daemonsStarted = false;
  #applying: Promise<void> | undefined;

  constructor(config: NodeConfig) {
    this.#config = config;
    // Opened before /run/lab disappears from our sight.
    this.#logFolder = openSync("/run/lab/log", constants.O_RDONLY | constants.O_DIRECTORY);
    mountOwnRun(config.plan.name);
    this.#hosts = openSync("/run/hosts", "w", 0o644);
    bindOwnHosts();
    this.#daemons = config.daemons.map(
      (program) =>
        new SupervisedProcess(
          {
            ...program,
            env: childEnvironment(program.env),
            cwd: checkoutRoot,
            restart: "always",
            logFile: this.#logFile(program.name),
          },
          { clock: systemClock, random: systemRandom, onChange: (row) => tell({ kind: "process", row }) },
        ),
    );
  }

  /** Applied one after the other; of several that arrive meanwhile only the last counts. */
  desire(desired: NodeDesired): void {
    this.#desired = desired;
    this.#applying ??= this.#applyAll().finally(() => (this.#applying = undefined));
  }

  act(message: ToNode & { kind: "act" }): void {
    const all = [...this.#daemons, ...[...this.#pods.values()].flatMap((pod) => pod.processes())];
    all.find(({ spec }) => spec.name === message.name)?.act(message.action, message.signal);
  }

  async shutDown(): Promise<void> {
    this.#desired = { ...this.#desired, pods: [], daemonsMayStart: false };
    await Promise.all([...this.#pods.values()].map((pod) => pod.close()));
    await Promise.all(this.#daemons.map((daemon) => daemon.close(graceMs)));
  }

  async #applyAll(): Promise<void> {
    for (let applied: NodeDesired | undefined; applied !== this.#desired;) {
      applied = this.#desired;
      writeSync(this.#hosts, applied.hosts, 0);
      ftruncateSync(this.#hosts, Buffer.byteLength(applied.hosts));
      await this.#applyRules();
      this.#startDaemons();
      this.#applyPods(applied.pods);
    }
  }

  async #applyRules(): Promise<void> {
    const { plan } = this.#config;
    const own = plan.nodeEnd.map(({ address }) => address);
    const table = serviceTable(this.#desired.routes, own);
    const text = JSON.stringify(table);
    if (text === this.#rules) return;
    const failure = await applyTransaction(undefined, replaceTables([table]));
    if (failure === undefined) this.#rules = text;
    else problem(`Services have no virtual addresses on ${plan.name}: ${failure.message}.`);
  }

  #startDaemons(): void {
    if (this.#daemonsStarted || !this.#desired.daemonsMayStart) return;
    this.#daemonsStarted = true;
    for (const daemon of this.#daemons) daemon.start();
  }

  #applyPods(desired: readonly PodDesired[]): void {
    const uids = new Set(desired.map(({ uid }) => uid));
    for (const pod of this.#pods.values()) if (!uids.has(pod.uid)) this.#remove(pod);
    for (const wanted of desired) {
      const present = this.#pods.get(wanted.uid);
      if (present !== undefined) present.update(wanted);
      else this.#add(wanted);
    }
  }

  #add(wanted: PodDesired): void {
    const leaving = this.#leaving.get(`${wanted.namespace}/${wanted.name}`);
    if (leaving !== undefined) {
      // Then the desired state of that moment decides.
      void leaving.then(() => this.#applyPods(this.#desired.pods));
      return;
    }
    const { plan, enrolmentWaitMs } = this.#config;
    const pod = new Pod(wanted, {
      clock: systemClock,
      random: systemRandom,
      plan,
      enrolmentWaitMs,
      netnsFolder: "/run/netns",
      logFile: (name) => this.#logFile(name),
      env: childEnvironment({}),
      cwd: checkoutRoot,
      onPod: (row) => tell({ kind: "pod", row }),
      onProcess: (row) => tell({ kind: "process", row }),
      onProblem: problem,
    });
    this.#pods.set(wanted.uid, pod);
  }

  #remove(pod: Pod): void {
    this.#pods.delete(pod.uid);
    const gone = pod.close().then(() => {
      this.#leaving.delete(pod.key);
      for (const { spec } of pod.processes()) tell({ kind: "process-gone", name: spec.name });
      tell({ kind: "pod-gone", uid: pod.uid, pod: pod.key });
    });
    this.#leaving.set(pod.key, gone);
  }

  #logFile(name: string): string {
    return `/proc/self/fd/${this.#logFolder}/${name}.log`;
  }
}

/** Covers /run by this node's folder, with the cluster's folder and the node's secrets in it. */
function mountOwnRun(name: string): void {
  const own = `/run/lab/nodes/${name}`;
  for (const entry of readdirSync(own)) rmSync(`${own}/${entry}`, { recursive: true });
  for (const [folder, mode] of folders) mkdirSync(`${own}/${folder}`, { recursive: true, mode });
  symlinkSync("/run/cluster/root-cert.pem", `${own}/secrets/istio/root-cert.pem`);
  check(bindMount("/run/lab/cluster", `${own}/cluster`));
  check(bindMount(`/run/lab/tokens/${name}`, `${own}/secrets/tokens`));
  check(bindMount(own, "/run"));
}

function bindOwnHosts(): void {
  const failure = bindMount("/run/hosts", "/etc/hosts");
  if (failure !== undefined)
    problem(`Service names cannot be looked up: /etc/hosts is not to be had (${failure.message}).`);
}

function tell(message: FromNode): void {
  if (process.connected) process.send?.(message);
}

function problem(sentence: string): void {
  tell({ kind: "event", event: { kind: "problem", sentence } });
}

const folders: readonly (readonly [string, number])[] = [
  ["cluster", 0o755],
  ["netns", 0o755],
  ["ztunnel", 0o700],
  ["ambientd", 0o700],
  ["istio-cni", 0o700],
  ["secrets/istio", 0o700],
  ["secrets/tokens", 0o700],
];
/** What a daemon gets between TERM and KILL. */
const graceMs = 3_000;

let node: Node | undefined;
process.on("message", (message: ToNode) => {
  switch (message.kind) {
    case "config":
      node = new Node(message.config);
      return tell({ kind: "up" });
    case "desired":
      return node?.desire(message.desired);
    case "act":
      return node?.act(message);
    case "shut-down":
      return void node?.shutDown().then(() => {
        tell({ kind: "down" });
        process.disconnect();
      });
  }
});
// PID 1 is gone, and the kernel is about to end us too.
process.on("disconnect", () => process.exit());
// Whoever signals the whole group means PID 1: it will tell us.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);
