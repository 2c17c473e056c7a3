/**
 * One captured DNS connection over TCP. Names that we own are answered here; every other message goes, as it is, over one connection of the pod's to
 * the resolver that this one was for, and everything that comes back on it goes to the client, as it is: pipelined queries, answers in any order,
 * zone transfers. Who keeps us waiting, on either side, is left within a few seconds.
 */
import type { Socket } from "node:net";
import type { Endpoint } from "../../core/base/ip.ts";
import type { DnsFailure } from "../../core/decision/dns-failures.ts";
import { headerLength } from "../../core/protocol/dns/constants.ts";
import { idOf } from "../../core/protocol/dns/message-view.ts";
import { frame, FrameReader } from "../../core/protocol/dns/tcp-frames.ts";
import type { DnsHost, DnsPod } from "./host.ts";
import type { DnsLabels } from "./observer.ts";
import type { Responder, Response } from "./responder.ts";
import { isOwn, questionKey, type UdpForwarder } from "./udp-forwarder.ts";

export interface TcpClientOptions {
  readonly host: DnsHost;
  readonly pod: DnsPod;
  readonly responder: Responder;
  /** Counts what waits, and knows which resolvers loop. */
  readonly waiting: UdpForwarder;
  /** Asked in this order, the next where one can't be connected to. */
  readonly servers: readonly Endpoint[];
  readonly onClosed: () => void;
}

interface Pending {
  /** A copy: what it is cut from is large. */
  readonly bytes: Uint8Array;
  readonly labels: DnsLabels;
  readonly sinceMs: number;
}

export class TcpClient {
  readonly #options: TcpClientOptions;
  readonly #socket: Socket;
  readonly #frames = new FrameReader();
  /** Waits for the resolver, oldest first. */
  readonly #pending = new Set<Pending>();
  #upstream: Upstream | undefined;
  /** The next of `servers`. */
  #next = 0;
  /** Waits for control. */
  #undecided = 0;
  #heardMs: number;
  /** When the first byte of a message came whose last one has not. */
  #halfSinceMs: number | undefined;
  #hasEnded = false;
  #isClosed = false;

