/** An agent that relays plainly: it speaks ZDS, listens where an agent listens, and connects captured connections through to where
 *  they were going, from the address they came from. What a test needs to see that capture cuts nothing. */
import { createServer, type Server, type Socket } from "node:net";
import { LinuxError } from "../../../core/linux/errno.ts";
import { originalDestination } from "../../../core/linux/original-destination.ts";
import { connectSeqpacket, type SeqpacketConnection } from "../../../core/linux/seqpacket.ts";
import { closeDescriptor, connectTcp, listenTcp } from "../../../core/linux/sockets.ts";
import {
  decodeRequest,
  encodeResponse,
  hello,
  ZdsError,
  type ZdsRequest,
} from "../../../core/protocol/zds/messages.ts";

const mark = 1337;

interface ServedPod {
  readonly netns: number;
  readonly servers: readonly Server[];
}

export class PlainAgent {
  /** Requests in the order they came. */
  readonly heard: string[] = [];
  /** Captured connections so far, by direction. */
  captured = { outbound: 0, inbound: 0 };
  readonly #zds: string;
  #connection: SeqpacketConnection;
  readonly #pods = new Map<string, ServedPod>();
  /** Pods that this connection's snapshot has named. */
  #named = new Set<string>();
  readonly #relays = new Set<Socket>();
  readonly #answerTo: (request: ZdsRequest) => string | undefined;

  /** @param answerTo an error text, or nothing for success; "silence" leaves the daemon waiting. */
  constructor(zds: string, answerTo: (request: ZdsRequest) => string | undefined = () => undefined) {
    this.#zds = zds;
    this.#answerTo = answerTo;
    this.#connection = this.#connect();
  }

  /** After hangUp, or after the daemon has died. */
  reconnect(): void {
    this.#connection = this.#connect();
  }

  serves(uid: string): boolean {
    return this.#pods.has(uid);
  }

  /** As kill -9 would: the link, the listeners and every relayed connection at once. */
  kill(): void {
    this.#connection.close();
    for (const uid of [...this.#pods.keys()]) this.#stop(uid);
    for (const socket of this.#relays) socket.destroy();
  }

  /** The link alone: what is served goes on. */
  hangUp(): void {
    this.#connection.close();
  }

  #connect(): SeqpacketConnection {
    const connection = connectSeqpacket(this.#zds);
    if (connection instanceof LinuxError) throw connection;
    connection.onPacket((bytes, descriptors) => void this.#receive(bytes, descriptors));
    this.#named = new Set();
    connection.send(hello());
    return connection;
  }

  async #receive(bytes: Uint8Array, descriptors: number[]): Promise<void> {
    const request = decodeRequest(bytes, descriptors.length);
    if (request instanceof ZdsError) throw request;
    this.heard.push("uid" in request ? `${request.kind} ${request.uid}` : request.kind);
    const said = this.#answerTo(request);
    if (said === "silence") return descriptors.forEach(closeDescriptor);
    if (request.kind === "add" && said === undefined) await this.#serve(request.uid, descriptors[0] ?? -1);
    else descriptors.forEach(closeDescriptor);
    if (request.kind === "del") this.#stop(request.uid);
    if (request.kind === "add" || request.kind === "keep") this.#named.add(request.uid);
    if (request.kind === "snapshot-sent")
      for (const uid of this.#pods.keys()) if (!this.#named.has(uid)) this.#stop(uid);
    this.#connection.send(encodeResponse(said === undefined ? {} : { error: said }));
  }

  async #serve(uid: string, netns: number): Promise<void> {
    if (this.#pods.has(uid)) return closeDescriptor(netns);
    const servers = await Promise.all([
      this.#listen(netns, 15001, (socket) => this.#relayOutbound(netns, socket)),
      this.#listen(netns, 15006, (socket) => this.#relayInbound(netns, socket)),
      this.#listen(netns, 15008, (socket) => socket.destroy()),
    ]);
    this.#pods.set(uid, { netns, servers });
  }

  #listen(netns: number, port: number, serve: (socket: Socket) => void): Promise<Server> {
    const listener = listenTcp({ netns, address: "::", port, mark, transparent: true });
    if (listener instanceof LinuxError) throw listener;
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, serve);
    return new Promise((resolve) => server.listen({ fd: listener.fd }, () => resolve(server)));
  }

  #relayOutbound(netns: number, socket: Socket): void {
    this.captured.outbound += 1;
    this.#relay(socket, netns, undefined);
  }

  #relayInbound(netns: number, socket: Socket): void {
    this.captured.inbound += 1;
    this.#relay(socket, netns, socket.remoteAddress?.replace(/^::ffff:/, ""));
  }

  #relay(socket: Socket, netns: number, from: string | undefined): void {
    const remote = originalDestination(socket);
    if (remote instanceof LinuxError) throw remote;
    const local = from === undefined ? {} : { local: { address: from }, transparent: true };
    const onward = connectTcp({ netns, remote, mark, ...local });
    for (const each of [socket, onward]) {
      this.#relays.add(each);
      each.on("close", () => this.#relays.delete(each));
      each.on("error", () => {
        socket.destroy();
        onward.destroy();
      });
    }
    socket.pipe(onward).pipe(socket);
    socket.resume();
  }

  #stop(uid: string): void {
    const pod = this.#pods.get(uid);
    if (pod === undefined) return;
    this.#pods.delete(uid);
    const closed = pod.servers.map((server) => new Promise((resolve) => server.close(resolve)));
    // A server has closed when its last connection has: nobody needs the namespace any more.
    void Promise.all(closed).then(() => closeDescriptor(pod.netns));
  }
}
