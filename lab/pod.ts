/**
 * One life of a pod on its node: namespace → address → (the CNI daemon enrols) → init containers → containers.
 * Ended in the other direction; whatever still runs in the namespace then is killed.
 */
import { closeSync } from "node:fs";
import { messageOf } from "../core/base/errors.ts";
import { bindNamespace, createNetworkNamespace, unbindNamespace } from "../core/linux/namespace.ts";
import { tcpSockets } from "../core/linux/procfs.ts";
import type { NodePlan } from "./addresses.ts";
import type { ContainerSpec, PodDesired, PodRow, PodStage } from "./node-messages.ts";
import { SupervisedProcess, type ProcessRow, type RestartPolicy, type Surroundings } from "./processes.ts";
import { killResidents } from "./residents.ts";
import { check, linkPod, unlinkPod } from "./topology.ts";

export interface PodSurroundings extends Omit<Surroundings, "onChange"> {
  readonly plan: NodePlan;
  /** Where namespaces get their names. */
  readonly netnsFolder: string;
  readonly enrolmentWaitMs: number;
  /** Path of the log of that name. */
  readonly logFile: (name: string) => string;
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly onPod: (row: PodRow) => void;
  readonly onProcess: (row: ProcessRow) => void;
  readonly onProblem: (sentence: string) => void;
}

export class Pod {
  readonly uid: string;
  /** `namespace/name` */
  readonly key: string;
  readonly #around: PodSurroundings;
  readonly #enrolled = Promise.withResolvers<void>();
  readonly #closed = Promise.withResolvers<void>();
  readonly #life: Promise<void>;
  #desired: PodDesired;
  #netns: number | undefined;
  #stage: PodStage = "networked";
  #ready = false;
  #isClosing = false;
  /** The init container that runs. */
  #init: SupervisedProcess | undefined;
  #containers: readonly SupervisedProcess[] = [];
  #cancelTimer: () => void = () => undefined;

