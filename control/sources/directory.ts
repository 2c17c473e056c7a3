/**
 * Plain Kubernetes manifests in a folder, watched, with status written back beside them: the source that needs no
 * cluster. Several processes may share the folders; each sees what the others write.
 *
 * A file counts once two looks at it, a moment apart, found the same: so a file half written by an editor is not taken
 * for a whole one. Overlays are only ever renamed into place and count at once.
 */
import { createHash } from "node:crypto";
import {
  type BigIntStats,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  watch,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { systemClock, type Clock } from "../../core/base/clock.ts";
import { messageOf } from "../../core/base/errors.ts";
import type { Log } from "../../core/base/log.ts";
import { Delivery } from "./delivery.ts";
import { ObjectTables } from "./object-tables.ts";
import { ProblemLog } from "./problem-log.ts";
import { composePatches, ObjectStore, overlayFileName, parseOverlayFileName } from "./object-store.ts";
import {
  SourceError,
  type MergePatch,
  type ObjectDelta,
  type ObjectRef,
  type Snapshot,
  type Source,
  type SourceProblem,
} from "./source.ts";

export interface DirectoryOptions {
  /** Folder of *.yaml, *.yml and *.json; hidden files are not looked at. */
  readonly manifests: string;
  /** Folder of overlays, made when first written to. */
  readonly status: string;
  readonly log: Log;
  readonly clock?: Clock;
  /** How long a manifest must stay as it is before it counts, in milliseconds. */
  readonly settleMs?: number;
  /** Everything is looked at this often, whatever the kernel's notices said, in milliseconds. */
  readonly rescanMs?: number;
}

/** What was seen of a file: its state and content, and since when (monotonic ms). */
interface Look {
  /** Empty when there is no such file. */
  readonly stat: string;
  readonly digest: string;
  readonly text: string | undefined;
  readonly sinceMs: number;
}

export class DirectorySource implements Source {
  readonly synced: Promise<void>;
  readonly #options: Required<DirectoryOptions>;
  readonly #store = new ObjectStore();
  readonly #tables = new ObjectTables();
  readonly #delivery = new Delivery();
  readonly #problemLog: ProblemLog;
  /** Files that are not settled yet. */
  readonly #unsettled = new Map<string, Look>();
  /** State of each file as it was last applied, by name. */
  readonly #applied = new Map<string, string>();
  readonly #overlayStats = new Map<string, string>();
  readonly #watchers = new Map<string, { close(): void }>();
  readonly #cancelTimers = new Map<"settle" | "rescan" | "overlays", () => void>();
  readonly #startedMs: number;
  #unreadable: SourceProblem[] = [];
  #reportSynced: (() => void) | undefined;
  #writes = 0;
  #closed = false;

  constructor(options: DirectoryOptions) {
    this.#options = { clock: systemClock, settleMs: 50, rescanMs: 5_000, ...options };
    this.#problemLog = new ProblemLog(options.log);
    this.#startedMs = this.#options.clock.nowMs();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.synced = promise;
    this.#reportSynced = resolve;
    this.#rescan();
    if (this.#unsettled.size === 0) resolve();
  }

  list(): Snapshot {
    return this.#tables.snapshot();
  }

  subscribe(callback: (deltas: readonly ObjectDelta[]) => void): () => void {
    return this.#delivery.subscribe(callback);
  }

  problems(): readonly SourceProblem[] {
    return [...this.#unreadable, ...this.#store.problems()];
  }

  async writeStatus(ref: ObjectRef, writer: string, patch: MergePatch | null): Promise<SourceError | undefined> {
    const name = overlayFileName(ref, writer);
    const file = join(this.#options.status, name);
    // Read rather than remembered: the writer may have been another life of this process.
    this.#readOverlay(name);
    const before = this.#store.overlay(ref, writer);
    const after = patch === null ? undefined : composePatches(before ?? {}, patch);
    if (JSON.stringify(before) === JSON.stringify(after)) return undefined;
    try {
      if (after === undefined) rmSync(file, { force: true });
      else this.#replaceFile(file, `${JSON.stringify(after)}\n`);
    } catch (thrown) {
      return new SourceError({ code: "source.write-status", file, reason: messageOf(thrown) });
    }
    this.#readOverlay(name);
    this.#publish();
    return undefined;
  }

  close(): void {
    this.#closed = true;
    for (const watcher of this.#watchers.values()) watcher.close();
    for (const cancel of this.#cancelTimers.values()) cancel();
    this.#watchers.clear();
    this.#delivery.clear();
  }

  /** Looks at both folders as a whole, and at this once more after a while. */
  #rescan(): void {
    if (this.#closed) return;
    const { manifests, status, rescanMs } = this.#options;
    // Before they are looked at: what is written meanwhile is noticed, if it is not seen.
    this.#watch(manifests, (name) => (name === null || isManifest(name) ? this.#noticeManifest(name) : undefined));
    this.#watch(status, (name) => (name === null || isOverlay(name) ? this.#noticeOverlay(name) : undefined));
    this.#unreadable = [];
    const present = this.#names(manifests, isManifest, true);
    if (present !== undefined) {
      for (const name of new Set([...present, ...this.#applied.keys()])) this.#look(name);
    }
    const overlays = this.#names(status, isOverlay, false) ?? [];
    for (const name of new Set([...overlays, ...this.#overlayStats.keys()])) this.#readOverlay(name);
    this.#publish();
    this.#after("rescan", rescanMs, () => this.#rescan());
  }

  #noticeManifest(name: string | null): void {
    if (name === null) this.#rescan();
    else this.#look(name);
  }

  #noticeOverlay(name: string | null): void {
    if (name === null) return this.#rescan();
    this.#readOverlay(name);
    // One change of a writer is several notices: let them gather.
    if (!this.#cancelTimers.has("overlays")) this.#after("overlays", 1, () => this.#publish());
  }

  /** Begins to wait for a manifest to settle, unless it is the one that was applied. */
  #look(name: string): void {
    if (this.#unsettled.has(name)) return;
    const stat = statLine(join(this.#options.manifests, name));
    if ((this.#applied.get(name) ?? "") === stat) return;
    this.#unsettled.set(name, this.#lookAt(name));
    if (!this.#cancelTimers.has("settle")) this.#after("settle", this.#options.settleMs, () => this.#settle());
  }

  #lookAt(name: string): Look {
    const file = join(this.#options.manifests, name);
    const stat = statLine(file);
    const text = readText(file);
    if (text instanceof Error) this.#store.setUnreadable(file, text.message);
    const content = text instanceof Error ? text.message : (text ?? "");
    const digest = createHash("sha256").update(content).digest("hex");
    const before = this.#unsettled.get(name);
    if (before?.stat === stat && before.digest === digest) return before;
    return { stat, digest, text: text instanceof Error ? undefined : text, sinceMs: this.#options.clock.nowMs() };
  }

  /** Applies what has settled, all of it as one batch, and goes on waiting for the rest. */
  #settle(): void {
    if (this.#closed) return;
    const { clock, settleMs, manifests } = this.#options;
    for (const [name, before] of this.#unsettled) {
      const now = this.#lookAt(name);
      this.#unsettled.set(name, now);
      const emptied = (now.text ?? "").trim() === "" && this.#applied.has(name);
      // Gone or emptied is what an editor's own way of saving looks like half-way: it must last longer.
      const quietMs = emptied ? settleMs * 5 : settleMs;
      if (now !== before || clock.nowMs() - now.sinceMs < quietMs) continue;
      this.#unsettled.delete(name);
      this.#apply(name, join(manifests, name), now);
    }
    this.#publish();
    if (this.#unsettled.size > 0) this.#after("settle", settleMs, () => this.#settle());
    const waitedMs = clock.nowMs() - this.#startedMs;
    if (this.#unsettled.size === 0 || waitedMs > 20 * settleMs) this.#reportSynced?.();
  }

  #apply(name: string, file: string, look: Look): void {
    if (look.stat !== "" && look.text === undefined) return; // unreadable: said so when it was looked at
    if (look.stat === "") this.#applied.delete(name);
    else this.#applied.set(name, look.stat);
    this.#store.setFile(file, look.text);
  }

  #readOverlay(name: string): void {
    const parsed = parseOverlayFileName(name);
    if (parsed === undefined) return;
    const file = join(this.#options.status, name);
    const stat = statLine(file);
    if (stat === this.#overlayStats.get(name)) return;
    const text = stat === "" ? undefined : readText(file);
    if (text instanceof Error) return;
    if (text === undefined) this.#overlayStats.delete(name);
    else this.#overlayStats.set(name, stat);
    this.#store.setOverlay(parsed.ref, parsed.writer, file, text);
  }

  /** Tells subscribers what differs since the last time, and the log what is new to complain about. */
  #publish(): void {
    const deltas = this.#store.flush();
    this.#problemLog.report(this.problems());
    this.#tables.apply(deltas);
    this.#delivery.publish(deltas);
  }

  /** @returns undefined when the folder cannot be read: what is known of it stays. */
  #names(folder: string, wanted: (name: string) => boolean, required: boolean): string[] | undefined {
    try {
      return readdirSync(folder).filter(wanted);
    } catch (thrown) {
      const message = `the folder cannot be read (${messageOf(thrown)}); what it held stays in force`;
      if (required)
        this.#unreadable.push({ level: "error", code: "source.unreadable", file: folder, line: 0, field: "", message });
      return undefined;
    }
  }

  #watch(folder: string, notice: (name: string | null) => void): void {
    if (this.#watchers.has(folder)) return;
    try {
      const watcher = watch(folder, (_event, name) => {
        if (!this.#closed) notice(name);
      });
      // The folder went away, or the kernel is out of watches: the rescan goes on without, and tries again.
      watcher.on("error", () => {
        watcher.close();
        this.#watchers.delete(folder);
      });
      this.#watchers.set(folder, watcher);
    } catch {
      // As above.
    }
  }

  #replaceFile(file: string, text: string): void {
    mkdirSync(this.#options.status, { recursive: true });
    const temporary = join(this.#options.status, `.${process.pid}.${this.#writes++}.tmp`);
    writeFileSync(temporary, text);
    renameSync(temporary, file);
  }

  #after(timer: "settle" | "rescan" | "overlays", delayMs: number, fire: () => void): void {
    this.#cancelTimers.get(timer)?.();
    const cancel = this.#options.clock.after(delayMs, () => {
      this.#cancelTimers.delete(timer);
      if (!this.#closed) fire();
    });
    this.#cancelTimers.set(timer, cancel);
  }
}

function isManifest(name: string): boolean {
  return !name.startsWith(".") && /\.(ya?ml|json)$/.test(name);
}

function isOverlay(name: string): boolean {
  return !name.startsWith(".") && name.endsWith(".json");
}

/** Changes whenever the file does; empty when there is none. */
function statLine(file: string): string {
  const stat = tryStat(file);
  return stat === undefined || !stat.isFile() ? "" : `${stat.ino}.${stat.size}.${stat.mtimeNs}.${stat.ctimeNs}`;
}

function tryStat(file: string): BigIntStats | undefined {
  try {
    return statSync(file, { bigint: true, throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

/** @returns undefined when there is no such file. */
function readText(file: string): string | undefined | Error {
  try {
    return readFileSync(file, "utf8");
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    return code === "ENOENT" || code === "EISDIR" ? undefined : (thrown as Error);
  }
}
