/** Everything that crosses between the main thread and its data-plane workers: one typed union each way, plain data and key handles. */
import type { Identity } from "../core/protocol/spiffe/identity.ts";
import type { PodInfo } from "../core/protocol/zds/messages.ts";
import type { ProfileRequest } from "./admin/profile.ts";
import type { ConnectionRow } from "./connection/registry.ts";
import type { MeshSlice } from "./mesh-slice.ts";
import type { MetricRows } from "./metrics/rows.ts";
import type { RevokedSerials } from "./revocation/revocations.ts";
import type { CertificateDelivery } from "./worker/certificates.ts";
import type { WorkerSettings } from "./worker/context.ts";

/** What a worker is started with. */
export interface WorkerStart {
  readonly index: number;
  readonly settings: WorkerSettings;
  /** Buffer of agent/vital-signs.ts; without it nobody looks whether the worker lives. */
  readonly vitalSigns?: SharedArrayBuffer;
  /** Where readiness is asked for; one worker answers. */
  readonly readiness?: ReadinessAddress;
}

export interface ReadinessAddress {
  readonly port: number;
  /** undefined: every address of the agent's namespace. */
  readonly address: string | undefined;
}

/** Instead of a descriptor: nothing is listened for. */
export const noDescriptor = -1;

/** Descriptors of a pod's listening sockets. They are the receiver's to close. */
export interface PodDescriptors {
  /** 15001 */
  readonly outbound: number;
  /** 15006 */
  readonly plaintext: number;
  /** 15008 */
  readonly hbone: number;
  /** 15053; none where the agent answers no queries. */
  readonly dns?: readonly DnsDescriptor[];
}

/** All of them. */
export function descriptorsOf({ outbound, plaintext, hbone, dns = [] }: PodDescriptors): number[] {
  return [outbound, plaintext, hbone, ...dns.map(({ fd }) => fd)];
}

/** One of a pod's sockets for DNS: for each loopback address one of each protocol. */
export interface DnsDescriptor {
  readonly protocol: "udp" | "tcp";
  readonly address: string;
  readonly fd: number;
}

/**
 * Connections that may wait in each of them, as far as net.core.somaxconn of the pod lets them: what arrives while one agent is gone and
 * the next has not begun. Whoever listens on a descriptor again says it again.
 */
export const listenBacklog = 4_096;

export interface PodDelivery {
  /** Kubernetes uid. */
  readonly uid: string;
  readonly info: PodInfo;
  /** Descriptor of the pod's namespace; the main thread keeps it open until every worker has said `pod-gone`. */
  readonly netns: number | undefined;
  readonly descriptors: PodDescriptors;
  /** The listeners are transparent: applications can be connected to from their clients' addresses. */
  readonly transparent: boolean;
  /** Cells of agent/pod-connections.ts. */
  readonly connections: SharedArrayBuffer;
  /** Index of the worker that accepts its connections while one suffices (agent/worker/pod-home.ts); default: all do. */
  readonly home?: number | undefined;
  /** Another agent may be accepting from the same sockets: nothing is taken from it before it can be served here. */
  readonly inherited: boolean;
}

/** What one worker holds at a moment. */
export interface WorkerDump {
  readonly worker: number;
  readonly tunnels: { readonly outbound: TunnelCounts; readonly inbound: TunnelCounts };
  readonly connections: readonly ConnectionRow[];
}

/** Tunnels of one worker in one direction. */
export interface TunnelCounts {
  /** Handshakes that came to a tunnel, since the worker began. */
  readonly handshakes: number;
  /** Tunnels that stand. */
  readonly open: number;
}

/** A named condition of readiness. */
export interface Gate {
  readonly name: string;
  /** Absent: open. */
  readonly pending?: string;
}

export type ToWorker =
  /** Slices of the mesh, one for each turn; answered by `mesh-applied`. */
  | {
      readonly kind: "mesh";
      readonly sequence: number;
      readonly update: MeshSlice;
      readonly more?: readonly MeshSlice[];
    }
  /** A large push is in force everywhere. */
  | { readonly kind: "push-over" }
  | { readonly kind: "certificate"; readonly delivery: CertificateDelivery }
  | { readonly kind: "certificate-dropped"; readonly uri: string; readonly detail: string }
  | { readonly kind: "certificate-failed"; readonly uri: string; readonly detail: string }
  /** All lists of revoked certificates: tunnels that stand on one of them are cut. */
  | { readonly kind: "revocations"; readonly lists: readonly RevokedSerials[] }
  /** Answered by `pod-serving` or `pod-failed`. */
  | { readonly kind: "serve"; readonly pod: PodDelivery }
  /** Answered by `pod-closed` when nothing is accepted any more, and by `pod-gone` when nothing is left. */
  | { readonly kind: "leave"; readonly uid: string; readonly lingerMs: number }
  | { readonly kind: "hurry"; readonly uid: string }
  /** A pod that is leaving has lost its network: what is still open there will never hear of its end. */
  | { readonly kind: "pod-dead"; readonly uid: string }
  | { readonly kind: "gates"; readonly gates: readonly Gate[] }
  | { readonly kind: "dump"; readonly id: number }
  /** Answered by `metrics`. `reset`: another scrape's time begins now. */
  | { readonly kind: "metrics"; readonly id: number; readonly reset: boolean }
  /** Answered by `profile`. */
  | { readonly kind: "profile"; readonly request: ProfileRequest }
  /** `level` and `scope=level`, separated by commas. */
  | { readonly kind: "log-level"; readonly level: string }
  /** The process is to end, but nobody else serves yet: answered by `earlier-ended` when what is open now has ended. */
  | { readonly kind: "last-orders" }
  /** The process ends: no more is accepted; what is open has until the deadline. Answered by `drained`. */
  | { readonly kind: "drain"; readonly deadlineMs: number | undefined } // undefined: as long as it lasts
  /** Another agent of this network namespace takes the ports that only one can have. */
  | { readonly kind: "yield" };

export type FromWorker =
  | { readonly kind: "started" }
  | { readonly kind: "mesh-applied"; readonly sequence: number }
  | { readonly kind: "pod-serving"; readonly uid: string }
  | { readonly kind: "pod-failed"; readonly uid: string; readonly detail: string }
  | { readonly kind: "pod-closed"; readonly uid: string }
  | { readonly kind: "pod-gone"; readonly uid: string }
  | { readonly kind: "certificate-wanted"; readonly identity: Identity }
  | { readonly kind: "dumped"; readonly id: number; readonly dump: WorkerDump }
  | { readonly kind: "profile"; readonly json: string }
  /** A slice of the report. */
  | { readonly kind: "metrics"; readonly id: number; readonly rows: MetricRows; readonly last: boolean }
  | { readonly kind: "earlier-ended" }
  | { readonly kind: "readiness-failed"; readonly detail: string }
  | { readonly kind: "drained" };
