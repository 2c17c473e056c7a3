/** Releases that differ: between parts, between nodes, behind one tag, or from this program. Pure. */

export interface VersionRow {
  readonly component: "control" | "agent" | "cni";
  readonly node: string;
  readonly namespace: string;
  readonly pod: string;
  readonly image: string;
  /** `sha256:…` as the node runs it; empty until it does. */
  readonly digest: string;
  readonly version: string;
  /** As the chart names it: comparable with this program's own, where `version` is a tag that may say anything. */
  readonly release: string;
  readonly ready: boolean;
  readonly problem?: string;
}

/** A sentence for each difference; none where all is one release. */
export function skewOf(client: string, rows: readonly VersionRow[]): string[] {
  const sentences: string[] = [];
  for (const component of ["control", "agent", "cni"] as const) {
    const versions = group(
      rows.filter((row) => row.component === component),
      (row) => row.version,
    );
    if (versions.size < 2) continue;
    const parts = [...versions].map(([version, of]) => `${version} on ${nodesOf(of)}`);
    sentences.push(`${component} runs in ${versions.size} versions: ${parts.join("; ")}.`);
  }
  const byImage = group(
    rows.filter((row) => row.digest !== ""),
    (row) => row.image,
  );
  for (const [image, of] of byImage) {
    const digests = group(of, (row) => row.digest);
    if (digests.size < 2) continue;
    const parts = [...digests].map(([digest, those]) => `${digest.slice(0, 19)} on ${nodesOf(those)}`);
    sentences.push(
      `Nodes hold different images behind ${image}: ${parts.join("; ")}. Pin it: --set image.digest=sha256:…`,
    );
  }
  const versions = new Set(rows.map((row) => row.version));
  const parts = new Set(rows.map((row) => row.component));
  if (versions.size > 1 && sentences.length === 0 && parts.size > 1) {
    const each = [...group(rows, (row) => row.version)].map(([version, of]) => `${unique(of, "component")} ${version}`);
    sentences.push(`The parts are of different releases: ${each.join(", ")}.`);
  }
  const releases = new Set(rows.map((row) => (row.release === "" ? row.version : row.release)));
  if (releases.size === 1 && !releases.has(client)) {
    sentences.push(
      `ambientctl is ${client} and the cluster runs ${[...releases].join()}: use the one that came with it.`,
    );
  }
  return sentences;
}

function nodesOf(rows: readonly VersionRow[]): string {
  return unique(rows, "node");
}

function unique(rows: readonly VersionRow[], field: "node" | "component"): string {
  return [...new Set(rows.map((row) => (row[field] === "" ? "no node yet" : row[field])))].join(", ");
}

function group<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  return Map.groupBy(items, keyOf);
}
