/** What a worker's connections share. Built once in worker/main.ts, or by a test. */
import type { Clock } from "../../core/base/clock.ts";
import type { Log } from "../../core/base/log.ts";
import type { Random } from "../../core/base/random.ts";
import type { Endpoint } from "../../core/base/ip.ts";
import type { BareSocket } from "../../core/linux/bare-socket.ts";
import type { LinuxError } from "../../core/linux/errno.ts";
import type { KeepAlive } from "../../core/linux/sockets.ts";
import type { Socket } from "node:net";
import type { ConnectionRegistry } from "../connection/registry.ts";
import type { ConnectionHost } from "../connection/connection.ts";
import type { Counters } from "../metrics/counters.ts";
import type { AcceptGate } from "./accept-gate.ts";
import type { WorkerCertificates } from "./certificates.ts";
import type { SniffMode } from "../sniff/conversation.ts";
import type { VitalSigns } from "../vital-signs.ts";
import type { EngineName, EngineOptions } from "../tunnel/engine.ts";
import type { HeldMemory } from "../tunnel/held-memory.ts";
import type { TlsPolicy } from "../tunnel/tls-policy.ts";
import type { TunnelLimits } from "../tunnel/tunnel.ts";
import type { DnsHost, DnsWorkerSettings } from "../dns/host.ts";
import type { Revocations } from "../revocation/revocations.ts";
import type { ResetWatch } from "../relay/reset-watch.ts";
import type { EndSocket } from "../relay/tcp-end.ts";
import type { MemoryBudget } from "./memory-watch.ts";
import type { Ejections } from "./ejections.ts";
import type { WorkerMesh } from "./mesh.ts";
import type { HostResolver } from "./resolver.ts";
import type { SourcePorts } from "./source-ports.ts";

export interface WorkerContext {
  /** Of this worker, from 0. */
  readonly index: number;
  readonly settings: WorkerSettings;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly policyLog: Log;
  readonly mesh: WorkerMesh;
  readonly certificates: WorkerCertificates;
  /** undefined: nobody says what is revoked. */
  readonly revocations: Revocations | undefined;
  readonly registry: ConnectionRegistry;
  readonly ejections: Ejections;
  /** Asked with every connection that is accepted. */
  readonly gate: AcceptGate;
  /** Of all workers; undefined where nobody looks at them. */
  readonly signs: VitalSigns | undefined;
  /** What is held for streams whose readers have stalled. */
  readonly heldMemory: HeldMemory;
  /** What every tunnel of this worker is made with. */
  readonly tunnels: EngineOptions;
  /** Every socket of a relay is in it. */
  readonly resets: ResetWatch;
  /** Handshakes that came to a tunnel, counted as they end. */
  readonly handshakes: { outbound: number; inbound: number };
  /** For what is counted by name: agent/metrics/catalogue.ts. */
  readonly counters: Counters;
  /** Where connections report their beginning and their end. */
  readonly host: ConnectionHost;
  readonly sourcePorts: SourcePorts;
  /** undefined: this agent answers no queries. */
  readonly dns: DnsHost | undefined;
  /** For endpoints that have a name and no address. */
  readonly resolver: HostResolver;
  /** core/linux/sockets.ts connectTcp; a test without namespaces passes its own. */
  readonly connect: (options: ConnectRequest) => Socket;
  /** core/linux/sockets.ts connectBare; undefined where applications' sockets have to be Node's own. */
  readonly connectBare: ConnectBare | undefined;
  /** Where a captured connection was going; undefined where the kernel can't say. */
  readonly originalDestination: (socket: EndSocket) => Endpoint | undefined;
}

/** @param connected hears once, later, unless the socket is destroyed. @returns why nothing was begun. */
export type ConnectBare = (options: ConnectRequest, connected: (error?: LinuxError) => void) => BareSocket | LinuxError;

export interface ConnectRequest {
  readonly netns: number | undefined;
  readonly remote: Endpoint;
  /** Where to connect from, if that isn't ours; without a port the kernel chooses one. */
  readonly from?: { readonly address: string; readonly port?: number };
  /** What is read from it lies in memory of the thread: for ends of relays and of tunnels, which know (core/linux/lent-reads.ts). */
  readonly lendsReads?: true;
}

/** Plain data: crosses to the worker when it starts. */
export interface WorkerSettings {
  readonly network: string;
  readonly node: string;
  readonly packetMark: number | undefined;
  readonly keepAlive: KeepAlive | undefined;
  /** Milliseconds for TCP connects, handshakes, answers, and the wait for a workload or certificate. */
  readonly connectDeadlineMs: number;
  readonly workloadDeadlineMs: number;
  readonly poolIdleReleaseMs: number;
  /** Connections that one pod may hold, over all workers. */
  readonly podConnections: number;
  /** What one worker may hold. */
  readonly memory: MemoryBudget;
  readonly responseBaggage: boolean;
  /** undefined: no queries are answered. */
  readonly dns?: DnsWorkerSettings | undefined;
  /** Who speaks TLS and HTTP/2; default: our own engines. */
  readonly engine?: EngineName;
  readonly limits?: TunnelLimits;
  /** Default: agent/tunnel/tls-policy.ts. */
  readonly tls?: TlsPolicy;
  /** Whether lists of revoked certificates are going to be said. */
  readonly revocation?: boolean;
  /** Whether an application behind a PROXY tunnel is connected to on loopback. */
  readonly localhostApplicationTunnel: boolean;
  /** Whether who has a waypoint is reached through it only. */
  readonly requireWaypoint: boolean;
  /** Whether verdicts of policies are logged at info; else at debug. */
  readonly policyInfoLogging: boolean;
  /** What is looked for in connections to pods; undefined: nothing, and nobody looks. */
  readonly sniff?: SniffMode | undefined;
}
