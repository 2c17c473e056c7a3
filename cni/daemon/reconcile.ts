/** Desired, actual, reconcile: one row a pod. Feeds the enrolment machine with events, carries out its effects through ports,
 *  and looks at everything anew in full rounds, because somebody with root in a pod may have changed what we wrote there. */
import { messageOf } from "../../core/base/errors.ts";
import type { Random } from "../../core/base/random.ts";
import type { DesiredPod } from "./desired.ts";
import {
  absent,
  EnrolmentError,
  step,
  type Effect,
  type Enrolment,
  type EnrolmentEvent,
  type KernelTruth,
  type Redirection,
} from "./enrolment.ts";
import { CniError } from "./errors.ts";
import { noProbes, type ProbePort } from "./host-probes.ts";
import { Lanes } from "./lanes.ts";
import { statusOf, type PodStatus } from "./pod-status.ts";
import {
  defaultReconcilerOptions,
  type ReconcilerModules,
  type ReconcilerOptions,
  type ReleaseLimits,
  type Row,
} from "./reconciler-ports.ts";

export class Reconciler {
  readonly #modules: ReconcilerModules;
  readonly #options: ReconcilerOptions;
  readonly #rows = new Map<string, Row>();
  readonly #lanes = new Lanes(16);
  readonly #probes: ProbePort;
  #release: { readonly limits: ReleaseLimits; readonly sinceMs: number } | undefined;
  #change = Promise.withResolvers<void>();
  #driftCount = 0;
  #rounds = 0;
  #cancelRound: (() => void) | undefined;
  #closed = false;

  constructor(modules: ReconcilerModules, options: ReconcilerOptions = defaultReconcilerOptions) {
    this.#modules = modules;
    this.#options = options;
    this.#probes = modules.probes ?? noProbes;
  }

