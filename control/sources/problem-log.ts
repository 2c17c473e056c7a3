/** Says every problem once in the log, for as long as it holds. */
import type { Log } from "../../core/base/log.ts";
import { problemText, type SourceProblem } from "./source.ts";

export class ProblemLog {
  readonly #log: Log;
  #reported: ReadonlySet<string> = new Set();

  constructor(log: Log) {
    this.#log = log;
  }

  /** @param problems all that hold now. */
  report(problems: readonly SourceProblem[]): void {
    const now = new Map(problems.map((problem) => [JSON.stringify(problem), problem]));
    for (const [key, problem] of now) {
      if (this.#reported.has(key)) continue;
      const { level, message, ...fields } = problem;
      if (level === "error") this.#log.error(fields, problemText(problem));
      else this.#log.info(fields, message);
    }
    this.#reported = new Set(now.keys());
  }
}
