/** A lab whose agents hear their control plane through plane.ts: so that they can be told more than there is, at the moment that is to be measured. */
import { namespace, pod, service } from "../../test/support/manifests.ts";
import { PodServers } from "../load/pod-programs.ts";
import { findTools, type Tool, type ToolName } from "../load/tools.ts";
import { costOf } from "../measure/proxy-cost.ts";
import type { Place } from "../scenarios/scenario.ts";
import { openScene, type Scene } from "../scene.ts";
import { scratchFolder, type Scratch } from "../scratch.ts";
import { PlaneClient } from "./plane-client.ts";
import { planeFiles, planeProgram } from "./plane-files.ts";

export class StateLab {
  readonly place: Place;
  readonly plane: PlaneClient;
  readonly #scene: Scene;
  readonly #servers: PodServers;
  readonly #scratch: Scratch;
  /** By node: what its agent was pushed last. */
  readonly #pushed = new Map<string, Version>();

  private constructor(place: Place, plane: PlaneClient, scene: Scene, servers: PodServers, scratch: Scratch) {
    this.place = place;
    this.plane = plane;
    this.#scene = scene;
    this.#servers = servers;
    this.#scratch = scratch;
  }

  /** @param seconds of each load. @returns why there is none, in one sentence. @throws Refused where this machine makes no lab. */
  static async open(seconds: number): Promise<StateLab | string> {
    const tools = new Map<ToolName, Tool>();
    for (const [name, tool] of await findTools(["nginx", "wrk"])) {
      if (!("argv" in tool)) return `${name}: ${tool.missing}`;
      tools.set(name, tool);
    }
    const scratch = scratchFolder("bench-state-");
    const folder = scratch.path;
    const host = "plane.bench-state.svc";
    const files = planeFiles(folder, [host], Date.now());
    const listen = ["--listen", `0.0.0.0:${port}`];
    const upstream = ["--upstream", "istiod.istio-system.svc:15012", "--upstream-root", meshRoot];
    const command = ["node", planeProgram, ...listen, ...files.flags, ...upstream];
    let scene: Scene | undefined;
    try {
      scene = await openScene({
        names: ["ours"],
        agentEnvironment: { XDS_ADDRESS: `https://${host}:${port}`, XDS_ROOT_CA: files.root },
        manifests: [
          namespace("bench-state"),
          pod("bench-state/plane", { node: nodes.client, command, ports: [port] }),
          { ...service("bench-state/plane"), spec: { selector: { app: "plane" }, ports: [{ name: "xds", port }] } },
        ],
      });
      const [side] = await scene.sides(["ours"]);
      if (side === undefined || "absent" in side) throw new Error(side?.absent ?? "there is no side of ours");
      const plane = await PlaneClient.connect(files.socket, folder);
      await plane.agentsOf(Object.values(nodes));
      const servers = new PodServers();
      const shared = { seconds, rounds: 1, tools, servers, folder: scene.folder };
      const place: Place = { ...shared, side, costOf: (load) => costOf(side, load) };
      return new StateLab(place, plane, scene, servers, scratch);
    } catch (error) {
      await scene?.close();
      scratch.remove();
      throw error;
    }
  }

  /** Pushes a version of the large mesh to the agent of a node, which has another one: not one workload is what it was. */
  async pushMesh(node: string): Promise<void> {
    const version = versions.find((one) => one !== this.#pushed.get(node)) ?? versions[0];
    this.#pushed.set(node, version);
    await this.plane.push(version, node);
  }

  async close(): Promise<void> {
    this.plane.close();
    await this.#servers.close();
    await this.#scene.close();
    this.#scratch.remove();
  }
}

/** Where the two pods of a side are. */
export const nodes = { client: "node1", server: "node2" } as const;

/** Of the large mesh, as the plane has them. */
export const versions = ["a", "b"] as const;
type Version = (typeof versions)[number];

const port = 15_012;
const meshRoot = "/run/secrets/istio/root-cert.pem";
