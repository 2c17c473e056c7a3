/** What becomes of a connection that reached a pod: through a tunnel on 15008, or in clear text on 15006 (agent-wire 1.9). */
import { isLoopback, type Endpoint } from "../base/ip.ts";
import type { Authority } from "../protocol/hbone/authority.ts";
import type { Identity } from "../protocol/spiffe/identity.ts";
import type { MeshService } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import { admit, type Admission } from "./admit.ts";
import type { DenialCode } from "./authorize.ts";
import { portOf } from "./eligible.ts";
import { closeReasons } from "./close-reasons.ts";
import type { MeshState } from "./mesh-state.ts";
import { isOwnPort } from "./own-ports.ts";
import type { TraceStep } from "./trace.ts";
import { hasWaypoint, isMember, waypointsOf } from "./waypoint.ts";

export interface InboundHboneFacts {
  /** The workload of the pod whose listener accepted the tunnel; undefined while control has not told us of it. */
  readonly local: MeshWorkload | undefined;
  /** The pod's address that the tunnel came to; canonical text. */
  readonly socketAddress: string;
  readonly authority: Authority;
  /** The TCP peer of the tunnel and what its certificate proved. */
  readonly peer: { readonly address: string; readonly identity: Identity };
  /** Whether an application tunnel with PROXY protocol is delivered to loopback. On unless said otherwise. */
  readonly localhostApplicationTunnel?: boolean;
  /** See AdmissionFacts. */
  readonly requireWaypoint?: boolean;
}

export interface InboundPlaintextFacts {
  readonly local: MeshWorkload | undefined;
  /** Where the captured connection was going. */
  readonly destination: Endpoint;
  readonly peerAddress: string;
  readonly requireWaypoint?: boolean;
}

export type InboundRefusalCode =
  | DenialCode
  | "WAYPOINT_REQUIRED"
  | "NO_WORKLOAD"
  | "DEST_NOT_LOCAL"
  | "UNKNOWN_HOSTNAME"
  | "NO_SERVICE_PORT"
  | "RECURSIVE_CALL";

export type InboundDecision =
  | {
      readonly kind: "connect";
      /** Where to connect inside the pod: its own address or loopback, never an address that a peer named. */
      readonly target: Endpoint;
      /** What policies were asked about. Ask again with this when they change. */
      readonly destination: Endpoint;
      /** Present where a PROXY v2 header goes first: the destination it names. */
      readonly proxyHeader?: { readonly destination: Endpoint };
      /** The ALLOW policy that admitted it. */
      readonly policy?: string;
      readonly trace: readonly TraceStep[];
    }
  | {
      readonly kind: "refuse";
      readonly reason: InboundRefusalCode;
      /** The answer to the CONNECT. A plaintext connection is closed instead. */
      readonly status: 400 | 401 | 503;
      readonly policy?: string;
      /** The waypoint that was passed by. */
      readonly waypoint?: string;
      readonly trace: readonly TraceStep[];
    };

/** What the authority means inside this pod. */
interface Aim {
  readonly port: number;
  /** What a PROXY header says the destination was. */
  readonly named: Endpoint | undefined;
}

/** For each CONNECT whose method and authority parsed. The order of the questions decides which refusal a peer sees. */
export function decideInboundHbone(state: MeshState, facts: InboundHboneFacts): InboundDecision {
  const { socketAddress, peer } = facts;
  const trace: TraceStep[] = [];
  if (facts.local === undefined) return refuse("NO_WORKLOAD", trace);
  const local = state.workload(facts.local.uid) ?? facts.local;
  const aim = aimOf(state, local, facts, trace);
  if (typeof aim === "string") return refuse(aim, trace);
  if (isOwnPort(aim.port)) return refuse("RECURSIVE_CALL", trace);
  const tunnel = local.applicationTunnel;
  const destination = { address: socketAddress, port: tunnel?.port ?? aim.port };
  if (isOwnPort(destination.port)) return refuse("RECURSIVE_CALL", trace);
  const verdict = admit(state, {
    local,
    peerIdentity: peer.identity,
    peerAddress: peer.address,
    destination,
    ...(facts.requireWaypoint !== undefined && { requireWaypoint: facts.requireWaypoint }),
  });
  if (!verdict.allowed) return denied(verdict, trace);
  trace.push(...verdict.trace);
  const proxied = tunnel?.protocol === "proxy";
  const toLoopback = proxied && (facts.localhostApplicationTunnel ?? true);
  return {
    kind: "connect",
    target: toLoopback ? { ...destination, address: loopbackLike(socketAddress) } : destination,
    destination,
    ...(proxied && { proxyHeader: { destination: aim.named ?? destination } }),
    ...(verdict.policy !== undefined && { policy: verdict.policy }),
    trace,
  };
}

