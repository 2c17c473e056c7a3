/**
 * A bare socket with those words of a stream's that TLS needs of what is beneath it (agent/tunnel/engine.ts, Transport), so that it can stand
 * in net.Socket's place there. As a socket with `allowHalfOpen: false` it ends when its peer does. What it reads is lent
 * (lent-reads.ts).
 */
import { EventEmitter } from "node:events";
import type { Endpoint } from "../base/ip.ts";
import type { BareSocket, BareSocketListener } from "./bare-socket.ts";
import { LinuxError } from "./errno.ts";
import type { LentReader } from "./lent-reads.ts";

interface Events {
  connect: [];
  drain: [];
  /** The peer will send no more. */
  end: [];
  /** All that was written is with the kernel, after `end`. */
  finish: [];
  error: [LinuxError];
  close: [];
}

export class BareStream extends EventEmitter<Events> implements BareSocketListener {
  /** To be set before it is resumed. */
  reader: LentReader = nobody;
  bytesRead = 0;
  connecting = false;
  writableFinished = false;
  readonly #socket: BareSocket;
  /** Written since {@link cork}. */
  #corked: Uint8Array[] | undefined;
  #corkedOctets = 0;

  /** @param socket owned from now on. */
  constructor(socket: BareSocket) {
    super();
    this.#socket = socket;
    socket.listener = this;
  }

  /** @param begin as core/linux/sockets.ts connectBare; emits `connect` or `error`. @returns why nothing was begun. */
  static connecting(
    begin: (connected: (error?: LinuxError) => void) => BareSocket | LinuxError,
  ): BareStream | LinuxError {
    const socket = begin((error) => stream.#connected(error));
    if (socket instanceof LinuxError) return socket;
    const stream = new BareStream(socket);
    stream.connecting = true;
    return stream;
  }

  /** The descriptor; undefined once it is closed. */
  get fd(): number | undefined {
    return this.#socket.fd;
  }

  /** The peer's end, canonical; undefined once that is gone. */
  get remote(): Endpoint | undefined {
    return this.#socket.remote;
  }

  /** Our own end. */
  get local(): Endpoint | undefined {
    return this.#socket.local;
  }

  get writableLength(): number {
    return this.#socket.writableLength + this.#corkedOctets;
  }

  get writableCorked(): number {
    return this.#corked === undefined ? 0 : 1;
  }

  get writableEnded(): boolean {
    return this.#socket.writableEnded;
  }

  get destroyed(): boolean {
    return this.#socket.destroyed;
  }

  /** @returns false: hold back until `drain`. */
  write(chunk: Uint8Array): boolean {
    if (this.#corked === undefined) return this.#socket.write(chunk);
    this.#corked.push(chunk);
    this.#corkedOctets += chunk.length;
    return true;
  }

  /** What is written from now on goes out as one, with {@link uncork}. */
  cork(): void {
    this.#corked ??= [];
  }

  uncork(): void {
    const chunks = this.#corked;
    if (chunks === undefined) return;
    this.#corked = undefined;
    this.#corkedOctets = 0;
    const [first, ...rest] = chunks;
    if (first === undefined) return;
    // Few, and small: less than a call for each.
    this.#socket.write(rest.length === 0 ? first : Buffer.concat(chunks));
  }

  end(sent?: () => void): void {
    if (sent !== undefined) this.once("finish", sent);
    this.uncork();
    if (this.writableEnded || this.destroyed) return;
    this.#socket.end();
    if (this.writableLength === 0) process.nextTick(tellFinished, this);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  destroy(): void {
    this.#corked = undefined;
    this.#corkedOctets = 0;
    this.#socket.destroy();
  }

  /** Abandons both directions. */
  reset(): void {
    this.#socket.reset();
  }

  /** @internal BareSocketListener. */
  read(bytes: Uint8Array): void {
    this.bytesRead += bytes.length;
    this.reader.read(bytes);
  }

  /** @internal BareSocketListener. */
  ended(): void {
    this.emit("end");
    // After what whoever heard that has to say to it.
    process.nextTick(endToo, this);
  }

  /** @internal BareSocketListener. */
  drained(): void {
    this.emit("drain");
  }

  /** @internal BareSocketListener. */
  finished(): void {
    this.writableFinished = true;
    this.emit("finish");
  }

  /** @internal BareSocketListener. */
  failed(error: LinuxError): void {
    this.emit("error", error);
  }

  /** @internal BareSocketListener. */
  closed(): void {
    this.emit("close");
  }

  #connected(error: LinuxError | undefined): void {
    this.connecting = false;
    if (error === undefined) this.emit("connect");
    else this.emit("error", error);
  }
}

function tellFinished(stream: BareStream): void {
  stream.finished();
}

function endToo(stream: BareStream): void {
  stream.end();
}

const nobody: LentReader = { read() {} };
