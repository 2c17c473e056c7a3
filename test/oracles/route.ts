/**
 * Outbound routing once more, as slowly and plainly as its text (agent-wire 1.7 and 1.8): every service and workload looked at,
 * nothing indexed, nothing shared with core/decision. Where chance decides, every answer that it could give is given.
 * Where we mean to differ from the text, a comment that begins with "Ours" says so.
 */
import { BlockList, isIPv6 } from "node:net";
import { formatIp } from "../../core/base/ip.ts";
import type { GatewayRef } from "../../core/protocol/wds/gateway.ts";
import type { MeshService } from "../../core/protocol/wds/service.ts";
import type { MeshWorkload } from "../../core/protocol/wds/workload.ts";

export interface Question {
  readonly workloads: readonly MeshWorkload[];
  readonly services: readonly MeshService[];
  readonly source: MeshWorkload;
  readonly network: string;
  readonly target: { readonly address: string; readonly port: number };
  readonly exclude: readonly string[];
  /** What names resolve to; a name that is missing has not been asked for. */
  readonly names: Readonly<Record<string, readonly string[]>>;
}

/** One way it may end. Lists are in order. */
export type Outcome =
  | { readonly kind: "passthrough"; readonly to: string }
  | { readonly kind: "direct"; readonly uid: string; readonly to: string }
  | {
      readonly kind: "hbone" | "double-hbone";
      readonly uid: string;
      readonly to: string;
      readonly authority: string;
      readonly identities: readonly string[];
      readonly inner?: readonly string[];
    }
  | { readonly kind: "refuse"; readonly reason: string };

/** A workload that takes a connection, on which port, and through which service it was found. */
interface Taker {
  readonly workload: MeshWorkload;
  readonly port: number;
  readonly service?: MeshService;
}

/** All that may come of the connection. */
export function outcomes(question: Question): Outcome[] {
  const { source, target, network, workloads, services } = question;
  if ((target.address.startsWith("127.") || target.address === "::1") && agentPorts.includes(target.port))
    return refuse("RECURSIVE_CALL");
  const workload = workloadAt(workloads, network, target.address);
  const covering = serviceAt(services, network, target.address, source.namespace);
  const isPassthrough = covering?.loadBalancing?.mode === "passthrough";

  // A.
  const asked = workload === undefined ? covering : undefined;
  if (asked !== undefined) {
    const all = [asked.waypoint, ...asked.weightedWaypoints.map((weighted) => weighted.destination)];
    // Ours: past any of the service's waypoints is past them all.
    const isPast = all.some((reference) => reference !== undefined && isPodOf(question, source, reference));
    const drawn = asked.weightedWaypoints.filter(({ weight }) => weight > 0).map(({ destination }) => destination);
    const references = drawn.length > 0 ? drawn : asked.waypoint === undefined ? [] : [asked.waypoint];
    if (!isPast && references.length > 0)
      return references.flatMap((reference) => byWaypoint(question, reference, asked));
  }

  // B and C.
  let takers: readonly Taker[];
  if (covering !== undefined && !isPassthrough) {
    const found = endpointsOf(question, covering, target.port, "service");
    // Ours: also where A saw a workload that a service's prefix covers: not in clear text.
    if (typeof found === "string") return refuse(found);
    takers = found;
  } else if (workload !== undefined) {
    // Ours: a PASSTHROUGH prefix around a workload that we know is no reason to leave the mesh.
    takers = [{ workload, port: target.port }];
  } else return [{ kind: "passthrough", to: at(target.address, target.port) }];
  return takers.flatMap((taker) => toTaker(question, taker, asked));
}

function toTaker(question: Question, taker: Taker, asked: MeshService | undefined): Outcome[] {
  const { source, target } = question;
  const { waypoint, waypointScope } = taker.workload;
  if (waypoint !== undefined && !isPodOf(question, source, waypoint)) {
    const hasOwn = asked !== undefined && (asked.waypoint ?? asked.weightedWaypoints.find(({ weight }) => weight > 0));
    // Ours: the waypoint of a service account takes what is meant for services without one.
    if (asked !== undefined && !hasOwn && waypointScope === "service-account")
      return byWaypoint(question, waypoint, asked);
    if (asked === undefined && taker.workload.network === source.network)
      return byWaypoint(question, waypoint, undefined); // F
  }
  if (taker.workload.network !== source.network) {
    return asked === undefined ? refuse("CROSS_NETWORK_ADDRESS") : byGateway(question, taker, asked); // D
  }
  // G.
  return addressesOf(question, taker, target.address).map((address) => {
    if (address.startsWith("!")) return { kind: "refuse", reason: address.slice(1) };
    const { workload } = taker;
    if (workload.tunnel === "tcp") return { kind: "direct", uid: workload.uid, to: at(address, taker.port) };
    const identities = [idOf(workload), ...spiffeNames(taker.service)];
    const authority = at(address, taker.port);
    return { kind: "hbone", uid: workload.uid, to: at(address, 15008), authority, identities: unique(identities) };
  });
}

