/** A worker's share of one pod's DNS: its duplicates of the sockets on 15053, and what is asked through them. */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from "node:dgram";
import { createServer, type Server, type Socket } from "node:net";
import { canonicalIp, type Endpoint } from "../../core/base/ip.ts";
import { messageOf } from "../../core/base/errors.ts";
import { closeDescriptor } from "../../core/linux/sockets.ts";
import { acceptQueued } from "../worker/listeners.ts";
import { listenBacklog, type DnsDescriptor } from "../worker-messages.ts";
import type { DnsHost, DnsPod } from "./host.ts";
import type { DnsLabels } from "./observer.ts";
import { Responder, type Response } from "./responder.ts";
import { TcpClient } from "./tcp-client.ts";
import { isOwn, UdpForwarder } from "./udp-forwarder.ts";

type Listening =
  | { readonly kind: "held"; readonly descriptors: readonly DnsDescriptor[] }
  | { readonly kind: "open"; readonly udp: readonly UdpSocket[]; readonly tcp: readonly Server[] }
  | { readonly kind: "closed" };

export class PodDns {
  /** Settles when all of them are served, or never will be. */
  readonly listening: Promise<void>;
  readonly #host: DnsHost;
  readonly #pod: DnsPod;
  readonly #responder: Responder;
  readonly #forwarder: UdpForwarder;
  readonly #clients = new Set<TcpClient>();
  readonly #onIdle: () => void;
  #sockets: Listening;
  /** Sockets that only answers still leave through. */
  #leaving: readonly UdpSocket[] = [];
  /** Answers that are on their way there. */
  #sending = 0;

  /**
   * @param descriptors owned from now on.
   * @param onIdle nothing is asked any more, for now.
   * @param opening nothing is read before it settles: it waits in the kernel, or is another agent's. Undefined: at once.
   */
  constructor(
    host: DnsHost,
    pod: DnsPod,
    descriptors: readonly DnsDescriptor[],
    onIdle: () => void,
    opening?: Promise<void>,
  ) {
    this.#host = host;
    this.#pod = pod;
    this.#onIdle = onIdle;
    this.#responder = new Responder(host, pod);
    this.#forwarder = new UdpForwarder(host, pod, () => this.#idle());
    this.#sockets = { kind: "held", descriptors };
    const open = (): Promise<unknown> => this.#open();
    this.listening = (opening === undefined ? open() : opening.then(open)).then(() => undefined);
  }

  /** Queries that wait for an answer, and connections over TCP. */
  get size(): number {
    return this.#forwarder.size + this.#clients.size + this.#sending;
  }

