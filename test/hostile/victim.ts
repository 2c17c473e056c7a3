/**
 * The process under attack, started by victim-process.ts: HBONE's two ends by themselves, or a whole worker. It answers calls over
 * IPC; what it costs is read from outside.
 */
import type { AddressInfo } from "node:net";
import process from "node:process";
import type { HboneServer, IncomingStream } from "../../agent/tunnel/hbone-server.ts";
import { TunnelError, type ClientTunnel, type TunnelStream } from "../../agent/tunnel/tunnel.ts";
import { pauseReasons, type EndListener } from "../../agent/relay/byte-end.ts";
import { ManualClock, systemClock, type Clock } from "../../core/base/clock.ts";
import { alice, bob, bobUri, openStream } from "../support/hbone-pair.ts";
import { engineOf, type EngineName } from "../support/engines.ts";
import { connectForTunnel, listenForTunnels } from "../support/socket-kinds.ts";
import { workerCalls } from "./victim-worker.ts";
import type { TlsMaterial } from "./victim-worker.ts";

const counts = { ticks: 0, streams: 0, abandoned: 0, refusals: [] as string[], opened: 0, bytes: 0 };
const held: IncomingStream[] = [];
let clock: Clock = systemClock;
let server: HboneServer | undefined;
let tunnel: ClientTunnel | undefined;

const engineCalls = {
  /** A server on 127.0.0.1 that treats a CONNECT by the hostname it asks for. */
  async serve(options: { engine: EngineName; manualClock?: boolean } & TlsMaterial): Promise<number> {
    if (options.manualClock === true) clock = new ManualClock(Date.now());
    const hbone = engineOf(options.engine).server({
      clock,
      onOpened: () => (counts.opened += 1),
      onRefused: (error) => counts.refusals.push(error.type.code),
      onStream: (stream) => {
        counts.streams += 1;
        stream.onAbandoned = () => (counts.abandoned += 1);
        answer(stream);
      },
    });
    hbone.useIdentity(options.identity ?? bob);
    server = hbone;
    const listener = await listenForTunnels(options.engine, (socket) => hbone.accept(socket));
    setInterval(() => {
      hbone.tick(clock.nowMs());
      counts.ticks += 1;
    }, 1_000).unref();
    return (listener.address() as AddressInfo).port;
  },

  async counts(): Promise<typeof counts & { tunnels: number; handshakes: number }> {
    return { ...counts, tunnels: server?.tunnels ?? 0, handshakes: server?.handshakes ?? 0 };
  },

  /** GOAWAY to all. */
  async retire(): Promise<void> {
    server?.retire();
  },

  /** Moves the manual clock on. */
  async advance(options: { ms: number }): Promise<void> {
    if (clock instanceof ManualClock) clock.advance(options.ms);
  },

  /** A tunnel as alice to a server that says it is bob. @returns "open" or why not. */
  async openTunnel(options: { engine: EngineName; port: number; deadlineMs?: number } & TlsMaterial): Promise<string> {
    const made = await engineOf(options.engine).openClientTunnel({
      socket: connectForTunnel(options.engine, options.port),
      context: engineOf(options.engine).clientTls(options.identity ?? alice),
      accepted: [bobUri],
      clock,
      ...(options.deadlineMs !== undefined && { deadlineMs: options.deadlineMs }),
    });
    if (made instanceof TunnelError) return describe(made);
    tunnel = made;
    return "open";
  },

  /** So many streams at once in the tunnel. @returns "open" for each, or its error. */
  async openStreams(options: { count: number }): Promise<string[]> {
    if (tunnel === undefined) throw new Error("no tunnel");
    const to = tunnel;
    const opened = await Promise.all(Array.from({ length: options.count }, () => openStream(to)));
    return opened.map((one) => {
      if (one instanceof TunnelError) return describe(one);
      one.listener = new Echo(one);
      return "open";
    });
  },

  async tunnel(): Promise<{ phase: string; room: number; streams: number }> {
    return { phase: tunnel?.phase ?? "none", room: tunnel?.room ?? 0, streams: tunnel?.streams ?? 0 };
  },

  /** What JavaScript and its buffers hold, after everything that nobody holds has gone. */
  async memory(): Promise<{ heap: number; buffers: number; longestStallMs: number }> {
    globalThis.gc?.();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return { heap: heapUsed, buffers: arrayBuffers, longestStallMs: longestStall() };
  },
};

const calls = { ...engineCalls, ...workerCalls };
export type VictimCalls = typeof calls;
const byName: Readonly<Record<keyof VictimCalls, (options: never) => Promise<unknown>>> = calls;

/** `silence` is never answered; `unread` is, and then nothing is read; others get back what they send. */
function answer(stream: IncomingStream): void {
  const [how] = String(stream.headers[":authority"]).split(":");
  if (how === "silence") return void held.push(stream);
  const end = stream.accept({ ":status": 200 });
  end.listener = new Echo(end);
  if (how !== "unread") end.resume(pauseReasons.unjoined);
}

class Echo implements EndListener {
  readonly #end: TunnelStream;

  constructor(end: TunnelStream) {
    this.#end = end;
  }

  data(_from: unknown, chunk: Uint8Array): void {
    counts.bytes += chunk.length;
    if (!this.#end.write(chunk)) this.#end.pause(pauseReasons.full);
  }

  ended(): void {
    this.#end.end();
  }

  drained(): void {
    this.#end.resume(pauseReasons.full);
  }

  reset(): void {}

  closed(): void {}
}

function describe({ type }: TunnelError): string {
  if ("status" in type) return `${type.code} ${type.status}`;
  return "detail" in type ? `${type.code} ${type.detail}` : type.code;
}

/** A timer that should fire every 5 ms says how long the loop was held. */
let worstMs = 0;
let lastMs = performance.now();
setInterval(() => {
  const now = performance.now();
  worstMs = Math.max(worstMs, now - lastMs - 5);
  lastMs = now;
}, 5).unref();

function longestStall(): number {
  const worst = Math.max(worstMs, performance.now() - lastMs - 5);
  worstMs = 0;
  lastMs = performance.now();
  return Math.round(worst);
}

process.on("message", ({ id, name, options }: { id: number; name: keyof VictimCalls; options: never }) => {
  byName[name](options).then(
    (result) => say({ id, result }),
    (error: unknown) => say({ id, error: String(error) }),
  );
});
process.on("disconnect", () => process.exit());
say({ id: 0 });

/** Nobody may be listening any more. */
function say(message: object): void {
  process.send?.(message, undefined, {}, () => {});
}
