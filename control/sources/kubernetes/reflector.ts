/** Carries out what a ReflectorCore asks for: lists and watches one kind of object until it is closed. */
import { systemClock, type Clock } from "../../../core/base/clock.ts";
import type { Log } from "../../../core/base/log.ts";
import { systemRandom, type Random } from "../../../core/base/random.ts";
import type { KubernetesClient, Query } from "./client.ts";
import { KubeError } from "./errors.ts";
import { LineSplitter } from "./lines.ts";
import { collectionPath, resourceName, type ApiKind } from "./paths.ts";
import { pause } from "./pause.ts";
import type { Stamp } from "./raw-object.ts";
import { ReflectorCore, type RawDelta, type ReflectorStep, type ReflectorTrouble } from "./reflector-core.ts";

/** Which objects. */
export interface Selection<K extends ApiKind = ApiKind> {
  readonly kind: K;
  /** All namespaces when absent. */
  readonly namespace?: string;
  /** e.g. `spec.nodeName=node1`, `metadata.name=ambientd-cni` */
  readonly fieldSelector?: string;
  readonly labelSelector?: string;
}

export interface ReflectorOptions {
  readonly client: Pick<KubernetesClient, "list" | "stream">;
  readonly selection: Selection;
  readonly log: Log;
  /** What changed, a batch per page or chunk; never empty. */
  readonly onDeltas: (deltas: readonly RawDelta[]) => void;
  /** Sync or trouble may have changed. */
  readonly onState?: () => void;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly timing?: Partial<ReflectorTiming>;
}

export interface ReflectorTiming {
  /** The server ends a watch in order after this long, in seconds. */
  readonly watchSeconds: number;
  /** A watch on which nothing came for this long, not even a bookmark (one a minute), is dead, in milliseconds. */
  readonly silenceMs: number;
  /** Everything is listed anew this often whatever the watch said, in milliseconds. */
  readonly relistMs: number;
}

const defaultTiming: ReflectorTiming = { watchSeconds: 290, silenceMs: 300_000, relistMs: 1_800_000 };
/** More than any object that etcd takes. */
const lineLimitBytes = 16 * 1024 * 1024;

/** How a reflector is doing. Times are monotonic milliseconds. */
export interface ReflectorStats {
  readonly resource: string;
  readonly isSynced: boolean;
  readonly isWatching: boolean;
  readonly objects: number;
  readonly lists: number;
  readonly watches: number;
  /** Changes that no event had told of, found by a later list. */
  readonly missed: number;
  readonly malformed: number;
  /** When the server last said anything; undefined before it did. */
  readonly heardMs: number | undefined;
}

export class Reflector {
  readonly #options: Required<Omit<ReflectorOptions, "timing" | "onState">>;
  readonly #timing: ReflectorTiming;
  readonly #onState: () => void;
  readonly #core: ReflectorCore;
  readonly #closing = new AbortController();
  #watches = 0;
  #heardMs: number | undefined;
  /** When the last list was complete. */
  #listedMs = 0;
  #lastTrouble = "";

  constructor({ timing, onState, ...options }: ReflectorOptions) {
    this.#options = { clock: systemClock, random: systemRandom, ...options };
    this.#timing = { ...defaultTiming, ...timing };
    this.#onState = onState ?? (() => undefined);
    this.#core = new ReflectorCore(this.#options.random);
  }

  /** Begins; returns at once. */
  start(): void {
    void this.#run();
  }

  close(): void {
    this.#closing.abort();
  }

  get isSynced(): boolean {
    return this.#core.isSynced;
  }

  get trouble(): ReflectorTrouble | undefined {
    return this.#core.trouble;
  }

  stamp(key: string): Stamp | undefined {
    return this.#core.stamp(key);
  }

