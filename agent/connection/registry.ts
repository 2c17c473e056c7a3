/** A worker's open connections: by pod for dumps and removal, by what their admission depended on for policy changes. */
import { ConnectionIndex } from "../../core/decision/affected.ts";
import { admit, type AdmissionFacts } from "../../core/decision/admit.ts";
import { formatEndpoint } from "../../core/base/ip.ts";
import type { MeshChange, MeshState } from "../../core/decision/mesh-state.ts";
import type { Connection } from "./connection.ts";
import { InTurns, type TurnModules } from "./in-turns.ts";

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
  admission?: AdmissionFacts;
}

export class ConnectionRegistry {
  readonly #connections = new Map<Connection, Registered>();
  readonly #byPod = new Map<string, Set<Connection>>();
  readonly #admitted = new ConnectionIndex<Connection>();
  readonly #sockets = { outbound: 0, inbound: 0 };
  readonly #awaited = new Set<{ readonly connections: Set<Connection>; readonly settle: () => void }>();
  readonly #state: MeshState;
  readonly #judgement: InTurns<Connection>;
  #total = 0;

  /** @param state by which connections are judged again. */
  constructor(state: MeshState, modules: TurnModules) {
    this.#state = state;
    this.#judgement = new InTurns(modules, (connection) => this.#judge(connection));
  }

  get size(): number {
    return this.#connections.size;
  }

  /** All that there have been. */
  get total(): number {
    return this.#total;
  }

  /** @param pod Kubernetes uid. */
  add(connection: Connection, pod: string): void {
    this.#total += 1;
    this.#connections.set(connection, { pod });
    this.#count(connection, 1);
    const ofPod = this.#byPod.get(pod);
    if (ofPod === undefined) this.#byPod.set(pod, new Set([connection]));
    else ofPod.add(connection);
  }

  /** What an inbound connection is to be judged by. Said before it is judged for the first time, so that no change falls between. */
  admit(connection: Connection, admission: AdmissionFacts): void {
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
    this.#count(connection, -1);
    this.#admitted.remove(connection);
    this.#judgement.drop(connection);
    const ofPod = this.#byPod.get(registered.pod);
    ofPod?.delete(connection);
    if (ofPod?.size === 0) this.#byPod.delete(registered.pod);
    for (const awaited of this.#awaited) {
      if (!awaited.connections.delete(connection) || awaited.connections.size > 0) continue;
      this.#awaited.delete(awaited);
      awaited.settle();
    }
  }

  /** Settles when every connection that is open now has ended; later ones do not count. */
  presentOnesEnded(): Promise<void> {
    if (this.#connections.size === 0) return Promise.resolve();
    return new Promise((settle) => this.#awaited.add({ connections: new Set(this.#connections.keys()), settle }));
  }

  ofPod(pod: string): ReadonlySet<Connection> {
    return this.#byPod.get(pod) ?? none;
  }

  all(): IterableIterator<Connection> {
    return this.#connections.keys();
  }

  /**
   * Ends the connections that the mesh, as it is now, would not admit any more: the first of them at once, and if there are many
   * the rest in turns, so that nobody else waits for it. New ones are judged by the change from now on.
   * @returns how many are affected.
   */
  judgeAgain(change: MeshChange): number {
    const affected = this.#admitted.toJudgeAgain(change);
    this.#judgement.add(affected);
    return affected.size;
  }

  /** How many are still to be judged again. */
  get awaitingJudgement(): number {
    return this.#judgement.waiting;
  }

  #judge(connection: Connection): void {
    const admission = this.#connections.get(connection)?.admission;
    if (admission === undefined) return;
    const verdict = admit(this.#state, admission);
    if (verdict.allowed) return;
    connection.close(verdict.reason, { policy: verdict.policy, detail: verdict.waypoint });
  }

  /** How many sockets of applications are accepted; those of tunnels are not among them. */
  sockets(): { readonly outbound: number; readonly inbound: number } {
    return { outbound: this.#sockets.outbound, inbound: this.#sockets.inbound };
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

  /** Outbound and plaintext connections have a socket each; what comes by tunnel has none of its own. */
  #count({ facts: { direction, protocol } }: Connection, by: 1 | -1): void {
    if (direction === "outbound" || protocol === "tcp") this.#sockets[direction] += by;
  }
}

const none: ReadonlySet<Connection> = new Set();
