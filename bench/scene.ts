/** Where sides are compared: one lab of two nodes, and for each side two pods in a namespace of its own, the client's on one node and the server's on the other. */
import { join } from "node:path";
import type { Env } from "../lab/programs.ts";
import type { TimedEvent } from "../lab/events.ts";
import { startLab, type LabHandle } from "../lab/start.ts";
import { manifestFolder, type Manifest } from "../test/support/manifests.ts";
import { LabPod } from "./lab-pod.ts";
import { everyServerPort } from "./ports.ts";
import { scratchFolder } from "./scratch.ts";
import type { AbsentSide, RunningSide, SideName } from "./side.ts";
import { startDirect } from "./sides/direct.ts";
import { startEnvoy } from "./sides/envoy.ts";
import { startExternal } from "./sides/external.ts";
import { startHaproxy } from "./sides/haproxy.ts";
import { startOurs } from "./sides/ours.ts";
import type { Stage } from "./sides/stage.ts";
import { sceneManifests } from "./scene-manifests.ts";

export interface SceneOptions {
  /** Sides that will be asked for; others are not to be had. Default: all. */
  readonly names?: readonly SideName[];
  /** Data-plane threads of each proxy that can be told. Default 2. */
  readonly workers?: number;
  /** Environment of our agents, e.g. another engine. */
  readonly agentEnvironment?: Env;
  /** Environment of the lab's control plane. */
  readonly controlEnvironment?: Env;
  /** Objects beside the sides' own. */
  readonly manifests?: readonly Manifest[];
  /** Where servers of scenarios will listen. Default: those of ports.ts. */
  readonly ports?: readonly number[];
  /** The other agent's command line. Default: BENCH_AGENT. */
  readonly external?: string;
  /** What the lab says while it is built. */
  readonly onEvent?: (event: TimedEvent) => void;
}

export interface Scene {
  readonly lab: LabHandle;
  /** For files that pods can read; goes with the scene. */
  readonly folder: string;
  /** Starts what is asked for, each once. Resolves when all that can be had are up and have passed bytes. */
  sides(names: readonly SideName[]): Promise<(RunningSide | AbsentSide)[]>;
  close(): Promise<void>;
}

export const everySide: readonly SideName[] = ["direct", "ours", "haproxy", "envoy", "external"];

/** @throws Refused where this machine makes no lab. */
export async function openScene(options: SceneOptions = {}): Promise<Scene> {
  const {
    names = everySide,
    workers = 2,
    ports = everyServerPort,
    agentEnvironment = {},
    controlEnvironment = {},
  } = options;
  const scratch = scratchFolder("bench-");
  const folder = scratch.path;
  const written = manifestFolder([...sceneManifests(names), ...(options.manifests ?? [])]);
  let lab: LabHandle;
  try {
    lab = await startLab({
      manifests: written.folder,
      families: "4",
      programs: "compiled",
      workers,
      components: names.includes("ours") ? ["control", "cni", "agent"] : [],
      environment: { agent: agentEnvironment, control: controlEnvironment },
      ...(options.onEvent === undefined ? {} : { onEvent: options.onEvent }),
    });
  } catch (error) {
    scratch.remove();
    throw error;
  } finally {
    written.remove();
  }
  const running = new Map<SideName, RunningSide | AbsentSide>();
  const start = async (name: SideName): Promise<RunningSide | AbsentSide> => {
    const [client, server] = await Promise.all([
      LabPod.find(lab, `bench-${name}/client`),
      LabPod.find(lab, `bench-${name}/server`),
    ]);
    for (const pod of [client, server]) pod.useSourcePortsAgain();
    const stage: Stage = { client, server, workers, ports, folder: join(folder, name) };
    switch (name) {
      case "direct":
        return startDirect(stage);
      case "ours":
        return startOurs(stage, lab);
      case "haproxy":
        return startHaproxy(stage);
      case "envoy":
        return startEnvoy(stage);
      case "external":
        return startExternal(stage, options.external ?? process.env["BENCH_AGENT"]);
    }
  };
  return {
    lab,
    folder,
    async sides(wanted) {
      const answers: (RunningSide | AbsentSide)[] = [];
      // One after another: what starts beside another one takes longer to be warm.
      for (const name of wanted) {
        if (!names.includes(name)) throw new Error(`the scene was opened without the side "${name}"`);
        const side = running.get(name) ?? (await start(name));
        running.set(name, side);
        answers.push(side);
      }
      return answers;
    },
    async close() {
      for (const side of running.values()) if (!("absent" in side)) await side.stop();
      await lab.close();
      scratch.remove();
    },
  };
}
