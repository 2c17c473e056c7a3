/** Everything the model derives from, in collections: objects, and the few facts of them that many rows share. */
import type {
  AuthorizationPolicy,
  EndpointSlice,
  Gateway,
  GatewayClass,
  KubeObject,
  Labels,
  Node,
  PeerAuthentication,
  Pod,
  Service,
  ServiceEntry,
  WorkloadEntry,
} from "../../sources/objects.ts";
import type { ObjectDelta } from "../../sources/source.ts";
import { Collection, Dependencies, type Reader } from "./collections.ts";
import { waypointOf, type Waypoint } from "./waypoints.ts";

export interface MeshConfig {
  readonly clusterId: string;
  readonly trustDomain: string;
  /** Where policies for the whole mesh live. */
  readonly rootNamespace: string;
  /** DNS suffix of services, `cluster.local`. */
  readonly clusterDomain: string;
  /** What becomes of connections to what asks for a waypoint that it cannot have: they go without (L4 only), or are refused. */
  readonly danglingWaypoints: DanglingWaypoints;
}

export type DanglingWaypoints = "l4" | "refuse";

export const defaultMeshConfig: MeshConfig = {
  clusterId: "Kubernetes",
  trustDomain: "cluster.local",
  rootNamespace: "istio-system",
  clusterDomain: "cluster.local",
  danglingWaypoints: "l4",
};

/** What of a namespace matters to what lives in it. One that nobody declared exists, without labels. */
export interface NamespaceFacts {
  readonly labels: Labels;
  readonly annotations: Labels;
}

/** Empty where the node does not say. */
export interface NodeLocality {
  readonly region: string;
  readonly zone: string;
  readonly subzone: string;
}

export class Inputs {
  readonly config: MeshConfig;
  readonly dependencies = new Dependencies();
  readonly namespaces = new Collection<NamespaceFacts>("namespace", this.dependencies, {});
  /** Apart from the node, so that its heartbeats touch no workload. */
  readonly localities = new Collection<NodeLocality>("locality", this.dependencies, {});
  readonly pods = new Collection<Pod>("pod", this.dependencies, {});
  readonly services = new Collection<Service, "selector" | "claim">("service", this.dependencies, {
    selector: (service) => selectorIndex(service.metadata.namespace, service.spec.selector),
    claim: (service) => {
      const hostname = serviceHostname(service, this.config);
      return [`${service.metadata.namespace}/${hostname}`, hostname];
    },
  });
  readonly serviceEntries = new Collection<ServiceEntry, "selector" | "claim">("service-entry", this.dependencies, {
    selector: (entry) => selectorIndex(entry.metadata.namespace, entry.spec.workloadSelector),
    claim: (entry) => entry.spec.hosts.flatMap((host) => [`${entry.metadata.namespace}/${host}`, host]),
  });
  readonly workloadEntries = new Collection<WorkloadEntry>("workload-entry", this.dependencies, {});
  readonly slices = new Collection<EndpointSlice, "slice-of-pod">("slice", this.dependencies, {
    "slice-of-pod": (slice) =>
      slice.endpoints.flatMap(({ targetRef }) =>
        targetRef?.kind === "Pod" ? [`${targetRef.namespace}/${targetRef.name}`] : [],
      ),
  });
  readonly policies = new Collection<AuthorizationPolicy, "selector">("policy", this.dependencies, {
    selector: (policy) => selectorIndex(policy.metadata.namespace, policy.spec.selector),
  });
  readonly peerAuthentications = new Collection<PeerAuthentication, "selector" | "peer-default" | "peer-any">(
    "peer-authentication",
    this.dependencies,
    {
      selector: (peer) => selectorIndex(peer.metadata.namespace, peer.spec.selector),
      "peer-default": (peer) => (isEmpty(peer.spec.selector) ? [peer.metadata.namespace] : []),
      "peer-any": () => [""],
    },
  );
  readonly waypoints = new Collection<Waypoint, "waypoint-of-account">("waypoint", this.dependencies, {
    "waypoint-of-account": ({ namespace, serviceAccount }) =>
      serviceAccount === undefined ? [] : [`${namespace}/${serviceAccount}`],
  });
  /** Of service accounts that have any. */
  readonly accountLabels = new Collection<Labels>("service-account", this.dependencies, {});
  readonly #gateways = new Map<string, Gateway>();
  readonly #classes = new Map<string, GatewayClass>();

