/** A client of a pod's 15008 that may misbehave: real mTLS, then whatever bytes the test writes. */
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from "node:tls";
import { secureOptions, type TlsIdentity } from "../../agent/tunnel/tls.ts";
import { alice } from "../support/hbone-pair.ts";
import { connect, data, frameTypes, preface, settingIds, settingOf, settings, type Frame } from "./frames.ts";
import { PeerEnd } from "./peer-end.ts";

export type Settings = readonly (readonly [id: number, value: number])[];

export interface PeerOptions {
  readonly host?: string;
  readonly port: number;
  readonly localAddress?: string;
  readonly as?: TlsIdentity;
  /** SETTINGS to begin with. */
  readonly settings?: Settings;
  /** Over what a mesh peer would offer. */
  readonly tls?: ConnectionOptions;
}

/** TCP alone: for those who never begin TLS, or begin it slowly. */
export async function dialTcp({ host = "127.0.0.1", port, localAddress }: PeerOptions): Promise<Socket> {
  const socket = connectTcp({ host, port, noDelay: true, ...(localAddress !== undefined && { localAddress }) });
  socket.on("error", () => {});
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("close", () => reject(new Error("no TCP connection")));
  });
  return socket;
}

/** TLS and nothing more: no preface has been sent. */
export async function dialTls(options: PeerOptions): Promise<FramePeer> {
  const socket = await dialTcp(options);
  const tls = connectTls({
    socket,
    ...secureOptions(options.as ?? alice),
    ALPNProtocols: ["h2"],
    servername: "",
    checkServerIdentity: () => undefined,
    ...options.tls,
  });
  const peer = new FramePeer(tls, socket);
  await new Promise<void>((resolve) => {
    tls.once("secureConnect", resolve);
    tls.once("close", resolve);
  });
  return peer;
}

/** HTTP/2 is up: both have sent their SETTINGS and have heard the other's. */
export async function dialPeer(options: PeerOptions): Promise<FramePeer> {
  const peer = await dialTls(options);
  peer.greet(options.settings);
  await peer.frame("the server's SETTINGS", ({ type, flags }) => type === frameTypes.settings && flags === 0);
  await peer.frame("the server's answer to ours", ({ type, flags }) => type === frameTypes.settings && flags === 1);
  return peer;
}

export class FramePeer extends PeerEnd {
  /** Beneath TLS. */
  readonly socket: Socket;
  /** DATA of `fill`, by stream. */
  readonly #sent = new Map<number, number>();

  constructor(tls: TLSSocket, socket: Socket) {
    super(tls);
    this.socket = socket;
  }

  /** The preface, and SETTINGS that let the other side's header blocks be read here: no table. */
  greet(more: Settings = []): void {
    this.isPolite = true;
    this.send(preface, settings([[settingIds.headerTableSize, 0], ...more]));
  }

  get serverSettings(): Frame | undefined {
    return this.frames.find(({ type, flags }) => type === frameTypes.settings && flags === 0);
  }

  /** Of the octets that may still be sent on a stream, and in the connection. */
  windowOf(stream: number): number {
    const initial = this.serverSettings && settingOf(this.serverSettings, settingIds.initialWindowSize);
    const granted = (id: number): number =>
      this.frames
        .filter((one) => one.type === frameTypes.windowUpdate && one.stream === id)
        .reduce((sum, { payload }) => sum + payload.readUInt32BE(0), 0);
    const ofStream = (initial ?? defaultWindow) + granted(stream) - (this.#sent.get(stream) ?? 0);
    const all = [...this.#sent.values()].reduce((sum, one) => sum + one, 0);
    return Math.min(ofStream, defaultWindow + granted(0) - all);
  }

  /** Sends as much DATA as the windows let it. @returns how much that was. */
  async fill(stream: number): Promise<number> {
    let sent = 0;
    for (let left = this.windowOf(stream); left > 0; left = this.windowOf(stream)) {
      const size = Math.min(left, 16_384);
      this.#sent.set(stream, (this.#sent.get(stream) ?? 0) + size);
      if ((await this.flood(1, () => data(stream, Buffer.alloc(size)))) === 0) break;
      sent += size;
    }
    return sent;
  }

  /** A polite stream: CONNECT, 200. */
  async open(stream: number, authority: string): Promise<void> {
    this.send(connect(stream, authority));
    const status = await this.answer(stream);
    if (status !== 200) throw new Error(`stream ${stream} was answered with ${status}`);
  }

  /** Sends bytes on a polite stream and waits until they have come back. */
  async echo(stream: number, words: string): Promise<void> {
    const before = this.received(stream).length;
    this.send(data(stream, words));
    const isBack = (): boolean => this.received(stream).subarray(before).toString() === words;
    await this.frame(`the echo of ${words}`, isBack);
  }
}

const defaultWindow = 65_535;
