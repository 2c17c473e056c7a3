/** Policies as users write them, and what the mesh says of them. */
import type { Cluster } from "../cluster.ts";
import { until } from "../../support/until.ts";

export function authorizationPolicy(name: string, spec: object): object {
  return { apiVersion: "security.istio.io/v1", kind: "AuthorizationPolicy", metadata: { name }, spec };
}

export function peerAuthentication(name: string, spec: object): object {
  return { apiVersion: "security.istio.io/v1", kind: "PeerAuthentication", metadata: { name }, spec };
}

/** The selector of what mesh/workloads.ts makes. */
export const selects = (app: string): object => ({ selector: { matchLabels: { app } } });

export const fromAccount = (namespace: string, account: string): object => ({
  from: [{ source: { principals: [`cluster.local/ns/${namespace}/sa/${account}`] } }],
});

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime: string;
}

/** What the object says of itself, once it says it with this status. */
export async function condition(
  cluster: Cluster,
  { kind, namespace, name }: { readonly kind: PolicyKind; readonly namespace: string; readonly name: string },
  status: "True" | "False",
): Promise<Condition> {
  return until(`${kind} ${namespace}/${name} has its condition ${status}`, 20_000, async () => {
    const object = await cluster.get<{ status?: { conditions?: Condition[] } }>([kind, name, "-n", namespace]);
    return object.status?.conditions?.find((found) => found.status === status);
  });
}

export type PolicyKind = "authorizationpolicy" | "peerauthentication";
