/**
 * What to do about an attempt to connect that failed before a byte of the client was relayed: another endpoint of the service, the same
 * place in a moment because its agent is being restarted, or nothing. Without I/O; one for each connection that needs it.
 */
import { Backoff } from "../../core/base/backoff.ts";
import type { Random } from "../../core/base/random.ts";
import { closeReason } from "../../core/decision/close-reasons.ts";
import type { OutboundDecision } from "../../core/decision/route.ts";
import type { Failure } from "./socket-errors.ts";

export type NextAttempt = { readonly kind: "give-up" } | { readonly kind: "try"; readonly afterMs: number };

export class Attempts {
  /** Uids of endpoints that are not to be chosen: they have failed in this round. */
  readonly exclude = new Set<string>();
  /** The last failure that was not just the lack of another endpoint: what the connection ends with if nothing else comes of it. */
  problem: Failure | undefined;
  /** How many have failed. */
  failed = 0;
  readonly #sinceMs: number;
  readonly #backoff: Backoff;
  #elsewhere = 0;
  #mayComeBack = false;

  /** @param sinceMs when the first was begun, monotonic milliseconds. */
  constructor(sinceMs: number, random: Random) {
    this.#sinceMs = sinceMs;
    this.#backoff = new Backoff(pauses, random);
  }

  /** @param decision that was followed. @param problem that came of it. */
  next(decision: OutboundDecision, problem: Failure, nowMs: number): NextAttempt {
    if (decision.kind === "refuse") return this.#noneLeft(problem, nowMs);
    this.problem = problem;
    this.failed += 1;
    const again = problem.again === true;
    if (!again && closeReason(problem.reason).retry !== "before-first-byte") return giveUp;
    if (!hasOthers(decision)) return again ? this.#inAMoment(nowMs) : giveUp;
    const chosen = chosenHere(decision, problem);
    if (chosen !== undefined) this.exclude.add(chosen);
    // Who is going says so at once and costs nothing; and whoever takes its place will be known in a moment.
    const isGoing = problem.reason === "WORKLOAD_GONE";
    this.#mayComeBack ||= again || isGoing;
    if (!isGoing || chosen === undefined) this.#elsewhere += 1;
    if (this.#elsewhere <= othersTried && this.failed <= mostTried) return { kind: "try", afterMs: 0 };
    return again || isGoing ? this.#inAMoment(nowMs) : giveUp;
  }

  /** Everyone has been tried: if somebody may be back in a moment, from the beginning. */
  #noneLeft(problem: Failure, nowMs: number): NextAttempt {
    this.problem ??= problem;
    if (!this.#mayComeBack) return giveUp;
    this.exclude.clear();
    return this.#inAMoment(nowMs);
  }

  #inAMoment(nowMs: number): NextAttempt {
    return nowMs - this.#sinceMs >= patienceMs ? giveUp : { kind: "try", afterMs: this.#backoff.next() };
  }
}

/** Uid of whom not to choose again; undefined where a gateway has chosen, and will again. */
function chosenHere(decision: Chosen, { beyondGateway }: Failure): string | undefined {
  if (decision.kind !== "double-hbone") return decision.workload.uid;
  return beyondGateway === true ? undefined : decision.gateway.workload.uid;
}

type Chosen = Extract<OutboundDecision, { readonly workload: unknown }>;

/** Only a service has other endpoints, and a waypoint other pods: who asked for a pod meant that pod. */
function hasOthers(decision: OutboundDecision): decision is Chosen {
  if (decision.kind === "hbone" && decision.via === "waypoint") return true;
  return "service" in decision && decision.service !== undefined;
}

/**
 * How long one attempt may take: not all there is while another endpoint could be tried instead. A SYN or two may be lost meanwhile.
 * @param leftMs until the deadline of the connection.
 */
export function attemptWithinMs(decision: OutboundDecision, leftMs: number): number {
  for (const step of decision.trace) {
    if (step.code === "endpoints-considered" && step.usable > 1) return Math.min(leftMs, attemptMs);
  }
  return leftMs;
}

const giveUp: NextAttempt = { kind: "give-up" };
const othersTried = 2;
/** Counting those that are going, too. */
const mostTried = 16;
const attemptMs = 3_000;
/** An agent that is replaced without a listener store is back well within it. */
const patienceMs = 5_000;
const pauses = { firstMs: 10, capMs: 500, jitter: 0.2 };
