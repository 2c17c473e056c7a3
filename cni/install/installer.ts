/** Keeps the plugin on the node: its executable first, its entry in the runtime's chain after it, both put back when somebody else
 *  takes them away; and takes them out again in the opposite order. */
import { watch, type FSWatcher } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../core/base/clock.ts";
import { describe, messageOf } from "../../core/base/errors.ts";
import type { Log } from "../../core/base/log.ts";
import { logFileName } from "../plugin/log-file.ts";
import type { LogLevel } from "../plugin/settings.ts";
import { Chain, type ChainOutcome } from "./chain.ts";
import { pluginType } from "./conf-file.ts";
import { nodeDisk, type Disk } from "./disk.ts";
import { failureOf, InstallError } from "./errors.ts";
import { Executable } from "./executable.ts";

export interface InstallerOptions {
  /** Where runtimes look for plugins, e.g. /opt/cni/bin of the node. */
  readonly binDir: string;
  /** Where they look for configurations, e.g. /etc/cni/net.d of the node. */
  readonly confDir: string;
  /** File in confDir to extend, where it isn't to be the first valid one by name. */
  readonly confName?: string;
  /** The plugin's executable as it comes with this release. */
  readonly pluginSource: string;
  readonly config: PluginConfig;
  readonly log: Log;
  readonly clock: Clock;
  /** For tests that stand between two steps. */
  readonly disk?: Disk;
}

/** What the plugin will read from its entry. */
export interface PluginConfig {
  /** Directory of pluginevent.sock, as the node sees it. */
  readonly runDir: string;
  /** Namespaces whose pods pass without the daemon being asked; our own must be among them. */
  readonly excludeNamespaces: readonly string[];
  readonly logLevel: LogLevel;
  /** A daemon on the node's own network starts on a node whose network isn't ready; only then may STATUS say that it isn't. */
  readonly daemonOnHostNetwork?: boolean;
}

export type InstallStatus =
  | { readonly kind: "waiting"; readonly reason: string }
  | { readonly kind: "ready"; readonly file: string }
  | { readonly kind: "failed"; readonly error: InstallError };

export class Installer {
  readonly #options: InstallerOptions;
  readonly #executable: Executable;
  readonly #chain: Chain;
  #status: InstallStatus = { kind: "waiting", reason: "it has just begun" };
  #watchers: FSWatcher[] = [];
  #cancelTimer: () => void = () => undefined;
  /** Monotonic time of the next pass; later requests don't put it off. */
  #dueMs = Infinity;
  /** Passes come one after another. */
  #running: Promise<unknown> = Promise.resolve();
  #repairsMs: number[] = [];
  #closed = false;

  constructor(options: InstallerOptions) {
    this.#options = options;
    const { binDir, confDir, confName, pluginSource, clock } = options;
    const disk = options.disk ?? nodeDisk;
    const token = String(process.pid);
    this.#executable = new Executable({ disk, binDir, source: pluginSource, token });
    const place = { disk, confDir, ...(confName !== undefined && { confName }) };
    this.#chain = new Chain({ ...place, entry: entryOf(options.config), token, wallMs: () => clock.wallMs() });
  }

  /** The first pass, and watching from then on. An error leaves the node as it was; it is tried again until it goes well. */
  async start(): Promise<InstallError | undefined> {
    const { binDir, confDir } = this.#options;
    try {
      await this.#executable.removeUnfinished();
      await this.#chain.removeUnfinished();
    } catch (thrown) {
      this.#options.log.warn({ error: messageOf(thrown) }, "unfinished files of an earlier run can't be removed");
    }
    this.#watch(binDir);
    this.#watch(confDir);
    await this.#enqueue(() => this.#pass());
    return this.#status.kind === "failed" ? this.#status.error : undefined;
  }

  /** Whether new pods go through the plugin. */
  ready(): boolean {
    return this.#status.kind === "ready";
  }

  status(): InstallStatus {
    return this.#status;
  }

  /** Looks at once: for those who know of a change. */
  async check(): Promise<InstallStatus> {
    await this.#enqueue(() => this.#pass());
    return this.#status;
  }

  /** Leaves everything in place. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelTimer();
    for (const watcher of this.#watchers.splice(0)) watcher.close();
    await this.#running;
    await this.#chain.close();
  }

  /** First no file names the plugin any more, then its executable goes: in between a runtime may still start it. */
  async uninstall(): Promise<InstallError | undefined> {
    await this.close();
    const { config, confDir } = this.#options;
    try {
      const left = await this.#chain.remove();
      if (left !== undefined) return left;
      await this.#executable.remove();
      for (const name of [logFileName, `${logFileName}.1`]) await rm(join(config.runDir, name), { force: true });
      this.#status = { kind: "waiting", reason: "it is uninstalled" };
      return undefined;
    } catch (thrown) {
      return failureOf(thrown, confDir);
    } finally {
      await this.#chain.close();
    }
  }

