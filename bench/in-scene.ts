/** A scene from its beginning to its end, and the places in it where scenarios measure. */
import { readFile } from "node:fs/promises";
import type { LabStatus } from "../lab/status.ts";
import { hostPids } from "./host-processes.ts";
import { PodServers } from "./load/pod-programs.ts";
import type { Tool, ToolName } from "./load/tools.ts";
import { conntrackOf, type ConntrackState } from "./measure/conntrack.ts";
import { costOf } from "./measure/proxy-cost.ts";
import type { BenchOptions } from "./options.ts";
import { openScene, type Scene } from "./scene.ts";
import type { Place, SceneKind } from "./scenarios/scenario.ts";
import type { RunningSide } from "./side.ts";

export interface InSceneOptions {
  readonly kind: SceneKind;
  readonly options: BenchOptions;
  readonly tools: ReadonlyMap<ToolName, Tool>;
  /** Told of sides that can't be had, as sentences. */
  readonly skip: (sentence: string) => void;
}

/** Nothing is left of it afterwards, also where the body throws or a signal ends the run. */
export async function inScene(
  { kind, options, tools, skip }: InSceneOptions,
  body: (places: readonly Place[]) => Promise<void>,
): Promise<void> {
  const { sides: names, workers, rounds, seconds } = options;
  const scene = await openScene({ names, workers, agentEnvironment: environments[kind] });
  const servers = new PodServers();
  const interrupted = (): void => {
    // The lab goes with this process; what is in temporary folders would not.
    void scene.close().finally(() => process.exit(130));
  };
  for (const signal of signals) process.once(signal, interrupted);
  try {
    const running: RunningSide[] = [];
    for (const side of await scene.sides(names)) {
      if ("absent" in side) skip(`${side.name}: ${side.absent}`);
      else running.push(side);
    }
    const nodes = await nodesOf(scene);
    const shared = { seconds, rounds, tools, servers, folder: scene.folder, nodes };
    await body(running.map((side): Place => ({ ...shared, side, costOf: (load) => costOf(side, load) })));
  } finally {
    for (const signal of signals) process.off(signal, interrupted);
    await servers.close();
    await scene.close();
  }
}

/** Of the namespaces that a place's traffic goes through, by what they are called. */
export async function conntrackAt({ side, nodes = [] }: Place): Promise<Map<string, ConntrackState | undefined>> {
  const namespaces = [side.client, side.server, ...nodes];
  return new Map(await Promise.all(namespaces.map(async (one) => [one.key, await conntrackOf(one)] as const)));
}

/** What nodes' kernels say of their namespaces, read from outside. */
async function nodesOf({ lab }: Scene): Promise<NonNullable<Place["nodes"]>> {
  const { nodes } = await lab.request<LabStatus>("GET", "/status");
  const pids = hostPids(lab.pid);
  return nodes.flatMap(({ name, pid }) => {
    const here = pid === undefined ? undefined : pids.get(pid);
    if (here === undefined) return [];
    // Below /proc/sys the maximum is the same in every namespace.
    const readProc = (path: string): Promise<string> =>
      readFile(path.replace(/^\/proc\/net\//, `/proc/${here}/net/`), "utf8");
    return [{ key: name, readProc }];
  });
}

const signals = ["SIGINT", "SIGTERM"] as const;

/** Of our agents. With a tunnel for each connection handshakes are compared: same group and cipher as haproxy's. */
const environments: Readonly<Record<SceneKind, Readonly<Record<string, string>>>> = {
  usual: {},
  "own-tunnels": {
    AMBIENTD_KEY_EXCHANGE: "classical",
    POOL_MAX_STREAMS_PER_CONNECTION: "1",
    POOL_UNUSED_RELEASE_TIMEOUT: "1s",
  },
};