function byWaypoint(question: Question, reference: GatewayRef, asked: MeshService | undefined): Outcome[] {
  const takers = behind(question, reference, "waypoint");
  if (takers === "unknown") return refuse("UNKNOWN_WAYPOINT");
  if (takers === "none") return refuse("NO_HEALTHY_WAYPOINT");
  return takers.flatMap((taker) => {
    if (taker.workload.network === question.source.network)
      return tunnelsTo(question, reference, taker, "hbone", at(question.target.address, question.target.port));
    return asked === undefined ? refuse("CROSS_NETWORK_ADDRESS") : byGateway(question, taker, asked);
  });
}

/** E. */
function byGateway(question: Question, taker: Taker, asked: MeshService): Outcome[] {
  const reference = taker.workload.networkGateway;
  if (reference === undefined) return refuse("NO_NETWORK_GATEWAY");
  const gateways = behind(question, reference, "service");
  if (gateways === "unknown") return refuse("NO_NETWORK_GATEWAY");
  if (gateways === "none") return refuse("NO_HEALTHY_GATEWAY");
  const inner = spiffeNames(taker.service);
  if (inner.length === 0) return refuse("NO_REMOTE_IDENTITY");
  const authority = `${asked.hostname}:${question.target.port}`;
  return gateways
    .flatMap((gateway) => tunnelsTo(question, reference, gateway, "double-hbone", authority))
    .map((outcome) => (outcome.kind === "double-hbone" ? { ...outcome, uid: taker.workload.uid, inner } : outcome));
}

function tunnelsTo(
  question: Question,
  { destination }: GatewayRef,
  taker: Taker,
  kind: "hbone" | "double-hbone",
  authority: string,
): Outcome[] {
  const wanted = destination.kind === "address" ? destination.address : question.target.address;
  return addressesOf(question, taker, wanted).map((address) => {
    if (address.startsWith("!")) return { kind: "refuse", reason: address.slice(1) };
    const identities = unique([idOf(taker.workload), ...spiffeNames(taker.service)]);
    return { kind, uid: taker.workload.uid, to: at(address, taker.port), authority, identities };
  });
}

function behind(
  question: Question,
  { destination, port }: GatewayRef,
  purpose: "waypoint" | "service",
): readonly Taker[] | "unknown" | "none" {
  const { workloads, services, source } = question;
  let service: MeshService | undefined;
  let workload: MeshWorkload | undefined;
  if (destination.kind === "address") {
    workload = workloadAt(workloads, destination.network, destination.address);
    if (workload === undefined)
      service = serviceAt(services, destination.network, destination.address, source.namespace);
  } else {
    const { namespace, hostname } = destination;
    service = services.find((one) => one.namespace === namespace && one.hostname === hostname);
    workload = [...workloads]
      .sort((a, b) => (a.uid < b.uid ? -1 : 1))
      .find((one) => one.namespace === namespace && one.hostname === hostname);
    if (service !== undefined) workload = undefined;
  }
  if (workload !== undefined) return [{ workload, port }];
  if (service === undefined) return "unknown";
  const found = endpointsOf(question, service, port, purpose);
  return typeof found === "string" ? "none" : found;
}

/** 1.8: each endpoint that could be drawn, or the reason for which there is none. */
function endpointsOf(
  { workloads, source, exclude }: Question,
  service: MeshService,
  port: number,
  purpose: "waypoint" | "service",
): readonly Taker[] | string {
  const declared = service.ports.find((mapping) => mapping.servicePort === port);
  if (declared === undefined && purpose === "service") return "NO_SERVICE_PORT";
  const members = workloads.filter(
    (workload) =>
      workload.services.has(service.key) &&
      (workload.healthy || service.loadBalancing?.allowUnhealthy === true) &&
      workload.capacity > 0 &&
      !exclude.includes(workload.uid) &&
      (workload.addresses.length > 0 ||
        workload.hostname !== "" ||
        (workload.network !== source.network && workload.networkGateway !== undefined)),
  );
  const takers: Taker[] = [];
  for (const workload of members) {
    const own = workload.services.get(service.key)?.find((mapping) => mapping.servicePort === port)?.targetPort ?? 0;
    const hasTunnel = purpose === "waypoint" && workload.applicationTunnel?.port !== undefined;
    const target = own || (declared?.targetPort ?? 0) || (hasTunnel ? port : 0);
    if (target !== 0) takers.push({ workload, port: target, service });
  }
  if (takers.length === 0) return members.length > 0 ? "NO_SERVICE_PORT" : "NO_HEALTHY_UPSTREAM";
  const ranks = takers.map(({ workload }) => rank(service, source, workload));
  const best = Math.max(...ranks);
  if (best < 0) return "NO_HEALTHY_UPSTREAM";
  return takers.filter((_, index) => ranks[index] === best);
}

