/** The running lab, as its control socket asks for it: everything PID 1 holds, gathered in one place and started in order. */
import { randomUUID } from "node:crypto";
import { DirectorySource } from "../control/sources/directory.ts";
import { problemText } from "../control/sources/source.ts";
import type { Clock } from "../core/base/clock.ts";
import { messageOf } from "../core/base/errors.ts";
import { silentLog } from "../core/base/log.ts";
import { systemRandom } from "../core/base/random.ts";
import { planNode, routerAddresses, type NodePlan } from "./addresses.ts";
import { ClusterDriver } from "./cluster-driver.ts";
import { Cluster } from "./cluster.ts";
import type { LabConfig } from "./config.ts";
import type { EventLog } from "./events.ts";
import { ManifestFolder } from "./manifest-folder.ts";
import type { FromNode } from "./node-messages.ts";
import { nodeManifest } from "./node-manifest.ts";
import { NodeProcess } from "./node-process.ts";
import { SupervisedProcess, type ProcessAction, type ProcessRow } from "./processes.ts";
import { agentProgram, checkoutRoot, childEnvironment, cniProgram, controlName, controlProgram } from "./programs.ts";
import type { Reaper } from "./reaper.ts";
import { Refused } from "./refusals.ts";
import type { ExecTarget, LabStatus } from "./status.ts";
import { addressRouter, prepareNamespace } from "./topology.ts";
import { paths } from "./world.ts";

export interface LabSurroundings {
  readonly clock: Clock;
  readonly events: EventLog;
  readonly reaper: Reaper;
}

export class Lab {
  readonly config: LabConfig;
  readonly manifests: ManifestFolder;
  readonly #around: LabSurroundings;
  readonly #source: DirectorySource;
  readonly #driver: ClusterDriver;
  readonly #control: SupervisedProcess | undefined;
  readonly #processes = new Map<string, ProcessRow>();
  readonly #plans: readonly NodePlan[];
  #nodes: readonly NodeProcess[] = [];