  constructor(desired: PodDesired, around: PodSurroundings) {
    this.uid = desired.uid;
    this.key = `${desired.namespace}/${desired.name}`;
    this.#desired = desired;
    this.#around = around;
    this.#life = this.#live().catch((error: unknown) => {
      around.onProblem(`Pod ${this.key} could not be started: ${messageOf(error)}.`);
      this.#become("failed");
    });
  }

  /** Takes over what may change in a life: whether it is enrolled. */
  update(desired: PodDesired): void {
    this.#desired = desired;
    if (desired.enrolment !== "awaited") this.#enrolled.resolve();
  }

  processes(): readonly SupervisedProcess[] {
    return this.#init === undefined ? this.#containers : [this.#init];
  }

  /** Ends everything in it and takes its network away. */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#closed.resolve();
    await this.#life;
    this.#cancelTimer();
    await Promise.all(this.processes().map((process) => process.close(graceMs)));
    if (this.#netns === undefined) return;
    killResidents(this.#netns);
    unbindNamespace(`${this.#around.netnsFolder}/${this.uid}`);
    await unlinkPod(vethName(this.uid));
    closeSync(this.#netns);
  }

  async #live(): Promise<void> {
    const { hostNetwork, addresses, initContainers, containers, restart } = this.#desired;
    if (!hostNetwork) await this.#connect(addresses);
    this.#report();
    await this.#awaitEnrolment();
    for (const spec of initContainers) if (this.#isClosing || !(await this.#runToItsEnd(spec))) return;
    if (this.#isClosing) return;
    const onChange = (): void => this.#containersChanged();
    this.#containers = containers.map((spec, i) =>
      this.#process(spec, i === 0 ? "" : `.${spec.name}`, restart, onChange),
    );
    for (const container of this.#containers) container.start();
  }

  async #connect(addresses: readonly string[]): Promise<void> {
    const { plan, netnsFolder } = this.#around;
    this.#netns = createNetworkNamespace();
    await linkPod(plan, vethName(this.uid), this.#netns, addresses);
    // Its name comes last: whoever finds the namespace finds it with its addresses.
    check(bindNamespace(this.#netns, `${netnsFolder}/${this.uid}`));
  }

  /** As a runtime waits for CNI ADD: an ambient pod's first process starts enrolled, or after a while anyway. */
  async #awaitEnrolment(): Promise<void> {
    const { clock, enrolmentWaitMs, onProblem } = this.#around;
    if (this.#desired.enrolment !== "awaited" || enrolmentWaitMs === 0) return;
    const cancel = clock.after(enrolmentWaitMs, () => {
      onProblem(`Pod ${this.key} was not enrolled within ${enrolmentWaitMs / 1000} s and starts without.`);
      this.#enrolled.resolve();
    });
    await Promise.race([this.#enrolled.promise, this.#closed.promise]);
    cancel();
  }

  /** One init container. @returns whether the pod goes on. */
  async #runToItsEnd(spec: ContainerSpec): Promise<boolean> {
    this.#become("initializing");
    const over = Promise.withResolvers<boolean>();
    const restart = this.#desired.restart === "never" ? "never" : "on-failure";
    this.#init = this.#process(spec, `.${spec.name}`, restart, ({ state }) => {
      if (state.phase === "ended") over.resolve(state.last.success);
      this.#report();
    });
    this.#init.start();
    const goesOn = await Promise.race([over.promise, this.#closed.promise.then(() => false)]);
    if (this.#isClosing) return false;
    this.#init = undefined;
    if (!goesOn) this.#become("failed");
    return goesOn;
  }

  #process(
    spec: ContainerSpec,
    suffix: string,
    restart: RestartPolicy,
    onChange: (row: ProcessRow) => void,
  ): SupervisedProcess {
    const { plan, logFile, env, cwd, clock, random, onProcess } = this.#around;
    const name = `${plan.name}.pod.${this.#desired.namespace}.${this.#desired.name}${suffix}`;
    const netns = this.#netns === undefined ? {} : { netns: this.#netns };
    return new SupervisedProcess(
      { name, argv: spec.argv, env: { ...env, ...spec.env }, cwd, restart, logFile: logFile(name), ...netns },
      {
        clock,
        random,
        onChange: (row) => {
          onProcess(row);
          onChange(row);
        },
      },
    );
  }

  #containersChanged(): void {
    const states = this.#containers.map((container) => container.row().state);
    this.#ready = false;
    if (states.every((state) => state.phase === "ended"))
      return this.#become(states.every((state) => state.last.success) ? "succeeded" : "failed");
    this.#become("running");
    this.#watchReadiness();
  }

  /** Looks until it is ready; from then on only the end of a process changes that. */
  #watchReadiness(): void {
    this.#cancelTimer();
    if (this.#isClosing || this.#stage !== "running" || this.#ready) return;
    this.#ready = this.#isListening();
    if (this.#ready) this.#report();
    else this.#cancelTimer = this.#around.clock.after(readinessMs, () => this.#watchReadiness());
  }

  /** All containers run, and something listens on every port they declare. */
  #isListening(): boolean {
    if (this.#containers.some((container) => container.row().state.phase !== "running")) return false;
    const wanted = this.#desired.containers.flatMap(({ ports }) => ports);
    if (wanted.length === 0) return true;
    const sockets = tcpSockets(this.#netns).filter(({ state }) => state === "listen");
    return wanted.every((port) => sockets.some(({ local }) => local.port === port));
  }

  #become(stage: PodStage): void {
    this.#stage = stage;
    this.#report();
  }

  #report(): void {
    if (this.#isClosing) return;
    const rows = this.processes().map((process) => process.row());
    this.#around.onPod({
      uid: this.uid,
      pod: this.key,
      stage: this.#stage,
      ready: this.#ready,
      pids: rows.flatMap(({ state }) => (state.phase === "running" ? [state.pid] : [])),
      restarts: rows.reduce((sum, { restarts }) => sum + restarts, 0),
    });
  }
}

/** Name of the node's end of a pod's veth: at most 15 bytes. */
function vethName(uid: string): string {
  return `veth${uid.replaceAll("-", "").slice(0, 11)}`;
}

/** What a pod's processes get between TERM and KILL, and how often readiness is looked for. */
const graceMs = 2_000;
const readinessMs = 25;
