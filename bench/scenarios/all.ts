/** Every scenario, in the order of a run: memory before what makes it grow, and again after it. */
import { bulk } from "./bulk.ts";
import { handshakes } from "./handshakes.ts";
import { latency } from "./latency.ts";
import { memory, memoryAfterLoad } from "./memory.ts";
import { keptAlive, newConnections } from "./requests.ts";
import type { Scenario } from "./scenario.ts";
import { stateCsr } from "../state/state-csr.ts";
import { stateLoad } from "../state/state-load.ts";
import { stateTraffic } from "../state/state-traffic.ts";

/** Made anew for each run: they may remember what they hold. @param seconds of each load. @param workers threads of each agent. */
export function allScenarios({ seconds = 4, workers = 2 } = {}): Scenario[] {
  return [
    memory(),
    bulk("bulk-1", 1, false),
    bulk("bulk-8", 8, false),
    bulk("bulk-reverse", 1, true),
    keptAlive(16),
    keptAlive(64),
    latency(200),
    latency(1_000),
    latency(5_000),
    newConnections(),
    memoryAfterLoad(),
    handshakes(),
    stateLoad(workers),
    stateCsr(),
    stateTraffic(seconds),
  ];
}
