/** The life of one pod in the mesh, as a machine without I/O: `step` is the only writer of an Enrolment, and every effect is data.
 *
 *      absent ─▶ inspecting ─▶ routing ─▶ offered ─▶ acknowledged ─▶ redirected ─▶ enrolled ◀─▶ repairing
 *         ▲                                                                           │
 *         └── removing ◀── draining ◀── withdrawing ◀── settling ◀── releasing ◀── unannotating
 *
 *  The order keeps connections alive. Inward: listeners (the agent's ack) before the redirect, the redirect before the annotation
 *  that makes peers tunnel. Outward: the annotation first, then the redirect rules; but base chains, connmark rules, ip rule and
 *  route stay until the last captured connection has ended, for removing a nat hook resets what was captured by it.
 *  A change of mind turns the walk round at the next safe place: on the way out `offered` is entered anew, and an offer, a redirect
 *  and an annotation may all be repeated. A pod that has ended is forgotten: its namespace dies with its descriptors. */
import { TypedError, type ErrorData } from "../../core/base/errors.ts";

/** What is wanted of a pod: capture it; let it go alive; or drop it, because it has ended or is gone. */
export type Want = "enrol" | "leave" | "forget";

/** What the kernel holds of ours in a pod's network namespace. */
export interface KernelTruth {
  /** The ip rules and the routes of table 100, for every family the namespace speaks. */
  readonly routing: "none" | "partial" | "whole";
  /** `released` has our tables without a redirect; `redirecting` may still differ from what is wanted (see drift). */
  readonly capture: "none" | "released" | "redirecting";
}

/** The annotation `ambient.istio.io/redirection`; undefined removes it. */
export type Redirection = "enabled" | "pending" | undefined;

/** Whether our nat tables exist, so that captured connections may live on them. */
export type Tables = "none" | "present";

/** One kernel change at a time: it runs, or it failed and waits for its timer. */
export type Work =
  | { readonly now: "running"; readonly failures: number }
  | { readonly now: "waiting"; readonly failures: number; readonly error: ErrorData };

export type Enrolment =
  | { readonly phase: "absent" }
  | { readonly phase: "inspecting"; readonly work: Work }
  | { readonly phase: "routing"; readonly tables: Tables; readonly work: Work }
  | { readonly phase: "offered"; readonly tables: Tables; readonly failures: number; readonly refused?: ErrorData }
  | { readonly phase: "acknowledged"; readonly work: Work }
  | { readonly phase: "redirected" }
  | { readonly phase: "enrolled" }
  | { readonly phase: "repairing"; readonly work: Work }
  | { readonly phase: "unannotating"; readonly tables: Tables }
  | { readonly phase: "releasing"; readonly work: Work }
  | { readonly phase: "settling" }
  | { readonly phase: "withdrawing"; readonly tables: Tables }
  | { readonly phase: "draining"; readonly work: Work; readonly held?: number }
  | { readonly phase: "removing"; readonly work: Work }
  | { readonly phase: "forgetting" };

export type EnrolmentEvent =
  /** The want has changed. */
  | { readonly kind: "wanted" }
  /** Look at the kernel whatever is wanted: the daemon has just started. */
  | { readonly kind: "inspect" }
  /** The pod has another network namespace than the one that is held: its sandbox was made anew. */
  | { readonly kind: "replaced" }
  /** A full round found the kernel or the annotation different from what was applied. */
  | { readonly kind: "drifted" }
  /** An agent acknowledged the offer: its listeners stand. */
  | { readonly kind: "served" }
  /** No agent is there, or it refused. The offer stands and may be acknowledged later. */
  | { readonly kind: "refused"; readonly error: ErrorData }
  | { readonly kind: "annotated"; readonly redirection: Redirection }
  /** The timer of `retry`, `recount` or `settle`. */
  | { readonly kind: "due" }
  // Answers to effects, one each.
  | { readonly kind: "found"; readonly truth: KernelTruth; readonly annotated: boolean }
  | { readonly kind: "routed" }
  | { readonly kind: "captured" }
  | { readonly kind: "released" }
  | { readonly kind: "withdrawn" }
  /** @property held captured connections, and listeners of the agent, that still exist in the namespace. */
  | { readonly kind: "counted"; readonly held: number }
  | { readonly kind: "removed" }
  | { readonly kind: "failed"; readonly error: ErrorData };

