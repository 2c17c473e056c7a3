/** Services as the lab's "kube-proxy" sees them: which pods answer behind which virtual address. Pure. */
import { canonicalIp, type Endpoint } from "../core/base/ip.ts";
import { labelsMatch, type Pod, type Service, type ServicePort } from "../control/sources/objects.ts";
import type { Snapshot } from "../control/sources/source.ts";

/** One virtual address and TCP port, and where connections to it go. No target: they are refused. */
export interface ServiceRoute {
  /** `namespace/name` */
  readonly service: string;
  readonly vip: Endpoint;
  readonly targets: readonly Endpoint[];
}

/** @param vipsOf the virtual addresses of a service, assigned ones included. */
export function serviceRoutes(snapshot: Snapshot, vipsOf: (service: Service) => readonly string[]): ServiceRoute[] {
  return snapshot.all("Service").flatMap((service) =>
    service.spec.ports
      .filter((port) => port.protocol === "TCP")
      .flatMap((port) => {
        const targets = targetsOf(snapshot, service, port);
        return vipsOf(service).map((address) => ({
          service: `${service.metadata.namespace}/${service.metadata.name}`,
          vip: { address, port: port.port },
          targets: targets.filter((target) => target.address.includes(":") === address.includes(":")),
        }));
      }),
  );
}

/** Addresses of the pods that a service selects: what a headless one resolves to. */
export function selectedPods(snapshot: Snapshot, service: Service): Pod[] {
  const { selector, publishNotReadyAddresses } = service.spec;
  if (Object.keys(selector).length === 0) return [];
  return snapshot
    .all("Pod")
    .filter(
      (pod) =>
        pod.metadata.namespace === service.metadata.namespace &&
        labelsMatch(selector, pod.metadata.labels) &&
        (publishNotReadyAddresses || isReady(pod)),
    );
}

function targetsOf(snapshot: Snapshot, service: Service, port: ServicePort): Endpoint[] {
  if (Object.keys(service.spec.selector).length === 0) return sliceTargets(snapshot, service, port);
  return selectedPods(snapshot, service).flatMap((pod) => {
    const number = podPort(pod, port.targetPort);
    return number === undefined ? [] : pod.status.podIPs.map((address) => ({ address, port: number }));
  });
}

function sliceTargets(snapshot: Snapshot, service: Service, port: ServicePort): Endpoint[] {
  const { namespace, name } = service.metadata;
  const slices = snapshot
    .all("EndpointSlice")
    .filter(({ metadata }) => metadata.namespace === namespace && metadata.labels[serviceLabel] === name);
  return slices.flatMap(({ endpoints, ports }) => {
    const number = ports.find((candidate) => candidate.name === port.name)?.port;
    if (number === undefined) return [];
    const ready = endpoints.filter((endpoint) => endpoint.ready).flatMap((endpoint) => endpoint.addresses);
    return ready.flatMap((text) => {
      const address = canonicalIp(text);
      return address === undefined ? [] : [{ address, port: number }];
    });
  });
}

function podPort(pod: Pod, target: number | string): number | undefined {
  if (typeof target === "number") return target;
  return pod.spec.containers.flatMap(({ ports }) => ports).find(({ name }) => name === target)?.containerPort;
}

function isReady(pod: Pod): boolean {
  return pod.status.conditions.some(({ type, status }) => type === "Ready" && status === "True");
}

const serviceLabel = "kubernetes.io/service-name";
