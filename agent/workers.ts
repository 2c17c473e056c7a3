/**
 * The data-plane threads: each is fed the same mesh, certificates and pods, and one that dies is replaced and fed anew while the
 * others go on. Everything that must have reached all of them is a promise.
 */
import { Worker } from "node:worker_threads";
import type { Clock } from "../core/base/clock.ts";
import { Backoff } from "../core/base/backoff.ts";
import type { Log } from "../core/base/log.ts";
import { systemRandom } from "../core/base/random.ts";
import type { MeshSlice } from "./mesh-slice.ts";
import { WorkerFeed } from "./worker-feed.ts";
import { stillness, VitalSigns } from "./vital-signs.ts";
import type {
  FromWorker,
  PodDelivery,
  ReadinessAddress,
  ToWorker,
  WorkerDump,
  WorkerStart,
} from "./worker-messages.ts";
import type { WorkerSettings } from "./worker/context.ts";

export interface WorkersOptions {
  readonly count: number;
  readonly settings: WorkerSettings;
  readonly readiness: ReadinessAddress;
  readonly clock: Clock;
  readonly log: Log;
  /** Megabytes of each worker's heap; V8's own limit when missing. One that needs more ends alone. */
  readonly heapMb?: number;
  /** How long a worker's loop may stand still before it is replaced. Counted in turns of this thread's own loop. */
  readonly stuckAfterMs?: number;
  /** What workers run; tests have one with faults. */
  readonly entry?: URL;
  /** What a new worker must know before it serves: slices in order. */
  readonly snapshot: () => readonly MeshSlice[];
  /** Everything else a new worker must be told, after the mesh: certificates, gates. */
  readonly greeting: () => readonly ToWorker[];
  /** A pod's descriptors for one more worker, or undefined if they can't be had. */
  readonly deliveries: () => readonly PodDelivery[];
  readonly onMessage: (message: FromWorker, index: number) => void;
  /** A worker ended unasked; its successor will be fed anew. */
  readonly onLost: (index: number, loss: WorkerLoss) => void;
}

/** `crash`: a bug threw; `heap`: it had used its heap up; `stuck`: its loop stood still. */
export type LossCause = "crash" | "heap" | "stuck";

export interface WorkerLoss {
  readonly cause: LossCause;
  /** Connections that ended with it and that it could no longer tell of. */
  readonly connections: number;
}

interface Slot {
  readonly index: number;
  worker: Worker;
  feed: WorkerFeed;
  /** `gone`: dead, its successor not started; `starting`: not fed yet, it gets everything at once when it is. */
  phase: "starting" | "serving" | "gone";
  /** Its beats when they were last looked at, and how many looks ago they changed. Undefined until it runs. */
  pulse: { beats: number; silentLooks: number } | undefined;
  /** Why it is ending, where that is known before it has. */
  cause: LossCause | undefined;
}

export class Workers {
  readonly #options: WorkersOptions;
  readonly #slots: Slot[] = [];
  readonly #backoff: Backoff;
  readonly #dumps = new Map<number, { dumps: WorkerDump[]; missing: number; done: () => void }>();
  #lastDump = 0;
  #closing = false;
  readonly #losses: Record<LossCause, number> = { crash: 0, heap: 0, stuck: 0 };
  readonly #signs: VitalSigns;
  #cancelWatch: (() => void) | undefined;
  readonly #firstServed = new Map<Slot, () => void>();

  constructor(options: WorkersOptions) {
    this.#options = options;
    this.#backoff = new Backoff({ firstMs: 10, capMs: 5_000, jitter: 0.2 }, systemRandom);
    this.#signs = new VitalSigns(options.count);
  }

