/** What must hold of the demo, each part of the mesh by itself. Pure: evidence in, verdicts out. */
import { markerOf } from "../reachability/facts.ts";
import type { Observation } from "../reachability/ledger.ts";
import { outcomeOf, renderOutcome } from "../reachability/outcome.ts";
import type { Row } from "../reachability/rows.ts";
import type { Part } from "./parts.ts";

/** Everything the assertions may look at. */
export interface Evidence {
  /** By `client target`, newest last; only requests that began after the mesh had settled. */
  readonly observations: ReadonlyMap<string, readonly Observation[]>;
  readonly rows: readonly Row[];
  /** What the link of node1 showed while the requests went over it. */
  readonly link: LinkEvidence;
  /** Which workers of which node's agent ended connections, `node/worker`. */
  readonly workers: ReadonlySet<string>;
  readonly expectedWorkers: ReadonlySet<string>;
  readonly nowMs: number;
}

export interface LinkEvidence {
  /** Frames that held each marker. */
  readonly marked: Readonly<Record<string, number>>;
  /** Frames the sniffer missed: if there is one, absence proves nothing. */
  readonly dropped: number;
}

export interface Verdict {
  readonly part: Part | "prediction" | "workers";
  readonly name: string;
  readonly held: boolean;
  /** What was seen. */
  readonly detail: string;
}

/** The pairs the verdicts below are about: the check waits until each of them has been seen. */
export const pairs = [
  "shop/client-1 server.shop:80",
  "shop/client-1 10.96.0.10:80",
  "shop/client-1 [fd00:96::10]:80",
  "shop/client-1 vault.vault:80",
  "shop/client-1 echo.outside:80",
  "shop/intruder vault.vault:80",
  "shop/intruder server.shop:80",
  "outside/visitor echo.outside:80",
  "outside/visitor server.shop:80",
  "outside/visitor vault.vault:80",
] as const;

type Pair = (typeof pairs)[number];

const client = "spiffe://cluster.local/ns/shop/sa/client";

/** Markers whose bytes must, and must not, be readable on the link. */
export const markers = {
  meshed: ["server.shop", "10.96.0.10", "vault.vault"].map((host) => markerOf("shop/client-1", host)),
  // On another node, so that every request crosses the link.
  open: [markerOf("outside/visitor", "echo.outside")],
} as const;

export function judge(evidence: Evidence): Verdict[] {
  const every = (part: Part, name: string, pair: Pair, holds: (seen: Observation) => boolean): Verdict => {
    const observations = evidence.observations.get(pair) ?? [];
    const bad = observations.find((observation) => !holds(observation));
    const held = observations.length > 0 && bad === undefined;
    const detail = bad === undefined ? `${observations.length} requests` : describe(bad, evidence.nowMs);
    return { part, name, held, detail: observations.length === 0 ? "no request was seen" : detail };
  };
  const outcomes = (part: Part, name: string, pair: Pair, expected: string): Verdict =>
    every(part, name, pair, (seen) => text(seen, evidence.nowMs) === expected);

  return [
    every(
      "redirect",
      "a labelled pod's connections enter its agent",
      "shop/client-1 server.shop:80",
      (seen) => seen.outbound !== undefined,
    ),
    every(
      "redirect",
      "those to the outside enter it too",
      "shop/client-1 echo.outside:80",
      (seen) => seen.outbound !== undefined,
    ),
    every(
      "redirect",
      "an unlabelled pod's do not",
      "outside/visitor server.shop:80",
      (seen) => seen.outbound === undefined,
    ),
    every("mtls", "pod to pod goes through a tunnel", "shop/client-1 server.shop:80", tunnelled),
    every("mtls", "so it does over IPv4", "shop/client-1 10.96.0.10:80", tunnelled),
    every("mtls", "so it does over IPv6", "shop/client-1 [fd00:96::10]:80", tunnelled),
    unreadable(evidence.link),
    readable(evidence.link),
    every(
      "mtls",
      "the outside is reached in plaintext",
      "shop/client-1 echo.outside:80",
      (seen) => seen.attempt.status === 200,
    ),
    every(
      "identity",
      "the far agent knows the caller by its certificate",
      "shop/client-1 server.shop:80",
      (seen) => seen.inbound?.["src.identity"] === client,
    ),
    every(
      "identity",
      "over IPv4 as well",
      "shop/client-1 10.96.0.10:80",
      (seen) => seen.inbound?.["src.identity"] === client,
    ),
    every(
      "identity",
      "over IPv6 as well",
      "shop/client-1 [fd00:96::10]:80",
      (seen) => seen.inbound?.["src.identity"] === client,
    ),
    every("source", "the server sees the caller's own address", "shop/client-1 server.shop:80", sameSource),
    every("source", "over IPv4 as well", "shop/client-1 10.96.0.10:80", sameSource),
    every("source", "over IPv6 as well", "shop/client-1 [fd00:96::10]:80", sameSource),
    every("source", "and from outside the mesh", "outside/visitor server.shop:80", sameSource),
    outcomes(
      "policy",
      "who is denied by name is refused, and the policy is named",
      "shop/intruder vault.vault:80",
      "denied: POLICY_DENIED by vault/no-intruders",
    ),
    every("policy", "who isn't denied gets in", "shop/client-1 vault.vault:80", (seen) => seen.attempt.status === 200),
    every(
      "policy",
      "STRICT refuses plaintext",
      "outside/visitor vault.vault:80",
      (seen) =>
        seen.attempt.status === undefined && text(seen, evidence.nowMs)?.includes("POLICY_MTLS_REQUIRED") === true,
    ),
    every("policy", "PERMISSIVE accepts it", "outside/visitor server.shop:80", (seen) => seen.attempt.status === 200),
    allWorkers(evidence),
    predictions(evidence),
  ];
}

