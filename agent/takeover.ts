/**
 * The ports that only one agent of a network namespace can have: the admin server's, readiness', metrics'. Where an older generation
 * still has them (it may live for as long as its last connection), it is asked to give them up as soon as this one serves.
 */
import { request } from "node:http";
import type { Clock } from "../core/base/clock.ts";
import type { Log } from "../core/base/log.ts";
import { adminPort } from "./admin/server.ts";

/** A place to be had: `listen` answers with what stands in the way. */
export interface Place {
  readonly name: string;
  readonly listen: () => Promise<{ sentence(): string } | undefined>;
}

export class Takeover {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #places: Place[] = [];
  readonly #ask: () => Promise<boolean>;
  #phase: "waiting" | "asked" | "over" = "waiting";

  /** @param ask tells whoever is there to leave; false where nobody did. */
  constructor(clock: Clock, log: Log, ask: () => Promise<boolean> = askToYield) {
    this.#clock = clock;
    this.#log = log;
    this.#ask = ask;
  }

  /** Listens there now; or, if somebody else does, when this agent serves. @returns what stands in the way. */
  async have(place: Place): Promise<string | undefined> {
    const failed = await place.listen();
    if (failed === undefined) return undefined;
    this.#places.push(place);
    if (this.#phase === "asked") this.#again(firstRetryMs);
    return failed.sentence();
  }

  /** This agent serves: what is still another one's is asked for, and taken when it is free. */
  async serving(): Promise<void> {
    if (this.#phase !== "waiting") return;
    this.#phase = "asked";
    if (this.#places.length === 0) return;
    const names = this.#places.map(({ name }) => name);
    const yielded = await this.#ask();
    this.#log.info({ places: names, yielded }, "the agent that ran here before is asked for its ports");
    await this.#take(firstRetryMs);
  }

  /** Nothing is taken any more. */
  close(): void {
    this.#phase = "over";
  }

  async #take(nextMs: number): Promise<void> {
    for (const place of [...this.#places]) {
      if (this.#phase === "over" || (await place.listen()) !== undefined) continue;
      this.#places.splice(this.#places.indexOf(place), 1);
      this.#log.info({ place: place.name }, "the port that another agent had is this one's");
    }
    if (this.#places.length > 0) this.#again(nextMs);
  }

  #again(afterMs: number): void {
    if (this.#phase === "over") return;
    this.#clock.after(afterMs, () => void this.#take(Math.min(longestRetryMs, afterMs * 2)));
  }
}

/** Tells the agent on this namespace's 15000, if there is one, that another one serves. */
export function askToYield(port = adminPort): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = request({ host: "127.0.0.1", port, path: "/yield", method: "POST", agent: false, timeout: 1_000 });
    asked.once("response", (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    asked.once("timeout", () => asked.destroy(new Error("no answer")));
    asked.once("error", () => resolve(false));
    asked.end();
  });
}

const firstRetryMs = 20;
const longestRetryMs = 1_000;
