/** The Node objects of the lab: control mints a token for each, and pods name them. Pure. */
import type { NodePlan } from "./addresses.ts";

/** One YAML document. */
export function nodeManifest({ name, podRanges, nodeEnd }: NodePlan): string {
  const ranges = podRanges.map(({ address, prefix }) => `${address}/${prefix}`);
  const addresses = [
    ...nodeEnd.map(({ address }) => ({ type: "InternalIP", address })),
    { type: "Hostname", address: name },
  ];
  const labels = {
    "kubernetes.io/hostname": name,
    "kubernetes.io/os": "linux",
    "topology.kubernetes.io/region": "lab",
    "topology.kubernetes.io/zone": name,
  };
  // JSON is YAML.
  return `${JSON.stringify({
    apiVersion: "v1",
    kind: "Node",
    metadata: { name, labels },
    spec: { podCIDR: ranges[0], podCIDRs: ranges },
    status: { addresses, conditions: [{ type: "Ready", status: "True" }] },
  })}\n`;
}
