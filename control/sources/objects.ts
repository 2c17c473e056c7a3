/**
 * Typed views of the Kubernetes objects a mesh is made of: what we act on, read once and checked (object-parsers.ts).
 * Field names are Kubernetes' own; what a manifest may leave out is filled with the API server's default.
 */

export interface ObjectMeta {
  readonly name: string;
  /** Empty for cluster-scoped kinds. */
  readonly namespace: string;
  /** As given, else derived from kind, namespace, name and creation: the same in every process that reads the folder. */
  readonly uid: string;
  readonly labels: Labels;
  readonly annotations: Labels;
  /** RFC 3339. Absent: older than any that has one. */
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly ownerReferences: readonly OwnerReference[];
}

export type Labels = Readonly<Record<string, string>>;

export interface OwnerReference {
  readonly kind: string;
  readonly name: string;
  readonly controller: boolean;
}

/** What is wrong with one field. `path` as in `["spec", "rules", 0, "from"]`. */
export interface Fault {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** What every view carries beside its own fields. */
interface Common<Kind extends string> {
  readonly kind: Kind;
  readonly apiVersion: string;
  readonly metadata: ObjectMeta;
  /** Why the newest version was refused: the rest of this view is then the last good version, or a value that refuses. */
  readonly faults: readonly Fault[];
}

/** `type` and `status` of a condition; the other fields as far as they are given. */
export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
  readonly lastTransitionTime?: string;
}

export type Namespace = Common<"Namespace">;

export interface Node extends Common<"Node"> {
  readonly spec: { readonly podCIDRs: readonly string[] };
}

export type ServiceAccount = Common<"ServiceAccount">;

export interface ContainerPort {
  readonly name: string;
  readonly containerPort: number;
  readonly protocol: string;
}

export interface Container {
  readonly name: string;
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value: string }[];
  readonly ports: readonly ContainerPort[];
  /** `Always` makes an init container a sidecar that runs beside the others. */
  readonly restartPolicy?: string;
}

export interface Pod extends Common<"Pod"> {
  readonly spec: {
    readonly nodeName: string;
    readonly serviceAccountName: string;
    readonly hostNetwork: boolean;
    readonly restartPolicy: "Always" | "OnFailure" | "Never";
    readonly containers: readonly Container[];
    readonly initContainers: readonly Container[];
  };
  readonly status: {
    /** Pending until somebody says otherwise. */
    readonly phase: string;
    /** Canonical text, as the kubelet listed them. */
    readonly podIPs: readonly string[];
    readonly hostIP?: string;
    readonly conditions: readonly Condition[];
  };
}

export interface ServicePort {
  readonly name: string;
  readonly port: number;
  /** A number, or the name of a container port; the service's own port where none is given. */
  readonly targetPort: number | string;
  readonly protocol: string;
  readonly appProtocol?: string;
}

export interface Service extends Common<"Service"> {
  readonly spec: {
    readonly type: string;
    /** Canonical text; empty while unassigned. `headless` says that there will be none. */
    readonly clusterIPs: readonly string[];
    readonly headless: boolean;
    readonly ipFamilies: readonly ("IPv4" | "IPv6")[];
    readonly ipFamilyPolicy?: string;
    readonly selector: Labels;
    readonly ports: readonly ServicePort[];
    readonly internalTrafficPolicy: string;
    readonly trafficDistribution?: string;
    readonly publishNotReadyAddresses: boolean;
  };
  readonly status: { readonly conditions: readonly Condition[] };
}

export interface EndpointSlice extends Common<"EndpointSlice"> {
  readonly addressType: string;
  readonly endpoints: readonly {
    readonly addresses: readonly string[];
    readonly ready: boolean;
    readonly targetRef?: {
      readonly kind: string;
      readonly namespace: string;
      readonly name: string;
      readonly uid: string;
    };
  }[];
  readonly ports: readonly { readonly name: string; readonly port?: number; readonly protocol: string }[];
}

/** An address range in canonical text: `10.0.0.0` and 8. */
export interface IpBlock {
  readonly address: string;
  readonly length: number;
}

/** Who calls. Every list that is not empty must hold; of its values one. */
export interface AuthorizationSource {
  readonly principals: readonly string[];
  readonly notPrincipals: readonly string[];
  readonly namespaces: readonly string[];
  readonly notNamespaces: readonly string[];
  readonly serviceAccounts: readonly string[];
  readonly notServiceAccounts: readonly string[];
  readonly ipBlocks: readonly IpBlock[];
  readonly notIpBlocks: readonly IpBlock[];
  readonly requestPrincipals: readonly string[];
  readonly notRequestPrincipals: readonly string[];
  readonly remoteIpBlocks: readonly IpBlock[];
  readonly notRemoteIpBlocks: readonly IpBlock[];
}

/** What is asked for. */
export interface AuthorizationOperation {
  readonly ports: readonly number[];
  readonly notPorts: readonly number[];
  readonly hosts: readonly string[];
  readonly notHosts: readonly string[];
  readonly methods: readonly string[];
  readonly notMethods: readonly string[];
  readonly paths: readonly string[];
  readonly notPaths: readonly string[];
}

