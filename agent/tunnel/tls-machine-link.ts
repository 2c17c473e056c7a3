/** The TLS machine on a transport, from its handshake to its end, as a tunnel's link. */
import { messageOf } from "../../core/base/errors.ts";
import type { TlsContext } from "../../core/tls/context.ts";
import { BareStream } from "../../core/linux/bare-stream.ts";
import { readBy, type LentReader } from "../../core/linux/lent-reads.ts";
import { TlsMachine, type TlsOwner } from "../../core/tls/machine.ts";
import type { TlsError } from "../../core/tls/tls-error.ts";
import { lend, takenBack } from "../relay/lending.ts";
import type { Transport } from "./engine.ts";
import { nobodyLinked, type LinkListener, type SecureLink } from "./secure-link.ts";
import { tlsFailure } from "./tls.ts";
import { TunnelError } from "./tunnel.ts";

/** Who waits for the handshake: hears one of the two, once. */
export interface LinkOwner {
  /** In this call the link gets its listener, or is destroyed. */
  secured(link: TlsMachineLink): void;
  failed(error: TunnelError): void;
}

export class TlsMachineLink implements SecureLink, TlsOwner, LentReader {
  listener: LinkListener = nobodyLinked;
  readonly takesAtOnce = true;
  isClosed = false;
  /** To be asked whom it speaks with, once it is secured. */
  readonly machine: TlsMachine;
  readonly #socket: Transport;
  /** Until it has heard. */
  #owner: LinkOwner | undefined;
  #isDeaf = false;

  /** @param socket connected, and nobody has read from it. */
  constructor(context: TlsContext, socket: Transport, owner: LinkOwner) {
    this.#owner = owner;
    this.#socket = socket;
    this.machine = new TlsMachine(context, this);
    if (socket instanceof BareStream) socket.reader = this;
    else if (!readBy(socket, this)) socket.on("data", (chunk: Uint8Array) => this.read(chunk));
    socket.once("end", () => this.machine.receiveEnd());
    socket.on("drain", () => this.listener.drained());
    // Of a handshake, its owner hears by itself.
    socket.on("error", (error) => {
      this.listener.failed(new TunnelError({ code: "tunnel.lost", detail: messageOf(error) }));
    });
    socket.once("close", () => {
      this.isClosed = true;
      this.machine.free();
      this.#settle()?.failed(closed);
      this.listener.closed();
    });
    this.machine.start();
    socket.resume();
  }

  onClosed(listener: () => void): void {
    this.#socket.once("close", listener);
  }

  get queued(): number {
    return this.#socket.writableLength;
  }

  get carried(): number {
    return this.#socket.bytesRead;
  }

  write(pieces: readonly Uint8Array[]): void {
    if (!this.#socket.destroyed && !this.#socket.writableEnded) this.machine.write(pieces);
  }

  end(sent: () => void): void {
    this.machine.close();
    this.#socket.end(sent);
  }

  rest(): void {
    this.machine.rest();
  }

  deafen(): void {
    this.#isDeaf = true;
    this.#socket.pause();
  }

  close(): void {
    this.machine.close();
    const socket = this.#socket;
    if (socket.writableFinished || socket.destroyed) return void socket.destroy();
    socket.once("finish", () => socket.destroy());
    socket.end();
  }

  destroy(): void {
    this.#owner = undefined;
    this.machine.free();
    this.#socket.destroy();
  }

  /** @internal LentReader: the machine takes all of it at once. */
  read(ciphertext: Uint8Array): void {
    if (!this.#isDeaf) this.machine.receive(ciphertext);
  }

  /** @internal TlsOwner. */
  send(ciphertext: Buffer): boolean {
    const socket = this.#socket;
    if (socket.destroyed || socket.writableEnded) return false;
    const before = lend();
    // The last flight of a handshake: what its owner has to say goes with it, and arrives with it.
    if (this.#owner !== undefined && this.machine.phase === "secured" && socket.writableCorked === 0) socket.cork();
    socket.write(ciphertext);
    // Beneath may be the kernel, which takes it now or reads it later, or another tunnel.
    return takenBack(before, ciphertext, socket.writableLength > 0);
  }

  /** @internal TlsOwner. */
  secured(): void {
    const socket = this.#socket;
    this.#settle()?.secured(this);
    // After what was said in this turn of the loop, which is written at its end.
    if (socket.writableCorked > 0) setImmediate(() => socket.uncork());
  }

  /** @internal TlsOwner. */
  received(plaintext: Buffer, records: number): boolean {
    const before = lend();
    let kept = true;
    try {
      this.listener.received(plaintext, records);
    } finally {
      kept = takenBack(before, plaintext);
    }
    return kept;
  }

  /** @internal TlsOwner. */
  ended(): void {
    this.listener.ended();
  }

  /** @internal TlsOwner. */
  failed(error: TlsError): void {
    const owner = this.#settle();
    if (owner !== undefined) return owner.failed(tlsFailure(error));
    // Gone without a goodbye: whether something is missing is for HTTP/2 to say, stream by stream.
    if (error.type.code === "tls.truncated") this.listener.ended();
    else this.listener.failed(tlsFailure(error));
  }

  #settle(): LinkOwner | undefined {
    const owner = this.#owner;
    this.#owner = undefined;
    return owner;
  }
}

const closed = new TunnelError({ code: "tunnel.tls-failed", detail: "closed" });