  async #pass(): Promise<void> {
    if (this.#closed) return;
    const { clock, confDir } = this.#options;
    this.#dueMs = Infinity;
    this.#cancelTimer();
    let outcome: ChainOutcome | InstallError;
    let isRepair = false;
    try {
      const obstacle = await this.#chain.obstacle();
      // What can't be chained isn't put on the node either.
      if (obstacle === undefined) isRepair = await this.#executable.ensure();
      outcome = obstacle ?? (await this.#chain.ensure());
    } catch (thrown) {
      outcome = failureOf(thrown, confDir);
    }
    if (!(outcome instanceof InstallError)) isRepair ||= outcome.kind === "chained" && outcome.changed;
    if (isRepair) this.#repairsMs = [...this.#repairsMs, clock.nowMs()].slice(-fightRepairs);
    this.#become(outcome, isRepair);
    const soon = this.#chain.unsettled || this.#status.kind !== "ready";
    this.#passWithin(soon ? recheckMs : rescanMs);
  }

  #become(outcome: ChainOutcome | InstallError, isRepair: boolean): void {
    const { log } = this.#options;
    const before = this.#status;
    if (outcome instanceof InstallError) {
      this.#status = { kind: "failed", error: outcome };
      const isNew = before.kind !== "failed" || describe(before.error.type) !== describe(outcome.type);
      if (isNew) log.error({ error: outcome.type }, outcome.sentence());
      return;
    }
    if (outcome.kind === "waiting") {
      this.#status = outcome;
      if (before.kind !== "waiting" || before.reason !== outcome.reason) log.info(`waiting: ${outcome.reason}`);
      return;
    }
    this.#status = { kind: "ready", file: outcome.file };
    if (before.kind !== "ready") log.info({ file: outcome.file }, "the plugin is in the chain");
    else if (isRepair) log.warn({ file: outcome.file }, "somebody had taken the plugin away: it is back");
    if (isRepair && this.#isFight()) log.warn({ file: outcome.file }, fightSentence(outcome.file));
  }

  #isFight(): boolean {
    const [first] = this.#repairsMs;
    const now = this.#options.clock.nowMs();
    return this.#repairsMs.length === fightRepairs && first !== undefined && now - first < fightMs;
  }

  #watch(directory: string): void {
    try {
      const watcher = watch(directory, { persistent: false }, () =>
        this.#passWithin(this.#isFight() ? fightPauseMs : settleMs),
      );
      // A directory that is taken away ends its watcher; the rescan goes on.
      watcher.on("error", () => watcher.close());
      this.#watchers.push(watcher);
    } catch (thrown) {
      this.#options.log.warn(
        { directory, error: messageOf(thrown) },
        "no news of changes here: it is looked at now and then",
      );
    }
  }

  #passWithin(delayMs: number): void {
    if (this.#closed) return;
    const { clock } = this.#options;
    const dueMs = clock.nowMs() + delayMs;
    if (dueMs >= this.#dueMs) return;
    this.#dueMs = dueMs;
    this.#cancelTimer();
    this.#cancelTimer = clock.after(delayMs, () => void this.#enqueue(() => this.#pass()));
  }

  #enqueue(work: () => Promise<void>): Promise<void> {
    const done = this.#running.then(work);
    this.#running = done;
    return done;
  }
}

function entryOf({
  runDir,
  excludeNamespaces,
  logLevel,
  daemonOnHostNetwork = false,
}: PluginConfig): Record<string, unknown> {
  return {
    type: pluginType,
    name: pluginType,
    cni_agent_run_dir: runDir,
    exclude_namespaces: [...excludeNamespaces],
    plugin_log_level: logLevel,
    status_reports_daemon: daemonOnHostNetwork,
  };
}

function fightSentence(file: string): string {
  const hint = /cilium/i.test(file)
    ? "set cni.exclusive=false in Cilium"
    : "find out which CNI rewrites the file, and let it keep foreign entries";
  return `somebody takes the plugin out of ${file} again and again; ${hint}`;
}

/** Several events of one change make one pass. */
const settleMs = 20;
/** While something is expected to change without a word. */
const recheckMs = 500;
/** In case a change was not told. */
const rescanMs = 1500;
const fightRepairs = 6;
const fightMs = 10_000;
/** Back within two seconds, even then. */
const fightPauseMs = 1000;
