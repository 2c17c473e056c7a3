/**
 * Resident memory. `memory` comes before all loads: idle, and then each round adds connections that were used once and are kept; what they
 * cost is the growth since the first few of them, over all that are held: memory that a process keeps is not got twice. `memory-after` comes last.
 */
import { residentBytes } from "../measure/processes.ts";
import { PodConversation } from "../load/pod-programs.ts";
import type { Held } from "../load/hold-client.ts";
import type { RunningSide, SideName } from "../side.ts";
import { clientCommand, serveFile } from "./places.ts";
import type { PairedScenario, Place } from "./scenario.ts";

export function memory(): PairedScenario {
  const holders = new Map<SideName, Holder>();
  return {
    kind: "paired",
    name: "memory",
    tools: ["nginx"],
    scene: "usual",
    async prepare(place) {
      const idle = await perAgent(place.side);
      if (idle === undefined) return;
      await serveFile(place);
      const { client } = place.side;
      const conversation = await PodConversation.start<Held>(client, clientCommand("hold-client", place, atATime));
      holders.set(place.side.name, { idle, conversation, base: await hold(place, conversation, firstConnections) });
    },
    async measure(place) {
      const holder = holders.get(place.side.name);
      if (holder === undefined) return { notMeasured: "there is no proxy whose memory counts" };
      const { idle, conversation, base } = holder;
      const now = await hold(place, conversation, Math.min(1_000, Math.floor(mostConnections / place.rounds)));
      const each = (now.bytes - base.bytes) / (now.open - base.open);
      return { "memory.idle": idle / 1e6, "memory.connection": each / 1e3 };
    },
    async finish({ side }) {
      await holders.get(side.name)?.conversation.close();
      holders.delete(side.name);
    },
  };
}

export function memoryAfterLoad(): PairedScenario {
  return {
    kind: "paired",
    name: "memory-after",
    tools: [],
    scene: "usual",
    async measure({ side }) {
      const bytes = await perAgent(side);
      return bytes === undefined
        ? { notMeasured: "there is no proxy whose memory counts" }
        : { "memory.after-load": bytes / 1e6 };
    },
  };
}

interface Holder {
  readonly idle: number;
  readonly conversation: PodConversation<Held>;
  readonly base: { readonly open: number; readonly bytes: number };
}

async function hold(place: Place, conversation: PodConversation<Held>, more: number): Promise<Holder["base"]> {
  const { open } = await conversation.ask(String(more), patienceMs);
  return { open, bytes: (await perAgent(place.side)) ?? 0 };
}

/** Of both ends, halved; undefined where there is nobody between them. */
async function perAgent(side: Pick<RunningSide, "proxies">): Promise<number | undefined> {
  const { atClient, atServer } = await side.proxies();
  if (atClient.length + atServer.length === 0) return undefined;
  return (residentBytes(atClient) + residentBytes(atServer)) / 2;
}

/** In all; a process may have 20,000 descriptors, and a proxy two for each connection. */
const mostConnections = 4_000;
const firstConnections = 200;
const atATime = 8;
const patienceMs = 60_000;
