/** As many requests as go through, by wrk to nginx: on kept connections, or each on a new one through tunnels that are there. */
import { runIn } from "../load/pod-programs.ts";
import { parseWrk, wrkArguments, type Requests } from "../load/wrk.ts";
import { microsecondsEach, parsedOrThrow, serveFile, toolOf } from "./places.ts";
import type { PairedScenario, Place } from "./scenario.ts";
import { warm } from "./warm.ts";

export function keptAlive(connections: number): PairedScenario {
  return requests(`requests-${connections}`, connections, false);
}

export function newConnections(): PairedScenario {
  return requests("connections", 16, true);
}

function requests(name: string, connections: number, close: boolean): PairedScenario {
  const load = async (place: Place, seconds: number): Promise<Requests> => {
    const url = await serveFile(place);
    const command = [...toolOf(place, "wrk").argv, ...wrkArguments({ url, seconds, connections, close })];
    return parsedOrThrow(parseWrk(await runIn(place.side.client, command, (seconds + patienceSeconds) * 1_000)));
  };
  return {
    kind: "paired",
    name,
    tools: ["wrk", "nginx"],
    scene: "usual",
    prepare: async (place) =>
      void (await (close ? warm(async () => (await load(place, 2)).perSecond) : load(place, 1))),
    async measure(place) {
      const { result, cost } = await place.costOf(() => load(place, place.seconds));
      return { [`${name}.rate`]: result.perSecond, ...microsecondsEach(`${name}.cpu`, cost, result.requests) };
    },
  };
}

const patienceSeconds = 15;