/** -1 is out of the question. */
function rank(service: MeshService, source: MeshWorkload, workload: MeshWorkload): number {
  const rule = service.loadBalancing;
  if (rule === undefined || rule.mode === "any" || rule.mode === "passthrough") return 0;
  const shares = rule.preferences.map((scope) => scopeOf(scope, source) === scopeOf(scope, workload));
  if (rule.mode === "strict" && shares.includes(false)) return -1;
  if (rule.preferences[0] === "network") {
    const later = [...shares.slice(1), false].indexOf(false);
    return later + (shares[0] ? shares.length : 0);
  }
  return [...shares, false].indexOf(false);
}

function scopeOf(scope: string, workload: MeshWorkload): string {
  const { locality, node, clusterId, network } = workload;
  return { ...locality, node, cluster: clusterId, network }[scope] ?? "";
}

/** Each address that could be drawn; `!CODE` where there is none. */
function addressesOf({ names }: Question, { workload, service }: Taker, wanted: string): string[] {
  const isNameOnly = workload.addresses.length === 0 && workload.hostname !== "";
  const known = isNameOnly ? (names[workload.hostname] ?? []) : workload.addresses;
  if (known.includes(wanted)) return [wanted];
  const families = { automatic: "46", dual: "46", ipv4: "4", ipv6: "6" }[service?.ipFamilies ?? "automatic"];
  const allowed = known.filter((address) => families.includes(isIPv6(address) ? "6" : "4"));
  const alike = allowed.filter((address) => isIPv6(address) === isIPv6(wanted));
  const best = alike.length > 0 ? alike : allowed;
  if (best.length === 0) return [isNameOnly && known.length === 0 ? "!HOSTNAME_UNRESOLVED" : "!NO_USABLE_ADDRESS"];
  return isNameOnly ? [...best] : best.slice(0, 1);
}

function workloadAt(workloads: readonly MeshWorkload[], network: string, address: string): MeshWorkload | undefined {
  const merit = ({ uid, tunnel }: MeshWorkload): number =>
    (uid.includes("//Pod/") ? 2 : 0) + (tunnel === "hbone" ? 1 : 0);
  return workloads
    .filter((one) => !one.hostNetwork && one.network === network && one.addresses.includes(address))
    .sort((a, b) => merit(b) - merit(a) || (a.uid < b.uid ? -1 : 1))[0];
}

function serviceAt(
  services: readonly MeshService[],
  network: string,
  address: string,
  client: string,
): MeshService | undefined {
  const visible = services.filter((one) => one.visibility === "public" || one.namespace === client);
  const isOwn = (one: MeshService): number => (one.namespace === client ? 1 : 0);
  const byKey = (a: MeshService, b: MeshService): number => (a.key < b.key ? -1 : 1);
  const exact = visible
    .filter((one) => one.vips.some((vip) => vip.network === network && vip.address === address))
    .sort((a, b) => isOwn(b) - isOwn(a) || Number(b.canonical) - Number(a.canonical) || byKey(a, b));
  if (exact[0]) return exact[0];
  return visible
    .flatMap((service) =>
      service.cidrVips
        .filter((cidr) => cidr.network === network && isInside(cidr, address))
        .map(({ length }) => ({ service, length })),
    )
    .sort(
      (a, b) =>
        isOwn(b.service) - isOwn(a.service) ||
        b.length - a.length ||
        Number(b.service.canonical) - Number(a.service.canonical) ||
        byKey(a.service, b.service),
    )[0]?.service;
}

function isPodOf({ services, ...rest }: Question, workload: MeshWorkload, { destination }: GatewayRef): boolean {
  if (destination.kind === "hostname") {
    const { namespace, hostname } = destination;
    const isIt = workload.hostname === hostname && workload.namespace === namespace;
    return isIt || workload.services.has(`${namespace}/${hostname}`);
  }
  const { network, address } = destination;
  const isIt = workload.network === network && !workload.hostNetwork && workload.addresses.includes(address);
  const service = serviceAt(services, network, address, rest.source.namespace);
  return isIt || (service !== undefined && workload.services.has(service.key));
}

function isInside({ prefix, length }: { prefix: Uint8Array; length: number }, address: string): boolean {
  const base = formatIp(prefix) ?? "";
  if (isIPv6(base) !== isIPv6(address)) return false;
  const list = new BlockList();
  list.addSubnet(base, length, isIPv6(base) ? "ipv6" : "ipv4");
  return list.check(address, isIPv6(address) ? "ipv6" : "ipv4");
}

function idOf({ trustDomain, namespace, serviceAccount }: MeshWorkload): string {
  return `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`;
}

function spiffeNames(service: MeshService | undefined): string[] {
  const shape = /^spiffe:\/\/[^/]+\/ns\/[^/]+\/sa\/[^/]+$/;
  return unique(service?.subjectAltNames.filter((name) => shape.test(name)) ?? []);
}

function unique(list: readonly string[]): string[] {
  return list.filter((one, index) => list.indexOf(one) === index);
}

function at(address: string, port: number): string {
  return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
}

function refuse(reason: string): Outcome[] {
  return [{ kind: "refuse", reason }];
}

const agentPorts = [15001, 15006, 15008, 15053];
