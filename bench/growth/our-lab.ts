/** A lab with our agents alone, for as long as a curve over it takes. */
import { conntrackAt } from "../in-scene.ts";
import { PodServers } from "../load/pod-programs.ts";
import { findTools, type Tool, type ToolName } from "../load/tools.ts";
import { voidedBy, type ConntrackState } from "../measure/conntrack.ts";
import { costOf } from "../measure/proxy-cost.ts";
import type { Place } from "../scenarios/scenario.ts";
import { openScene, type Scene } from "../scene.ts";

type Conntrack = ReadonlyMap<string, ConntrackState | undefined>;

/** One pod holds all connections, where it usually may have a quarter of the agent's descriptors. */
const agentEnvironment = { AMBIENTD_POD_CONNECTIONS: "20000" };

export class OurLab {
  readonly place: Place;
  readonly #scene: Scene;
  readonly #servers: PodServers;
  #conntrack: Conntrack;

  private constructor(place: Place, scene: Scene, servers: PodServers, conntrack: Conntrack) {
    this.place = place;
    this.#scene = scene;
    this.#servers = servers;
    this.#conntrack = conntrack;
  }

  /** @returns why there is none, in one sentence. @throws Refused where this machine makes no lab. */
  static async open(seconds: number, workers: number): Promise<OurLab | string> {
    const tools = new Map<ToolName, Tool>();
    for (const [name, tool] of await findTools(["nginx", "wrk"])) {
      if (!("argv" in tool)) return `${name}: ${tool.missing}`;
      tools.set(name, tool);
    }
    const scene = await openScene({ names: ["ours"], workers, agentEnvironment });
    const servers = new PodServers();
    try {
      const [side] = await scene.sides(["ours"]);
      if (side === undefined || "absent" in side) throw new Error(side?.absent ?? "there is no side of ours");
      const shared = { seconds, rounds: 1, tools, servers, folder: scene.folder };
      const place: Place = { ...shared, side, costOf: (load) => costOf(side, load) };
      return new OurLab(place, scene, servers, await conntrackAt(place));
    } catch (error) {
      await servers.close();
      await scene.close();
      throw error;
    }
  }

  /** @throws Error where connection tracking has stood in the way since the last call. */
  async checkConntrack(): Promise<void> {
    const before = this.#conntrack;
    this.#conntrack = await conntrackAt(this.place);
    for (const [namespace, now] of this.#conntrack) {
      const why = voidedBy(before.get(namespace), now);
      if (why !== undefined) throw new Error(`void: ${namespace}: ${why}`);
    }
  }

  async close(): Promise<void> {
    await this.#servers.close();
    await this.#scene.close();
  }
}