/** For each captured plaintext connection: policies see no identity, and the destination stays what it was. */
export function decideInboundPlaintext(state: MeshState, facts: InboundPlaintextFacts): InboundDecision {
  const { local, destination } = facts;
  const trace: TraceStep[] = [];
  if (isOwnPort(destination.port)) return refuse("RECURSIVE_CALL", trace);
  if (local === undefined) return refuse("NO_WORKLOAD", trace);
  const verdict = admit(state, { ...facts, local });
  if (!verdict.allowed) return denied(verdict, trace);
  trace.push(...verdict.trace);
  const policy = verdict.policy;
  return { kind: "connect", target: destination, destination, ...(policy !== undefined && { policy }), trace };
}

function aimOf(
  state: MeshState,
  local: MeshWorkload,
  { authority, socketAddress }: InboundHboneFacts,
  trace: TraceStep[],
): Aim | "DEST_NOT_LOCAL" | "UNKNOWN_HOSTNAME" | "NO_SERVICE_PORT" {
  if (authority.kind === "ip") {
    const { endpoint } = authority;
    const because = whyLocal(state, local, endpoint.address, socketAddress);
    if (because === undefined) return "DEST_NOT_LOCAL";
    trace.push({ code: "authority-accepted", because });
    return { port: endpoint.port, named: endpoint };
  }
  const service = state.serviceByHostname(authority.hostname, local.namespace);
  if (service === undefined) return "UNKNOWN_HOSTNAME";
  const declared = service.ports.find((mapping) => mapping.servicePort === authority.port);
  const port = portOf(local, service.key, authority.port, declared?.targetPort ?? 0);
  if (port === undefined) return "NO_SERVICE_PORT";
  trace.push({ code: "target-is-service", service: service.key, by: "hostname" });
  trace.push({ code: "authority-accepted", because: "hostname" });
  return { port, named: vipOf(service, local.network, authority.port) };
}

/** An address is ours when the tunnel came to it, or when we stand before it: by an application tunnel, or as its waypoint. Loopback never is. */
function whyLocal(
  state: MeshState,
  local: MeshWorkload,
  address: string,
  socketAddress: string,
): "own-address" | "application-tunnel" | "fronted" | undefined {
  if (isLoopback(address)) return undefined;
  if (address === socketAddress) return "own-address";
  if (local.applicationTunnel) return "application-tunnel";
  return isFronted(state, local, address) ? "fronted" : undefined;
}

/** Whether what lives at the address names this workload as its waypoint, as the only one or as one of the weighted. */
function isFronted(state: MeshState, local: MeshWorkload, address: string): boolean {
  const workload = state.workloadByAddress(local.network, address);
  if (workload) return workload.waypoint !== undefined && isMember(state, local, workload.waypoint);
  const service = state.serviceByAddress(local.network, address, local.namespace)?.service;
  if (service === undefined) return false;
  if (waypointsOf(service).some((reference) => isMember(state, local, reference))) return true;
  return !hasWaypoint(service) && isAccountWaypoint(state, local, service);
}

/** Before a service without a waypoint stands the one of its endpoints' service account, where that takes services' connections too. */
function isAccountWaypoint(state: MeshState, local: MeshWorkload, service: MeshService): boolean {
  for (const { waypoint, waypointScope } of state.workloadsBehind(service.key)) {
    if (waypointScope === "service-account" && waypoint && isMember(state, local, waypoint)) return true;
  }
  return false;
}

/** A virtual address of the service: of the same network rather than another, IPv4 rather than IPv6. */
function vipOf(service: MeshService, network: string, port: number): Endpoint | undefined {
  const rank = (vip: MeshService["vips"][number]): number =>
    (vip.network === network ? 2 : 0) + (vip.address.includes(":") ? 0 : 1);
  const [best] = service.vips.toSorted((one, other) => rank(other) - rank(one));
  return best && { address: best.address, port };
}

function loopbackLike(address: string): string {
  return address.includes(":") ? "::1" : "127.0.0.1";
}

function denied({ reason, policy, waypoint, trace }: Denial, before: readonly TraceStep[]): InboundDecision {
  const refusal = refuse(reason, [...before, ...trace]);
  return { ...refusal, ...(policy !== undefined && { policy }), ...(waypoint !== undefined && { waypoint }) };
}

function refuse(reason: InboundRefusalCode, trace: TraceStep[]): Refusal {
  trace.push({ code: "refused", reason });
  const { status } = closeReasons[reason];
  return { kind: "refuse", reason, status, trace };
}

type Denial = Extract<Admission, { readonly allowed: false }>;
type Refusal = Extract<InboundDecision, { readonly kind: "refuse" }>;
