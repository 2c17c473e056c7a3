/** What the DNS proxies of one worker's pods share; built in worker/worker.ts, or by a test. */
import type { Socket } from "node:net";
import type { Clock } from "../../core/base/clock.ts";
import type { Endpoint } from "../../core/base/ip.ts";
import type { Log } from "../../core/base/log.ts";
import type { Random } from "../../core/base/random.ts";
import type { DnsSettings } from "../../core/decision/dns.ts";
import type { LinuxError } from "../../core/linux/errno.ts";
import type { UdpExchange, UdpExchangeOptions } from "../../core/linux/udp-sockets.ts";
import type { PodInfo } from "../../core/protocol/zds/messages.ts";
import type { WorkerMesh } from "../worker/mesh.ts";
import type { DnsObserver } from "./observer.ts";

/** Plain data: crosses to the worker when it starts. */
export interface DnsWorkerSettings extends DnsSettings {
  /** Where our own listeners are: nothing is ever forwarded there. */
  readonly port: number;
  /** For queries of which the kernel does not say whom they were for. */
  readonly nameServers: readonly Endpoint[];
  /** Queries of one pod that may wait for an answer in one worker. */
  readonly inFlight: number;
  /** Shared by all workers: by it they know each other's probes for loops. */
  readonly probeSecret: string;
  /** How long a resolver has, in milliseconds, and how long a client over TCP may keep us waiting. */
  readonly deadlineMs: number;
}

export interface DnsHost {
  readonly settings: DnsWorkerSettings;
  readonly workloadDeadlineMs: number;
  readonly packetMark: number | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: Random;
  /** 0 to 65,535, from a source that nobody can foresee. */
  readonly randomId: () => number;
  readonly mesh: Pick<WorkerMesh, "state" | "workloadOf" | "waitForWorkload">;
  readonly observer: DnsObserver;
  readonly connect: (request: { readonly netns: number | undefined; readonly remote: Endpoint }) => Socket;
  readonly openUdp: (first: Uint8Array, options: UdpExchangeOptions) => UdpExchange | LinuxError;
  /** Where a captured TCP connection was going. */
  readonly originalDestination: (socket: Socket) => Endpoint | undefined;
  /** Where a captured datagram was going; undefined where nobody can say. @param to where it was received. */
  readonly originalUdpDestination: (netns: number | undefined, from: Endpoint, to: Endpoint) => Endpoint | undefined;
}

/** The pod whose queries are meant. */
export interface DnsPod {
  readonly uid: string;
  readonly info: PodInfo;
  readonly netns: number | undefined;
}