  /** The lab's file system must be there (world.ts). @throws where the manifests cannot be read. */
  constructor(config: LabConfig, around: LabSurroundings) {
    const { clock, events } = around;
    this.config = config;
    this.#around = around;
    this.#plans = config.nodes.map((name, i) => planNode(name, i + 1, config.families));
    this.manifests = new ManifestFolder(paths.manifests);
    this.manifests.put("lab-nodes.yaml", this.#plans.map(nodeManifest).join("---\n"));
    this.#takeManifests();
    this.#source = new DirectorySource({ manifests: paths.manifests, status: paths.status, log: silentLog });
    const cluster = new Cluster({
      nodes: this.#plans,
      families: config.families,
      newUid: randomUUID,
      wallMs: () => clock.wallMs(),
      fixedHosts: { [controlName]: routerAddresses(config.families) },
    });
    const awaitControl = config.components.control;
    this.#driver = new ClusterDriver({ source: this.#source, cluster, events, clock, awaitControl });
    this.#control = awaitControl ? this.#controlProcess() : undefined;
  }

  /** Builds everything; what fails throws. Pods go on starting after it has resolved: see the `ready` event. */
  async build(): Promise<void> {
    const { events } = this.#around;
    const { families } = this.config;
    await events.step("router", async () => {
      await prepareNamespace();
      await addressRouter(routerAddresses(families));
    });
    this.#control?.start();
    this.#nodes = await Promise.all(
      this.#plans.map((plan) => events.step(`node ${plan.name}`, () => this.#startNode(plan))),
    );
    await events.step("manifests", () => this.#source.synced);
    this.#driver.start(this.#nodes);
  }

  status(): LabStatus {
    const round = this.#driver.last;
    const rows = this.#driver.rows();
    return {
      name: this.config.name,
      families: this.config.families,
      ready: this.#driver.isReady,
      nodes: this.#nodes.map(({ plan, pid }) => ({
        name: plan.name,
        pid,
        addresses: plan.nodeEnd.map(({ address }) => address),
        podRanges: plan.podRanges.map(({ address, prefix }) => `${address}/${prefix}`),
      })),
      pods: [...(round?.nodes ?? [])].flatMap(([node, { pods }]) =>
        pods.map(({ uid, namespace, name, addresses }) => {
          const { stage = "pending", ready = false, restarts = 0, pids = [] } = rows.get(uid) ?? {};
          return { pod: `${namespace}/${name}`, uid, node, addresses, stage, ready, restarts, pids };
        }),
      ),
      processes: [...this.#processes.values()],
      services: [...(round?.nodes.values() ?? [])][0]?.routes ?? [],
      problems: this.#source.problems().map(problemText),
    };
  }

  node(name: string): NodeProcess | undefined {
    return this.#nodes.find(({ plan }) => plan.name === name);
  }

  /** @returns undefined where no such process is supervised. */
  act(name: string, action: ProcessAction, signal: NodeJS.Signals | undefined): ProcessRow | undefined {
    const row = this.#processes.get(name);
    if (name === "control") this.#control?.act(action, signal);
    else for (const node of this.#nodes) if (name.startsWith(`${node.plan.name}.`)) node.act(name, action, signal);
    return row;
  }

  /** @param pod `namespace/name` */
  execTarget(pod: string): ExecTarget | undefined {
    for (const node of this.#nodes) {
      const pods = this.#driver.last?.nodes.get(node.plan.name)?.pods ?? [];
      const found = pods.find(({ namespace, name }) => `${namespace}/${name}` === pod);
      if (found === undefined || node.pid === undefined || !this.#driver.rows().has(found.uid)) continue;
      const proc = `/proc/${node.pid}`;
      return {
        netns: found.hostNetwork ? `${proc}/ns/net` : `${proc}/root/run/netns/${found.uid}`,
        mount: `${proc}/ns/mnt`,
        env: childEnvironment(found.containers[0]?.env ?? {}),
      };
    }
    return undefined;
  }

  /** Ends everything in order: pods, the nodes' daemons, control. */
  async close(): Promise<void> {
    this.#driver.close();
    this.#source.close();
    await Promise.all(this.#nodes.map((node) => node.shutDown()));
    await this.#control?.close(graceMs);
  }

  #takeManifests(): void {
    const { manifests, watch } = this.config;
    try {
      this.manifests.copyFrom(manifests);
    } catch (error) {
      throw new Refused(`The folder of manifests cannot be read: ${messageOf(error)}.`);
    }
    if (watch) this.manifests.follow(manifests, this.#around.clock);
  }

  #controlProcess(): SupervisedProcess {
    const { clock, reaper } = this.#around;
    const { families, certTtlSeconds, environment, programs } = this.config;
    const program = controlProgram(families, certTtlSeconds, environment.control, programs);
    const logFile = paths.log(program.name);
    const env = childEnvironment(program.env);
    return new SupervisedProcess(
      { ...program, env, cwd: checkoutRoot, restart: "always", logFile },
      {
        clock,
        random: systemRandom,
        onChange: (row) => this.#processChanged(row),
        onSpawn: (child) => reaper.track(child),
      },
    );
  }

  #startNode(plan: NodePlan): Promise<NodeProcess> {
    const { components, environment, workers, certTtlSeconds, enrolmentWaitMs, programs } = this.config;
    const daemons = [
      ...(components.cni ? [cniProgram(plan, environment.cni, programs)] : []),
      ...(components.agent ? [agentProgram(plan, workers, certTtlSeconds, environment.agent, programs)] : []),
    ];
    return NodeProcess.start(
      { plan, daemons, enrolmentWaitMs: components.cni ? enrolmentWaitMs : 0 },
      {
        onSpawn: (child) => this.#around.reaper.track(child),
        onMessage: (message) => this.#hear(message),
        onLost: (how) => this.#nodeLost(plan, how),
      },
    );
  }

  #hear(message: FromNode): void {
    switch (message.kind) {
      case "up":
        return this.#driver.turn();
      case "pod":
        return this.#driver.podChanged(message.row);
      case "pod-gone":
        return this.#driver.podGone(message.uid, message.pod);
      case "process":
        return this.#processChanged(message.row);
      case "process-gone":
        return void this.#processes.delete(message.name);
      case "event":
        return this.#around.events.add(message.event);
      case "down":
        return;
    }
  }

  #processChanged(row: ProcessRow): void {
    this.#processes.set(row.name, row);
    this.#around.events.add({ kind: "process", name: row.name, state: row.state, restarts: row.restarts });
  }

  #nodeLost({ name }: NodePlan, how: string): void {
    this.#around.events.add({ kind: "problem", sentence: `Node ${name} went down (${how}) and is started again.` });
    for (const process of this.#processes.keys()) if (process.startsWith(`${name}.`)) this.#processes.delete(process);
    this.#driver.nodeLost(name);
  }
}

/** What control gets between TERM and KILL. */
const graceMs = 3_000;
