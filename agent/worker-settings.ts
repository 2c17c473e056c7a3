/** What a worker is told once, when it starts, from the agent's settings. */
import type { Log } from "../core/base/log.ts";
import type { AgentConfig } from "./config.ts";
import { dnsWorkerSettings } from "./dns/config.ts";
import { descriptorLimit } from "./process-limits.ts";
import type { MemoryBudget } from "./worker/memory-watch.ts";
import type { WorkerSettings } from "./worker/context.ts";

/** @param memory what one worker may hold. */
export function workerSettings(config: AgentConfig, memory: MemoryBudget, log: Log): WorkerSettings {
  return {
    network: config.network,
    node: config.nodeName,
    packetMark: config.packetMark,
    keepAlive: config.keepAlive,
    connectDeadlineMs: 10_000,
    workloadDeadlineMs: 5_000,
    poolIdleReleaseMs: config.poolIdleReleaseMs,
    podConnections: config.podConnections ?? Math.max(256, Math.floor(descriptorLimit() / 4)),
    memory,
    responseBaggage: config.responseBaggage,
    dns: config.dns && dnsWorkerSettings(config.dns, config, log),
    engine: config.engine,
    limits: config.limits,
    tls: config.tls,
    revocation: config.crlPath !== undefined,
    localhostApplicationTunnel: config.localhostApplicationTunnel,
    requireWaypoint: config.requireWaypoint,
    policyInfoLogging: config.policyInfoLogging,
    sniff: config.sniff,
  };
}
