/**
 * Connections that are open and idle, up to what a process may have descriptors for: what one more costs to open, what all of them cost
 * while nothing happens, and what short connections beside them cost.
 */
import { readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Held } from "../load/hold-client.ts";
import { PodConversation } from "../load/pod-programs.ts";
import { residentBytes } from "../measure/processes.ts";
import { clientOf, serveFile } from "../scenarios/places.ts";
import { newConnections } from "../scenarios/requests.ts";
import type { GrowthScenario, NotMeasured, Values } from "../scenarios/scenario.ts";
import { OurLab } from "./our-lab.ts";

export function growthConnections(seconds: number, workers: number): GrowthScenario {
  let held: HeldConnections | undefined;
  return {
    kind: "growth",
    name: "growth-connections",
    // An agent accepts no more where nine tenths of its descriptors (20,000 here) are in use, and has some for itself.
    sizes: [1_000, 2_000, 4_000, 9_000, 17_500],
    async measure(size) {
      if (held === undefined) {
        const lab = await OurLab.open(seconds, workers);
        if (typeof lab === "string") return { notMeasured: lab };
        held = await HeldConnections.start(lab);
      }
      return held.measure(size);
    },
    async finish() {
      await held?.close();
      held = undefined;
    },
  };
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

  static async start(lab: OurLab): Promise<HeldConnections> {
    const { place } = lab;
    try {
      await serveFile(place);
      // Code gets warm: the first seconds would be the dearest, and a curve fall that does not.
      for (let second = 0; second < warmSeconds; second++) await newConnections().prepare?.(place);
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
    await this.#calm();
    const { bytes, descriptors } = await holding(this.#lab);
    const idle = await place.costOf(() => sleep(idleMs));
    const short = await this.#short.measure(place);
    await this.#lab.checkConntrack();
    const newCpu = (short as Values)["connections.cpu"];
    return {
      "growth-connections.open-cpu": (secondsOf(opening.cost) / more) * 1e6,
      ...(newCpu !== undefined && { "growth-connections.new-cpu": newCpu }),
      "growth-connections.idle-cpu": (secondsOf(idle.cost) / idleMs) * 1e6,
      "growth-connections.memory": (bytes - this.#none.bytes) / 1e6,
      "growth-connections.descriptors": descriptors - this.#none.descriptors,
    };
  }

  /** Waits until agents do nothing but wait: each thread collects its garbage once when it comes to rest. */
  async #calm(): Promise<void> {
    await sleep(settleMs);
    for (let looks = 0; looks < mostLooks; looks++) {
      const { cost } = await this.#lab.place.costOf(() => sleep(1_000));
      if (secondsOf(cost) <= calmSeconds) return;
    }
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
const warmSeconds = 4;
const patienceMs = 120_000;
/** Longer than an agent waits until it calls itself idle. */
const settleMs = 8_000;
const idleMs = 4_000;
/** Of CPU, both ends, in a second. */
const calmSeconds = 0.06;
const mostLooks = 8;
