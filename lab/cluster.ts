/**
 * The cluster's brain, as far as a lab needs one: which pod runs where under which addresses, which service has which
 * virtual one, and what is written back as status. Pure but for what it remembers of earlier rounds: every round derives
 * everything anew from the objects and from what the nodes report.
 */
import { messageOf } from "../core/base/errors.ts";
import type { Container, Namespace, Pod, Service } from "../control/sources/objects.ts";
import { refKey, refOf, type MergePatch, type ObjectRef, type Snapshot } from "../control/sources/source.ts";
import { PodAddresses, ServiceAddresses, type Families, type NodePlan } from "./addresses.ts";
import { hostsFile } from "./hosts-file.ts";
import type { ContainerSpec, NodeDesired, PodDesired, PodRow } from "./node-messages.ts";
import { podStatus } from "./pod-status.ts";
import { selectedPods, serviceRoutes } from "./service-routes.ts";

/** What one round came to. */
export interface ClusterRound {
  readonly nodes: ReadonlyMap<string, Pick<NodeDesired, "pods" | "routes" | "hosts">>;
  /** What the lab says about each object, by {@link refKey}; an object that is not in it is not spoken of any more. */
  readonly statuses: ReadonlyMap<string, { readonly ref: ObjectRef; readonly patch: MergePatch }>;
  readonly problems: readonly string[];
}

export interface ClusterOptions {
  readonly nodes: readonly NodePlan[];
  readonly families: Families;
  readonly newUid: () => string;
  readonly wallMs: () => number;
  /** Names beside the services' in /etc/hosts. */
  readonly fixedHosts: Readonly<Record<string, readonly string[]>>;
}

/** One life of a pod: a changed spec, or a deletion and return, begins another. */
interface PodLife {
  readonly uid: string;
  readonly created: string;
  readonly spec: string;
  readonly node: NodePlan;
  readonly addresses: readonly string[];
}

export class Cluster {
  readonly #options: ClusterOptions;
  readonly #podAddresses: ReadonlyMap<NodePlan, PodAddresses>;
  readonly #serviceAddresses: ServiceAddresses;
  readonly #lives = new Map<string, PodLife>();
  #servicesSeen = new Set<string>();

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.#podAddresses = new Map(options.nodes.map((plan) => [plan, new PodAddresses(plan)]));
    this.#serviceAddresses = new ServiceAddresses(options.families);
  }

  /** @param rows what the nodes report, by pod uid. */
  round(snapshot: Snapshot, rows: ReadonlyMap<string, PodRow>): ClusterRound {
    const problems: string[] = [];
    const statuses = new Map<string, { ref: ObjectRef; patch: MergePatch }>();
    const pods = new Map<string, PodDesired[]>();
    this.#forgetGone(snapshot);
    for (const pod of snapshot.all("Pod")) {
      const life = this.#lifeOf(pod, problems);
      if (life === undefined) continue;
      const { name } = life.node;
      const desired = podDesired(pod, life, snapshot.get("Namespace", "", pod.metadata.namespace));
      pods.set(name, [...(pods.get(name) ?? []), desired]);
      const ref = refOf(pod);
      statuses.set(refKey(ref), {
        ref,
        patch: podStatus(pod, { ...life, node: name, hostIps: hostIps(life) }, rows.get(life.uid)),
      });
    }
    for (const service of snapshot.all("Service")) {
      const assigned = this.#assignedTo(service);
      if (assigned.length === 0) continue;
      const ref = refOf(service);
      statuses.set(refKey(ref), { ref, patch: { spec: { clusterIP: assigned[0], clusterIPs: assigned } } });
    }
    const routes = serviceRoutes(snapshot, (service) => this.#vipsOf(service));
    const hosts = this.#hosts(snapshot);
    const nodes = this.#options.nodes.map(({ name }) => [name, { pods: pods.get(name) ?? [], routes, hosts }] as const);
    return { nodes: new Map(nodes), statuses, problems };
  }

  /** The pod's present life, begun if this is the first that is seen of it. */
  #lifeOf(pod: Pod, problems: string[]): PodLife | undefined {
    const key = podKey(pod);
    const spec = JSON.stringify({ ...pod.spec, nodeName: undefined });
    const present = this.#lives.get(key);
    const stays = pod.spec.nodeName === "" || pod.spec.nodeName === present?.node.name;
    if (present?.spec === spec && stays) return present;
    if (present !== undefined) this.#end(key, present);
    const node = this.#place(pod);
    if (node === undefined) {
      problems.push(`Pod ${key} asks for node ${pod.spec.nodeName}, which this lab hasn't got: it does not run.`);
      return undefined;
    }
    try {
      const { newUid, wallMs } = this.#options;
      const addresses = pod.spec.hostNetwork
        ? node.nodeEnd.map(({ address }) => address)
        : (this.#podAddresses.get(node)?.assign(key) ?? []);
      const life = { uid: newUid(), created: new Date(wallMs()).toISOString(), spec, node, addresses };
      this.#lives.set(key, life);
      return life;
    } catch (error) {
      problems.push(`Pod ${key} does not run: ${messageOf(error)}.`);
      return undefined;
    }
  }

  /** The node it asks for, else the one with the fewest pods. */
  #place(pod: Pod): NodePlan | undefined {
    const { nodes } = this.#options;
    if (pod.spec.nodeName !== "") return nodes.find(({ name }) => name === pod.spec.nodeName);
    const lives = [...this.#lives.values()];
    const load = (node: NodePlan): number => lives.filter((life) => life.node === node).length;
    return nodes.reduce<NodePlan | undefined>(
      (best, node) => (best === undefined || load(node) < load(best) ? node : best),
      undefined,
    );
  }

  #forgetGone(snapshot: Snapshot): void {
    const pods = new Set(snapshot.all("Pod").map(podKey));
    for (const [key, life] of this.#lives) if (!pods.has(key)) this.#end(key, life);
    const services = new Set(snapshot.all("Service").map(podKey));
    for (const key of this.#servicesSeen) if (!services.has(key)) this.#serviceAddresses.release(key);
    this.#servicesSeen = services;
  }

  #end(key: string, life: PodLife): void {
    this.#lives.delete(key);
    this.#podAddresses.get(life.node)?.release(key);
  }

  /** Virtual addresses the lab gives a service; none to one that brings its own or wants none. */
  #assignedTo(service: Service): string[] {
    const { headless, clusterIPs, ipFamilyPolicy, ipFamilies, type } = service.spec;
    const key = podKey(service);
    const mine = this.#serviceAddresses.holds(key);
    if (headless || type === "ExternalName" || (clusterIPs.length > 0 && !mine)) return [];
    const wanted = (address: string): boolean =>
      ipFamilies.length === 0 || ipFamilies.includes(address.includes(":") ? "IPv6" : "IPv4");
    const assigned = this.#serviceAddresses.assign(key).filter(wanted);
    return ipFamilyPolicy === "SingleStack" ? assigned.slice(0, 1) : assigned;
  }

  #vipsOf(service: Service): readonly string[] {
    const assigned = this.#assignedTo(service);
    return assigned.length > 0 ? assigned : service.spec.clusterIPs;
  }

  #hosts(snapshot: Snapshot): string {
    const named = snapshot.all("Service").map((service) => ({
      service,
      addresses: service.spec.headless
        ? selectedPods(snapshot, service).flatMap((pod) => pod.status.podIPs)
        : this.#vipsOf(service),
    }));
    return hostsFile(named, this.#options.fixedHosts);
  }
}

