/** As many bytes as go through, by iperf3. */
import { iperf3Arguments, parseIperf3, type Bulk } from "../load/iperf3.ts";
import { runIn } from "../load/pod-programs.ts";
import { serverPorts } from "../ports.ts";
import { parsedOrThrow, toolOf } from "./places.ts";
import type { PairedScenario, Place } from "./scenario.ts";

export function bulk(name: string, streams: number, reverse: boolean): PairedScenario {
  const transfer = async (place: Place, seconds: number): Promise<Bulk> => {
    const { client, server, address } = place.side;
    const { argv } = toolOf(place, "iperf3");
    const port = serverPorts.iperf3;
    await place.servers.ensure(server, port, [...argv, "-s", "-p", String(port)]);
    const command = [...argv, ...iperf3Arguments({ address, port, seconds, streams, reverse })];
    return parsedOrThrow(parseIperf3(await runIn(client, command, (seconds + patienceSeconds) * 1_000)));
  };
  return {
    kind: "paired",
    name,
    tools: ["iperf3"],
    scene: "usual",
    prepare: async (place) => void (await transfer(place, 1)),
    async measure(place) {
      const { result, cost } = await place.costOf(() => transfer(place, place.seconds));
      const rate = { [`${name}.rate`]: result.bitsPerSecond / 1e9 };
      if (cost === undefined) return rate;
      return { ...rate, [`${name}.cpu`]: (cost.atClient + cost.atServer) / (result.bytes / 1e9) };
    },
  };
}

const patienceSeconds = 15;