export type Effect =
  /** Open the namespace and read what is there. Answer: found or failed. */
  | { readonly kind: "inspect" }
  /** Write ip rule and route. Answer: routed or failed. */
  | { readonly kind: "route" }
  /** Put the pod among those the agents shall hold. News: served or refused, at any time and more than once. */
  | { readonly kind: "offer" }
  /** One nf_tables transaction. Answer: captured or failed. */
  | { readonly kind: "redirect" }
  /** Routing and rules again. Answer: captured or failed. */
  | { readonly kind: "repair" }
  /** Write the annotation, however long it takes; the last value wins. News: annotated. */
  | { readonly kind: "annotate"; readonly redirection: Redirection }
  /** Take the redirect rules out. Answer: released or failed. */
  | { readonly kind: "release" }
  /** `del` to every agent. Answer: withdrawn, when each has acknowledged or is gone. */
  | { readonly kind: "withdraw" }
  /** Answer: counted or failed. */
  | { readonly kind: "count" }
  /** Delete tables, rule and route. Answer: removed or failed. */
  | { readonly kind: "remove" }
  /** Let go of the namespace. No answer. */
  | { readonly kind: "close" }
  /** Timers; a later state cancels them. Answer: due. */
  | { readonly kind: "retry"; readonly failures: number }
  | { readonly kind: "recount" }
  | { readonly kind: "settle" };

export interface Step {
  readonly state: Enrolment;
  readonly effects: readonly Effect[];
}

/** An answer that this phase did not ask for: a bug of whoever drives the machine. */
export class EnrolmentError extends TypedError<{
  readonly code: "cni.wrong-state";
  readonly phase: Enrolment["phase"];
  readonly event: EnrolmentEvent["kind"];
}> {}

export const absent: Enrolment = { phase: "absent" };

/** Next state and what to do now. `want` is the present one; the old state stays in force when an error is returned. */
export function step(state: Enrolment, want: Want, event: EnrolmentEvent): Step | EnrolmentError {
  const next = transition(state, want, event);
  if (next !== undefined) return next;
  if (isAnswer(event)) return new EnrolmentError({ code: "cni.wrong-state", phase: state.phase, event: event.kind });
  return { state, effects: [] };
}

/** Undefined: this phase has no use for the event. */
function transition(state: Enrolment, want: Want, event: EnrolmentEvent): Step | undefined {
  switch (state.phase) {
    case "absent":
      if (event.kind === "inspect" || (event.kind === "wanted" && want === "enrol")) return inspect(0);
      return undefined;
    case "inspecting":
      return whileInspecting(state, want, event);
    case "routing":
      if (event.kind === "routed") return want === "enrol" ? offer(state.tables) : depart(want, state.tables);
      return kernelWork(state, want, event, {
        again: (failures) => route(state.tables, failures),
        turned: () => depart(want, state.tables),
      });
    case "offered":
      return whileOffered(state, want, event);
    case "acknowledged":
      if (event.kind === "captured") return want === "enrol" ? announce() : depart(want, "present");
      return kernelWork(state, want, event, {
        // The agent may have gone meanwhile: ask it again before the redirect is tried again.
        again: (failures) => offer("present", failures),
        turned: () => depart(want, "present"),
      });
    case "redirected":
      if (event.kind === "annotated" && event.redirection === "enabled") return to({ phase: "enrolled" });
      return whileCaptured(want, event);
    case "enrolled":
      return whileCaptured(want, event);
    case "repairing":
      if (event.kind === "captured") return want === "enrol" ? announce() : depart(want, "present");
      return kernelWork(state, want, event, { again: repair, turned: () => depart(want, "present") });
    case "unannotating":
      if (event.kind === "annotated" && event.redirection === undefined)
        return state.tables === "present" ? release(0) : withdraw("none");
      return event.kind === "wanted" ? turnedBack(want, state.tables) : undefined;
    case "releasing":
      if (event.kind === "released")
        return turnedBack(want, "present") ?? to({ phase: "settling" }, { kind: "settle" });
      return kernelWork(state, want, event, { again: release, turned: () => turnedBack(want, "present") });
    case "settling":
      if (event.kind === "due") return withdraw("present");
      return event.kind === "wanted" ? turnedBack(want, "present") : undefined;
    case "withdrawing":
      if (event.kind !== "withdrawn") return undefined;
      return turnedBackWithdrawn(want, state.tables) ?? (state.tables === "present" ? count(0) : remove(0));
    case "draining":
      return whileDraining(state, want, event);
    case "removing":
      if (event.kind === "removed") return want === "enrol" ? inspect(0) : closed();
      return kernelWork(state, want, event, {
        again: remove,
        turned: () => (want === "enrol" ? inspect(0) : want === "forget" ? closed() : undefined),
      });
    case "forgetting":
      if (event.kind !== "withdrawn") return undefined;
      return want === "forget" ? closed() : { state: inspecting(0), effects: [{ kind: "close" }, { kind: "inspect" }] };
  }
}

