/** Ports as services, entries and slices name them, and the ones they come down to at a workload. */
import { AppProtocol, type Port } from "../../../core/protocol/generated/workload.ts";
import type { ContainerPort, EndpointSlice, EntryEndpoint, Pod, Service, ServiceEntry } from "../../sources/objects.ts";

type EntryPort = ServiceEntry["spec"]["ports"][number];

/** A Service's ports for everybody: a named target is 0 here, and told with each workload. Agents carry TCP only. */
export function servicePorts(service: Service): Port[] {
  return tcpPorts(service).map((port) => ({
    servicePort: port.port,
    targetPort: typeof port.targetPort === "number" ? port.targetPort : 0,
    appProtocol: protocolOf(port.appProtocol ?? port.name.split("-")[0] ?? ""),
  }));
}

export function entryPorts(entry: ServiceEntry): Port[] {
  return entry.spec.ports.filter(isTcpEntryPort).map((port) => ({
    servicePort: port.number,
    targetPort: port.targetPort ?? port.number,
    appProtocol: protocolOf(port.protocol),
  }));
}

/** A Service's ports at one of its pods. A name that the pod does not have leaves its port out. */
export function portsAtPod(service: Service, pod: Pod): Port[] {
  return tcpPorts(service).flatMap(({ port, targetPort }) => {
    const target = typeof targetPort === "number" ? targetPort : containerPort(pod, targetPort);
    return target === undefined ? [] : plain(port, target);
  });
}

/** A Service's ports at a WorkloadEntry, whose own port names answer for containers'. */
export function portsAtWorkloadEntry(service: Service, endpoint: EntryEndpoint): Port[] {
  return tcpPorts(service).flatMap(({ name, port, targetPort }) => {
    const named = endpoint.ports[name] ?? (typeof targetPort === "string" ? endpoint.ports[targetPort] : targetPort);
    return named === undefined ? [] : plain(port, named);
  });
}

/** A ServiceEntry's ports at one endpoint: its own number for a port's name, else the entry's target. */
export function entryPortsAtEndpoint(entry: ServiceEntry, endpoint: EntryEndpoint | undefined): Port[] {
  return entry.spec.ports
    .filter(isTcpEntryPort)
    .flatMap(({ name, number, targetPort }) => plain(number, endpoint?.ports[name] ?? targetPort ?? number));
}

/** A ServiceEntry's ports at a pod it selects: without a target, the container port of the same name, else the number. */
export function entryPortsAtPod(entry: ServiceEntry, pod: Pod): Port[] {
  return entry.spec.ports
    .filter(isTcpEntryPort)
    .flatMap(({ name, number, targetPort }) => plain(number, targetPort ?? containerPort(pod, name) ?? number));
}

/** A Service's ports at the endpoints of one of its slices: matched by name. */
export function portsInSlice(service: Service, slice: EndpointSlice): Port[] {
  return tcpPorts(service).flatMap(({ name, port }) => {
    const target = slice.ports.find((candidate) => candidate.name === name && candidate.protocol === "TCP")?.port;
    return target === undefined ? [] : plain(port, target);
  });
}

function tcpPorts(service: Service): Service["spec"]["ports"] {
  return service.spec.ports.filter(({ protocol }) => protocol === "TCP");
}

function isTcpEntryPort(port: EntryPort): boolean {
  return port.protocol.toUpperCase() !== "UDP";
}

function plain(servicePort: number, targetPort: number): Port[] {
  return [{ servicePort, targetPort, appProtocol: AppProtocol.UNKNOWN }];
}

/** By name, among containers and those init containers that run beside them. */
function containerPort(pod: Pod, name: string): number | undefined {
  const sidecars = pod.spec.initContainers.filter(({ restartPolicy }) => restartPolicy === "Always");
  const ports: ContainerPort[] = [...pod.spec.containers, ...sidecars].flatMap((container) => container.ports);
  return ports.find((port) => port.name === name && port.protocol === "TCP")?.containerPort;
}

function protocolOf(word: string): AppProtocol {
  return protocols.get(word.toLowerCase()) ?? AppProtocol.UNKNOWN;
}

/** What `appProtocol`, a port's name up to its first dash, or a ServiceEntry may say; anything else is found out. */
const protocols = new Map<string, AppProtocol>([
  ["http", AppProtocol.HTTP11],
  ["kubernetes.io/ws", AppProtocol.HTTP11],
  ["http2", AppProtocol.HTTP2],
  ["kubernetes.io/h2c", AppProtocol.HTTP2],
  ["grpc", AppProtocol.GRPC],
  ["https", AppProtocol.TLS],
  ["tls", AppProtocol.TLS],
  ["kubernetes.io/wss", AppProtocol.TLS],
  ["tcp", AppProtocol.TCP],
]);
