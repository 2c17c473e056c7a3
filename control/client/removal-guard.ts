/**
 * A control plane that comes back with half of the mesh missing is more often broken than right. When the first answer after
 * a reconnect takes away more than half of what was held, those removals wait a minute, loudly; what control names again
 * meanwhile stays, the rest is then obeyed.
 */
import type { Clock } from "../../core/base/clock.ts";
import type { Log } from "../../core/base/log.ts";
import type { DeltaUpdate } from "../../core/protocol/xds/delta-client.ts";

export interface RemovalGuardOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Called with what was waiting once its time has come. */
  readonly release: (typeUrl: string, names: readonly string[]) => void;
}

export class RemovalGuard {
  readonly #options: RemovalGuardOptions;
  readonly #waiting = new Map<string, { readonly names: Set<string>; readonly cancel: () => void }>();

  constructor(options: RemovalGuardOptions) {
    this.#options = options;
  }

  /**
   * The part of an update that may be applied now.
   * @param heldBefore how many resources of the type were held when the stream began, if this is the type's first answer on it
   */
  admit(update: DeltaUpdate, heldBefore: number | undefined): DeltaUpdate {
    const { typeUrl, removed } = update;
    const waiting = this.#waiting.get(typeUrl);
    if (waiting !== undefined) for (const { name } of update.resources) waiting.names.delete(name);
    const suspicious =
      heldBefore !== undefined && removed.length >= fewestSuspicious && removed.length > heldBefore / 2;
    if (!suspicious) return update;
    waiting?.cancel();
    const names = new Set([...(waiting?.names ?? []), ...removed]);
    this.#waiting.set(typeUrl, { names, cancel: this.#options.clock.after(patienceMs, () => this.#release(typeUrl)) });
    this.#options.log.error(
      { typeUrl, removed: removed.length, held: heldBefore, patienceMs },
      "control came back without more than half of what was held; the removals wait",
    );
    return { ...update, removed: [] };
  }

  /** How many removals wait, by type. */
  waiting(typeUrl: string): number {
    return this.#waiting.get(typeUrl)?.names.size ?? 0;
  }

  close(): void {
    for (const { cancel } of this.#waiting.values()) cancel();
    this.#waiting.clear();
  }

  #release(typeUrl: string): void {
    const names = [...(this.#waiting.get(typeUrl)?.names ?? [])];
    this.#waiting.delete(typeUrl);
    if (names.length === 0) return;
    this.#options.log.warn(
      { typeUrl, removed: names.length },
      "control still doesn't name them: the removals are obeyed",
    );
    this.#options.release(typeUrl, names);
  }
}

const patienceMs = 60_000;
/** In a mesh of a few objects half of them going is an ordinary edit. */
const fewestSuspicious = 16;
