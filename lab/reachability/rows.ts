/** The table's rows: for each client and target what happened last, how often, and what the mesh's decision said beforehand. */
import { parseEndpoint, type Endpoint } from "../../core/base/ip.ts";
import type { Random } from "../../core/base/random.ts";
import type { MeshState } from "../../core/decision/mesh-state.ts";
import type { Ledger, Observation } from "./ledger.ts";
import { outcomeOf, sameOutcome, type Outcome } from "./outcome.ts";
import { predict } from "./predict.ts";

export interface Row {
  /** `namespace/pod` */
  readonly client: string;
  readonly target: string;
  /** The newest request that is decided; undefined while none is. */
  readonly outcome: Outcome | undefined;
  /** The pod that answered it. */
  readonly servedBy: string | undefined;
  readonly ms: number | undefined;
  /** Requests so far. */
  readonly requests: number;
  readonly predicted: Outcome | undefined;
  /** Undefined where one of the two is missing. */
  readonly asPredicted: boolean | undefined;
}

/** @param mesh undefined while no agent can be asked. @param nowMs monotonic. */
export function tableRows(ledger: Ledger, mesh: MeshState | undefined, random: Random, nowMs: number): Row[] {
  return [...ledger.observations()]
    .map(([pair, observations]) => ({ ...rowOf(observations, mesh, random, nowMs), requests: ledger.requests(pair) }))
    .sort(byName);
}

function rowOf(observations: readonly Observation[], mesh: MeshState | undefined, random: Random, nowMs: number): Row {
  let decided: Observation | undefined;
  let outcome: Outcome | undefined;
  for (let i = observations.length - 1; i >= 0 && outcome === undefined; i--) {
    decided = observations[i];
    outcome = decided && outcomeOf(decided, nowMs);
  }
  const attempt = (decided ?? observations[0])?.attempt;
  const target = parseEndpoint(attempt?.remote ?? "");
  const predicted = mesh && attempt && target && predictFor(mesh, attempt.from, target, random);
  return {
    client: attempt?.from ?? "",
    target: attempt?.target ?? "",
    outcome,
    servedBy: outcome && decided?.served?.pod,
    ms: outcome && decided?.attempt.ms,
    requests: observations.length,
    predicted,
    asPredicted: outcome && predicted && sameOutcome(outcome, predicted),
  };
}

function predictFor(mesh: MeshState, client: string, target: Endpoint, random: Random): Outcome | undefined {
  const [namespace = "", name = ""] = client.split("/");
  return predict(mesh, mesh.workloadOf(namespace, name), target, random);
}

function byName(one: Row, other: Row): number {
  return `${one.client} ${one.target}` < `${other.client} ${other.target}` ? -1 : 1;
}
