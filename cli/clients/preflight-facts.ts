/** What is read of a cluster before anything is installed in it. */
import { KubeError } from "../../control/sources/kubernetes/errors.ts";
import {
  apiResources,
  collectionPath,
  objectPath,
  resourceName,
  type ApiKind,
} from "../../control/sources/kubernetes/paths.ts";
import type { Permission, PreflightFacts } from "../analyze/preflight.ts";
import { apiFailure } from "./api-failure.ts";
import type { ApiDaemonSet, ApiNamespace, ApiNode } from "./api-objects.ts";
import { mapBounded } from "./bounded.ts";
import { answerOf, tryListAll, type Cluster } from "./cluster.ts";

/** Every kind the chart makes, beside the Secret in which Helm keeps its release. */
export const chartKinds = [
  "ServiceAccount",
  "Service",
  "Deployment",
  "DaemonSet",
  "PodDisruptionBudget",
  "Role",
  "RoleBinding",
  "ClusterRole",
  "ClusterRoleBinding",
  "Secret",
] as const satisfies readonly ApiKind[];

/** @throws Failure where the API server can't be asked at all. */
export async function readPreflightFacts(cluster: Cluster, namespace: string): Promise<PreflightFacts> {
  const { gitVersion } = await answerOf(cluster.client.get<{ gitVersion?: string }>("/version"));
  const [namespaceObject, nodes, daemonSets, permissions] = await Promise.all([
    cluster.client.get<ApiNamespace>(objectPath("Namespace", "", namespace)),
    tryListAll<ApiNode>(cluster, collectionPath("Node")),
    tryListAll<ApiDaemonSet>(cluster, collectionPath("DaemonSet")),
    mapBounded(chartKinds, 6, (kind) => ask(cluster, "create", kind, apiResources[kind].namespaced ? namespace : "")),
  ]);
  const isMissing = namespaceObject instanceof KubeError && namespaceObject.type.code === "kube.not-found";
  return {
    kubernetes: gitVersion ?? "unknown",
    namespace,
    namespaceObject: namespaceObject instanceof KubeError ? undefined : namespaceObject,
    nodes: nodes instanceof KubeError ? undefined : nodes,
    daemonSets: daemonSets instanceof KubeError ? undefined : daemonSets,
    permissions: isMissing ? [...permissions, await ask(cluster, "create", "Namespace", "")] : permissions,
  };
}

async function ask({ client }: Cluster, verb: string, kind: ApiKind, namespace: string): Promise<Permission> {
  const { group, plural } = apiResources[kind];
  const review = await client.create<{ status?: { allowed?: boolean } }>(collectionPath("SelfSubjectAccessReview"), {
    apiVersion: "authorization.k8s.io/v1",
    kind: "SelfSubjectAccessReview",
    spec: { resourceAttributes: { verb, group, resource: plural, ...(namespace !== "" && { namespace }) } },
  });
  if (review instanceof KubeError) throw apiFailure(review);
  return { verb, resource: resourceName(kind), namespace, allowed: review.status?.allowed === true };
}