/** Failure, timer and change of mind are the same in every phase that has one kernel change under way. */
function kernelWork(
  state: Extract<Enrolment, { readonly work: Work }>,
  want: Want,
  event: EnrolmentEvent,
  next: { again: (failures: number) => Step; turned: () => Step | undefined },
): Step | undefined {
  const { work } = state;
  const onward = state.phase !== "releasing" && state.phase !== "draining" && state.phase !== "removing";
  const turned = onward ? want !== "enrol" : want !== "leave";
  if (event.kind === "failed" && work.now === "running") {
    const waiting: Work = { now: "waiting", failures: work.failures + 1, error: event.error };
    const retry: Step = {
      state: { ...state, work: waiting },
      effects: [{ kind: "retry", failures: waiting.failures }],
    };
    return turned ? (next.turned() ?? retry) : retry;
  }
  if (work.now === "running") return undefined;
  if (event.kind === "due") return next.again(work.failures);
  return event.kind === "wanted" && turned ? next.turned() : undefined;
}

function whileInspecting(
  state: Extract<Enrolment, { readonly phase: "inspecting" }>,
  want: Want,
  event: EnrolmentEvent,
): Step | undefined {
  if (event.kind === "found") return afterInspection(want, event.truth, event.annotated);
  const idle = state.work.now === "waiting";
  if (want === "forget" && (event.kind === "failed" || (event.kind === "wanted" && idle))) return closed();
  // What can't be found is an error to a pod that shall come in, and good news to one that shall leave: look again.
  if (event.kind === "wanted" && idle) return inspect(0);
  return kernelWork(state, want, event, { again: inspect, turned: () => undefined });
}

function afterInspection(want: Want, truth: KernelTruth, annotated: boolean): Step {
  const tables: Tables = truth.capture === "none" ? "none" : "present";
  if (want === "forget") return closed();
  if (want === "enrol" && truth.capture === "redirecting") {
    // Captured by an earlier life of this daemon, so an agent had acknowledged it: it stays captured, whoever is away.
    const next = truth.routing === "whole" ? announce() : repair(0);
    return { state: next.state, effects: [{ kind: "offer" }, ...next.effects] };
  }
  if (want === "enrol") {
    const next = route(tables, 0);
    // An announcement without capture (the node was rebooted, a pod of that name came again): peers would tunnel to nobody.
    const retract: Effect = { kind: "annotate", redirection: "pending" };
    return annotated ? { state: next.state, effects: [retract, ...next.effects] } : next;
  }
  if (tables === "none" && truth.routing === "none" && !annotated) return closed();
  const next = depart(want, tables);
  // Until the redirect is released somebody has to listen: the agent must not miss this pod in its snapshot.
  return truth.capture === "redirecting" ? { state: next.state, effects: [{ kind: "offer" }, ...next.effects] } : next;
}

function whileOffered(
  state: Extract<Enrolment, { readonly phase: "offered" }>,
  want: Want,
  event: EnrolmentEvent,
): Step | undefined {
  if (event.kind === "served") return redirect(state.failures);
  if (event.kind === "refused")
    return to({ ...state, refused: event.error }, { kind: "annotate", redirection: "pending" });
  if (event.kind === "replaced") return startOver();
  return event.kind === "wanted" && want !== "enrol" ? depart(want, state.tables) : undefined;
}

