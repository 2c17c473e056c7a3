/** What of ours is found where nothing of ours should be, a line each: in a pod, on a node, in the API. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import type { Cluster, ClusterNode } from "../cluster.ts";
import { processesUnder } from "../host/cgroups.ts";
import { stateFolder } from "../layout.ts";
import { cniConfiguration } from "../node-configuration.ts";
import { redirectionOf, type Pod } from "./capture.ts";
import { systemNamespace } from "./install.ts";

/** Rules, routes, listening sockets, the annotation. */
export async function remainsInPod(cluster: Cluster, pod: Pod): Promise<string[]> {
  const { namespace, name } = pod.metadata;
  const { pid, netns } = await cluster.podProcess(namespace, name);
  const { stdout } = await cluster.command(["nsenter", `--net=${netns}`, "sh", "-c", netfilterAndRouting]);
  return [
    ...lines(stdout),
    ...listeningPorts(pid)
      .filter((port) => agentPorts.has(port))
      .map((port) => `a socket that listens on ${port}`),
    ...(redirectionOf(pod) === undefined ? [] : [`redirection: ${redirectionOf(pod)}`]),
  ].map((line) => `${namespace}/${name}: ${line}`);
}

/** What all captured pods have together: throws for the first that lacks something. */
export async function assertCaptured(cluster: Cluster, pods: readonly Pod[]): Promise<void> {
  await Promise.all(
    pods.map(async (pod) => {
      const found = (await remainsInPod(cluster, pod)).join("\n");
      for (const trace of [
        /: table \w+ /,
        /: 32764:/,
        /local default/,
        /15001/,
        /15006/,
        /15008/,
        /redirection: enabled/,
      ])
        assert.match(found, trace, pod.metadata.name);
    }),
  );
}

/** Nothing of ours is left in any of them. */
export async function assertFree(cluster: Cluster, pods: readonly Pod[]): Promise<void> {
  assert.deepEqual((await Promise.all(pods.map((pod) => remainsInPod(cluster, pod)))).flat(), []);
}

/** Of a routing table that was never made, `ip` says so on its standard error. */
const netfilterAndRouting = `nft list tables
for family in -4 -6; do
  ip $family rule | grep ^32764:
  ip $family route show table 100 2>&-
done`;

/** Files, rules, mounts and processes; and the network's configuration must be, byte for byte, what it was at first. */
export async function remainsOnNode(node: ClusterNode): Promise<string[]> {
  const text = async (...argv: string[]): Promise<string> => (await node.nsenter(argv)).stdout;
  const configuration = await text("cat", "/etc/cni/net.d/10-bridge.conflist");
  const files = await text("find", "/etc/cni", "/opt/cni", "/var/run/", "-xdev", "-name", "*ambient*");
  const mounts = await text("cat", "/proc/1/mountinfo");
  return [
    ...(configuration === cniConfiguration(node.layout) ? [] : [`another configuration: ${configuration}`]),
    ...lines(files),
    ...lines(await text("nft", "list", "tables")).filter((line) => line.includes("ambient")),
    ...lines(mounts.replaceAll(stateFolder, "")).filter((line) => line.includes("ambient")),
    ...processesUnder(node.layout.cgroup, "")
      .map((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " "))
      .filter((command) => /ambientd|ambient-cni/.test(command)),
  ].map((line) => `${node.name}: ${line}`);
}

/** Objects of any kind that we, or Helm for us, wrote or wrote into. Events are history and pass by themselves. */
export async function remainsInApi(cluster: Cluster): Promise<string[]> {
  const kinds = lines(await cluster.mustKubectl(["api-resources", "--verbs=list", "-o", "name"]));
  const wanted = kinds.filter((kind) => !/^events\b|^componentstatuses$/.test(kind));
  const { items } = await cluster.get<{ items: StoredObject[] }>([wanted.join(","), "-A", "--show-managed-fields"]);
  return items.flatMap((object) => {
    const why = traceOf(object);
    const { namespace = "", name } = object.metadata;
    return why === undefined ? [] : [`${object.kind} ${namespace}/${name}: ${why}`];
  });
}

/** Ports in state LISTEN in a process's network namespace, of both families (proc_net_tcp: state 0A). */
export function listeningPorts(pid: number): number[] {
  return ["tcp", "tcp6"]
    .flatMap((file) => lines(readFileSync(`/proc/${pid}/net/${file}`, "utf8")).slice(1))
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , state]) => state === "0A")
    .map(([, local = ""]) => Number.parseInt(local.split(":")[1] ?? "", 16));
}

/** Outbound, inbound plaintext, inbound tunnels, DNS (cni.md section 4). */
export const agentPorts: ReadonlySet<number> = new Set([15001, 15006, 15008, 15053]);

interface StoredObject {
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly managedFields?: readonly { readonly manager?: string }[];
  };
}

function traceOf({ kind, metadata }: StoredObject): string | undefined {
  const { name, namespace, labels = {}, annotations = {}, managedFields = [] } = metadata;
  if (kind === "PodMetrics" || kind === "NodeMetrics") return undefined;
  if (/ambientd|^istio-ca-|^istiod$/.test(name)) return "its name";
  if (namespace === systemNamespace && !everyNamespaceHas.has(`${kind} ${name}`)) return "in our namespace";
  const manager = managedFields.find((entry) => entry.manager?.includes("ambientd") === true)?.manager;
  if (manager !== undefined) return `fields of ${manager}`;
  return Object.entries({ ...labels, ...annotations })
    .filter(([key]) => key !== "kubectl.kubernetes.io/last-applied-configuration")
    .map(([key, value]) => `${key}=${value}`)
    .find((text) => /ambientd|ambient\.istio\.io/.test(text));
}

const everyNamespaceHas: ReadonlySet<string> = new Set(["ServiceAccount default", "ConfigMap kube-root-ca.crt"]);

function lines(text: string): string[] {
  return text.split("\n").filter((line) => line.trim() !== "");
}
