/** Profiles of any thread, one at a time each. */
import type { Clock } from "../../core/base/clock.ts";
import type { ToWorker } from "../worker-messages.ts";
import { takeProfile, type ProfileRequest } from "./profile.ts";

export class Profiles {
  readonly #clock: Clock;
  readonly #tell: (worker: number, message: ToWorker) => boolean;
  readonly #awaited = new Map<string, (json: string) => void>();

  /** @param tell a worker something. False: there is none of that number. */
  constructor(clock: Clock, tell: (worker: number, message: ToWorker) => boolean) {
    this.#clock = clock;
    this.#tell = tell;
  }

  /** @param thread `main`, or a worker's number. @returns undefined where there is none, or it is being looked at. */
  take(thread: string, request: ProfileRequest): Promise<string> | undefined {
    if (this.#awaited.has(thread)) return undefined;
    if (thread === "main") {
      this.#awaited.set(thread, () => {});
      return takeProfile(request, this.#clock).finally(() => this.#awaited.delete(thread));
    }
    if (!/^\d{1,4}$/.test(thread) || !this.#tell(Number(thread), { kind: "profile", request })) return undefined;
    return new Promise((resolve) => this.#awaited.set(thread, resolve));
  }

  taken(worker: number, json: string): void {
    const resolve = this.#awaited.get(String(worker));
    this.#awaited.delete(String(worker));
    resolve?.(json);
  }

  /** The worker is gone, and its profile with it. */
  lost(worker: number): void {
    this.taken(worker, JSON.stringify({ error: "the worker ended meanwhile" }));
  }
}
