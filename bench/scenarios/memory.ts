/**
 * Resident memory. `memory` comes before all loads: idle, and then each round adds connections that were used once and are kept; what they
 * cost is the growth since the first few of them, over all that came since: memory that a process keeps is not got twice. A process is looked at
 * when it has had nothing to do for a while, as an idle one has. `memory-after` comes last.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { residentBytes } from "../measure/processes.ts";
import { PodConversation } from "../load/pod-programs.ts";
import type { Held } from "../load/hold-client.ts";
import type { RunningSide, SideName } from "../side.ts";
import { clientCommand, serveFile } from "./places.ts";
import type { PairedScenario, Place } from "./scenario.ts";

export function memory(): PairedScenario {
  const holders = new Map<SideName, Holder>();
  const bases = new Map<SideName, { readonly idle: number; readonly first: Sample }>();
  let idling: Promise<void> | undefined;
  return {
    kind: "paired",
    name: "memory",
    isCumulative: true,
    tools: ["nginx"],
    scene: "usual",
    async prepare(place) {
      if (!(await hasProxies(place.side))) return;
      // What has just started is not idle yet.
      await (idling ??= sleep(settleMs));
      const idle = await perAgent(place.side);
      await serveFile(place);
      const holder = await Holder.start(place);
      holders.set(place.side.name, holder);
      await holder.add(firstConnections);
      bases.set(place.side.name, { idle, first: await holder.sample() });
      await holder.add(stepOf(place));
    },
    async measure(place) {
      const holder = holders.get(place.side.name);
      const base = bases.get(place.side.name);
      if (holder === undefined || base === undefined) return noProxies;
      // While this side's connections lie idle, the others' do, too: only the first of them is waited for.
      const now = await holder.sample();
      await holder.add(stepOf(place));
      const each = (now.bytes - base.first.bytes) / (now.open - base.first.open);
      return { "memory.idle": base.idle / 1e6, "memory.connection": each / 1e3 };
    },
    async finish({ side }) {
      await holders.get(side.name)?.close();
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
      return (await hasProxies(side)) ? { "memory.after-load": (await perAgent(side)) / 1e6 } : noProxies;
    },
  };
}

interface Sample {
  readonly open: number;
  /** Of one agent. */
  readonly bytes: number;
}

/** Connections of one side that are kept, and what its agents hold for them. */
class Holder {
  readonly #side: RunningSide;
  readonly #conversation: PodConversation<Held>;
  #open = 0;
  #lastMs = 0;

  static async start(place: Place): Promise<Holder> {
    const command = clientCommand("hold-client", place, atATime);
    return new Holder(place.side, await PodConversation.start<Held>(place.side.client, command));
  }

  private constructor(side: RunningSide, conversation: PodConversation<Held>) {
    this.#side = side;
    this.#conversation = conversation;
  }

  async add(more: number): Promise<void> {
    this.#open = (await this.#conversation.ask(String(more), patienceMs)).open;
    this.#lastMs = performance.now();
  }

  /** Once the last connection has been idle for long enough. */
  async sample(): Promise<Sample> {
    await sleep(Math.max(0, this.#lastMs + settleMs - performance.now()));
    return { open: this.#open, bytes: await perAgent(this.#side) };
  }

  close(): Promise<void> {
    return this.#conversation.close();
  }
}

async function hasProxies(side: RunningSide): Promise<boolean> {
  const { atClient, atServer } = await side.proxies();
  return atClient.length + atServer.length > 0;
}

/** Of both ends, halved. */
async function perAgent(side: RunningSide): Promise<number> {
  const { atClient, atServer } = await side.proxies();
  return (residentBytes(atClient) + residentBytes(atServer)) / 2;
}

/** The same number in all, however many rounds: a process may have 20,000 descriptors, and a proxy two for each connection. */
function stepOf({ rounds }: Place): number {
  return Math.floor(mostConnections / (rounds + 1));
}

const noProxies = { notMeasured: "there is no proxy whose memory counts" };
const mostConnections = 4_000;
const firstConnections = 200;
const atATime = 8;
const patienceMs = 60_000;
/** A garbage collector that waits until there is nothing else to do has waited for less. */
const settleMs = 9_000;
