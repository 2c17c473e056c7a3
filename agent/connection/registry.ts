/** A worker's open connections: by pod for dumps and removal, by what their admission depended on for policy changes. */
import { ConnectionIndex } from "../../core/decision/affected.ts";
import { authorize, type AuthorizationFacts } from "../../core/decision/authorize.ts";
import { formatEndpoint } from "../../core/base/ip.ts";
import type { MeshChange, MeshState } from "../../core/decision/mesh-state.ts";
import type { Connection } from "./connection.ts";

/** One row of the admin dump (agent-wire 9.3). */
export interface ConnectionRow {
  readonly pod: string;
  readonly direction: "inbound" | "outbound";
  readonly src: string;
  readonly originalDst: string;
  readonly actualDst: string;
  readonly protocol: string;
  readonly phase: string;
}

interface Registered {
  readonly pod: string;
  admission?: AuthorizationFacts;
}

export class ConnectionRegistry {
  readonly #connections = new Map<Connection, Registered>();
  readonly #byPod = new Map<string, Set<Connection>>();
  readonly #admitted = new ConnectionIndex<Connection>();
  readonly #awaited: { readonly connections: Set<Connection>; readonly settle: () => void }[] = [];

  get size(): number {
    return this.#connections.size;
  }

  /** @param pod Kubernetes uid. */
  add(connection: Connection, pod: string): void {
    this.#connections.set(connection, { pod });
    const ofPod = this.#byPod.get(pod);
    if (ofPod === undefined) this.#byPod.set(pod, new Set([connection]));
    else ofPod.add(connection);
  }

  /** What an inbound connection is to be judged by. Said before it is judged for the first time, so that no change falls between. */
  admit(connection: Connection, admission: AuthorizationFacts): void {
    const registered = this.#connections.get(connection);
    if (registered === undefined) return;
    registered.admission = admission;
    const { uid, namespace } = admission.local;
    this.#admitted.add(connection, { local: uid, namespace });
  }

  remove(connection: Connection): void {
    const registered = this.#connections.get(connection);
    if (registered === undefined) return;
    this.#connections.delete(connection);
    this.#admitted.remove(connection);
    const ofPod = this.#byPod.get(registered.pod);
    ofPod?.delete(connection);
    if (ofPod?.size === 0) this.#byPod.delete(registered.pod);
    for (const { connections, settle } of this.#awaited)
      if (connections.delete(connection) && connections.size === 0) settle();
  }

  /** Settles when every connection that is open now has ended; later ones do not count. */
  presentOnesEnded(): Promise<void> {
    if (this.#connections.size === 0) return Promise.resolve();
    return new Promise((settle) => this.#awaited.push({ connections: new Set(this.#connections.keys()), settle }));
  }

  ofPod(pod: string): ReadonlySet<Connection> {
    return this.#byPod.get(pod) ?? none;
  }

  all(): IterableIterator<Connection> {
    return this.#connections.keys();
  }

  /** Ends the connections that the mesh, as it is now, would not admit any more. @returns how many were judged. */
  judgeAgain(change: MeshChange, state: MeshState): number {
    const affected = this.#admitted.toJudgeAgain(change);
    for (const connection of affected) {
      const admission = this.#connections.get(connection)?.admission;
      if (admission === undefined) continue;
      const verdict = authorize(state, admission);
      if (!verdict.allowed) connection.close(verdict.reason, { policy: verdict.policy });
    }
    return affected.size;
  }

  dump(): ConnectionRow[] {
    return [...this.#connections].map(([{ facts, state }, { pod }]) => {
      const destination = facts.destination === undefined ? "" : formatEndpoint(facts.destination);
      return {
        pod,
        direction: facts.direction,
        src: formatEndpoint(facts.source),
        originalDst: facts.authority ?? destination,
        actualDst: destination,
        protocol: facts.protocol === "hbone" ? "HBONE" : "TCP",
        phase: state.phase,
      };
    });
  }
}

const none: ReadonlySet<Connection> = new Set();