  constructor(config: MeshConfig) {
    this.config = config;
  }

  /** Takes one change in. The rows it concerns are stale afterwards. */
  take(delta: ObjectDelta): void {
    const { object } = delta;
    const value = delta.op === "put" ? object : undefined;
    const key = keyOf(object);
    const { name } = object.metadata;
    switch (object.kind) {
      case "Namespace":
        return this.namespaces.put(name, value && namespaceFacts(object));
      case "Node":
        return this.localities.put(name, value && nodeLocality(object));
      case "Pod":
        return this.pods.put(key, value as Pod | undefined);
      case "Service":
        return this.services.put(key, value as Service | undefined);
      case "ServiceEntry":
        return this.serviceEntries.put(key, value as ServiceEntry | undefined);
      case "WorkloadEntry":
        return this.workloadEntries.put(key, value as WorkloadEntry | undefined);
      case "EndpointSlice":
        return this.slices.put(key, value as EndpointSlice | undefined);
      case "AuthorizationPolicy":
        return this.policies.put(key, value as AuthorizationPolicy | undefined);
      case "PeerAuthentication":
        return this.peerAuthentications.put(key, value as PeerAuthentication | undefined);
      case "Gateway":
        setOrDelete(this.#gateways, key, value as Gateway | undefined);
        return this.#deriveWaypoint(key);
      case "GatewayClass":
        setOrDelete(this.#classes, name, value as GatewayClass | undefined);
        for (const [gatewayKey, gateway] of this.#gateways)
          if (gateway.spec.gatewayClassName === name) this.#deriveWaypoint(gatewayKey);
        return;
      case "ServiceAccount": {
        const { labels } = object.metadata;
        return this.accountLabels.put(key, value && !isEmpty(labels) ? labels : undefined);
      }
    }
  }

  /** The network all of this cluster's addresses are in: a label of the root namespace, or none. */
  network(reader: Reader): string {
    return this.namespace(reader, this.config.rootNamespace).labels["topology.istio.io/network"] ?? "";
  }

  namespace(reader: Reader, name: string): NamespaceFacts {
    return this.namespaces.get(reader, name) ?? { labels: {}, annotations: {} };
  }

  #deriveWaypoint(key: string): void {
    const gateway = this.#gateways.get(key);
    const waypoint = gateway && waypointOf(gateway, this.#classes.get(gateway.spec.gatewayClassName));
    this.waypoints.put(key, waypoint);
  }
}

/** `namespace/name` */
export function keyOf(object: KubeObject): string {
  return `${object.metadata.namespace}/${object.metadata.name}`;
}

export function serviceHostname(service: Service, config: MeshConfig): string {
  return `${service.metadata.name}.${service.metadata.namespace}.svc.${config.clusterDomain}`;
}

/** What of a collection selects these labels, in one namespace. What has no labels is selected by nothing. */
export function selecting<Value>(
  reader: Reader,
  collection: Collection<Value, "selector">,
  namespace: string,
  labels: Labels,
  isSelected: (value: Value) => boolean,
): Value[] {
  return Object.entries(labels).flatMap(([key, value]) =>
    collection.lookup(reader, "selector", `${namespace}/${key}=${value}`).filter(isSelected),
  );
}

export function isEmpty(labels: Labels): boolean {
  return Object.keys(labels).length === 0;
}

/** Oldest first, as Kubernetes settles who came first; then by name. */
export function byAge(a: KubeObject, b: KubeObject): number {
  const age = (object: KubeObject): string => `${object.metadata.creationTimestamp ?? ""} ${keyOf(object)}`;
  return age(a) < age(b) ? -1 : 1;
}

/** One pair stands for the whole selector: whoever has all of its labels has this one. */
function selectorIndex(namespace: string, selector: Labels): string[] {
  const [first] = Object.keys(selector).sort();
  return first === undefined ? [] : [`${namespace}/${first}=${selector[first] ?? ""}`];
}

function namespaceFacts(object: KubeObject): NamespaceFacts {
  return { labels: object.metadata.labels, annotations: object.metadata.annotations };
}

function nodeLocality(node: Node): NodeLocality {
  const { labels } = node.metadata;
  return {
    region: labels["topology.kubernetes.io/region"] ?? "",
    zone: labels["topology.kubernetes.io/zone"] ?? "",
    subzone: labels["topology.istio.io/subzone"] ?? "",
  };
}

function setOrDelete<Value>(map: Map<string, Value>, key: string, value: Value | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}
