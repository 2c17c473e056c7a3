/** Pods as workloads. */
import {
  ApplicationTunnel_Protocol as TunnelledProtocol,
  NetworkMode,
  TunnelProtocol,
  WorkloadStatus,
  WorkloadType,
  type Locality,
  type Workload,
} from "../../../core/protocol/generated/workload.ts";
import type { Pod } from "../../sources/objects.ts";
import { attachedPolicies } from "./attached-policies.ts";
import { accountMark, bindingOf, waypointAddress } from "./bindings.ts";
import type { Reader } from "./collections.ts";
import { isEmpty, type Inputs } from "./inputs.ts";
import { entryPortsAtPod, portsAtPod, portsInSlice } from "./ports.ts";
import { addressBytes } from "./resources.ts";
import { isMeshService } from "./services.ts";
import { blankWorkload, canonicalName, Memberships, selectingEntries, selectingServices } from "./workloads.ts";

/** A pod's workload; none while it has no address, nor once it is done. One that is starting is there already. */
export function derivePod(reader: Reader, inputs: Inputs, key: string): Workload | undefined {
  const pod = inputs.pods.get(reader, key);
  if (pod === undefined || pod.status.podIPs.length === 0) return undefined;
  if (pod.status.phase === "Succeeded" || pod.status.phase === "Failed") return undefined;
  const { name, namespace, labels } = pod.metadata;
  const workloadName = ownerName(pod);
  const isHost = pod.spec.hostNetwork;
  return {
    ...blankWorkload(inputs, `${inputs.config.clusterId}//Pod/${namespace}/${name}`, namespace, name),
    addresses: pod.status.podIPs.map(addressBytes),
    network: inputs.network(reader),
    ...tunnelOf(pod),
    serviceAccount: pod.spec.serviceAccountName,
    node: pod.spec.nodeName,
    ...canonicalName(labels, workloadName),
    workloadType: WorkloadType.POD,
    workloadName,
    authorizationPolicies: attachedPolicies(reader, inputs, namespace, labels),
    status: isReady(pod) ? WorkloadStatus.HEALTHY : WorkloadStatus.UNHEALTHY,
    services: servicesOf(reader, inputs, pod),
    locality: localityOf(reader, inputs, pod),
    networkMode: isHost ? NetworkMode.HOST_NETWORK : NetworkMode.STANDARD,
    ...waypointFields(reader, inputs, pod),
  };
}

/** The annotation, not the wish: it is written once redirection is in place. */
function tunnelOf(pod: Pod): Pick<Workload, "tunnelProtocol" | "nativeTunnel"> {
  const { annotations, labels } = pod.metadata;
  const speaksItself = (labels["networking.istio.io/tunnel"] ?? "").split(",").includes("http");
  const redirected = annotations["ambient.istio.io/redirection"] === "enabled";
  return {
    tunnelProtocol: speaksItself || redirected ? TunnelProtocol.HBONE : TunnelProtocol.NONE,
    nativeTunnel: speaksItself,
  };
}

/** A waypoint's own pods are never sent through a waypoint, nor is what shares its node's addresses. */
function waypointFields(
  reader: Reader,
  inputs: Inputs,
  pod: Pod,
): Partial<Pick<Workload, "waypoint" | "applicationTunnel" | "extensions">> {
  const { namespace, labels } = pod.metadata;
  const gateway = labels["gateway.networking.k8s.io/gateway-name"];
  const own = gateway === undefined ? undefined : inputs.waypoints.get(reader, `${namespace}/${gateway}`);
  if (own !== undefined) {
    const { inboundBinding } = own;
    if (inboundBinding === undefined) return {};
    const protocol = inboundBinding.protocol === "PROXY" ? TunnelledProtocol.PROXY : TunnelledProtocol.NONE;
    return { applicationTunnel: { protocol, port: inboundBinding.port } };
  }
  if (pod.spec.hostNetwork) return {};
  const binding = bindingOf(reader, inputs, pod.metadata, "workload", pod.spec.serviceAccountName);
  return { waypoint: waypointAddress(reader, inputs, binding), extensions: accountMark(binding) };
}

function servicesOf(reader: Reader, inputs: Inputs, pod: Pod): Workload["services"] {
  const { namespace, name, labels, uid } = pod.metadata;
  const memberships = new Memberships(inputs);
  // A slice may name the pod for a Service that has no selector to find it by.
  for (const slice of inputs.slices.lookup(reader, "slice-of-pod", `${namespace}/${name}`)) {
    const service = inputs.services.get(
      reader,
      `${slice.metadata.namespace}/${slice.metadata.labels["kubernetes.io/service-name"] ?? ""}`,
    );
    const named = slice.endpoints.some(({ targetRef }) => targetRef?.kind === "Pod" && targetRef.uid === uid);
    if (named && service !== undefined && isMeshService(service) && isEmpty(service.spec.selector))
      memberships.addService(service, portsInSlice(service, slice));
  }
  for (const { entry, hosts } of selectingEntries(reader, inputs, namespace, labels))
    for (const host of hosts) memberships.add(namespace, host, entryPortsAtPod(entry, pod));
  for (const service of selectingServices(reader, inputs, namespace, labels))
    memberships.addService(service, portsAtPod(service, pod));
  return memberships.build();
}

function localityOf(reader: Reader, inputs: Inputs, pod: Pod): Locality | undefined {
  const locality = inputs.localities.get(reader, pod.spec.nodeName);
  if (locality === undefined) return undefined;
  const { region, zone, subzone } = locality;
  return region === "" && zone === "" && subzone === "" ? undefined : { region, zone, subzone };
}

function isReady(pod: Pod): boolean {
  const ready = pod.status.conditions.some(({ type, status }) => type === "Ready" && status === "True");
  return ready && pod.metadata.deletionTimestamp === undefined;
}

/** The controller's name, which for a Deployment is that of its ReplicaSet without the hash, for a CronJob that of its
 *  Job without the time; else the pod's own. */
function ownerName(pod: Pod): string {
  const owner = pod.metadata.ownerReferences.find(({ controller }) => controller);
  if (owner === undefined) return pod.metadata.name;
  const hash = pod.metadata.labels["pod-template-hash"];
  if (owner.kind === "ReplicaSet" && hash !== undefined && owner.name.endsWith(`-${hash}`))
    return owner.name.slice(0, -hash.length - 1);
  if (owner.kind === "Job") return owner.name.replace(/-[0-9]{8,10}$/, "");
  return owner.name;
}
