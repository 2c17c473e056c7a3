/** Every curve, the cheap ones first. */
import type { GrowthScenario } from "../scenarios/scenario.ts";
import { growthConnections } from "./connections.ts";
import { growthDecisions } from "./decisions.ts";
import { growthPods } from "./pods.ts";
import { growthPolicies, growthWorkloads } from "./state-size.ts";

/** Made anew for each run. @param seconds of each load. @param workers threads of each agent. */
export function allCurves({ seconds = 2, workers = 2 } = {}): GrowthScenario[] {
  return [
    growthWorkloads(),
    growthPolicies(),
    growthDecisions(seconds),
    growthPods(workers),
    growthConnections(seconds, workers),
  ];
}
