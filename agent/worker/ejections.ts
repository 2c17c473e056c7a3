/**
 * Endpoints whose tunnel has just failed, or that have said that they are going: for some seconds others are preferred, by all pods that
 * a worker serves. Nobody is left without an endpoint by it: where all are out, all are in.
 */
import type { Clock } from "../../core/base/clock.ts";
import type { OutboundDecision } from "../../core/decision/route.ts";
import type { TunnelError } from "../tunnel/tunnel.ts";

export class Ejections {
  readonly #clock: Clock;
  /** Uid of a workload → monotonic milliseconds. */
  readonly #until = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A tunnel to that workload, or a stream in one, has failed before a byte was relayed. */
  note(uid: string, error: TunnelError): void {
    const forMs = ejectedForMs(error.type);
    if (forMs > 0) this.#until.set(uid, this.#clock.nowMs() + forMs);
  }

  /** It has taken a connection. */
  restore(uid: string): void {
    if (this.#until.size > 0) this.#until.delete(uid);
  }

  /** Control has something new to say of these workloads: what was known of them is of the past. */
  forget(uids: ReadonlySet<string>): void {
    if (this.#until.size === 0) return;
    for (const uid of this.#until.keys()) if (uids.has(uid)) this.#until.delete(uid);
  }

  has(uid: string): boolean {
    if (this.#until.size === 0) return false;
    const untilMs = this.#until.get(uid);
    if (untilMs === undefined) return false;
    if (untilMs > this.#clock.nowMs()) return true;
    this.#until.delete(uid);
    return false;
  }

  /** Those that are out now, and these. */
  with(exclude: ReadonlySet<string> = none): ReadonlySet<string> {
    const nowMs = this.#clock.nowMs();
    const out = new Set(exclude);
    for (const [uid, untilMs] of this.#until) {
      if (untilMs > nowMs) out.add(uid);
      else this.#until.delete(uid);
    }
    return out;
  }

  /**
   * The decision, but for one that is out, if there is one. Asked in this order so that a choice among very many endpoints is looked at
   * again only by whom chance has led to one of the few that are out.
   */
  decide(
    exclude: ReadonlySet<string> | undefined,
    decide: (exclude: ReadonlySet<string> | undefined) => OutboundDecision,
  ): OutboundDecision {
    const decision = decide(exclude);
    if (this.#until.size === 0 || !this.#isOut(decision)) return decision;
    const other = decide(this.with(exclude));
    return other.kind === "refuse" ? decision : other;
  }

  #isOut(decision: OutboundDecision): boolean {
    switch (decision.kind) {
      case "hbone":
        return this.has(decision.workload.uid);
      case "double-hbone":
        return this.has(decision.workload.uid) || this.has(decision.gateway.workload.uid);
      default:
        return false;
    }
  }
}

/** Zero where it says nothing of the peer, or only of what was asked of it. */
function ejectedForMs(type: TunnelError["type"]): number {
  switch (type.code) {
    case "tunnel.no-room":
      return 30_000;
    case "tunnel.refused":
      // An application that refuses on one port may serve on another.
      return type.gone === true ? slowToFind : 0;
    case "tunnel.connect-timeout":
    case "tunnel.tls-timeout":
    case "tunnel.answer-timeout":
    case "tunnel.unresponsive":
      return slowToFind;
    case "tunnel.connect-failed":
      return ours.has(type.errno) ? 0 : quickToFind;
    case "tunnel.no-certificate":
      return 0;
    default:
      return quickToFind;
  }
}

const none: ReadonlySet<string> = new Set();
/** What costs a connection its patience is not tried by every one. */
const slowToFind = 10_000;
const quickToFind = 5_000;
/** Want of what is ours: ports, descriptors, memory. */
const ours: ReadonlySet<string> = new Set(["EADDRNOTAVAIL", "EADDRINUSE", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"]);
