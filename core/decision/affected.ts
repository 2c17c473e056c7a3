/** Which open connections a change concerns, found by what they depend on and not by going through all of them (agent-wire 7.5, beating B10). */
import type { MeshChange } from "./mesh-state.ts";

/** What the decision about an open connection was made from. */
export interface Dependencies {
  /** Uid of the local workload: the destination of an inbound connection, whose policies were asked. */
  readonly local: string;
  readonly namespace: string;
  /** Keys of services and uids of workloads on an outbound connection's way, if it is to hear of their changes too. */
  readonly services?: readonly string[];
  readonly workloads?: readonly string[];
}

/** Open connections by what they depend on. The owner adds each before its first decision, so that no change falls between. */
export class ConnectionIndex<Connection> {
  readonly #dependencies = new Map<Connection, Dependencies>();
  readonly #byLocal = new Map<string, Set<Connection>>();
  readonly #byNamespace = new Map<string, Set<Connection>>();
  readonly #byService = new Map<string, Set<Connection>>();
  readonly #byWorkload = new Map<string, Set<Connection>>();

  get size(): number {
    return this.#dependencies.size;
  }

  add(connection: Connection, dependencies: Dependencies): void {
    this.remove(connection);
    this.#dependencies.set(connection, dependencies);
    put(this.#byLocal, dependencies.local, connection);
    put(this.#byNamespace, dependencies.namespace, connection);
    for (const key of dependencies.services ?? []) put(this.#byService, key, connection);
    for (const uid of dependencies.workloads ?? []) put(this.#byWorkload, uid, connection);
  }

  remove(connection: Connection): void {
    const dependencies = this.#dependencies.get(connection);
    if (dependencies === undefined) return;
    this.#dependencies.delete(connection);
    drop(this.#byLocal, dependencies.local, connection);
    drop(this.#byNamespace, dependencies.namespace, connection);
    for (const key of dependencies.services ?? []) drop(this.#byService, key, connection);
    for (const uid of dependencies.workloads ?? []) drop(this.#byWorkload, uid, connection);
  }

  /** Connections whose authorisation may come out differently now: ask authorize() again for each. */
  toJudgeAgain({ authorization }: MeshChange): Set<Connection> {
    const { everyone, namespaces, workloads } = authorization;
    if (everyone) return new Set(this.#dependencies.keys());
    const affected = new Set<Connection>();
    for (const namespace of namespaces) addAll(affected, this.#byNamespace.get(namespace));
    for (const uid of workloads) addAll(affected, this.#byLocal.get(uid));
    return affected;
  }

  /** Connections whose way through the mesh may be chosen differently now. */
  toRouteAgain({ services, workloads }: MeshChange): Set<Connection> {
    const affected = new Set<Connection>();
    for (const key of services) addAll(affected, this.#byService.get(key));
    for (const uid of workloads) addAll(affected, this.#byWorkload.get(uid));
    return affected;
  }
}

function put<Connection>(index: Map<string, Set<Connection>>, key: string, connection: Connection): void {
  const connections = index.get(key);
  if (connections === undefined) index.set(key, new Set([connection]));
  else connections.add(connection);
}

function drop<Connection>(index: Map<string, Set<Connection>>, key: string, connection: Connection): void {
  const connections = index.get(key);
  connections?.delete(connection);
  if (connections?.size === 0) index.delete(key);
}

function addAll<Connection>(into: Set<Connection>, from: Iterable<Connection> | undefined): void {
  for (const connection of from ?? []) into.add(connection);
}