  /** Settles when every worker runs. */
  async start(): Promise<void> {
    const started: Promise<void>[] = [];
    for (let index = 0; index < this.#options.count; index++) {
      const { worker, running } = this.#spawn(index);
      const feed = this.#feedOf(worker);
      const slot: Slot = { index, worker, feed, phase: "starting", pulse: undefined, cause: undefined };
      this.#slots.push(slot);
      this.#watch(slot);
      // Nothing is known yet, so there is nothing to be fed with. One that dies before it runs has a successor.
      started.push(Promise.race([running.then(() => this.#serves(slot, worker)), this.#served(slot)]));
    }
    this.#watchBeats();
    await Promise.all(started);
  }

  get count(): number {
    return this.#slots.length;
  }

  /** Indexes of those that can be given pods now. The others are given all of them once they have been fed. */
  get serving(): number[] {
    return this.#slots.filter(({ phase }) => phase === "serving").map(({ index }) => index);
  }

  /** How often a worker has been replaced. */
  get losses(): number {
    return this.#losses.crash + this.#losses.heap + this.#losses.stuck;
  }

  /** The same, by cause. */
  get lossesByCause(): Readonly<Record<LossCause, number>> {
    return this.#losses;
  }

  /** What the workers share with this thread. */
  get signs(): VitalSigns {
    return this.#signs;
  }

  /** Settles when every worker has applied it. */
  async apply(slices: readonly MeshSlice[]): Promise<void> {
    await Promise.all(this.#slots.map(({ feed }) => feed.push(slices)));
  }

  /** Settles when no worker that serves has more than so many slices before it. One that is gone, or begins anew, is not waited for. */
  async room(most: number): Promise<void> {
    const serving = this.#slots.filter(({ phase }) => phase === "serving");
    await Promise.all(serving.map(({ feed }) => feed.room(most)));
  }

  /** Indexes of those that have not applied all that they were sent. */
  get behind(): number[] {
    return this.#slots.filter(({ phase, feed }) => phase !== "serving" || feed.behind > 0).map(({ index }) => index);
  }

  broadcast(message: ToWorker): void {
    for (const { worker } of this.#slots) worker.postMessage(message);
  }

  /** @returns whether there is such a worker. */
  tell(index: number, message: ToWorker): boolean {
    const slot = this.#slots[index];
    slot?.worker.postMessage(message);
    return slot !== undefined;
  }

  /** @param index of a worker that serves. */
  serve(index: number, pod: PodDelivery): void {
    this.#slots[index]?.worker.postMessage({ kind: "serve", pod } satisfies ToWorker);
  }

  /** What every worker holds, in the order of their indexes; one that is too busy to answer within two seconds is left out. */
  dump(): Promise<WorkerDump[]> {
    const id = ++this.#lastDump;
    return new Promise((resolve) => {
      const cancel = this.#options.clock.after(dumpWithinMs, () => finish());
      const finish = (): void => {
        cancel();
        const dumps = this.#dumps.get(id)?.dumps ?? [];
        this.#dumps.delete(id);
        resolve(dumps.sort((a, b) => a.worker - b.worker));
      };
      this.#dumps.set(id, { dumps: [], missing: this.#slots.length, done: finish });
      this.broadcast({ kind: "dump", id });
    });
  }

  /** Ends the threads themselves; what they carry ends with them. */
  async terminate(): Promise<void> {
    this.#closing = true;
    this.#cancelWatch?.();
    await Promise.all(this.#slots.map(({ worker }) => worker.terminate()));
  }

  #spawn(index: number): { worker: Worker; running: Promise<void> } {
    const { settings, readiness, heapMb, entry } = this.#options;
    const vitalSigns = this.#signs.buffer;
    const start: WorkerStart = { index, settings, vitalSigns, ...(index === 0 && { readiness }) };
    // A release runs compiled files, a checkout its sources.
    const main = import.meta.url.endsWith(".ts") ? "./worker/main.ts" : "./worker/main.js";
    const worker = new Worker(entry ?? new URL(main, import.meta.url), {
      workerData: start,
      resourceLimits: {
        maxYoungGenerationSizeMb: youngMb,
        ...(heapMb !== undefined && { maxOldGenerationSizeMb: heapMb }),
      },
    });
    const running = new Promise<void>((resolve) => {
      worker.on("message", (message: FromWorker) => {
        if (message.kind !== "started") return;
        const slot = this.#slots[index];
        if (slot?.worker === worker) slot.pulse = { beats: this.#signs.beats(index), silentLooks: 0 };
        resolve();
      });
    });
    return { worker, running };
  }

  #feedOf(worker: Worker): WorkerFeed {
    return new WorkerFeed((message) => worker.postMessage(message));
  }

  #watch(slot: Slot): void {
    const { worker, index } = slot;
    worker.on("message", (message: FromWorker) => {
      if (message.kind === "mesh-applied") slot.feed.applied(message.sequence);
      else if (message.kind === "dumped") this.#dumped(message.id, message.dump);
      else this.#options.onMessage(message, index);
    });
    worker.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ERR_WORKER_OUT_OF_MEMORY") slot.cause = "heap";
      this.#options.log.error({ err: error, worker: index }, "a worker failed");
    });
    worker.on("exit", (code) => {
      if (!this.#closing) this.#replace(slot, code);
    });
  }

  #replace(slot: Slot, code: number): void {
    const { log, clock } = this.#options;
    const cause = slot.cause ?? "crash";
    this.#losses[cause] += 1;
    slot.phase = "gone";
    slot.cause = slot.pulse = undefined;
    slot.feed.stop();
    const pauseMs = this.#backoff.next();
    log.error(
      { worker: slot.index, code, cause, pauseMs: Math.round(pauseMs) },
      "a worker ended and is replaced; the others go on",
    );
    // One that threw has told of each; one that was ended from outside could not.
    const connections = this.#signs.connections(slot.index);
    if (connections > 0) {
      log.error({ reason: "WORKER_LOST", worker: slot.index, connections }, "connections ended with their worker");
    }
    this.#signs.beat(slot.index, stillness);
    this.#options.onLost(slot.index, { cause, connections });
    clock.after(pauseMs, () => {
      if (this.#closing) return;
      // Whoever waits for the dead one waits for its successor: that one begins with everything.
      const waiting = slot.feed.abandon();
      const { worker, running } = this.#spawn(slot.index);
      slot.phase = "starting";
      slot.worker = worker;
      slot.feed = this.#feedOf(worker);
      this.#watch(slot);
      void running.then(() => this.#welcome(slot, waiting));
    });
  }

  /**
   * A worker whose loop stands still accepts for nobody and cannot say so. Looks are counted, not milliseconds: a process that was itself
   * stopped for a while has not looked.
   */
  #watchBeats(): void {
    const { clock, log, stuckAfterMs = 5_000 } = this.#options;
    for (const slot of this.#slots) {
      const { pulse, worker, index } = slot;
      if (pulse === undefined) continue;
      const beats = this.#signs.beats(index);
      pulse.silentLooks = beats === pulse.beats ? pulse.silentLooks + 1 : 0;
      pulse.beats = beats;
      if (pulse.silentLooks * lookEveryMs < stuckAfterMs) continue;
      slot.pulse = undefined;
      slot.cause = "stuck";
      log.error(
        { worker: index, silentMs: pulse.silentLooks * lookEveryMs },
        "a worker's event loop stands still: it is ended",
      );
      void worker.terminate();
    }
    this.#cancelWatch = clock.after(lookEveryMs, () => this.#watchBeats());
  }

  async #welcome(slot: Slot, waiting: readonly (() => void)[]): Promise<void> {
    const { snapshot, greeting, deliveries, clock } = this.#options;
    const { worker } = slot;
    for (const message of greeting()) worker.postMessage(message);
    await slot.feed.push(snapshot());
    for (const settle of waiting) settle();
    // It may have died while it was being fed.
    if (slot.worker !== worker || slot.phase !== "starting") return;
    this.#serves(slot, worker);
    for (const pod of deliveries()) worker.postMessage({ kind: "serve", pod } satisfies ToWorker);
    clock.after(steadyMs, () => {
      if (slot.worker === worker) this.#backoff.reset();
    });
  }

  #serves(slot: Slot, worker: Worker): void {
    if (slot.worker !== worker || slot.phase !== "starting") return;
    slot.phase = "serving";
    this.#firstServed.get(slot)?.();
  }

  /** Settles when that slot has had a worker that serves. */
  #served(slot: Slot): Promise<void> {
    return new Promise((resolve) => this.#firstServed.set(slot, resolve));
  }

  #dumped(id: number, dump: WorkerDump): void {
    const asked = this.#dumps.get(id);
    if (asked === undefined) return;
    asked.dumps.push(dump);
    asked.missing -= 1;
    if (asked.missing === 0) asked.done();
  }
}

/**
 * Three times what is allocated between two collections of what is young. Nearly all of a push stays: of V8's own 48 MB a collection would copy
 * so much that it stopped the thread for ten milliseconds, and what it grew to would be resident afterwards.
 */
const youngMb = 12;
const lookEveryMs = 250;
const dumpWithinMs = 2_000;
const steadyMs = 10_000;
