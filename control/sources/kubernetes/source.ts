/** A cluster as a source of objects: one reflector for each kind, and what is said of objects written back to them. */
import { systemClock, type Clock } from "../../../core/base/clock.ts";
import type { Log } from "../../../core/base/log.ts";
import { systemRandom, type Random } from "../../../core/base/random.ts";
import { Delivery } from "../delivery.ts";
import type { Kind } from "../objects.ts";
import { ProblemLog } from "../problem-log.ts";
import type { MergePatch, ObjectDelta, ObjectRef, Snapshot, Source, SourceError, SourceProblem } from "../source.ts";
import { refOf } from "../source.ts";
import type { KubernetesClient } from "./client.ts";
import { explainKubeError } from "./errors.ts";
import { resourceName } from "./paths.ts";
import type { RawObject } from "./raw-object.ts";
import type { RawDelta } from "./reflector-core.ts";
import { Reflector, type ReflectorStats, type ReflectorTiming, type Selection } from "./reflector.ts";
import { StatusWriter } from "./status-writer.ts";
import { TypedObjects } from "./typed-objects.ts";

export interface KubernetesSourceOptions {
  readonly client: Pick<KubernetesClient, "get" | "list" | "patch" | "stream">;
  /** What to watch. Two selections of one kind must not overlap. */
  readonly kinds: readonly Selection<Kind>[];
  readonly log: Log;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly timing?: Partial<ReflectorTiming>;
}

interface Watched {
  readonly selection: Selection<Kind>;
  readonly reflector: Reflector;
}

export class KubernetesSource implements Source {
  /** Settles once every kind has been listed, or is known to be absent from the cluster. */
  readonly synced: Promise<void>;
  readonly #objects = new TypedObjects();
  readonly #delivery = new Delivery();
  readonly #problemLog: ProblemLog;
  readonly #watched: readonly Watched[];
  readonly #statusWriter: StatusWriter;
  readonly #reportSynced: () => void;
  #isClosed = false;

  constructor({
    client,
    kinds,
    log,
    clock = systemClock,
    random = systemRandom,
    timing = {},
  }: KubernetesSourceOptions) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.synced = promise;
    this.#reportSynced = resolve;
    this.#problemLog = new ProblemLog(log);
    this.#watched = kinds.map((selection) => ({
      selection,
      reflector: new Reflector({
        client,
        selection,
        log,
        clock,
        random,
        timing,
        onDeltas: (deltas) => this.#take(selection.kind, deltas),
        onState: () => this.#noticeState(),
      }),
    }));
    this.#statusWriter = new StatusWriter({
      client,
      clock,
      random,
      object: (ref) => this.#objects.get(ref),
      specInForce: (ref) => this.#objects.specInForce(ref),
      onWritten: (ref, object) => this.#written(ref, object),
    });
    for (const { reflector } of this.#watched) reflector.start();
    this.#noticeState();
  }

  list(): Snapshot {
    return this.#objects.snapshot();
  }

  subscribe(callback: (deltas: readonly ObjectDelta[]) => void): () => void {
    return this.#delivery.subscribe(callback);
  }

  writeStatus(
    ref: ObjectRef,
    writer: string,
    patch: MergePatch | null,
    owned?: readonly string[],
  ): Promise<SourceError | undefined> {
    return this.#statusWriter.write(ref, writer, patch, owned);
  }

  problems(): readonly SourceProblem[] {
    return [...this.#watched.flatMap(troubleOf), ...this.#objects.problems()];
  }

  close(): void {
    this.#isClosed = true;
    for (const { reflector } of this.#watched) reflector.close();
    this.#statusWriter.close();
    this.#delivery.clear();
  }

  /** How each kind is doing. */
  stats(): ReflectorStats[] {
    return this.#watched.map(({ reflector }) => reflector.stats());
  }

  /** Changes that the watches should have told of and didn't, since the start: anything but 0 is a fault somewhere. */
  drift(): number {
    return this.stats().reduce((sum, { missed }) => sum + missed, 0);
  }

  #take(kind: Kind, raw: readonly RawDelta[]): void {
    if (this.#isClosed) return;
    const deltas = this.#objects.apply(kind, raw);
    for (const { op, object } of deltas) if (op === "removed") this.#statusWriter.forget(refOf(object));
    this.#report();
    this.#delivery.publish(deltas);
  }

  #noticeState(): void {
    if (this.#isClosed) return;
    this.#report();
    if (this.#watched.every(({ reflector }) => reflector.isSynced)) this.#reportSynced();
  }

  #report(): void {
    // A kind out of reach is said by its reflector.
    this.#problemLog.report(this.problems().filter(({ code }) => code !== "source.unwatched"));
  }

  #written(ref: ObjectRef, object: RawObject): void {
    for (const { selection, reflector } of this.#watched) if (selection.kind === ref.kind) reflector.written(object);
  }
}

function troubleOf({ selection, reflector }: Watched): SourceProblem[] {
  const { trouble } = reflector;
  if (trouble === undefined) return [];
  const place = { file: resourceName(selection.kind), line: 0, field: "" };
  if (trouble.kind === "absent") {
    const message = `objects of kind ${selection.kind} are unknown to the cluster; they count from the moment it knows them`;
    return [{ level: "note", code: "source.absent-kind", ...place, message }];
  }
  const message = `cannot be followed; what is known of them stays in force. ${explainKubeError(trouble.error)}`;
  return [{ level: "error", code: "source.unwatched", ...place, message }];
}
