/** Node's TLSSocket as a tunnel's link. */
import type { TLSSocket } from "node:tls";
import { messageOf } from "../../core/base/errors.ts";
import type { Transport } from "./engine.ts";
import { nobodyLinked, type LinkListener, type SecureLink } from "./secure-link.ts";
import { handshakeError } from "./tls.ts";
import { TunnelError } from "./tunnel.ts";

export class TlsSocketLink implements SecureLink {
  listener: LinkListener = nobodyLinked;
  readonly takesAtOnce = false;
  readonly #tls: TLSSocket;
  /** Beneath TLS. */
  readonly #socket: Transport;

  /** @param tls whose handshake is over. @param socket beneath it. */
  constructor(tls: TLSSocket, socket: Transport) {
    this.#tls = tls;
    this.#socket = socket;
    tls.on("data", (chunk: Uint8Array) => this.listener.received(chunk, 1));
    // A server that refuses our certificate says so after the client's handshake is over (RFC 8446 4.4.2.4): a TLS error, too.
    tls.on("error", (error: Error & { code?: string }) => {
      const isTls = error.code?.startsWith("ERR_SSL") === true;
      this.listener.failed(
        isTls ? handshakeError(error) : new TunnelError({ code: "tunnel.lost", detail: messageOf(error) }),
      );
    });
    tls.on("drain", () => this.listener.drained());
    tls.once("end", () => this.listener.ended());
    tls.once("close", () => this.listener.closed());
  }

  get queued(): number {
    return this.#tls.writableLength;
  }

  get carried(): number {
    return this.#socket.bytesRead;
  }

  get isClosed(): boolean {
    return this.#tls.closed;
  }

  write(pieces: readonly Uint8Array[]): void {
    const tls = this.#tls;
    if (tls.destroyed || tls.writableEnded) return;
    if (pieces.length === 1) return void tls.write(pieces[0]!);
    tls.cork();
    for (let i = 0; i < pieces.length; i++) tls.write(pieces[i]!);
    tls.uncork();
  }

  end(sent: () => void): void {
    this.#tls.end(sent);
  }

  rest(): void {}

  deafen(): void {
    this.#tls.removeAllListeners("data");
    this.#tls.pause();
  }

  close(): void {
    this.#tls.destroySoon();
  }

  destroy(): void {
    this.#tls.destroy();
  }
}
