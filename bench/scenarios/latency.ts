/** How long requests take that come at a fixed rate, and how much of it is the side's: the rest is what direct took in the same round. */
import type { FixedRateResult } from "../load/fixed-rate-client.ts";
import { runIn } from "../load/pod-programs.ts";
import type { SideName } from "../side.ts";
import { clientCommand, serveFile } from "./places.ts";
import type { PairedScenario, Place, Values } from "./scenario.ts";

export function latency(perSecond: number): PairedScenario {
  const name = `latency-${perSecond}`;
  const load = async (place: Place, seconds: number): Promise<FixedRateResult> => {
    await serveFile(place);
    const command = clientCommand("fixed-rate-client", place, perSecond, connections, seconds);
    const line = await runIn(place.side.client, command, (seconds + patienceSeconds) * 1_000);
    return JSON.parse(line) as FixedRateResult;
  };
  return {
    kind: "paired",
    name,
    tools: ["nginx"],
    scene: "usual",
    prepare: async (place) => void (await load(place, 1)),
    async measure(place) {
      const { p50Us, p99Us, p999Us } = await load(place, place.seconds);
      return {
        [`${name}.p50`]: p50Us / 1_000,
        [`${name}.p99`]: p99Us / 1_000,
        [`${name}.p99.9`]: p999Us / 1_000,
      };
    },
    compare: (round) => addedOver(round, name),
  };
}

/** What each side's percentiles are above those of `direct` in the same round. */
export function addedOver(round: ReadonlyMap<SideName, Values>, name: string): Map<SideName, Values> {
  const added = new Map<SideName, Values>();
  const direct = round.get("direct");
  for (const [side, values] of direct === undefined ? [] : round) {
    if (side === "direct") continue;
    const more = ["p50", "p99", "p99.9"].flatMap((percentile) => {
      const value = values[`${name}.${percentile}`];
      const base = direct?.[`${name}.${percentile}`];
      return value === undefined || base === undefined ? [] : [[`${name}.${percentile}-added`, value - base]];
    });
    added.set(side, Object.fromEntries(more) as Values);
  }
  return added;
}

const connections = 32;
const patienceSeconds = 20;
