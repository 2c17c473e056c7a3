/**
 * A whole worker in a process of its own that serves `default/bob` at 10.99.0.3, whose application is here; `default/alice`, at
 * 10.99.0.2, is who attacks. The test file has called enterNamespaces().
 */
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import type { TestContext } from "node:test";
import type { MeshUpdate } from "../../core/decision/mesh-state.ts";
import type { MeshWorkload } from "../../core/protocol/wds/workload.ts";
import type { CloseCode } from "../../core/decision/close-reasons.ts";
import type { WorkerSettings } from "../../agent/worker/context.ts";
import type { EngineName } from "../support/engines.ts";
import { alice, bob } from "../support/hbone-pair.ts";
import { application, type LogLine } from "../support/loopback-mesh.ts";
import { pod } from "../support/mesh.ts";
import { until } from "../support/until.ts";
import { mostRssMb } from "./engine-scene.ts";
import { dialPeer, type FramePeer, type PeerOptions } from "./frame-peer.ts";
import { Victim } from "./victim-process.ts";

export const aliceAddress = "10.99.0.2";
export const bobAddress = "10.99.0.3";

export interface MeshSceneOptions {
  readonly deadlineMs?: number;
  readonly manualClock?: boolean;
  readonly settings?: Partial<WorkerSettings>;
  /** Beside alice and bob. */
  readonly update?: MeshUpdate;
  /** Instead of alice and bob. */
  readonly workloads?: readonly MeshWorkload[];
  readonly withoutBystander?: boolean;
}

export class MeshScene {
  readonly victim: Victim;
  /** Where bob's 15008 is. */
  readonly port: number;
  /** What bob's application has accepted; it sends back what it reads. */
  readonly accepted: Socket[];
  /** Asks for bob's application. */
  readonly authority: string;
  readonly appPort: number;
  readonly #descriptors: () => number;
  #settled = 0;
  #bystander: FramePeer | undefined;

  private constructor(victim: Victim, port: number, appPort: number, accepted: Socket[]) {
    this.victim = victim;
    this.port = port;
    this.appPort = appPort;
    this.accepted = accepted;
    this.authority = `${bobAddress}:${appPort}`;
    this.#descriptors = () => victim.descriptors;
  }

  static async open(t: TestContext, engine: EngineName, options: MeshSceneOptions = {}): Promise<MeshScene> {
    const accepted: Socket[] = [];
    const app = await application(bobAddress, (socket) => {
      accepted.push(socket);
      socket.pipe(socket);
    });
    t.after(app.close);
    const victim = await Victim.start();
    t.after(() => victim.end());
    const { update = {}, withoutBystander = false, workloads = usual, ...more } = options;
    await victim.call("startMesh", { engine, ...more });
    const all = [...workloads, ...(update.workloads ?? [])];
    await victim.call("applyMesh", { update: { ...update, workloads: all } });
    const port = await victim.call("servePod", { path: "default/bob", address: bobAddress, identity: bob });
    const scene = new MeshScene(victim, port, app.port, accepted);
    if (!withoutBystander) scene.#bystander = await scene.#openBystander(t);
    scene.#settled = scene.#descriptors();
    await victim.mark();
    return scene;
  }

  /** A tunnel to bob as alice, to be misused. */
  attacker(options: Pick<PeerOptions, "as" | "settings"> = {}): Promise<FramePeer> {
    return dialPeer({ host: bobAddress, port: this.port, localAddress: aliceAddress, ...options });
  }

  /** The access log's lines with this code, once there are so many; more of them would be more connections. */
  async lines(reason: CloseCode, count: number): Promise<readonly LogLine[]> {
    const lines = await until(`${count} lines with ${reason}`, 10_000, async () => {
      const found = await this.victim.call("log", { where: { reason } });
      return found.length >= count && found;
    });
    assert.equal(lines.length, count, `${lines.length} lines with ${reason}`);
    return lines;
  }

  /** At least one line with this code: the tunnel's own, or its streams'. */
  async someLine(reason: CloseCode): Promise<void> {
    await until(`a line with ${reason}`, 10_000, async () => {
      return (await this.victim.call("log", { where: { reason } })).length > 0;
    });
  }

  /** The one line with this code. */
  async lineOf(reason: CloseCode): Promise<LogLine> {
    return (await this.lines(reason, 1))[0]!;
  }

  /**
   * What holds after everything: the victim lives, the bystander's connection works, each connection has one line and none is a
   * bug of ours, and no tunnel, connection, application socket or descriptor is left of anybody else.
   */
  async unharmed(t: TestContext, { rssMb = mostRssMb } = {}): Promise<void> {
    const { rssMb: grown, cpuMs } = this.victim.cost();
    t.diagnostic(`RSS +${grown.toFixed(1)} MB, CPU ${cpuMs} ms`);
    assert.ok(this.victim.isAlive);
    await this.#bystander?.echo(1, "after");
    const rest = this.#bystander === undefined ? 0 : 1;
    await until("only the bystander is left", 10_000, async () => {
      const { tunnels, connections } = await this.victim.call("meshCounts");
      return tunnels === rest && connections === rest;
    });
    await until("the application has been hung up on", 5_000, () => this.openSockets === rest);
    await until("descriptors are closed", 5_000, () => this.#descriptors() <= this.#settled);
    const lines = await this.victim.call("log", {});
    assert.equal(new Set(lines.map((line) => `${line["trace"]} ${line["direction"]}`)).size, lines.length);
    assert.deepEqual(
      lines.filter(({ reason }) => reason === "INTERNAL_BUG"),
      [],
    );
    assert.ok(grown <= rssMb, `the resident set grew by ${grown.toFixed(1)} MB`);
  }

  /** Connections that the application still has. */
  get openSockets(): number {
    return this.accepted.filter((socket) => !socket.closed).length;
  }

  async #openBystander(t: TestContext): Promise<FramePeer> {
    const bystander = await dialPeer({ host: bobAddress, port: this.port, localAddress: "10.99.0.4", as: alice });
    t.after(() => bystander.destroy());
    await bystander.open(1, this.authority);
    await bystander.echo(1, "before");
    return bystander;
  }
}

const usual = [pod("default/alice", aliceAddress), pod("default/bob", bobAddress)];