function tunnelled({ attempt, outbound, inbound }: Observation): boolean {
  return attempt.status === 200 && outbound?.protocol === "hbone" && inbound?.protocol === "hbone";
}

function sameSource({ attempt, served }: Observation): boolean {
  return served !== undefined && attempt.local !== undefined && host(served.peer) === host(attempt.local);
}

function unreadable({ marked, dropped }: LinkEvidence): Verdict {
  const frames = markers.meshed.map((marker) => marked[marker] ?? 0);
  const name = "nothing of it can be read on the link";
  if (dropped > 0) return { part: "mtls", name, held: false, detail: `the sniffer missed ${dropped} frames` };
  return {
    part: "mtls",
    name,
    held: frames.every((count) => count === 0),
    detail: `${sum(frames)} frames held a marker`,
  };
}

function readable({ marked }: LinkEvidence): Verdict {
  const frames = sum(markers.open.map((marker) => marked[marker] ?? 0));
  return {
    part: "mtls",
    name: "an unlabelled pod's requests can be (so the sniffer sees)",
    held: frames > 0,
    detail: `${frames} frames held its marker`,
  };
}

function allWorkers({ workers, expectedWorkers }: Evidence): Verdict {
  const idle = [...expectedWorkers].filter((worker) => !workers.has(worker));
  const detail = idle.length === 0 ? [...expectedWorkers].join(" ") : `idle: ${idle.join(" ")}`;
  return { part: "workers", name: "every data-plane worker served", held: idle.length === 0, detail };
}

function predictions({ rows }: Evidence): Verdict {
  const wrong = rows.filter((row) => row.asPredicted !== true);
  const detail = wrong.map(
    (row) =>
      `${row.client} → ${row.target}: ${row.outcome ? renderOutcome(row.outcome) : "nothing"}, decided ${row.predicted ? renderOutcome(row.predicted) : "nothing"}`,
  );
  return {
    part: "prediction",
    name: "everything happened as the mesh decides it",
    held: rows.length > 0 && wrong.length === 0,
    detail: wrong.length === 0 ? `${rows.length} pairs` : detail.join("; "),
  };
}

function describe(observation: Observation, nowMs: number): string {
  const { attempt, served } = observation;
  const seen = served === undefined ? "" : `, the server saw ${served.peer}`;
  return `${attempt.from} ${attempt.local ?? ""} → ${attempt.target}: ${text(observation, nowMs) ?? "undecided"}${seen}`;
}

function text(observation: Observation, nowMs: number): string | undefined {
  const outcome = outcomeOf(observation, nowMs);
  return outcome && renderOutcome(outcome);
}

function host(endpoint: string): string {
  return endpoint.slice(0, endpoint.lastIndexOf(":"));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
