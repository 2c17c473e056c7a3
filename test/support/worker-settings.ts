/** A data-plane worker's settings, for tests that care about one of them at most. */
import type { WorkerSettings } from "../../agent/worker/context.ts";

export const workerSettings: WorkerSettings = {
  network: "",
  node: "node1",
  packetMark: undefined,
  keepAlive: undefined,
  connectDeadlineMs: 1_000,
  workloadDeadlineMs: 1_000,
  poolIdleReleaseMs: 300_000,
  podConnections: 10_000,
  memory: { heap: 2 ** 32, buffers: 2 ** 30 },
  responseBaggage: true,
  localhostApplicationTunnel: true,
  requireWaypoint: true,
  policyInfoLogging: false,
};