  tick(nowMs: number): void {
    this.#forwarder.tick(nowMs);
    for (const client of this.#clients) client.tick(nowMs);
  }

  /** Reads what is queued, then nothing more. What was asked is still answered. */
  async close(): Promise<void> {
    if (this.#sockets.kind === "open") await acceptQueued();
    const sockets = this.#sockets;
    this.#sockets = { kind: "closed" };
    if (sockets.kind === "held") for (const { fd } of sockets.descriptors) closeDescriptor(fd);
    if (sockets.kind === "open") {
      for (const server of sockets.tcp) server.close();
      for (const client of [...this.#clients]) client.finish();
      this.#leaving = sockets.udp;
      for (const socket of sockets.udp) socket.removeAllListeners("message").on("message", () => undefined);
    }
    this.#idle();
  }

  /** Gives everything up. */
  destroy(): void {
    this.#forwarder.destroy();
    for (const client of [...this.#clients]) client.close();
    this.#idle();
  }

  #open(): Promise<unknown> {
    if (this.#sockets.kind !== "held") return Promise.resolve();
    const udp: UdpSocket[] = [];
    const tcp: Server[] = [];
    const listening: Promise<void>[] = [];
    for (const { protocol, address, fd } of this.#sockets.descriptors) {
      if (protocol === "udp") {
        const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
        socket.on("message", (bytes, from) => this.#ask(socket, address, bytes, from));
        listening.push(ready(socket));
        socket.bind({ fd });
        udp.push(socket);
      } else {
        const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (client) =>
          this.#accept(client),
        );
        listening.push(ready(server));
        server.listen({ fd }, listenBacklog);
        tcp.push(server);
      }
    }
    for (const socket of [...udp, ...tcp]) {
      socket.on("error", (error) =>
        this.#host.log.error({ pod: this.#pod.uid, problem: messageOf(error) }, "a DNS socket fails"),
      );
    }
    this.#sockets = { kind: "open", udp, tcp };
    return Promise.all(listening);
  }

  #ask(socket: UdpSocket, own: string, bytes: Uint8Array, from: RemoteInfo): void {
    const response = this.#responder.respond(bytes, "udp");
    const say = (reply: Uint8Array): void => this.#send(socket, reply, from);
    if (response.kind !== "wait") return this.#follow(own, bytes, from, response, say);
    if (!this.#forwarder.reserve()) return say(this.#responder.failed(bytes, "DNS_BUSY"));
    const { labels } = response;
    void this.#host.mesh.waitForWorkload(this.#pod.info, this.#host.workloadDeadlineMs).then((client) => {
      const answer = this.#responder.waited(bytes, labels, client);
      this.#follow(own, bytes, from, answer, say);
      this.#forwarder.release();
    });
  }

  #send(socket: UdpSocket, reply: Uint8Array, to: RemoteInfo): void {
    if (this.#sockets.kind !== "open" && !this.#leaving.includes(socket)) return;
    this.#sending++;
    // Not at once: a socket that was closed meanwhile would keep it. What can't be sent is lost, as any datagram may be.
    socket.send(reply, to.port, to.address, () => {
      this.#sending--;
      this.#idle();
    });
  }

  #follow(
    own: string,
    bytes: Uint8Array,
    from: RemoteInfo,
    response: Response,
    say: (reply: Uint8Array) => void,
  ): void {
    if (response.kind === "reply") return say(response.bytes);
    if (response.kind === "pass") this.#forward(own, bytes, from, response.labels, say);
  }

  #forward(
    own: string,
    bytes: Uint8Array,
    from: RemoteInfo,
    labels: DnsLabels,
    say: (reply: Uint8Array) => void,
  ): void {
    // Before the kernel is asked anything: a flood must cost us less than it costs its sender.
    if (this.#forwarder.isFull) return say(this.#responder.failed(bytes, "DNS_BUSY"));
    const { originalUdpDestination, settings } = this.#host;
    const sender = { address: canonicalIp(from.address) ?? from.address, port: from.port };
    const original = originalUdpDestination(this.#pod.netns, sender, { address: own, port: settings.port });
    this.#forwarder.forward({
      bytes,
      labels,
      servers: this.#serversFor(original),
      done: (outcome) => say(typeof outcome === "string" ? this.#responder.failed(bytes, outcome) : outcome),
    });
  }

  #accept(socket: Socket): void {
    if (this.#clients.size >= mostClients) return void socket.destroy();
    const client: TcpClient = new TcpClient(socket, {
      host: this.#host,
      pod: this.#pod,
      responder: this.#responder,
      waiting: this.#forwarder,
      servers: this.#serversFor(this.#host.originalDestination(socket)),
      onClosed: () => {
        this.#clients.delete(client);
        this.#idle();
      },
    });
    this.#clients.add(client);
  }

  /** Who was asked, where the kernel says so. Somebody who asks us directly, on 15053, has not chosen anybody. */
  #serversFor(original: Endpoint | undefined): readonly Endpoint[] {
    const { port, nameServers } = this.#host.settings;
    return original === undefined || isOwn(original, port) ? nameServers : [original];
  }

  #idle(): void {
    if (this.size > 0 || this.#sockets.kind !== "closed") return;
    for (const socket of this.#leaving) socket.close();
    this.#leaving = [];
    this.#onIdle();
  }
}

function ready(socket: UdpSocket | Server): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once("listening", resolve);
    socket.once("error", reject);
  });
}

/** Connections over TCP of one pod in one worker. */
const mostClients = 250;
