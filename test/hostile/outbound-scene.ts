/**
 * A whole worker in a process of its own that serves `default/alice` at 10.99.0.2. The mesh says that `default/carol` is at 10.99.0.20;
 * what answers there is the test's. The test file has called enterNamespaces().
 */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import type { MeshUpdate } from "../../core/decision/mesh-state.ts";
import type { CloseCode } from "../../core/decision/close-reasons.ts";
import type { EngineName } from "../support/engines.ts";
import { alice, root } from "../support/hbone-pair.ts";
import { identityOf, testIdentity } from "../support/identities.ts";
import { application, type LogLine } from "../support/loopback-mesh.ts";
import { pod } from "../support/mesh.ts";
import { until } from "../support/until.ts";
import { startFrameServer, type FrameServer, type FrameServerOptions } from "./frame-server.ts";
import { Victim } from "./victim-process.ts";
import type { Dialled } from "./victim-worker.ts";

export const aliceAddress = "10.99.0.2";
export const carolAddress = "10.99.0.20";
export const carolPort = 8_080;
export const carol = testIdentity(root, identityOf("carol"));

export interface OutboundSceneOptions {
  readonly deadlineMs?: number;
  readonly manualClock?: boolean;
  /** Beside alice and carol. */
  readonly update?: MeshUpdate;
}

export class OutboundScene {
  readonly victim: Victim;
  /** Carol's application, which speaks no TLS: whoever reaches it has fallen back to clear text. */
  readonly bare: () => number;
  readonly #descriptors: number;

  private constructor(victim: Victim, bare: () => number) {
    this.victim = victim;
    this.bare = bare;
    this.#descriptors = victim.descriptors;
  }

  static async open(t: TestContext, engine: EngineName, options: OutboundSceneOptions = {}): Promise<OutboundScene> {
    let reached = 0;
    const bare = await application(carolAddress, () => (reached += 1), carolPort);
    t.after(bare.close);
    const victim = await Victim.start();
    t.after(() => victim.end());
    const { update = {}, ...more } = options;
    await victim.call("startMesh", { engine, ...more });
    const workloads = [
      pod("default/alice", aliceAddress),
      pod("default/carol", carolAddress),
      ...(update.workloads ?? []),
    ];
    await victim.call("applyMesh", { update: { ...update, workloads } });
    await victim.call("servePod", { path: "default/alice", address: aliceAddress, identity: alice });
    await victim.mark();
    return new OutboundScene(victim, () => reached);
  }

  /** What answers at carol's 15008. */
  async carol(t: TestContext, options: Partial<FrameServerOptions>): Promise<FrameServer> {
    const onTunnel = options.onTunnel ?? ((tunnel) => tunnel.greet());
    const server = await startFrameServer({ host: carolAddress, port: 15_008, identity: carol, ...options, onTunnel });
    t.after(server.close);
    return server;
  }

  /** An application in alice's pod connects. @returns the number of the connection. */
  dial(text?: string, to = carolAddress, port = carolPort): Promise<number> {
    const way = { kind: "outbound", pod: aliceAddress, to, port } as const;
    return this.victim.call("dial", { way, ...(text !== undefined && { text }) });
  }

  /** How a connection went, once it has ended, or once it matches. */
  outcome(number: number, match: (one: Dialled) => boolean = ({ state }) => state !== "open"): Promise<Dialled> {
    return until(`connection ${number} to come to something`, 15_000, async () => {
      const one = await this.victim.call("dialled", { number });
      return match(one) && one;
    });
  }

  /** The line of a connection that was refused: there is one, and the application was reset and had got nothing. */
  async refusal(number: number): Promise<LogLine> {
    const { state, length } = await this.outcome(number);
    assert.deepEqual([state, length], ["reset", 0]);
    const lines = await until("a line", 5_000, async () => {
      const found = await this.victim.call("log", {});
      return found.length > 0 && found;
    });
    assert.equal(lines.length, 1);
    return lines[0]!;
  }

  async refusedWith(number: number, reason: CloseCode): Promise<void> {
    const line = await this.refusal(number);
    assert.equal(line["reason"], reason, String(line["detail"]));
  }

  /** Nobody was talked to in clear text, nothing is left, and the victim lives. */
  async unharmed(t: TestContext): Promise<void> {
    const { rssMb, cpuMs } = this.victim.cost();
    t.diagnostic(`RSS +${rssMb.toFixed(1)} MB, CPU ${cpuMs} ms`);
    assert.equal(this.bare(), 0, "nothing went around the tunnel");
    await this.victim.call("hangUp");
    await until("nothing is left", 10_000, async () => {
      const { tunnels, connections } = await this.victim.call("meshCounts");
      return tunnels === 0 && connections === 0;
    });
    await until("descriptors are closed", 5_000, () => this.victim.descriptors <= this.#descriptors);
  }
}

/** Accepts TCP at an address and says nothing. */
export async function muteServer(t: TestContext, address: string, port: number): Promise<void> {
  const mute = await application(address, () => {}, port);
  t.after(mute.close);
}