  /** The first look: what the kernel holds of every pod, wanted or not. Settles when all have been looked at, so that the first
   *  snapshot an agent gets is whole. */
  async start(desired: ReadonlyMap<string, DesiredPod>): Promise<void> {
    for (const pod of desired.values()) {
      const row = this.#add(pod);
      row.desired = pod;
      this.#dispatch(row, { kind: "inspect" });
    }
    await this.until(() => ![...this.#rows.values()].some((row) => isBeingInspected(row.state)));
    await this.#keepProbes();
    this.#scheduleRound();
  }

  /** What is wanted now, all of it. */
  update(desired: ReadonlyMap<string, DesiredPod>): void {
    for (const [uid, row] of this.#rows)
      if (!desired.has(uid)) this.#want(row, { ...row.desired, want: "forget" }, true);
    for (const [uid, pod] of desired) this.#want(this.#rows.get(uid) ?? this.#add(pod), pod, false);
  }

  /** Something may be there now that was missed before: look for the pod's namespace at once, if that is what it waits for. */
  nudge(uid: string): void {
    const row = this.#rows.get(uid);
    if (row?.state.phase !== "inspecting") return;
    row.lookAgain = row.state.work.now === "running";
    this.#dispatch(row, { kind: "wanted" });
  }

  /** The pod has another namespace than the one that is held. Repeat it until the other is held. */
  replaced(uid: string): void {
    // In the other phases it would change nothing, and who waits for a change would ask again at once.
    if (replaceable.has(this.phaseOf(uid) ?? "absent")) this.#tell(uid, { kind: "replaced" });
  }

  /** Settles when every pod has left; `update` must have said that they shall. */
  async release(limits: ReleaseLimits): Promise<void> {
    const { clock } = this.#modules;
    this.#release = { limits, sinceMs: clock.nowMs() };
    let cancel: () => void;
    const giveUp = (): void => {
      for (const { state, desired } of this.#rows.values())
        if (state.phase === "unannotating") this.annotated(desired.uid, undefined);
      cancel = clock.after(500, giveUp);
    };
    cancel = clock.after(limits.annotationMs, giveUp);
    await this.until(() => [...this.#rows.values()].every(({ state }) => state.phase === "absent"));
    cancel();
  }

  // News from the agents and the annotations.

  served(uid: string): void {
    this.#tell(uid, { kind: "served" });
  }

  refused(uid: string, error: CniError): void {
    this.#tell(uid, { kind: "refused", error: error.type });
  }

  annotated(uid: string, redirection: Redirection): void {
    const row = this.#rows.get(uid);
    if (row === undefined) return;
    row.annotationError = undefined;
    this.#dispatch(row, { kind: "annotated", redirection });
  }

  annotationFailed(uid: string, error: CniError): void {
    const row = this.#rows.get(uid);
    if (row === undefined) return;
    row.annotationError = error.type;
    this.#changed();
  }

  /** Looks at every captured pod now. Settles when all have been looked at (repairs may still be under way). */
  async fullRound(): Promise<void> {
    this.#rounds += 1;
    await this.#keepProbes();
    await Promise.all([...this.#rows.values()].map((row) => this.#check(row)));
  }

  status(): PodStatus[] {
    return [...this.#rows.values()].map((row) => this.#statusOf(row));
  }

  statusOf(uid: string): PodStatus | undefined {
    const row = this.#rows.get(uid);
    return row === undefined ? undefined : this.#statusOf(row);
  }

  phaseOf(uid: string): Enrolment["phase"] | undefined {
    return this.#rows.get(uid)?.state.phase;
  }

  get counters(): { readonly driftCount: number; readonly rounds: number } {
    return { driftCount: this.#driftCount, rounds: this.#rounds };
  }

  /** Settles when the condition holds, asked anew whenever a row changes. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await this.nextChange();
  }

  /** Settles when a row has changed after this call. */
  nextChange(): Promise<void> {
    return this.#change.promise;
  }

  /** Something beside the rows has changed that those who wait on them want to know. */
  wake(): void {
    this.#changed();
  }

  /** Stops. What stands in the pods stays there: they are captured whether or not a daemon looks. */
  close(): void {
    this.#closed = true;
    this.#cancelRound?.();
    for (const row of this.#rows.values()) row.cancelTimer?.();
  }

  #add(desired: DesiredPod): Row {
    const sinceMs = this.#modules.clock.nowMs();
    // Wanted nothing of so far, so that the first want counts as a change.
    const before: DesiredPod = { ...desired, want: "leave" };
    const row: Row = {
      desired: before,
      gone: false,
      state: absent,
      sinceMs,
      annotated: false,
      annotationError: undefined,
      cancelTimer: undefined,
      lookAgain: false,
    };
    this.#rows.set(desired.uid, row);
    for (const problem of desired.problems)
      this.#modules.log.warn({ pod: nameOf(desired), ...problem }, "an annotation can't be read and counts as absent");
    return row;
  }

  #want(row: Row, desired: DesiredPod, gone: boolean): void {
    const before = row.desired;
    row.desired = desired;
    row.gone = gone;
    if (before.want !== desired.want) {
      this.#modules.log.info(
        { pod: nameOf(desired), uid: desired.uid, want: desired.want, because: gone ? "gone" : desired.because },
        "wanted",
      );
      this.#dispatch(row, { kind: "wanted" });
    } else if (JSON.stringify(before.capture) !== JSON.stringify(desired.capture)) {
      this.#dispatch(row, { kind: "drifted" });
    } else if (before.addresses.join() !== desired.addresses.join()) {
      this.nudge(desired.uid);
      if (isCaptured(row.state)) void this.#allowProbes(row).then((error) => this.#reportProbes(error));
    }
    this.#dropIfDone(row);
  }

  #tell(uid: string, event: EnrolmentEvent): void {
    const row = this.#rows.get(uid);
    if (row !== undefined) this.#dispatch(row, event);
  }

  #dispatch(row: Row, event: EnrolmentEvent): void {
    if (this.#closed) return;
    const next = step(row.state, row.desired.want, event);
    if (next instanceof EnrolmentError) {
      this.#modules.log.error({ uid: row.desired.uid, ...next.type }, "internal bug: an answer that was not asked for");
      return;
    }
    if (next.state !== row.state) this.#enter(row, next.state);
    for (const effect of next.effects) this.#begin(row, effect);
    this.#dropIfDone(row);
    this.#changed();
  }

  #enter(row: Row, state: Enrolment): void {
    row.cancelTimer?.();
    row.cancelTimer = undefined;
    if (state.phase !== row.state.phase) {
      row.sinceMs = this.#modules.clock.nowMs();
      this.#modules.log.info({ pod: nameOf(row.desired), from: row.state.phase, to: state.phase }, "pod");
    }
    const failed =
      "work" in state && state.work.now === "waiting" && state.phase !== "draining" ? state.work : undefined;
    if (failed !== undefined) {
      const { failures, error } = failed;
      const said = { pod: nameOf(row.desired), phase: state.phase, failures, error };
      // Every pod is seen before it has an address.
      const level = error.code === "cni.no-address" ? "debug" : "warn";
      this.#modules.log[level](said, "failed, will be tried again");
    }
    row.state = state;
    if (row.lookAgain && state.phase === "inspecting" && state.work.now === "waiting")
      queueMicrotask(() => this.nudge(row.desired.uid));
    row.lookAgain &&= state.phase === "inspecting" && state.work.now === "running";
  }

  #begin(row: Row, effect: Effect): void {
    const { kernel, agents, annotate } = this.#modules;
    const { uid, capture, addresses } = row.desired;
    switch (effect.kind) {
      case "inspect":
        return this.#run(row, async () => {
          const truth = await kernel.inspect(uid);
          const isCaptive = !(truth instanceof CniError) && truth.capture === "redirecting";
          const error = isCaptive && row.desired.want === "enrol" ? await this.#allowProbes(row) : undefined;
          return error ?? found(truth, row.desired);
        });
      case "route":
        return this.#run(row, async () => (await kernel.route(uid)) ?? { kind: "routed" });
      case "redirect":
        return this.#run(row, async () => (await kernel.redirect(uid, capture)) ?? (await this.#captured(row)));
      case "repair":
        return this.#run(
          row,
          async () => (await kernel.route(uid)) ?? (await kernel.redirect(uid, capture)) ?? (await this.#captured(row)),
        );
      case "release":
        return this.#run(row, async () => (await kernel.release(uid)) ?? { kind: "released" });
      case "count":
        return this.#run(row, async () => {
          const held = await kernel.count(uid, addresses);
          if (held instanceof CniError) return held;
          return { kind: "counted", held: this.#mayCut() ? 0 : held.connections + held.listeners };
        });
      case "remove":
        return this.#run(row, async () => (await kernel.remove(uid)) ?? { kind: "removed" });
      case "offer":
        return agents.offer(row.desired);
      case "withdraw":
        return this.#answer(row, async () => {
          await agents.withdraw(uid);
          return { kind: "withdrawn" };
        });
      case "annotate":
        row.annotated = true;
        return annotate(row.desired, effect.redirection, row.gone);
      case "close":
        void this.#probes.forget(uid).then((error) => this.#reportProbes(error));
        return kernel.close(uid);
      case "retry":
        return this.#timer(row, retryDelayMs(effect.failures, this.#modules.random));
      case "recount": {
        // A connection that has lasted a minute will last another: look less often.
        const lastedMs = this.#modules.clock.nowMs() - row.sinceMs;
        return this.#timer(row, Math.min(Math.max(lastedMs / 10, 100), 2000));
      }
      case "settle":
        return this.#timer(row, this.#options.settleMs);
    }
  }

