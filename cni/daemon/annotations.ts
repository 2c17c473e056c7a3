/** Writes the redirection annotation: one write at a time for each pod object, the last value wins, and failures are tried again
 *  until it stands. Overlays are kept by name, pods are not: a pod that is gone must not take back what its successor says. */
import type { Clock } from "../../core/base/clock.ts";
import { Backoff } from "../../core/base/backoff.ts";
import type { Random } from "../../core/base/random.ts";
import { refKey, type MergePatch, type ObjectRef, type Source } from "../../control/sources/source.ts";
import { redirectionAnnotation } from "./desired.ts";
import type { Redirection } from "./enrolment.ts";
import { CniError } from "./errors.ts";

export interface Annotation {
  readonly uid: string;
  readonly ref: ObjectRef;
  readonly redirection: Redirection;
  /** The object is no more: take everything back that we said of it. */
  readonly gone: boolean;
}

export interface AnnotationModules {
  readonly source: Pick<Source, "writeStatus">;
  /** A cluster's source writes to that very pod only, and not to one that has its name by now. A folder's keeps overlays by name. */
  readonly namesUid?: boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly onWritten: (annotation: Annotation) => void;
  /** It goes on trying. */
  readonly onFailed: (annotation: Annotation, error: CniError) => void;
}

interface Entry {
  /** What shall stand. Whoever wrote it owns the name. */
  latest: Annotation;
  writing: boolean;
  readonly backoff: Backoff;
  cancelRetry: (() => void) | undefined;
}

export class AnnotationWriter {
  readonly #modules: AnnotationModules;
  readonly #entries = new Map<string, Entry>();

  constructor(modules: AnnotationModules) {
    this.#modules = modules;
  }

  write(annotation: Annotation): void {
    const key = refKey(annotation.ref);
    const entry = this.#entries.get(key);
    if (entry === undefined) {
      const backoff = new Backoff({ firstMs: 100, capMs: 5000, jitter: 0.2 }, this.#modules.random);
      const made: Entry = { latest: annotation, writing: false, backoff, cancelRetry: undefined };
      this.#entries.set(key, made);
      void this.#pump(key, made);
      return;
    }
    if (annotation.gone && entry.latest.uid !== annotation.uid) return this.#modules.onWritten(annotation);
    entry.latest = annotation;
    entry.cancelRetry?.();
    entry.cancelRetry = undefined;
    if (!entry.writing) void this.#pump(key, entry);
  }

  close(): void {
    for (const entry of this.#entries.values()) entry.cancelRetry?.();
    this.#entries.clear();
  }

  async #pump(key: string, entry: Entry): Promise<void> {
    entry.writing = true;
    for (;;) {
      const annotation = entry.latest;
      const error = await this.#modules.source.writeStatus(
        annotation.ref,
        "cni",
        patchOf(annotation, this.#modules.namesUid === true),
      );
      if (this.#entries.get(key) !== entry) return; // closed
      if (entry.latest !== annotation) continue;
      entry.writing = false;
      if (error === undefined) {
        entry.backoff.reset();
        if (annotation.gone) this.#entries.delete(key);
        return this.#modules.onWritten(annotation);
      }
      entry.cancelRetry = this.#modules.clock.after(entry.backoff.next(), () => void this.#pump(key, entry));
      const failure = new CniError({ code: "cni.annotation-not-written", reason: error.message });
      return this.#modules.onFailed(annotation, failure);
    }
  }
}

function patchOf({ uid, redirection, gone }: Annotation, namesUid: boolean): MergePatch | null {
  if (gone) return null;
  const annotations = { [redirectionAnnotation]: redirection ?? null };
  return { metadata: { ...(namesUid ? { uid } : {}), annotations } };
}
