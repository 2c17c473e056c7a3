/** A pod with a DNS proxy in it, and a resolver to ask: in a network namespace of their own, in this process. */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from "node:dgram";
import { createServer, type Server, type Socket } from "node:net";
import { ManualClock } from "../../core/base/clock.ts";
import type { Endpoint } from "../../core/base/ip.ts";
import { silentLog } from "../../core/base/log.ts";
import { seededRandom } from "../../core/base/random.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { createNetworkNamespace } from "../../core/linux/namespace.ts";
import { setUp } from "../../core/linux/netlink/links.ts";
import { closeDescriptor, connectTcp, listenTcp } from "../../core/linux/sockets.ts";
import { bindUdp, UdpExchange } from "../../core/linux/udp-sockets.ts";
import { frame, FrameReader } from "../../core/protocol/dns/tcp-frames.ts";
import type { MeshUpdate } from "../../core/decision/mesh-state.ts";
import type { DnsHost, DnsWorkerSettings } from "../../agent/dns/host.ts";
import type { DnsLabels, DnsObserver } from "../../agent/dns/observer.ts";
import { PodDns } from "../../agent/dns/pod-dns.ts";
import { WorkerMesh } from "../../agent/worker/mesh.ts";
import type { DnsDescriptor } from "../../agent/worker-messages.ts";

export interface DnsPodOptions {
  readonly mesh?: MeshUpdate;
  readonly settings?: Partial<DnsWorkerSettings>;
  /** Where datagrams and connections were going, as the kernel would say after a redirect. Default: it says nothing. */
  readonly original?: Endpoint;
}

/** What was counted: `requested A udp alice`. */
export class RecordingObserver implements DnsObserver {
  readonly events: string[] = [];

  requested(labels: DnsLabels): void {
    this.#note("requested", labels);
  }

  forwarded(labels: DnsLabels): void {
    this.#note("forwarded", labels);
  }

  answered(labels: DnsLabels, seconds: number): void {
    this.#note(seconds >= 0 ? "answered" : "answered before", labels);
  }

  failed(labels: DnsLabels): void {
    this.#note("failed", labels);
  }

  #note(what: string, { type, protocol, source }: DnsLabels): void {
    this.events.push(`${what} ${type} ${protocol} ${source?.canonicalName ?? "unknown"}`);
  }
}

/** Of `shop/alice`, in a namespace with loopback alone. Close it. */
export class DnsPod {
  readonly netns: number;
  readonly clock = new ManualClock();
  readonly observer = new RecordingObserver();
  readonly mesh: WorkerMesh;
  readonly dns: PodDns;
  /** Upstream datagram sockets that were opened. */
  opened = 0;
  readonly #closers: (() => void)[] = [];

  static async start(options: DnsPodOptions = {}): Promise<DnsPod> {
    const netns = createNetworkNamespace();
    const failed = await setUp("lo", { netns });
    if (failed !== undefined) throw failed;
    const pod = new DnsPod(netns, options);
    await pod.dns.listening;
    return pod;
  }