  /** A kernel change, a few pods at a time. */
  #run(row: Row, body: () => Promise<EnrolmentEvent | CniError>): void {
    this.#answer(row, () => this.#lanes.run(body));
  }

  #answer(row: Row, body: () => Promise<EnrolmentEvent | CniError>): void {
    body().then(
      (answer) => this.#dispatch(row, answer instanceof CniError ? { kind: "failed", error: answer.type } : answer),
      (thrown: unknown) => {
        // Ports return what can go wrong; this is a bug of ours, and the pod must not be stuck on it.
        this.#modules.log.error({ uid: row.desired.uid, error: messageOf(thrown) }, "internal bug in a kernel change");
        this.#dispatch(row, { kind: "failed", error: { code: "cni.internal-bug" } });
      },
    );
  }

  #timer(row: Row, delayMs: number): void {
    row.cancelTimer = this.#modules.clock.after(delayMs, () => {
      row.cancelTimer = undefined;
      this.#dispatch(row, { kind: "due" });
    });
  }

  #dropIfDone(row: Row): void {
    if (row.state.phase !== "absent" || !row.gone || this.#rows.get(row.desired.uid) !== row) return;
    this.#rows.delete(row.desired.uid);
    if (row.annotated) this.#modules.annotate(row.desired, undefined, true);
  }

  /** Before the annotation: once peers know, a policy may refuse all others, and probes must pass. */
  async #captured(row: Row): Promise<EnrolmentEvent | CniError> {
    return (await this.#allowProbes(row)) ?? { kind: "captured" };
  }

  #allowProbes({ desired }: Row): Promise<CniError | undefined> {
    return this.#probes.allow(desired.uid, desired.addresses);
  }

  async #keepProbes(): Promise<void> {
    const rows = [...this.#rows.values()];
    // One that is announced was captured by an earlier life of this daemon, though its namespace isn't found yet.
    const captured = rows.filter(
      ({ state, desired }) => isCaptured(state) || (desired.want === "enrol" && desired.redirection === "enabled"),
    );
    const byUid = new Map(captured.map(({ desired }) => [desired.uid, desired.addresses]));
    // A pod whose addresses aren't known yet may be the owner of any.
    const prune = captured.every(({ desired }) => desired.addresses.length > 0);
    this.#reportProbes(await this.#probes.keep(byUid, prune));
  }

  #reportProbes(error: CniError | undefined): void {
    if (error !== undefined)
      this.#modules.log.warn({ error: error.type }, "the node's rules for probes could not be set");
  }

  /** The node is given up, and connections have had their time. */
  #mayCut(): boolean {
    if (this.#release === undefined) return false;
    return this.#modules.clock.nowMs() - this.#release.sinceMs >= this.#release.limits.drainMs;
  }

  async #check(row: Row): Promise<void> {
    const { state, desired } = row;
    if (state.phase !== "enrolled" && state.phase !== "redirected") return;
    const seen = await this.#lanes.run(() => this.#modules.kernel.check(desired.uid, desired.capture));
    // Something has happened meanwhile: what was seen is of the past.
    if (row.state !== state || row.desired !== desired) return;
    if (seen instanceof CniError) {
      this.#modules.log.warn({ pod: nameOf(desired), error: seen.type }, "could not be checked");
      return;
    }
    const announced = state.phase !== "enrolled" || desired.redirection === "enabled";
    if (seen === "same" && announced) return;
    this.#driftCount += 1;
    const what = seen === "same" ? "annotation" : seen === "drifted" ? "rules" : "namespace";
    this.#modules.log.warn({ pod: nameOf(desired), what }, "not as it was applied: repairing");
    this.#dispatch(row, { kind: seen === "replaced" ? "replaced" : "drifted" });
  }

  #scheduleRound(): void {
    if (this.#closed) return;
    this.#cancelRound = this.#modules.clock.after(this.#options.fullRoundMs, () => {
      void this.fullRound().finally(() => this.#scheduleRound());
    });
  }

  #statusOf(row: Row): PodStatus {
    return statusOf(row, this.#modules.agents.serves(row.desired.uid), this.#modules.clock.nowMs());
  }

  #changed(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }
}

