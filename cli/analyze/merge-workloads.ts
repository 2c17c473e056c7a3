/** What several agents say of the same workloads, as one list; where they don't say the same, who says what. Pure. */
import type { DumpedWorkload } from "../clients/agent.ts";

export interface Testimony {
  readonly node: string;
  readonly workloads: readonly DumpedWorkload[];
}

export interface MergedWorkload extends DumpedWorkload {
  /** Nodes whose agents know it. */
  readonly knownBy: readonly string[];
  /** Nodes whose agents were asked and don't. */
  readonly unknownTo: readonly string[];
  /** Fields that differ. The workload's own fields are what most agents say. */
  readonly differences: readonly Difference[];
}

export interface Difference {
  readonly field: string;
  /** One entry a value, most agents first. */
  readonly says: readonly { readonly value: unknown; readonly nodes: readonly string[] }[];
}

/** In order of namespace and name. */
export function mergeWorkloads(testimonies: readonly Testimony[]): MergedWorkload[] {
  const byUid = new Map<string, { readonly node: string; readonly workload: DumpedWorkload }[]>();
  for (const { node, workloads } of testimonies) {
    for (const workload of workloads) {
      const heard = byUid.get(workload.uid);
      if (heard === undefined) byUid.set(workload.uid, [{ node, workload }]);
      else heard.push({ node, workload });
    }
  }
  const asked = testimonies.map(({ node }) => node);
  return [...byUid.values()].map((heard) => merge(heard, asked)).sort(byName);
}

/** A sentence for each disagreement. */
export function disagreementsOf(workload: MergedWorkload): string[] {
  const name = `${workload.namespace}/${workload.name}`;
  const differing = workload.differences.map(({ field, says }) => {
    const parts = says.map(({ value, nodes }) => `${text(value)} at ${nodes.join(", ")}`);
    return `${name}: the agents disagree about ${words[field] ?? field}: ${parts.join("; ")}.`;
  });
  if (workload.unknownTo.length === 0) return differing;
  return [...differing, `${name}: the agent of ${workload.unknownTo.join(", ")} doesn't know it.`];
}

function merge(
  heard: readonly { readonly node: string; readonly workload: DumpedWorkload }[],
  asked: readonly string[],
): MergedWorkload {
  const differences: Difference[] = [];
  const common: Record<string, unknown> = { ...heard[0]?.workload };
  for (const field of compared) {
    const values = new Map<string, { readonly value: unknown; readonly nodes: string[] }>();
    for (const { node, workload } of heard) {
      const value = workload[field];
      const key = canonical(value);
      const same = values.get(key);
      if (same === undefined) values.set(key, { value, nodes: [node] });
      else same.nodes.push(node);
    }
    if (values.size < 2) continue;
    const says = [...values.values()].sort((a, b) => b.nodes.length - a.nodes.length);
    common[field] = says[0]?.value;
    differences.push({ field, says });
  }
  const knownBy = heard.map(({ node }) => node);
  const unknownTo = asked.filter((node) => !knownBy.includes(node));
  return { ...(common as unknown as DumpedWorkload), knownBy, unknownTo, differences };
}

/** The same for lists whose order means nothing. */
function canonical(value: unknown): string {
  return JSON.stringify(Array.isArray(value) ? value.map((item) => JSON.stringify(item)).sort() : (value ?? null));
}

function text(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.map(text).join(",");
  if (value === undefined || value === null) return "none";
  return typeof value === "string" ? value : JSON.stringify(value);
}

function byName(a: MergedWorkload, b: MergedWorkload): number {
  const [left, right] = [`${a.namespace}/${a.name}/${a.uid}`, `${b.namespace}/${b.name}/${b.uid}`];
  return left < right ? -1 : left > right ? 1 : 0;
}

const compared = [
  "workloadIps",
  "protocol",
  "node",
  "serviceAccount",
  "trustDomain",
  "status",
  "waypoint",
  "services",
  "authorizationPolicies",
] as const satisfies readonly (keyof DumpedWorkload)[];

const words: Readonly<Record<string, string>> = {
  workloadIps: "its addresses",
  protocol: "its protocol",
  node: "its node",
  serviceAccount: "its service account",
  trustDomain: "its trust domain",
  status: "its health",
  waypoint: "its waypoint",
  services: "its services",
  authorizationPolicies: "its policies",
};