  /** @param socket accepted, paused, half-open allowed. */
  constructor(socket: Socket, options: TcpClientOptions) {
    this.#options = options;
    this.#socket = socket;
    this.#heardMs = options.host.clock.nowMs();
    socket.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    socket.on("end", () => {
      this.#hasEnded = true;
      this.#settle();
    });
    socket.on("drain", () => this.#flow());
    socket.on("error", () => undefined);
    socket.on("close", () => this.close());
    socket.resume();
  }

  /** Ends what has waited for too long. */
  tick(nowMs: number): void {
    const { deadlineMs } = this.#options.host.settings;
    const oldest = this.#pending.values().next().value;
    if (oldest !== undefined && nowMs - Math.max(oldest.sinceMs, this.#upstream?.heardMs ?? 0) >= deadlineMs) {
      this.#fail("DNS_TIMEOUT");
    }
    // It is we who don't read the rest.
    if (this.#halfSinceMs !== undefined && this.#socket.isPaused()) this.#halfSinceMs = nowMs;
    // Half a message, or idle, or deaf: none of them is worth a descriptor.
    if (this.#halfSinceMs !== undefined && nowMs - this.#halfSinceMs >= deadlineMs) return this.close();
    if (this.#pending.size === 0 && this.#undecided === 0 && nowMs - this.#heardMs >= deadlineMs) this.close();
  }

  /** It goes on to the end of what is asked, and takes nothing new. */
  finish(): void {
    this.#hasEnded = true;
    this.#socket.pause();
    this.#settle();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const pending of [...this.#pending]) this.#over(pending);
    this.#upstream?.close();
    this.#socket.destroy();
    this.#options.onClosed();
  }

  #receive(chunk: Uint8Array): void {
    this.#heardMs = this.#options.host.clock.nowMs();
    this.#frames.push(chunk);
    for (let bytes = this.#frames.next(); bytes !== undefined; bytes = this.#frames.next()) {
      this.#take(bytes);
      this.#halfSinceMs = undefined;
      if (this.#isClosed) return;
    }
    if (this.#frames.waiting > 0) this.#halfSinceMs ??= this.#heardMs;
    this.#flow();
  }

  #take(bytes: Uint8Array): void {
    const response = this.#options.responder.respond(bytes, "tcp");
    if (response.kind === "wait") return this.#wait(Uint8Array.from(bytes), response.labels);
    this.#follow(bytes, response);
  }

  #follow(bytes: Uint8Array, response: Response): void {
    switch (response.kind) {
      case "reply":
        return this.#say(response.bytes);
      case "pass":
        return this.#pass(Uint8Array.from(bytes), response.labels);
      default:
        // A client that sends answers, or rubbish.
        return this.close();
    }
  }

  #wait(bytes: Uint8Array, labels: DnsLabels): void {
    const { host, pod, responder, waiting } = this.#options;
    if (!waiting.reserve()) return this.#say(responder.failed(bytes, "DNS_BUSY"));
    this.#undecided++;
    void host.mesh.waitForWorkload(pod.info, host.workloadDeadlineMs).then((client) => {
      waiting.release();
      this.#undecided--;
      if (this.#isClosed) return;
      this.#follow(bytes, responder.waited(bytes, labels, client));
      this.#settle();
    });
  }

  #pass(bytes: Uint8Array, labels: DnsLabels): void {
    const { host, responder, waiting } = this.#options;
    if (!waiting.reserve()) return this.#say(responder.failed(bytes, "DNS_BUSY"));
    const pending: Pending = { bytes, labels, sinceMs: host.clock.nowMs() };
    this.#pending.add(pending);
    if (this.#upstream === undefined && !this.#connect()) return;
    this.#put(pending);
  }

  #put(pending: Pending): void {
    const upstream = this.#upstream;
    if (upstream === undefined) return;
    const { host, waiting } = this.#options;
    if (!waiting.guard.begin(upstream.server, questionKey(pending.bytes))) return this.#fail("DNS_LOOP");
    host.observer.forwarded(pending.labels);
    upstream.send(pending.bytes);
  }

  /** @returns whether there is one; where there is none, everything that waited has been told so. */
  #connect(): boolean {
    const { host, pod, servers } = this.#options;
    const server = servers[this.#next];
    if (server === undefined) {
      this.#fail(servers.length === 0 ? "DNS_NO_SERVER" : "DNS_UNREACHABLE");
      return false;
    }
    if (isOwn(server, host.settings.port)) {
      this.#fail("DNS_LOOP");
      return false;
    }
    this.#upstream = new Upstream(host.connect({ netns: pod.netns, remote: server }), server, {
      nowMs: () => host.clock.nowMs(),
      message: (bytes) => this.#answered(bytes),
      drained: () => this.#flow(),
      closed: (wasConnected) => this.#lost(wasConnected),
    });
    return true;
  }

  #answered(bytes: Uint8Array): void {
    const { host, waiting } = this.#options;
    const id = idOf(bytes);
    for (const pending of this.#pending) {
      if (idOf(pending.bytes) !== id) continue;
      host.observer.answered(pending.labels, (host.clock.nowMs() - pending.sinceMs) / 1_000);
      if (this.#upstream !== undefined) waiting.guard.end(this.#upstream.server, questionKey(pending.bytes));
      this.#over(pending);
      break;
    }
    this.#heardMs = host.clock.nowMs();
    this.#say(bytes);
    this.#flow();
    this.#settle();
  }

  #lost(wasConnected: boolean): void {
    const { waiting } = this.#options;
    const { server } = this.#upstream ?? {};
    this.#upstream = undefined;
    if (server !== undefined) for (const { bytes } of this.#pending) waiting.guard.end(server, questionKey(bytes));
    if (this.#isClosed || this.#pending.size === 0) return this.#settle();
    if (wasConnected) return this.#fail("DNS_UNREACHABLE");
    this.#next++;
    if (this.#connect()) for (const pending of [...this.#pending]) this.#put(pending);
  }

  /** Tells every query that waits, and begins anew with the next one. */
  #fail(failure: DnsFailure): void {
    const { host, responder, waiting } = this.#options;
    const upstream = this.#upstream;
    this.#upstream = undefined;
    this.#next = 0;
    upstream?.close();
    for (const pending of [...this.#pending]) {
      if (upstream !== undefined) waiting.guard.end(upstream.server, questionKey(pending.bytes));
      host.observer.failed(pending.labels);
      this.#over(pending);
      this.#say(responder.failed(pending.bytes, failure));
    }
    this.#flow();
    this.#settle();
  }

  #over(pending: Pending): void {
    if (this.#pending.delete(pending)) this.#options.waiting.release();
  }

  #say(bytes: Uint8Array): void {
    if (!this.#isClosed) this.#socket.write(frame(bytes));
  }

  /** Reads from each side as long as the other one takes it. */
  #flow(): void {
    if (this.#isClosed) return;
    const isFull = this.#socket.writableNeedDrain;
    this.#upstream?.pause(isFull);
    if (this.#hasEnded) return;
    const waits = this.#pending.size + this.#undecided >= mostPipelined || this.#upstream?.isFull === true;
    if (isFull || waits) this.#socket.pause();
    else this.#socket.resume();
  }

  /** The client has said that it asks no more: what was asked is still answered. */
  #settle(): void {
    if (!this.#hasEnded || this.#isClosed || this.#pending.size > 0 || this.#undecided > 0) return;
    this.#upstream?.close();
    this.#socket.end(() => this.close());
  }
}

interface UpstreamHandlers {
  readonly nowMs: () => number;
  /** A view: to be used at once. */
  readonly message: (bytes: Uint8Array) => void;
  readonly drained: () => void;
  readonly closed: (wasConnected: boolean) => void;
}

/** The connection to the resolver. */
class Upstream {
  readonly server: Endpoint;
  readonly #socket: Socket;
  readonly #frames = new FrameReader();
  #wasConnected = false;
  #isLeft = false;
  /** When a byte last came, or the connection stood. */
  heardMs: number;

  constructor(socket: Socket, server: Endpoint, handlers: UpstreamHandlers) {
    this.server = server;
    this.#socket = socket;
    this.heardMs = handlers.nowMs();
    socket.on("connect", () => {
      this.#wasConnected = true;
      socket.resume();
    });
    socket.on("data", (chunk: Uint8Array) => {
      this.heardMs = handlers.nowMs();
      this.#frames.push(chunk);
      for (let bytes = this.#frames.next(); bytes !== undefined; bytes = this.#frames.next()) {
        if (bytes.length < headerLength) return void socket.destroy();
        handlers.message(bytes);
      }
    });
    socket.on("drain", handlers.drained);
    socket.on("end", () => socket.destroy());
    socket.on("error", () => undefined);
    socket.on("close", () => {
      if (!this.#isLeft) handlers.closed(this.#wasConnected);
    });
  }

  get isFull(): boolean {
    return this.#socket.writableNeedDrain;
  }

  send(bytes: Uint8Array): void {
    this.#socket.write(frame(bytes));
  }

  pause(isPaused: boolean): void {
    if (!this.#wasConnected) return;
    if (isPaused) this.#socket.pause();
    else this.#socket.resume();
  }

  /** Nothing is heard of it any more. */
  close(): void {
    this.#isLeft = true;
    this.#socket.destroy();
  }
}

/** Queries of one connection that may wait: what else it sends waits in the kernel. */
const mostPipelined = 100;
