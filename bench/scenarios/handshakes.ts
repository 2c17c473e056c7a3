/**
 * Connections that need a tunnel each, and what the two handshakes at its ends cost: connections are opened and kept, so that no tunnel can
 * be used again; our agents are told to put one connection into a tunnel (POOL_MAX_STREAMS_PER_CONNECTION). It is the whole way that is
 * paid for: capture, decision, TCP, TLS with both certificates, HTTP/2, one request and its answer. That tunnels were really made is
 * counted in the client's pod; a side that shares them has no figure.
 */
import type { Held } from "../load/hold-client.ts";
import { PodConversation, settledBelow } from "../load/pod-programs.ts";
import { establishedTo } from "../load/pod-sockets.ts";
import { clientCommand, microsecondsEach, serveFile } from "./places.ts";
import type { NotMeasured, PairedScenario, Place, Values } from "./scenario.ts";
import { warm } from "./warm.ts";

export function handshakes(): PairedScenario {
  return {
    kind: "paired",
    name: "handshakes",
    tools: ["nginx"],
    scene: "own-tunnels",
    prepare: (place) => warm(() => rateOf(place, 3 * perSecond)),
    measure: (place) => measure(place, perSecond * place.seconds),
  };
}

/** The figures, out of how many tunnels there are more than before. */
async function measure(place: Place, count: number): Promise<Values | NotMeasured> {
  await serveFile(place);
  const { client, address } = place.side;
  // Those of the last round are to be gone, on both sides of the count.
  const before = await settledBelow(client, address, 4, releaseMs);
  const holder = await PodConversation.start<Held>(client, clientCommand("hold-client", place, atATime));
  try {
    const { result, cost } = await place.costOf(() => holder.ask(String(count), patienceMs));
    const tunnels = (await establishedTo(client, address)) - before - result.open;
    if (cost === undefined) return { "handshakes.rate": count / result.seconds };
    if (tunnels < count * 0.98)
      return { notMeasured: `${count} connections had ${Math.max(0, tunnels)} tunnels between them` };
    return {
      "handshakes.rate": count / result.seconds,
      ...microsecondsEach("handshakes.cpu", cost, count),
      "handshakes.cpu-server": (cost.atServer / count) * 1e6,
    };
  } finally {
    await holder.close();
  }
}

async function rateOf(place: Place, count: number): Promise<number> {
  const measured = await measure(place, count);
  return "handshakes.rate" in measured ? measured["handshakes.rate"] : 0;
}

/** Connections at one go, in a second of measuring; few enough that no proxy's queue is what is measured. */
const perSecond = 150;
const atATime = 4;
const releaseMs = 15_000;
const patienceMs = 60_000;