/** One condition of a rule; the keys an L4 agent can judge have typed values, any other is HTTP's. */
export type AuthorizationCondition =
  | Values<"source.ip" | "destination.ip", IpBlock>
  | Values<"source.namespace" | "source.principal", string>
  | Values<"destination.port", number>
  | (Values<"http", string> & { readonly attribute: string });

interface Values<Key extends string, Value> {
  readonly key: Key;
  readonly values: readonly Value[];
  readonly notValues: readonly Value[];
}

export interface AuthorizationRule {
  readonly from: readonly AuthorizationSource[];
  readonly to: readonly AuthorizationOperation[];
  readonly when: readonly AuthorizationCondition[];
}

export interface AuthorizationPolicy extends Common<"AuthorizationPolicy"> {
  readonly spec: {
    /** matchLabels; empty selects the whole namespace (or mesh, from the root namespace). */
    readonly selector: Labels;
    readonly targetRefs: readonly TargetRef[];
    readonly action: "ALLOW" | "DENY" | "AUDIT" | "CUSTOM";
    /** `unusable` never was understood: it denies all it selects as a DENY and matches nothing as an ALLOW. */
    readonly rules: readonly AuthorizationRule[] | "unusable";
  };
  readonly status: { readonly conditions: readonly Condition[] };
}

export interface TargetRef {
  readonly group: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

export type MutualTlsMode = "UNSET" | "DISABLE" | "PERMISSIVE" | "STRICT";

export interface PeerAuthentication extends Common<"PeerAuthentication"> {
  readonly spec: {
    readonly selector: Labels;
    readonly mode: MutualTlsMode;
    /** By workload port, ascending. */
    readonly portLevelMtls: readonly { readonly port: number; readonly mode: MutualTlsMode }[];
  };
  readonly status: { readonly conditions: readonly Condition[] };
}

/** Where a ServiceEntry's or WorkloadEntry's bytes go. */
export interface EntryEndpoint {
  /** An IP in canonical text, or a host name. */
  readonly address: string;
  readonly ports: Readonly<Record<string, number>>;
  readonly labels: Labels;
  readonly network: string;
  /** `region/zone/subzone`, shorter where less is known. */
  readonly locality: string;
  readonly weight?: number;
  readonly serviceAccount: string;
}

export interface WorkloadEntry extends Common<"WorkloadEntry"> {
  readonly spec: EntryEndpoint;
  readonly status: { readonly conditions: readonly Condition[] };
}

export interface ServiceEntry extends Common<"ServiceEntry"> {
  readonly spec: {
    readonly hosts: readonly string[];
    /** IPs, or prefixes with their length. */
    readonly addresses: readonly IpBlock[];
    readonly ports: readonly {
      readonly name: string;
      readonly number: number;
      readonly protocol: string;
      readonly targetPort?: number;
    }[];
    readonly resolution: "NONE" | "STATIC" | "DNS" | "DNS_ROUND_ROBIN" | "DYNAMIC_DNS";
    readonly endpoints: readonly EntryEndpoint[];
    readonly workloadSelector: Labels;
    readonly subjectAltNames: readonly string[];
  };
  readonly status: {
    /** Allocated by control, per host. */
    readonly addresses: readonly { readonly host: string; readonly value: string }[];
    readonly conditions: readonly Condition[];
  };
}

export interface GatewayClass extends Common<"GatewayClass"> {
  readonly spec: { readonly controllerName: string };
}

export interface Gateway extends Common<"Gateway"> {
  readonly spec: {
    readonly gatewayClassName: string;
    readonly listeners: readonly {
      readonly name: string;
      readonly port: number;
      readonly protocol: string;
      readonly allowedRoutes: {
        /** `Same` unless given. */
        readonly from: string;
        readonly selector: LabelSelector;
      };
    }[];
  };
  readonly status: { readonly addresses: readonly { readonly type: string; readonly value: string }[] };
}

/** Kubernetes' LabelSelector: all of it must hold; an empty one holds for everything. */
export interface LabelSelector {
  readonly matchLabels: Labels;
  readonly matchExpressions: readonly {
    readonly key: string;
    readonly operator: "In" | "NotIn" | "Exists" | "DoesNotExist";
    readonly values: readonly string[];
  }[];
}

export type KubeObject =
  | Namespace
  | Node
  | ServiceAccount
  | Pod
  | Service
  | EndpointSlice
  | AuthorizationPolicy
  | PeerAuthentication
  | WorkloadEntry
  | ServiceEntry
  | GatewayClass
  | Gateway;

export type Kind = KubeObject["kind"];

/** The view of one kind. */
export type ObjectOf<K extends Kind> = Extract<KubeObject, { kind: K }>;

/** Whether every wanted label is there. An empty selector wants nothing: ask first whether it selects at all. */
export function labelsMatch(wanted: Labels, labels: Labels): boolean {
  return Object.entries(wanted).every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value);
}

export function selectorMatches(selector: LabelSelector, labels: Labels): boolean {
  return (
    labelsMatch(selector.matchLabels, labels) &&
    selector.matchExpressions.every(({ key, operator, values }) => {
      const value = Object.hasOwn(labels, key) ? labels[key] : undefined;
      switch (operator) {
        case "In":
          return value !== undefined && values.includes(value);
        case "NotIn":
          return value === undefined || !values.includes(value);
        case "Exists":
          return value !== undefined;
        case "DoesNotExist":
          return value === undefined;
      }
    })
  );
}
