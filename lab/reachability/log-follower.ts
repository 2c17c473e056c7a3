/** Follows the logs of a lab's agents and pods, and hands every fact in them to a ledger. */
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import type { LabHandle } from "../start.ts";
import type { LabStatus } from "../status.ts";
import { factOf } from "./facts.ts";
import type { Ledger } from "./ledger.ts";

export class LogFollower {
  readonly #lab: LabHandle;
  readonly #ledger: Ledger;
  readonly #followed = new Set<string>();
  #open = true;

  constructor(lab: LabHandle, ledger: Ledger) {
    this.#lab = lab;
    this.#ledger = ledger;
    void lab.ended.then(() => this.close());
  }

  /** Starts to follow every process that isn't followed yet: those that come later are found by calling again. */
  follow(status: LabStatus): void {
    for (const { name } of status.processes) {
      if (!/\.agent$|\.pod\./.test(name) || this.#followed.has(name)) continue;
      this.#followed.add(name);
      void this.#read(name);
    }
  }

  close(): void {
    this.#open = false;
  }

  async #read(name: string): Promise<void> {
    try {
      const log = await this.#lab.open("GET", `/log/${name}?follow=1`);
      for await (const line of createInterface({ input: log })) {
        if (!this.#open) break;
        const fact = factOf(line);
        if (fact !== undefined) this.#ledger.add(fact, performance.now());
      }
      log.destroy();
    } catch {
      // Not written yet, or the lab is going: the next call of follow() tries again.
      await sleep(200);
    }
    this.#followed.delete(name);
  }
}
