/** A tunnel server by itself in a process of its own, with a bystander whose stream must live on whatever others do. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { alice, bob } from "../support/hbone-pair.ts";
import { until } from "../support/until.ts";
import type { EngineName } from "../support/engines.ts";
import { dialPeer, type FramePeer, type PeerOptions } from "./frame-peer.ts";
import { startFrameServer, type FrameServer, type ServedTunnel } from "./frame-server.ts";
import { frameTypes } from "./frames.ts";
import { Victim } from "./victim-process.ts";

/** What a CONNECT to each is met with: bytes come back, or are never read, or there is no answer at all. */
export const echoes = "echo:80";
export const unread = "unread:80";
export const silent = "silence:80";

export class ServerScene {
  readonly victim: Victim;
  readonly port: number;
  readonly bystander: FramePeer;
  readonly #descriptors: number;

  private constructor(victim: Victim, port: number, bystander: FramePeer) {
    this.victim = victim;
    this.port = port;
    this.bystander = bystander;
    this.#descriptors = victim.descriptors;
  }

  static async open(t: TestContext, engine: EngineName, options: { manualClock?: boolean } = {}): Promise<ServerScene> {
    const victim = await Victim.start();
    t.after(() => victim.end());
    const port = await victim.call("serve", { engine, identity: bob, ...options });
    const bystander = await dialPeer({ port });
    await bystander.open(1, echoes);
    await bystander.echo(1, "before");
    const scene = new ServerScene(victim, port, bystander);
    t.after(() => bystander.destroy());
    await victim.mark();
    return scene;
  }

  /** A tunnel to misuse. */
  attacker(options: Partial<PeerOptions> = {}): Promise<FramePeer> {
    return dialPeer({ port: this.port, ...options });
  }

  /** The bystander's stream works, and nothing is left of anybody else: no tunnel, no descriptor, no memory. */
  async unharmed(t: TestContext, { rssMb = mostRssMb } = {}): Promise<void> {
    const { rssMb: grown, cpuMs } = this.victim.cost();
    t.diagnostic(`RSS +${grown.toFixed(1)} MB, CPU ${cpuMs} ms`);
    assert.ok(this.victim.isAlive);
    await this.bystander.echo(1, "after");
    await until("only the bystander's tunnel is left", 10_000, async () => {
      const { tunnels, handshakes } = await this.victim.call("counts");
      return tunnels === 1 && handshakes === 0;
    });
    await until("descriptors are closed", 5_000, () => this.victim.descriptors <= this.#descriptors);
    assert.ok(grown <= rssMb, `the resident set grew by ${grown.toFixed(1)} MB`);
  }
}

/** A tunnel client in a process of its own, and the server that it has come to. */
export class ClientScene {
  readonly victim: Victim;
  readonly server: FrameServer;
  readonly tunnel: ServedTunnel;

  private constructor(victim: Victim, server: FrameServer, tunnel: ServedTunnel) {
    this.victim = victim;
    this.server = server;
    this.tunnel = tunnel;
  }

  /** @param greet what the server begins with: SETTINGS, unless told otherwise. */
  static async open(
    t: TestContext,
    engine: EngineName,
    greet: (tunnel: ServedTunnel) => void = (tunnel) => tunnel.greet(),
  ): Promise<ClientScene> {
    const victim = await Victim.start();
    t.after(() => victim.end());
    const server = await startFrameServer({ onTunnel: greet });
    t.after(server.close);
    assert.equal(await victim.call("openTunnel", { engine, port: server.port, identity: alice }), "open");
    const tunnel = await until("the server has the tunnel", 5_000, () => server.tunnels[0]);
    await tunnel.frame("the client's SETTINGS", ({ type }) => type === frameTypes.settings);
    await victim.mark();
    return new ClientScene(victim, server, tunnel);
  }

  cost(t: TestContext): { readonly rssMb: number } {
    const { rssMb, cpuMs } = this.victim.cost();
    t.diagnostic(`RSS +${rssMb.toFixed(1)} MB, CPU ${cpuMs} ms`);
    assert.ok(this.victim.isAlive);
    return { rssMb };
  }
}

/** The promise is 8 MB; a collection that comes late must fail nobody. */
export const mostRssMb = 32;