  private constructor(netns: number, { mesh = {}, settings = {}, original }: DnsPodOptions) {
    this.netns = netns;
    this.mesh = new WorkerMesh(this.clock, () => undefined);
    this.mesh.apply(mesh);
    const host: DnsHost = {
      settings: { ...defaults, ...settings },
      workloadDeadlineMs: 5_000,
      packetMark: 1337,
      clock: this.clock,
      log: silentLog,
      random: seededRandom(1),
      randomId: () => Math.floor(Math.random() * 65_536),
      mesh: this.mesh,
      observer: this.observer,
      connect: ({ remote }) => connectTcp({ netns, remote, mark: 1337 }),
      openUdp: (first, exchange) => {
        this.opened++;
        return UdpExchange.open(first, exchange);
      },
      originalDestination: () => original,
      originalUdpDestination: () => original,
    };
    const info = { namespace: "shop", name: "alice", serviceAccount: "alice" };
    this.dns = new PodDns(host, { uid: "a", info, netns }, this.#descriptors(), () => undefined);
  }

  /** A client of the pod's that asks one thing, from a port of its own. */
  ask(query: Uint8Array, address = "127.0.0.1"): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const exchange = UdpExchange.open(query, {
        netns: this.netns,
        remote: { address, port: defaults.port },
        onMessage: (reply) => {
          resolve(Buffer.from(reply));
          if (exchange instanceof UdpExchange) exchange.close();
        },
        onError: reject,
      });
      if (exchange instanceof LinuxError) return reject(exchange);
      this.#closers.push(() => exchange.close());
    });
  }

  /** A client over TCP; what it is told, message by message. */
  dial(): { socket: Socket; replies: Buffer[]; say: (...queries: readonly Uint8Array[]) => void } {
    const socket = connectTcp({ netns: this.netns, remote: { address: "127.0.0.1", port: defaults.port } });
    const frames = new FrameReader();
    const replies: Buffer[] = [];
    socket.on("connect", () => socket.resume());
    socket.on("end", () => socket.end());
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Uint8Array) => {
      frames.push(chunk);
      for (let reply = frames.next(); reply !== undefined; reply = frames.next()) replies.push(Buffer.from(reply));
    });
    this.#closers.push(() => socket.destroy());
    return { socket, replies, say: (...queries) => void socket.write(Buffer.concat(queries.map(frame))) };
  }

  /** A resolver in the same namespace. */
  resolver(at: Endpoint, heard: (query: Buffer, from: RemoteInfo, socket: UdpSocket) => void): UdpSocket {
    const fd = bindUdp({ netns: this.netns, ...at });
    if (fd instanceof LinuxError) throw fd;
    const socket = createSocket(at.address.includes(":") ? "udp6" : "udp4").bind({ fd });
    socket.on("message", (query, from) => heard(query, from, socket));
    socket.on("error", () => undefined);
    this.#closers.push(() => socket.close());
    return socket;
  }

  /** A resolver over TCP. */
  tcpResolver(at: Endpoint, heard: (query: Buffer, socket: Socket) => void): Server {
    const listener = listenTcp({ netns: this.netns, ...at });
    if (listener instanceof LinuxError) throw listener;
    const server = createServer((socket) => {
      const frames = new FrameReader();
      socket.on("error", () => undefined);
      socket.on("data", (chunk: Uint8Array) => {
        frames.push(chunk);
        for (let query = frames.next(); query !== undefined; query = frames.next()) heard(Buffer.from(query), socket);
      });
      this.#closers.push(() => socket.destroy());
    }).listen({ fd: listener.fd });
    this.#closers.push(() => server.close());
    return server;
  }

  /** Time passes, as the worker's ticker would have it. */
  pass(ms: number): void {
    this.clock.advance(ms);
    this.dns.tick(this.clock.nowMs());
  }

  async close(): Promise<void> {
    for (const close of this.#closers) close();
    this.dns.destroy();
    await this.dns.close();
    closeDescriptor(this.netns);
  }

  #descriptors(): DnsDescriptor[] {
    return ["127.0.0.1", "::1"].flatMap((address): DnsDescriptor[] => {
      const udp = bindUdp({ netns: this.netns, address, port: defaults.port, mark: 1337 });
      const tcp = listenTcp({ netns: this.netns, address, port: defaults.port, mark: 1337 });
      if (udp instanceof LinuxError || tcp instanceof LinuxError) throw new Error("15053 can't be had");
      return [
        { protocol: "udp", address, fd: udp },
        { protocol: "tcp", address, fd: tcp.fd },
      ];
    });
  }
}

const defaults: DnsWorkerSettings = {
  clusterDomain: "cluster.local",
  ipv6: true,
  port: 15_053,
  nameServers: [{ address: "127.0.0.1", port: 53 }],
  inFlight: 1_000,
  probeSecret: "secret",
  deadlineMs: 5_000,
};