function podDesired(pod: Pod, life: PodLife, namespace: Namespace | undefined): PodDesired {
  const { metadata, spec } = pod;
  const extra = {
    HOSTNAME: metadata.name,
    POD_NAME: metadata.name,
    POD_NAMESPACE: metadata.namespace,
    POD_UID: life.uid,
    POD_IP: life.addresses[0] ?? "",
    POD_IPS: life.addresses.join(","),
    NODE_NAME: life.node.name,
    SERVICE_ACCOUNT: spec.serviceAccountName,
  };
  const restart = { Always: "always", OnFailure: "on-failure", Never: "never" } as const;
  return {
    uid: life.uid,
    namespace: metadata.namespace,
    name: metadata.name,
    addresses: life.addresses,
    hostNetwork: spec.hostNetwork,
    enrolment: enrolment(pod, namespace),
    restart: restart[spec.restartPolicy],
    containers: spec.containers.map((container) => containerSpec(container, extra)),
    initContainers: spec.initContainers.map((container) => containerSpec(container, extra)),
  };
}

function containerSpec(container: Container, extra: Readonly<Record<string, string>>): ContainerSpec {
  const env = { ...extra, ...Object.fromEntries(container.env.map(({ name, value }) => [name, value])) };
  // Kubernetes' own expansion: $(NAME); $$ is a dollar sign.
  const expand = (text: string): string =>
    text.replace(/\$\$|\$\((\w+)\)/g, (whole, name?: string) => (name === undefined ? "$" : (env[name] ?? whole)));
  return {
    name: container.name,
    argv: [...container.command, ...container.args].map(expand),
    env,
    ports: container.ports.filter(({ protocol }) => protocol === "TCP").map(({ containerPort }) => containerPort),
  };
}

function enrolment(pod: Pod, namespace: Namespace | undefined): PodDesired["enrolment"] {
  if (pod.metadata.annotations[redirection] === "enabled") return "done";
  const mode = pod.metadata.labels[dataplaneMode] ?? namespace?.metadata.labels[dataplaneMode];
  return mode === "ambient" && !pod.spec.hostNetwork ? "awaited" : "none";
}

function hostIps(life: PodLife): string[] {
  return life.node.nodeEnd.map(({ address }) => address);
}

function podKey({ metadata }: Pod | Service): string {
  return `${metadata.namespace}/${metadata.name}`;
}

const dataplaneMode = "istio.io/dataplane-mode";
const redirection = "ambient.istio.io/redirection";
