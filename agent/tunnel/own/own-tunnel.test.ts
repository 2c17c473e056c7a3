/** What becomes of tunnels whose other end does not do its part. */
import assert from "node:assert/strict";
import { createServer as createTcpServer, type AddressInfo, type Server } from "node:net";
import { after, suite, test } from "node:test";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { ManualClock, systemClock, type Clock } from "../../../core/base/clock.ts";
import { dialPeer, type FramePeer } from "../../../test/hostile/frame-peer.ts";
import { startFrameServer, type ServedTunnel } from "../../../test/hostile/frame-server.ts";
import * as frames from "../../../test/hostile/frames.ts";
import { alice, bob, openStream, openTunnel, startServer } from "../../../test/support/hbone-pair.ts";
import { until } from "../../../test/support/until.ts";
import { pauseReasons } from "../../relay/byte-end.ts";
import { HboneServer, type IncomingStream } from "../hbone-server.ts";
import { HeldMemory } from "../held-memory.ts";
import { secureOptions } from "../tls.ts";
import { TlsSocketLink } from "../tls-socket-link.ts";
import { TunnelError, tunnelLimits, type ClientTunnel, type TunnelStream } from "../tunnel.ts";
import { OwnServer } from "./own-server.ts";

const closers: (() => unknown)[] = [];
after(async () => {
  for (const close of closers.reverse()) await close();
});

suite("a server's tunnel", () => {
  test("what came before the answer is held for nobody once its sender has taken it back", async () => {
    const memory = new HeldMemory();
    const taken: IncomingStream[] = [];
    const { port, hbone } = await serve({ memory, onStream: (stream) => taken.push(stream) });
    const peer = await dial(port);
    for (const [stream, code] of [
      [1, frames.h2Errors.noError],
      [3, frames.h2Errors.cancel],
    ] as const) {
      peer.send(frames.connect(stream, "a:80"), frames.data(stream, Buffer.alloc(10_000), frames.flags.endStream));
      peer.send(frames.rstStream(stream, code));
    }
    await until("both have come", 5_000, () => taken.length === 2);
    let abandoned = 0;
    for (const stream of taken) stream.onAbandoned = () => (abandoned += 1);
    await until("both are taken back, or nothing was held", 5_000, () => memory.octets === 0);
    for (const stream of taken) stream.refuse(503);
    peer.destroy();
    await until("the tunnel has gone", 5_000, () => hbone.tunnels === 0);
    assert.equal(memory.octets, 0);
  });

  test("a peer that asks on and on and reads no answers is cut off", async () => {
    const refusals: TunnelError[] = [];
    const { port, hbone } = await serve({
      onStream: (stream) => (hasOne ? stream.refuse(503) : pour(stream)),
      onRefused: (error) => refusals.push(error),
    });
    let hasOne = false;
    const pour = (stream: IncomingStream): void => {
      hasOne = true;
      accepted(stream).write(Buffer.alloc(64 << 20));
    };
    const peer = await dial(port, wideOpen);
    peer.send(frames.windowUpdate(0, 0x7fff_0000));
    peer.stopReading();
    peer.send(frames.connect(1, "a:80"));
    await until("it is served", 5_000, () => hasOne);
    void peer.flood(400_000, (i) => frames.connect(3 + 2 * i, "a:80"));
    await until("it is cut off", 20_000, () => hbone.tunnels === 0);
    assert.deepEqual(
      refusals.map(({ type }) => type),
      [{ code: "tunnel.abuse", account: "unread-answers" }],
    );
  });

  test("a peer that says goodbye and reads no more keeps no socket", async () => {
    const clock = new ManualClock();
    const { peer, tls, closed } = await stalled(clock);
    peer.tls.end();
    await until("its goodbye is heard", 5_000, () => closed.length === 1);
    assert.equal(tls.destroyed, false);
    clock.advance(500);
    assert.ok(tls.destroyed);
  });

  test("F-089 what was said before a tunnel retires is heard, however late it is read", async () => {
    const clock = new ManualClock();
    const { peer, tls, server, stream, written } = await stalled(clock);
    stream.end();
    server.retire();
    clock.advance(1_000);
    clock.advance(15_000);
    assert.equal(tls.destroyed, false);
    peer.readOn();
    await peer.frame(
      "the end",
      ({ type, flags }) => type === frames.frameTypes.data && flags === frames.flags.endStream,
    );
    assert.equal(peer.received(1).length, written);
  });

  test("a tunnel whose last words are never read goes all the same", async () => {
    const clock = new ManualClock();
    const { tls, server, stream, closed } = await stalled(clock);
    stream.end();
    server.retire();
    clock.advance(1_000);
    clock.advance(40_000);
    assert.ok(tls.destroyed);
    assert.equal(closed.length, 1);
  });
});