/** From the redirect on until it is taken out: its probes need help. */
function isCaptured({ phase }: Enrolment): boolean {
  return phase === "redirected" || phase === "enrolled" || phase === "repairing" || phase === "unannotating";
}

/** A pod that shall leave and whose namespace can't be found holds nothing of ours. */
function found(truth: KernelTruth | CniError, desired: DesiredPod): EnrolmentEvent | CniError {
  const annotated = desired.redirection !== undefined;
  if (!(truth instanceof CniError)) return { kind: "found", truth, annotated };
  const missing = notFound.has(truth.type.code);
  if (desired.want === "enrol" || !missing) return truth;
  return { kind: "found", truth: { routing: "none", capture: "none" }, annotated };
}

/** It has its answer, good or bad: a namespace that is not there yet must not hold up the others. */
function isBeingInspected(state: Enrolment): boolean {
  return state.phase === "inspecting" && state.work.now === "running" && state.work.failures === 0;
}

/** 50 ms, doubling to 5 s, 20 % jitter. */
function retryDelayMs(failures: number, random: Random): number {
  const delay = Math.min(50 * 2 ** Math.min(failures - 1, 10), 5000);
  return delay * (0.8 + 0.4 * random());
}

function nameOf({ ref }: DesiredPod): string {
  return `${ref.namespace}/${ref.name}`;
}

const replaceable: ReadonlySet<Enrolment["phase"]> = new Set(["offered", "redirected", "enrolled"]);
const notFound: ReadonlySet<string> = new Set(["cni.netns-missing", "cni.netns-invalid", "cni.no-address"]);
