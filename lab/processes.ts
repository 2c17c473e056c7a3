/**
 * One supervised process: started, restarted when it dies, held down when asked to. What a kubelet does for a static pod.
 * It writes its output straight into its log file, and dies with the process that supervises it (PR_SET_PDEATHSIG).
 */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, openSync, writeSync } from "node:fs";
import { Backoff } from "../core/base/backoff.ts";
import type { Clock } from "../core/base/clock.ts";
import { messageOf } from "../core/base/errors.ts";
import type { Random } from "../core/base/random.ts";
import { inNamespaceOf } from "../core/linux/namespace.ts";

export interface ProcessSpec {
  /** `control`, `node1.agent`, `node1.pod.shop.client`: the name of its log file too. */
  readonly name: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Network namespace to start in, as a descriptor; the supervisor's own where absent. */
  readonly netns?: number;
  readonly restart: RestartPolicy;
  readonly logFile: string;
}

export type RestartPolicy = "always" | "on-failure" | "never";

/** How a process ended: `exit 1`, `signal SIGKILL`, or why it could not be started. */
export interface Ending {
  readonly how: string;
  readonly success: boolean;
}

export type ProcessState =
  | { readonly phase: "running"; readonly pid: number; readonly sinceMs: number }
  | { readonly phase: "waiting"; readonly last: Ending; readonly delayMs: number } // for its next start
  | { readonly phase: "held"; readonly last?: Ending } // stopped by request until it is continued
  | { readonly phase: "ended"; readonly last: Ending }; // for good

export interface ProcessRow {
  readonly name: string;
  readonly state: ProcessState;
  /** How often it was started again. */
  readonly restarts: number;
}

/** What may be asked of a process: see {@link SupervisedProcess.act}. */
export type ProcessAction = (typeof processActions)[number];
export const processActions = ["kill", "stop", "cont", "restart"] as const;

export interface Surroundings {
  readonly clock: Clock;
  readonly random: Random;
  /** After every change of state. */
  readonly onChange: (row: ProcessRow) => void;
  /** Told of each child as it starts, so that PID 1 leaves its status to Node. */
  readonly onSpawn?: (child: ChildProcess) => void;
}

export class SupervisedProcess {
  readonly spec: ProcessSpec;
  readonly #around: Surroundings;
  readonly #backoff: Backoff;
  #state: ProcessState = { phase: "held" };
  #child: ChildProcess | undefined;
  #starts = 0;
  #quickFailures = 0;
  /** What becomes of it when the running child has ended. */
  #afterExit: "policy" | "hold" | "start" = "policy";
  #isClosing = false;
  #cancelTimer: () => void = () => undefined;
  #waiting: (() => void)[] = [];

  constructor(spec: ProcessSpec, around: Surroundings) {
    this.spec = spec;
    this.#around = around;
    this.#backoff = new Backoff({ firstMs: 200, capMs: 10_000, jitter: 0.1 }, around.random);
  }

  row(): ProcessRow {
    return { name: this.spec.name, state: this.#state, restarts: Math.max(0, this.#starts - 1) };
  }

  start(): void {
    if (this.#child !== undefined) return;
    this.#cancelTimer();
    this.#afterExit = "policy";
    this.#spawn();
  }

  /**
   * `kill` sends the signal (KILL) and lets the restart policy decide; `stop` sends it (TERM) and holds the process down;
   * `cont` undoes a stop, of either kind (SIGCONT to one that a STOP signal froze), even before it has ended; `restart` ends it (TERM) and
   * starts it anew.
   */
  act(action: ProcessAction, signal?: NodeJS.Signals): void {
    if (this.#isClosing) return;
    switch (action) {
      case "kill":
        return this.#signal(signal ?? "SIGKILL");
      case "stop":
        return this.#end("hold", signal ?? "SIGTERM");
      case "cont":
        if (this.#afterExit === "hold") this.#afterExit = "start";
        return this.#child === undefined ? this.start() : this.#signal("SIGCONT");
      case "restart":
        return this.#child === undefined ? this.start() : this.#end("start", signal ?? "SIGTERM");
    }
  }

  /** Ends it for good: TERM, then KILL after `graceMs`. Resolves when it is gone. */
  async close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    this.#end("hold", "SIGTERM");
    if (this.#child === undefined) return;
    const cancel = this.#around.clock.after(graceMs, () => this.#signal("SIGKILL"));
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
    cancel();
  }

  #end(afterExit: "hold" | "start", signal: NodeJS.Signals): void {
    this.#cancelTimer();
    this.#afterExit = afterExit;
    if (this.#child === undefined) this.#become({ phase: "held", ...lastOf(this.#state) });
    else this.#signal(signal);
  }

  /** To the whole process group: what a container runtime would reach. */
  #signal(signal: NodeJS.Signals): void {
    if (this.#child?.pid === undefined) return;
    try {
      process.kill(-this.#child.pid, signal);
    } catch {
      // It ended, or has not made its group yet; then the child alone is asked.
      this.#child.kill(signal);
    }
  }

  #spawn(): void {
    const { argv, env, cwd, netns, logFile, name } = this.spec;
    this.#starts++;
    let output: number | undefined;
    try {
      const log = (output = openSync(logFile, "a", 0o600));
      const child = inNamespaceOf(netns, () =>
        spawn("setpriv", ["--pdeathsig", "KILL", "--", ...argv], {
          cwd,
          env,
          stdio: ["ignore", log, log],
          detached: true,
        }),
      );
      this.#child = child;
      this.#around.onSpawn?.(child);
      child.once("error", (error) => this.#ended({ how: messageOf(error), success: false }));
      child.once("exit", (code, signal) =>
        this.#ended({ how: signal === null ? `exit ${code}` : `signal ${signal}`, success: code === 0 }),
      );
      if (child.pid !== undefined)
        this.#become({ phase: "running", pid: child.pid, sinceMs: this.#around.clock.nowMs() });
    } catch (error) {
      if (output !== undefined) writeSync(output, `${name}: ${messageOf(error)}\n`);
      this.#ended({ how: messageOf(error), success: false });
    } finally {
      if (output !== undefined) closeSync(output);
    }
  }

  #ended(last: Ending): void {
    this.#signal("SIGKILL"); // what is left of its group
    this.#child = undefined;
    for (const resolve of this.#waiting.splice(0)) resolve();
    const next = this.#afterExit;
    this.#afterExit = "policy";
    if (next === "hold") return this.#become({ phase: "held", last });
    if (next === "start") return this.start();
    const { restart } = this.spec;
    if (restart === "never" || (restart === "on-failure" && last.success))
      return this.#become({ phase: "ended", last });
    this.#startLater(last);
  }

  /** At once the first time; from then on with back-off, until one start has lasted. */
  #startLater(last: Ending): void {
    const { clock } = this.#around;
    const ranMs = this.#state.phase === "running" ? clock.nowMs() - this.#state.sinceMs : 0;
    if (ranMs > steadyMs) {
      this.#quickFailures = 0;
      this.#backoff.reset();
    }
    const delayMs = this.#quickFailures++ === 0 ? 0 : this.#backoff.next();
    this.#become({ phase: "waiting", last, delayMs: Math.round(delayMs) });
    this.#cancelTimer = clock.after(delayMs, () => this.start());
  }

  #become(state: ProcessState): void {
    this.#state = state;
    this.#around.onChange(this.row());
  }
}

function lastOf(state: ProcessState): { last?: Ending } {
  return state.phase === "running" || state.last === undefined ? {} : { last: state.last };
}

/** A process that ran this long was not failing at its start. */
const steadyMs = 10_000;
