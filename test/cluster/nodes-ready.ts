/** When a node counts as Ready. */
import { until } from "../support/until.ts";
import { askApi } from "./api.ts";
import { nodeLayouts } from "./layout.ts";

/**
 * Resolves when the nodes are Ready.
 * @param sinceMs (Unix ms) and their kubelets said so after that: what one said before its end counts for nothing.
 */
export async function nodesReady(names = nodeLayouts.map(({ name }) => name), sinceMs = 0): Promise<void> {
  await until(`${names.join(" and ")} Ready`, 120_000, async () => {
    const [nodes, leases] = await Promise.all([
      list<NodeFacts>("/api/v1/nodes"),
      list<Lease>("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"),
    ]);
    return names.every(
      (name) =>
        nodes.some((node) => node.metadata.name === name && saysReady(node, sinceMs)) &&
        leases.some((lease) => lease.metadata.name === name && Date.parse(lease.spec.renewTime) > sinceMs),
    );
  });
}

/** A heartbeat carries whole seconds, a lease microseconds: within one second it is the lease that tells. */
function saysReady({ status }: NodeFacts, sinceMs: number): boolean {
  const ready = status.conditions.find(({ type }) => type === "Ready");
  return ready?.status === "True" && Date.parse(ready.lastHeartbeatTime) > sinceMs - 1_000;
}

async function list<T>(path: string): Promise<readonly T[]> {
  const answer = await askApi(path);
  return answer?.status === 200 ? (JSON.parse(answer.body) as { items: T[] }).items : [];
}

interface NodeFacts {
  readonly metadata: { readonly name: string };
  readonly status: { readonly conditions: readonly { type: string; status: string; lastHeartbeatTime: string }[] };
}

interface Lease {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly renewTime: string };
}
