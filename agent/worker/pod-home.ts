/**
 * Which workers accept a pod's connections. Threads that accept from the same sockets share what comes evenly, which is dear while one of
 * them could serve it all: more turns of more loops, each with less to do, smaller writes, and tunnels of each thread's own. It costs a
 * quarter more per request and a fifth more per connection. So each pod has a home, which accepts alone, and the others help when
 * that one is busy, holds a crowd of the pod's connections, which may all become busy at once and can't move, or does not
 * accept: because it may not, stands still or is gone.
 */
import type { PodConnections } from "../pod-connections.ts";
import type { VitalSigns } from "../vital-signs.ts";

export interface PodHomeOptions {
  /** Index of the pod's home; undefined: all accept. */
  readonly home: number | undefined;
  /** Index of this worker. */
  readonly own: number;
  readonly connections: Pick<PodConnections, "acceptedBy">;
  readonly signs: Pick<VitalSigns, "beats" | "load"> | undefined;
}

export class PodHome {
  readonly #connections: PodHomeOptions["connections"];
  /** Whom this worker helps, if need be. Undefined: it accepts in any case. */
  readonly #host: { readonly home: number; readonly signs: NonNullable<PodHomeOptions["signs"]> } | undefined;
  /** Whether this worker accepts, as of the last look. The home of a new pod is about to. */
  #accepts: boolean;
  #beats = -1;
  #silentLooks = 0;

  constructor({ home, own, connections, signs }: PodHomeOptions) {
    this.#connections = connections;
    this.#host = home === undefined || home === own || signs === undefined ? undefined : { home, signs };
    this.#accepts = this.#host === undefined;
  }

  get accepts(): boolean {
    return this.#accepts;
  }

  /** Called with each beat of this worker. @returns whether it accepts from now on. */
  look(): boolean {
    if (this.#host === undefined) return this.#accepts;
    const { home, signs } = this.#host;
    const beats = signs.beats(home);
    this.#silentLooks = beats === this.#beats ? this.#silentLooks + 1 : 0;
    this.#beats = beats;
    const held = this.#connections.acceptedBy(home);
    // What makes a helper come does not make it go at once.
    const most = this.#accepts ? { held: crowd / 2, load: busyLoad / 2 } : { held: crowd, load: busyLoad };
    const suffices = held !== undefined && held < most.held && signs.load(home) < most.load;
    this.#accepts = !suffices || this.#silentLooks >= mostSilentLooks;
    return this.#accepts;
  }
}

/** Connections of one pod. */
export const crowd = 32;
/** Share of a processor. */
export const busyLoad = 0.7;
/** Both beat at the same pace, so that one look may come before each beat. */
const mostSilentLooks = 2;