  /** Takes the server's answer to our own write before the watch tells of it. */
  written(object: unknown): void {
    if (!this.#closing.signal.aborted) this.#deliver(this.#core.written(object));
  }

  stats(): ReflectorStats {
    return {
      resource: resourceName(this.#options.selection.kind),
      isSynced: this.#core.isSynced,
      isWatching: this.#core.isWatching,
      ...this.#core.counts,
      watches: this.#watches,
      heardMs: this.#heardMs,
    };
  }

  async #run(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      const step = this.#core.next();
      if (step.do === "list") await this.#list(step);
      else if (step.do === "watch") await this.#watch(step.resourceVersion);
      else if (await pause(this.#options.clock, step.ms, this.#closing.signal)) this.#core.waited();
      if (this.#closing.signal.aborted) return;
      this.#logTrouble();
      this.#onState();
    }
  }

  async #list(step: Extract<ReflectorStep, { do: "list" }>): Promise<void> {
    const { client, selection } = this.#options;
    const query = {
      ...selectors(selection),
      limit: step.limit === 0 ? undefined : step.limit,
      continue: step.continue,
    };
    const { signal } = this.#closing;
    const list = await client.list(collectionPath(selection.kind, selection.namespace), query, { signal });
    if (signal.aborted) return;
    if (list instanceof KubeError) return this.#deliver(this.#core.listFailed(list));
    this.#heard();
    if (Array.isArray(list.items) && typeof list.metadata?.resourceVersion === "string") {
      this.#listedMs = this.#options.clock.nowMs();
      return this.#deliver(this.#core.page(list));
    }
    const reason = "not a list";
    const malformed = new KubeError({ code: "kube.malformed", method: "GET", path: this.#path(), reason });
    this.#deliver(this.#core.listFailed(malformed));
  }

  async #watch(resourceVersion: string): Promise<void> {
    const { client, selection, clock, random } = this.#options;
    const { watchSeconds, silenceMs, relistMs } = this.#timing;
    const lines = new LineSplitter(lineLimitBytes);
    const stop = new AbortController();
    const signal = AbortSignal.any([stop.signal, this.#closing.signal]);
    const sinceListMs = clock.nowMs() - this.#listedMs;
    const cancelRelist = clock.after(Math.max(0, relistMs * (0.9 + 0.2 * random()) - sinceListMs), () => {
      this.#core.relist();
      stop.abort();
    });
    let openedMs: number | undefined;
    this.#watches++;
    const error = await client.stream(this.#path(), {
      query: {
        ...selectors(selection),
        watch: true,
        resourceVersion,
        allowWatchBookmarks: true,
        // Not all kinds at the same moment.
        timeoutSeconds: Math.max(1, Math.floor(watchSeconds * (0.9 + 0.1 * random()))),
      },
      signal,
      silenceMs,
      onOpen: () => {
        openedMs = clock.nowMs();
        this.#heard();
        this.#core.watchOpened();
        this.#logTrouble();
        this.#onState();
      },
      onData: (chunk) => {
        if (signal.aborted) return;
        this.#heard();
        const deltas: RawDelta[] = [];
        for (const line of lines.push(chunk)) deltas.push(...this.#core.event(parse(line)));
        this.#deliver(deltas);
        if (!this.#core.isWatching) stop.abort();
      },
    });
    cancelRelist();
    if (this.#closing.signal.aborted) return;
    this.#core.watchEnded(error, openedMs === undefined ? 0 : clock.nowMs() - openedMs);
  }

  #deliver(deltas: readonly RawDelta[]): void {
    if (deltas.length > 0) this.#options.onDeltas(deltas);
  }

  #heard(): void {
    this.#heardMs = this.#options.clock.nowMs();
  }

  #path(): string {
    const { kind, namespace } = this.#options.selection;
    return collectionPath(kind, namespace);
  }

  /** Once per trouble, and once when it is over: a server that is away for an hour is two lines. */
  #logTrouble(): void {
    const { log, selection } = this.#options;
    const { trouble } = this.#core;
    const now = trouble === undefined ? "" : trouble.kind === "absent" ? "absent" : trouble.error.type.code;
    if (now === this.#lastTrouble) return;
    const before = this.#lastTrouble;
    this.#lastTrouble = now;
    const resource = resourceName(selection.kind);
    if (trouble === undefined) {
      if (before !== "absent") log.info({ resource }, "the API server is followed again");
    } else if (trouble.kind === "failing") {
      log.warn({ resource, ...trouble.error.type }, "the API server cannot be followed; what is known stays in force");
    }
  }
}

function selectors({ fieldSelector, labelSelector }: Selection): Query {
  return { fieldSelector, labelSelector };
}

function parse(line: string | undefined): unknown {
  if (line === undefined) return undefined;
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
