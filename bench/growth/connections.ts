/**
 * Connections that are open and idle, up to what a process may have descriptors for: what one more costs to open, what all of them cost
 * while nothing happens, and what short connections beside them cost.
 */
import { readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Held } from "../load/hold-client.ts";
import { PodConversation } from "../load/pod-programs.ts";
import { residentBytes } from "../measure/processes.ts";
import { spreadOf } from "../measure/statistics.ts";
import { clientOf, serveFile } from "../scenarios/places.ts";
import { newConnections } from "../scenarios/requests.ts";
import type { GrowthScenario, NotMeasured, Values } from "../scenarios/scenario.ts";
import { growthIn } from "./kept-scene.ts";
import { OurLab } from "./our-lab.ts";

export function growthConnections(seconds: number, workers: number): GrowthScenario {
  return growthIn({
    name: "growth-connections",
    // From nine tenths of its descriptors (20,000 here) on an agent accepts only as others end, until there is one in seven free again.
    sizes: [1_000, 2_000, 4_000, 8_000, 16_000],
    open: () => HeldConnections.open(seconds, workers),
    measure: (held, size) => held.measure(size),
  });
}

/** What agents hold, per agent. */
interface Holding {
  readonly bytes: number;
  readonly descriptors: number;
}

class HeldConnections {
  readonly #lab: OurLab;
  readonly #clients: readonly PodConversation<Held>[];
  readonly #short = newConnections();
  readonly #none: Holding;
  #open = 0;

  /** @returns why there are none, in one sentence. */
  static async open(seconds: number, workers: number): Promise<HeldConnections | string> {
    const lab = await OurLab.open(seconds, workers);
    if (typeof lab === "string") return lab;
    const { place } = lab;
    try {
      await serveFile(place);
      // Code gets warm: the first seconds would be the dearest, and a curve fall that does not.
      await newConnections().prepare?.(place);
      await sleep(settleMs);
      const none = await holding(lab);
      const clients = heldPorts.map(async (port) => {
        await serveFile(place, port);
        return PodConversation.start<Held>(place.side.client, clientOf(port, "hold-client", place, atATime));
      });
      return new HeldConnections(lab, await Promise.all(clients), none);
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  private constructor(lab: OurLab, clients: readonly PodConversation<Held>[], none: Holding) {
    this.#lab = lab;
    this.#clients = clients;
    this.#none = none;
  }

  async measure(size: number): Promise<Values | NotMeasured> {
    const { place } = this.#lab;
    const more = size - this.#open;
    const each = String(more / this.#clients.length);
    const opening = await place.costOf(() => Promise.all(this.#clients.map((client) => client.ask(each, patienceMs))));
    this.#open = size;
    const idle = await this.#idleSeconds();
    const { bytes, descriptors } = await holding(this.#lab);
    const short = await this.#short.measure(place);
    await this.#lab.checkConntrack();
    const newCpu = (short as Values)["connections.cpu"];
    return {
      "growth-connections.open-cpu": (secondsOf(opening.cost) / more) * 1e6,
      ...(newCpu !== undefined && { "growth-connections.new-cpu": newCpu }),
      "growth-connections.idle-cpu": idle * 1e3,
      "growth-connections.memory": (bytes - this.#none.bytes) / 1e6,
      "growth-connections.descriptors": descriptors - this.#none.descriptors,
    };
  }

  /**
   * CPU of both ends in a second in which nothing happens: the median of some, as each thread collects its garbage once when it comes to rest,
   * and that may be in one of them.
   */
  async #idleSeconds(): Promise<number> {
    await sleep(settleMs);
    const seconds: number[] = [];
    for (let look = 0; look < looks; look++) {
      const { cost } = await this.#lab.place.costOf(() => sleep(1_000));
      seconds.push(secondsOf(cost));
    }
    return spreadOf(seconds)?.median ?? Number.NaN;
  }

  async close(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close()));
    await this.#lab.close();
  }
}

async function holding({ place }: OurLab): Promise<Holding> {
  const { atClient, atServer } = await place.side.proxies();
  const agents = [...atClient, ...atServer];
  const descriptors = agents.reduce((sum, pid) => sum + readdirSync(`/proc/${pid}/fd`).length, 0);
  return { bytes: residentBytes(agents) / agents.length, descriptors: descriptors / agents.length };
}

function secondsOf(cost: { readonly atClient: number; readonly atServer: number } | undefined): number {
  return cost === undefined ? Number.NaN : cost.atClient + cost.atServer;
}

/** Not where short ones go, and none for more than 28,000: who connects must not be short of ports towards one server, and look for them long. */
const heldPorts = [8_091, 8_092];
const atATime = 4;
const patienceMs = 120_000;
/** Longer than an agent waits until it calls itself idle. */
const settleMs = 8_000;
const looks = 5;