suite("a client's tunnel", () => {
  test("streams that are refused one after the other end nothing but themselves", async () => {
    const server = await startServer({ engine: "own" });
    closers.push(server.close);
    const tunnel = await client(server.port);
    for (let i = 0; i < 1_200; i++) {
      const refused = await openStream(tunnel);
      assert.deepEqual(refused instanceof TunnelError && refused.type, { code: "tunnel.refused", status: 503 });
    }
  });

  test("headers that can't be written cost no room", async () => {
    const { tunnel } = await servedByHand();
    tunnel.reserve();
    const opener = { opened: () => {}, failed: () => {} };
    assert.throws(() => tunnel.open({ ":method": "CONNECT", ":authority": "\u4f8b:80" }, opener), RangeError);
    assert.deepEqual([tunnel.streams, tunnel.room], [0, 100]);
  });

  test("a tunnel whose peer breaks the rules has no room from that moment on", async () => {
    const { tunnel, peer } = await servedByHand();
    assert.equal(tunnel.room, 100);
    peer.send(frames.data(1, "x"));
    await until("it is about to go", 5_000, () => tunnel.phase !== "open");
    assert.equal(tunnel.room, 0);
    await peer.frame("our GOAWAY", ({ type }) => type === frames.frameTypes.goaway);
  });

  test("room that was taken before a GOAWAY came is no reason to open a stream behind it", async () => {
    const { tunnel, peer } = await servedByHand();
    tunnel.reserve();
    peer.send(frames.goaway(0));
    await until("it is heard", 5_000, () => tunnel.phase === "retired");
    const failed = await new Promise((resolve) => {
      const opener = { opened: resolve, failed: resolve };
      tunnel.open({ ":method": "CONNECT", ":authority": "a:80" }, opener);
    });
    assert.deepEqual(failed instanceof TunnelError && failed.type, { code: "tunnel.stream-refused" });
    await peer.closed;
    assert.equal(peer.requests.length, 0);
  });
});

interface Serving {
  readonly memory?: HeldMemory;
  readonly onStream: (stream: IncomingStream) => void;
  readonly onRefused?: (error: TunnelError) => void;
}

async function serve(options: Serving): Promise<{ readonly port: number; readonly hbone: HboneServer }> {
  const hbone = new HboneServer({ clock: systemClock, onRefused: () => {}, ...options });
  hbone.useIdentity(bob);
  const server = createTcpServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => hbone.accept(socket));
  closers.push(() => hbone.destroy());
  return { port: await listening(server), hbone };
}

async function listening(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closers.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function dial(port: number, settings: Parameters<FramePeer["greet"]>[0] = []): Promise<FramePeer> {
  const peer = await dialPeer({ port, as: alice, settings });
  closers.push(() => peer.destroy());
  return peer;
}

function accepted(stream: IncomingStream): TunnelStream {
  const end = stream.accept({});
  end.resume(pauseReasons.unjoined);
  return end;
}

/** A tunnel with a stream to a peer that reads nothing, written to until TLS takes no more. */
async function stalled(clock: Clock): Promise<{
  readonly peer: FramePeer;
  readonly tls: TLSSocket;
  readonly server: OwnServer;
  readonly stream: TunnelStream;
  readonly written: number;
  readonly closed: readonly TunnelError[];
}> {
  const closed: TunnelError[] = [];
  const secured = Promise.withResolvers<TLSSocket>();
  const came = Promise.withResolvers<IncomingStream>();
  const endpoint = { address: "127.0.0.1", port: 1 };
  let server: OwnServer | undefined;
  const listener = createTlsServer({ ...secureOptions(bob), ALPNProtocols: ["h2"] }, (tls) => {
    const host = {
      onStream: came.resolve,
      onBegun: () => {},
      onClosed: (error: TunnelError) => closed.push(error),
    };
    const peer = { remote: endpoint, local: endpoint, identity: alice.identity };
    const modules = { clock, limits: tunnelLimits, memory: new HeldMemory(), socket: tls };
    server = new OwnServer(new TlsSocketLink(tls, tls), peer, host, modules);
    secured.resolve(tls);
  });
  const peer = await dial(await listening(listener), wideOpen);
  const tls = await secured.promise;
  closers.push(() => tls.destroy());
  peer.send(
    frames.windowUpdate(0, 0x7fff_0000),
    frames.connect(1, "a:80", frames.flags.endHeaders | frames.flags.endStream),
  );
  const stream = accepted(await came.promise);
  peer.stopReading();
  let [written, looks] = [0, 0];
  await until("TLS takes no more", 20_000, () => {
    looks = tls.writableLength > 0 ? looks + 1 : 0;
    for (; looks === 0 && tls.writableLength < 128 << 10; written += 64 << 10) stream.write(Buffer.alloc(64 << 10));
    return looks > 10;
  });
  return { peer, tls, server: server!, stream, written, closed };
}

async function client(port: number): Promise<ClientTunnel> {
  const tunnel = await openTunnel(port, { engine: "own" });
  assert.ok(!(tunnel instanceof TunnelError), "no tunnel");
  closers.push(() => tunnel.destroy());
  return tunnel;
}

/** A tunnel to a server that the test plays itself. */
async function servedByHand(): Promise<{ readonly tunnel: ClientTunnel; readonly peer: ServedTunnel }> {
  const server = await startFrameServer({ onTunnel: (tunnel) => tunnel.greet() });
  closers.push(server.close);
  const tunnel = await client(server.port);
  const peer = await until("the server has it", 5_000, () => server.tunnels[0]);
  await peer.frame(
    "its answer to our SETTINGS",
    ({ type, flags }) => type === frames.frameTypes.settings && flags === 1,
  );
  return { tunnel, peer };
}

/** A peer that lets us send without end. */
const wideOpen = [[frames.settingIds.initialWindowSize, 0x7fff_ffff]] as const;
