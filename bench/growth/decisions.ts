/** What a connection and a request cost under a growing number of policies, all of which are judged and none of which applies. */
import { keptAlive, newConnections } from "../scenarios/requests.ts";
import type { GrowthScenario, PairedScenario, Values } from "../scenarios/scenario.ts";
import { policiesPush, policiesRemoval } from "../state/pushes.ts";
import { nodes, StateLab } from "../state/state-lab.ts";
import { growthIn } from "./kept-scene.ts";

export function growthDecisions(seconds: number): GrowthScenario {
  return growthIn({
    name: "growth-decisions",
    sizes: [1, 10, 100, 1_000, 3_000, 10_000],
    open: () => warmLab(seconds),
    async measure(lab, size) {
      await lab.plane.load("policies", policiesPush(namespace, size));
      await lab.plane.load("no-policies", policiesRemoval(namespace, size));
      await push(lab, "policies");
      const values: Record<string, number> = {};
      for (const scenario of loads) Object.assign(values, await scenario.measure(lab.place));
      await push(lab, "no-policies");
      const [connection, request] = [values["connections.cpu"], values["requests-16.cpu"]];
      return {
        ...(connection !== undefined && { "growth-decisions.new-cpu": connection }),
        ...(request !== undefined && { "growth-decisions.request-cpu": request }),
      } satisfies Values;
    },
  });
}

async function warmLab(seconds: number): Promise<StateLab | string> {
  const lab = await StateLab.open(seconds);
  if (typeof lab === "string") return lab;
  try {
    for (const scenario of loads) await scenario.prepare?.(lab.place);
    return lab;
  } catch (error) {
    await lab.close();
    throw error;
  }
}

async function push(lab: StateLab, name: string): Promise<void> {
  for (const node of Object.values(nodes)) await lab.plane.push(name, node);
}

const loads: readonly PairedScenario[] = [newConnections(), keptAlive(16)];
const namespace = "bench-ours";
