/** What PID 1 owes its namespace: burying the orphans, without taking Node's own children from it. */
import type { ChildProcess } from "node:child_process";
import { reapOrphans } from "../core/linux/process.ts";

export class Reaper {
  /** Node waits for these itself. */
  readonly #own = new Set<number>();

  start(): void {
    process.on("SIGCHLD", () => reapOrphans(this.#own));
  }

  /** To be told of every child, in the same turn in which it was spawned. */
  track(child: ChildProcess): void {
    const { pid } = child;
    if (pid === undefined) return;
    this.#own.add(pid);
    child.once("exit", () => this.#own.delete(pid));
  }
}
