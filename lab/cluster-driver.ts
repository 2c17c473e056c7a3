/** Keeps nodes and statuses as the cluster's rounds want them: one round after every change of objects or of what nodes report. */
import { existsSync } from "node:fs";
import type { Clock } from "../core/base/clock.ts";
import { refKey, type MergePatch, type ObjectRef, type Source } from "../control/sources/source.ts";
import type { Cluster, ClusterRound } from "./cluster.ts";
import type { EventLog } from "./events.ts";
import type { PodRow } from "./node-messages.ts";
import type { NodeProcess } from "./node-process.ts";
import { paths } from "./world.ts";

export interface DriverOptions {
  readonly source: Source;
  readonly cluster: Cluster;
  readonly events: EventLog;
  readonly clock: Clock;
  /** Whether the nodes' daemons need what control publishes. */
  readonly awaitControl: boolean;
}

export class ClusterDriver {
  readonly #options: DriverOptions;
  readonly #rows = new Map<string, PodRow>();
  readonly #written = new Map<string, { readonly ref: ObjectRef; readonly text: string }>();
  readonly #said = new Set<string>();
  #nodes: readonly NodeProcess[] = [];
  #last: ClusterRound | undefined;
  #pending: Promise<void> | undefined;
  #again = false;
  #isReady = false;
  #isClosed = false;

  constructor(options: DriverOptions) {
    this.#options = options;
  }

  start(nodes: readonly NodeProcess[]): void {
    this.#nodes = nodes;
    this.#options.source.subscribe(() => this.turn());
    this.turn();
  }

  /** The last round, for those who ask what the lab looks like. */
  get last(): ClusterRound | undefined {
    return this.#last;
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  rows(): ReadonlyMap<string, PodRow> {
    return this.#rows;
  }

  podChanged(row: PodRow): void {
    const before = this.#rows.get(row.uid);
    this.#rows.set(row.uid, row);
    const { pod, stage, ready } = row;
    if (before?.stage !== stage || before.ready !== ready) this.#options.events.add({ kind: "pod", pod, stage, ready });
    this.turn();
  }

  podGone(uid: string, pod: string): void {
    if (!this.#rows.delete(uid)) return;
    this.#options.events.add({ kind: "pod-gone", pod });
    this.turn();
  }

  /** All pods of a node went with it. */
  nodeLost(node: string): void {
    for (const { uid, namespace, name } of this.#last?.nodes.get(node)?.pods ?? [])
      this.podGone(uid, `${namespace}/${name}`);
  }

  close(): void {
    this.#isClosed = true;
  }

  /** Asks for a round. Several requests make one. */
  turn(): void {
    this.#again = true;
    this.#pending ??= this.#rounds().finally(() => (this.#pending = undefined));
  }

  async #rounds(): Promise<void> {
    while (this.#again && !this.#isClosed) {
      await new Promise(setImmediate); // let what comes at the same time come
      this.#again = false;
      await this.#round();
    }
  }

  async #round(): Promise<void> {
    const { source, cluster } = this.#options;
    const round = cluster.round(source.list(), this.#rows);
    this.#last = round;
    for (const problem of round.problems) this.#sayOnce(problem);
    for (const { file, line, message, level } of source.problems())
      if (level === "error") this.#sayOnce(`${file}:${line}: ${message}`);
    await this.#write(round.statuses);
    const awaiting = this.#nodes.filter(({ plan }) => !this.#daemonsMayStart(plan.name));
    for (const node of this.#nodes) {
      const desired = round.nodes.get(node.plan.name);
      if (desired !== undefined) node.desire({ ...desired, daemonsMayStart: !awaiting.includes(node) });
    }
    if (awaiting.length > 0) this.#options.clock.after(20, () => this.turn());
    else this.#reportReady(round);
  }

  async #write(statuses: ClusterRound["statuses"]): Promise<void> {
    for (const [key, { ref }] of this.#written) if (!statuses.has(key)) await this.#writeOne(ref, null);
    for (const { ref, patch } of statuses.values()) await this.#writeOne(ref, patch);
  }

  async #writeOne(ref: ObjectRef, patch: MergePatch | null): Promise<void> {
    const key = refKey(ref);
    const text = JSON.stringify(patch);
    if (this.#written.get(key)?.text === text) return;
    const failure = await this.#options.source.writeStatus(ref, "lab", patch);
    if (failure !== undefined) this.#sayOnce(`The status of ${key} could not be written: ${failure.message}.`);
    if (patch === null) this.#written.delete(key);
    else this.#written.set(key, { ref, text });
  }

  #daemonsMayStart(node: string): boolean {
    return !this.#options.awaitControl || (existsSync(paths.rootCertificate) && existsSync(paths.token(node)));
  }

  #reportReady(round: ClusterRound): void {
    if (this.#isReady) return;
    const pods = [...round.nodes.values()].flatMap((node) => node.pods);
    const settled = pods.every(({ uid }) => {
      const row = this.#rows.get(uid);
      return row !== undefined && (row.ready || row.stage === "succeeded" || row.stage === "failed");
    });
    if (!settled) return;
    this.#isReady = true;
    this.#options.events.add({ kind: "ready" });
  }

  #sayOnce(sentence: string): void {
    if (this.#said.has(sentence)) return;
    this.#said.add(sentence);
    this.#options.events.add({ kind: "problem", sentence });
  }
}