function whileCaptured(want: Want, event: EnrolmentEvent): Step | undefined {
  if (event.kind === "wanted" && want !== "enrol") return depart(want, "present");
  if (event.kind === "drifted") return repair(0);
  return event.kind === "replaced" ? startOver() : undefined;
}

function whileDraining(
  state: Extract<Enrolment, { readonly phase: "draining" }>,
  want: Want,
  event: EnrolmentEvent,
): Step | undefined {
  if (event.kind === "counted") {
    const turned = turnedBackWithdrawn(want, "present");
    if (turned !== undefined) return turned;
    if (event.held === 0) return remove(0);
    const error = { code: "cni.connections-open", connections: event.held };
    return to(
      { phase: "draining", held: event.held, work: { now: "waiting", failures: 0, error } },
      { kind: "recount" },
    );
  }
  return kernelWork(state, want, event, { again: count, turned: () => turnedBackWithdrawn(want, "present") });
}

/** On the way out: in again, or dropped. Undefined when it goes on as it was. */
function turnedBack(want: Want, tables: Tables): Step | undefined {
  if (want === "enrol") return offer(tables);
  return want === "forget" ? forget() : undefined;
}

/** The same once no agent holds the pod any more. */
function turnedBackWithdrawn(want: Want, tables: Tables): Step | undefined {
  if (want === "enrol") return route(tables, 0);
  return want === "forget" ? closed() : undefined;
}

/** The way out, by its first step. */
function depart(want: Want, tables: Tables): Step {
  if (want === "forget") return forget();
  return to({ phase: "unannotating", tables }, { kind: "annotate", redirection: undefined });
}

/** The annotation goes too, though nobody waits for it: one that is still being written must not come after the end. */
function forget(): Step {
  return to({ phase: "forgetting" }, { kind: "annotate", redirection: undefined }, { kind: "withdraw" });
}

/** The new namespace holds nothing of ours: peers must not tunnel to it meanwhile. */
function startOver(): Step {
  return to({ phase: "forgetting" }, { kind: "annotate", redirection: "pending" }, { kind: "withdraw" });
}

function announce(): Step {
  return to({ phase: "redirected" }, { kind: "annotate", redirection: "enabled" });
}

function inspect(failures: number): Step {
  return to(inspecting(failures), { kind: "inspect" });
}

function inspecting(failures: number): Enrolment {
  return { phase: "inspecting", work: running(failures) };
}

function route(tables: Tables, failures: number): Step {
  return to({ phase: "routing", tables, work: running(failures) }, { kind: "route" });
}

function offer(tables: Tables, failures = 0): Step {
  return to({ phase: "offered", tables, failures }, { kind: "offer" });
}

function redirect(failures: number): Step {
  return to({ phase: "acknowledged", work: running(failures) }, { kind: "redirect" });
}

function repair(failures: number): Step {
  return to({ phase: "repairing", work: running(failures) }, { kind: "repair" });
}

function release(failures: number): Step {
  return to({ phase: "releasing", work: running(failures) }, { kind: "release" });
}

function withdraw(tables: Tables): Step {
  return to({ phase: "withdrawing", tables }, { kind: "withdraw" });
}

function count(failures: number): Step {
  return to({ phase: "draining", work: running(failures) }, { kind: "count" });
}

function remove(failures: number): Step {
  return to({ phase: "removing", work: running(failures) }, { kind: "remove" });
}

function closed(): Step {
  return to(absent, { kind: "close" });
}

function running(failures: number): Work {
  return { now: "running", failures };
}

function to(state: Enrolment, ...effects: readonly Effect[]): Step {
  return { state, effects };
}

function isAnswer(event: EnrolmentEvent): boolean {
  return answers.has(event.kind);
}

const answers: ReadonlySet<EnrolmentEvent["kind"]> = new Set([
  "found",
  "routed",
  "captured",
  "released",
  "withdrawn",
  "counted",
  "removed",
  "failed",
]);
