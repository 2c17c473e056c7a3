/** Where the API server keeps each kind of object: group, version and plural, and the paths made of them. */

/** A resource of the API server, as its discovery documents name it. */
export interface ApiResource {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly namespaced: boolean;
}

/** Every kind that any part of ambientd reads or writes in a cluster. */
export const apiResources = {
  Namespace: core("namespaces", false),
  Node: core("nodes", false),
  Pod: core("pods"),
  Service: core("services"),
  ServiceAccount: core("serviceaccounts"),
  ConfigMap: core("configmaps"),
  Secret: core("secrets"),
  EndpointSlice: grouped("discovery.k8s.io", "v1", "endpointslices"),
  AuthorizationPolicy: grouped("security.istio.io", "v1", "authorizationpolicies"),
  PeerAuthentication: grouped("security.istio.io", "v1", "peerauthentications"),
  ServiceEntry: grouped("networking.istio.io", "v1", "serviceentries"),
  WorkloadEntry: grouped("networking.istio.io", "v1", "workloadentries"),
  Gateway: grouped("gateway.networking.k8s.io", "v1", "gateways"),
  GatewayClass: grouped("gateway.networking.k8s.io", "v1", "gatewayclasses", false),
  DaemonSet: grouped("apps", "v1", "daemonsets"),
  Deployment: grouped("apps", "v1", "deployments"),
  StatefulSet: grouped("apps", "v1", "statefulsets"),
  ReplicaSet: grouped("apps", "v1", "replicasets"),
  Job: grouped("batch", "v1", "jobs"),
  Event: grouped("events.k8s.io", "v1", "events"),
  Lease: grouped("coordination.k8s.io", "v1", "leases"),
  PodDisruptionBudget: grouped("policy", "v1", "poddisruptionbudgets"),
  PriorityClass: grouped("scheduling.k8s.io", "v1", "priorityclasses", false),
  Role: grouped("rbac.authorization.k8s.io", "v1", "roles"),
  RoleBinding: grouped("rbac.authorization.k8s.io", "v1", "rolebindings"),
  ClusterRole: grouped("rbac.authorization.k8s.io", "v1", "clusterroles", false),
  ClusterRoleBinding: grouped("rbac.authorization.k8s.io", "v1", "clusterrolebindings", false),
  CustomResourceDefinition: grouped("apiextensions.k8s.io", "v1", "customresourcedefinitions", false),
  TokenReview: grouped("authentication.k8s.io", "v1", "tokenreviews", false),
  SubjectAccessReview: grouped("authorization.k8s.io", "v1", "subjectaccessreviews", false),
  SelfSubjectAccessReview: grouped("authorization.k8s.io", "v1", "selfsubjectaccessreviews", false),
} as const satisfies Record<string, ApiResource>;

export type ApiKind = keyof typeof apiResources;

/** `v1`, `security.istio.io/v1` */
export function apiVersionOf(kind: ApiKind): string {
  const { group, version } = apiResources[kind];
  return group === "" ? version : `${group}/${version}`;
}

/** `pods`, `leases.coordination.k8s.io`: as kubectl and RBAC messages write it. */
export function resourceName(kind: ApiKind): string {
  const { group, plural } = apiResources[kind];
  return group === "" ? plural : `${plural}.${group}`;
}

/**
 * Path of all objects of a kind.
 * @param namespace all namespaces when absent or empty; ignored for cluster-scoped kinds.
 */
export function collectionPath(kind: ApiKind, namespace = ""): string {
  const { group, version, plural, namespaced }: ApiResource = apiResources[kind];
  const root = group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
  const scope = namespaced && namespace !== "" ? `/namespaces/${encodeURIComponent(namespace)}` : "";
  return `${root}${scope}/${plural}`;
}

/**
 * Path of one object.
 * @param namespace empty for cluster-scoped kinds.
 * @param subresource e.g. `status`, `log`, `token`.
 */
export function objectPath(kind: ApiKind, namespace: string, name: string, subresource = ""): string {
  const path = `${collectionPath(kind, namespace)}/${encodeURIComponent(name)}`;
  return subresource === "" ? path : `${path}/${subresource}`;
}

function core(plural: string, namespaced = true): ApiResource {
  return { group: "", version: "v1", plural, namespaced };
}

function grouped(group: string, version: string, plural: string, namespaced = true): ApiResource {
  return { group, version, plural, namespaced };
}
