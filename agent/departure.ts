/**
 * How an agent ends. It serves on until somebody else does, or within limits for as long as anything is open; then it accepts no more,
 * and lives until its last connection has ended: for ever where nothing sets a deadline and a successor serves meanwhile.
 *
 *     serving ──SIGTERM──► last orders ──relieved──► draining ──the last has ended, or the deadline──► over
 */
import type { Clock } from "../core/base/clock.ts";
import type { Log } from "../core/base/log.ts";
import { EachWorker } from "./each-worker.ts";
import type { ToWorker } from "./worker-messages.ts";

/** Milliseconds, counted from the request to end. */
export interface TerminationDeadlines {
  /** For open connections while another agent serves; undefined: as long as they last. */
  readonly relievedMs: number | undefined;
  /** While there is no other, for connections that were open when the end was asked for. */
  readonly aloneMs: number;
  /** For those that came after, when nobody accepts any more: whoever is next waits for them in the kernel at best. */
  readonly lateMs: number;
}

export type DeparturePhase = "serving" | "last-orders" | "draining";

export interface DepartureModules {
  readonly clock: Clock;
  readonly log: Log;
  readonly deadlines: TerminationDeadlines;
  readonly workers: () => number;
  readonly broadcast: (message: ToWorker) => void;
  /** Where successors are heard of; undefined where nobody tells. */
  readonly store: { sayServing(serving: boolean): void; hasSuccessor(): Promise<boolean> } | undefined;
  /** A successor can listen beside this agent on the same ports, and will be told nothing: ports are given up at once. */
  readonly sharesPorts: boolean;
  /** From now on nothing is accepted: gives up what only who accepts needs. Policies and certificates are still heard of. */
  readonly letGo: () => void;
}

type Relief = "a successor serves" | "ports are shared" | "all have ended" | "time is up";

export class Departure {
  readonly #modules: DepartureModules;
  /** Settles when no worker has anything left of what it had when the end was announced. */
  readonly #earlierEnded: EachWorker;
  /** Settles when every worker has closed everything. */
  readonly #allDrained: EachWorker;
  #phase: DeparturePhase = "serving";

  constructor(modules: DepartureModules) {
    this.#modules = modules;
    this.#earlierEnded = new EachWorker(modules.clock, modules.workers);
    this.#allDrained = new EachWorker(modules.clock, modules.workers);
  }

  get phase(): DeparturePhase {
    return this.#phase;
  }

  /** Settles when nothing is left, or nothing may be; asked again while it is under way it does nothing, and says so by undefined. */
  begin(cause: string): Promise<void> | undefined {
    if (this.#phase !== "serving") return undefined;
    this.#phase = "last-orders";
    return this.#depart(cause);
  }

  /** @param said by a worker, or for one that is lost and will never say it. */
  heard(said: "earlier-ended" | "drained", index: number): void {
    (said === "drained" ? this.#allDrained : this.#earlierEnded).add(index);
  }

  workerLost(index: number): void {
    this.#earlierEnded.add(index);
    if (this.#phase === "draining") this.#allDrained.add(index);
  }

  async #depart(cause: string): Promise<void> {
    const { clock, log, deadlines, broadcast, letGo } = this.#modules;
    const askedMs = clock.nowMs();
    log.info({ cause, ...deadlines }, "agent is to end");
    const because = await this.#relieved(Math.max(0, deadlines.aloneMs - lastOrdersMs(deadlines.aloneMs)));
    this.#phase = "draining";
    const hasSuccessor = because === "a successor serves" || because === "ports are shared";
    const passedMs = clock.nowMs() - askedMs;
    const withinMs = hasSuccessor ? deadlines.relievedMs : Math.min(deadlines.aloneMs, passedMs + deadlines.lateMs);
    const deadlineMs = withinMs === undefined ? undefined : Math.round(Math.max(0, withinMs - passedMs));
    log.info({ because, ...(deadlineMs !== undefined && { deadlineMs }) }, "agent drains");
    broadcast({ kind: "drain", deadlineMs });
    letGo();
    if (deadlineMs === undefined) await this.#allDrained.ever();
    else await this.#allDrained.within(deadlineMs + graceMs);
  }

  /**
   * Settles, with the reason, when it is time to accept no more: another agent serves; or nobody is left for whose sake to delay the
   * next agent's start; or there is no time left. A connection that comes meanwhile is better off here than in a queue without an agent.
   */
  async #relieved(withinMs: number): Promise<Relief> {
    const { clock, store, broadcast, sharesPorts } = this.#modules;
    const endMs = clock.nowMs() + withinMs;
    store?.sayServing(false);
    if (await store?.hasSuccessor()) return "a successor serves";
    if (sharesPorts) return "ports are shared";
    broadcast({ kind: "last-orders" });
    for (;;) {
      const leftMs = endMs - clock.nowMs();
      if (leftMs <= 0) return "time is up";
      const haveEnded = await this.#earlierEnded.within(Math.min(leftMs, askSuccessorEveryMs));
      if (await store?.hasSuccessor()) return "a successor serves";
      if (haveEnded) return "all have ended";
    }
  }
}

/** What the last connections to be accepted get of the deadline. */
function lastOrdersMs(deadlineMs: number): number {
  return Math.min(1_000, deadlineMs / 4);
}

const graceMs = 1_000;
const askSuccessorEveryMs = 100;
