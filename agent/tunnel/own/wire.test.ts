/** What our HTTP/2 says first, octet by octet (agent-wire, appendix A), and how often it asks whether anybody is there. */
import assert from "node:assert/strict";
import { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { test } from "node:test";
import { ManualClock } from "../../../core/base/clock.ts";
import { clientPreface } from "../../../core/protocol/h2/frame.ts";
import { pingFrame, settingsFrame } from "../../../core/protocol/h2/frame-writer.ts";
import { bob } from "../../../test/support/hbone-pair.ts";
import { HeldMemory } from "../held-memory.ts";
import { TlsSocketLink } from "../tls-socket-link.ts";
import { tunnelLimits, type TunnelLimits } from "../tunnel.ts";
import { OwnClient } from "./own-client.ts";
import { OwnServer } from "./own-server.ts";

test("F-086 F-087 a client begins with its preface, its SETTINGS and a connection window of 16 MiB", async () => {
  const { written } = await clientOn(new ManualClock());
  const settings = "000018040000000000" + "000200000000" + "000400400000" + "000500100000" + "000600004000";
  assert.equal(written(), hexOf(clientPreface) + settings + "00000408000000000000ff0001");
});

test("F-086 F-087 a server begins with its SETTINGS, 200 streams among them, and the same window", async () => {
  const { written } = await serverOn(new ManualClock());
  const settings = "000018040000000000" + "0003000000c8" + "000400400000" + "000500100000" + "000600010000";
  assert.equal(written(), settings + "00000408000000000000ff0001");
});

test("F-086 other windows and frame sizes are told as they were set", async () => {
  const limits = { ...tunnelLimits, streamWindow: 100_000, connectionWindow: 200_000, maxFrameSize: 20_000 };
  const { written } = await clientOn(new ManualClock(), limits);
  const settings = "000018040000000000" + "000200000000" + "0004000186a0" + "000500004e20" + "000600004000";
  assert.equal(written(), hexOf(clientPreface) + settings + "00000408000000000000020d41");
});

for (const side of ["client", "server"] as const) {
  test(`F-088 a ${side} asks after 10 s, and gives up a peer that has said nothing 20 s later`, async () => {
    const clock = new ManualClock();
    const { tick, written, hear, isGone } = await (side === "client" ? clientOn(clock) : serverOn(clock));
    if (side === "server") hear(clientPreface);
    hear(settingsFrame([]));
    await turn();
    const before = written().length;
    const pings = (): number => written().slice(before).split("0000080600").length - 1;
    const pass = async (ms: number): Promise<void> => {
      clock.advance(ms);
      tick(clock.nowMs());
      await turn();
    };
    await pass(9_999);
    assert.equal(pings(), 0);
    await pass(1);
    assert.equal(pings(), 1);
    hear(pingFrame(new Uint8Array(8), true));
    await pass(9_999);
    assert.equal(pings(), 1, "ten seconds after the answer, not before");
    await pass(1);
    assert.equal(pings(), 2);
    await pass(19_999);
    assert.ok(!isGone());
    await pass(1);
    assert.ok(isGone());
  });
}

interface End {
  readonly written: () => string;
  readonly hear: (bytes: Uint8Array) => void;
  readonly tick: (nowMs: number) => void;
  readonly isGone: () => boolean;
}

async function clientOn(clock: ManualClock, limits: TunnelLimits = tunnelLimits): Promise<End> {
  const wire = new Wire();
  const client = new OwnClient(wire.link(), "spiffe://a/ns/b/sa/c", wire.modules(clock, limits));
  await turn();
  return wire.seen((nowMs) => client.tick(nowMs));
}

async function serverOn(clock: ManualClock): Promise<End> {
  const wire = new Wire();
  const endpoint = { address: "10.0.0.1", port: 1 };
  const host = { onStream() {}, onBegun() {}, onClosed() {} };
  const peer = { remote: endpoint, local: endpoint, identity: bob.identity };
  const server = new OwnServer(wire.link(), peer, host, wire.modules(clock, tunnelLimits));
  await turn();
  return wire.seen((nowMs) => server.tick(nowMs));
}

/** What is written is kept; what is heard is what the test says. */
class Wire extends Duplex {
  readonly #written: Uint8Array[] = [];

  override _write(chunk: Uint8Array, _encoding: string, done: () => void): void {
    this.#written.push(chunk);
    done();
  }

  override _read(): void {}

  destroySoon(): void {
    this.destroy();
  }

  get tls(): TLSSocket {
    return this as unknown as TLSSocket;
  }

  link(): TlsSocketLink {
    return new TlsSocketLink(this.tls, this.tls);
  }

  modules(clock: ManualClock, limits: TunnelLimits): ConstructorParameters<typeof OwnClient>[2] {
    return { clock, limits, memory: new HeldMemory(), socket: this.tls };
  }

  seen(tick: (nowMs: number) => void): End {
    return {
      written: () => hexOf(Buffer.concat(this.#written)),
      hear: (bytes) => void this.push(bytes),
      tick,
      isGone: () => this.destroyed,
    };
  }
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
}
