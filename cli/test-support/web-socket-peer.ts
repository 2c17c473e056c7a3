/** The server's end of a web socket, frame by frame: what an API server's port-forward sends and what a hostile one could. */
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";

export class WebSocketPeer {
  readonly #socket: Duplex;
  #pending = Buffer.alloc(0);
  onMessage: (message: Buffer) => void = () => undefined;
  onEnd: () => void = () => undefined;

  /** Answers the upgrade. @param protocol which subprotocol is chosen, if any. */
  constructor(request: IncomingMessage, socket: Duplex, protocol: string | undefined) {
    this.#socket = socket;
    const accept = createHash("sha1").update(`${request.headers["sec-websocket-key"]}${guid}`).digest("base64");
    const chosen = protocol === undefined ? "" : `Sec-WebSocket-Protocol: ${protocol}\r\n`;
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n${chosen}\r\n`,
    );
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("error", () => undefined);
    socket.on("close", () => this.onEnd());
  }

  /** A binary message. */
  send(message: Buffer): void {
    const { length } = message;
    const head = length < 126 ? Buffer.from([0x82, length]) : Buffer.from([0x82, 126, length >> 8, length & 0xff]);
    if (length > 0xffff) throw new Error("this peer sends short messages");
    if (!this.#socket.destroyed) this.#socket.write(Buffer.concat([head, message]));
  }

  /** An orderly close. */
  close(): void {
    if (!this.#socket.destroyed) this.#socket.end(Buffer.from([0x88, 0x02, 0x03, 0xe8]));
  }

  /** The connection breaks. */
  cut(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    this.#pending = Buffer.concat([this.#pending, chunk]);
    for (;;) {
      const [first, second] = this.#pending;
      if (first === undefined || second === undefined) return;
      let length = second & 0x7f;
      let at = 2;
      if (length === 126) {
        if (this.#pending.length < 4) return;
        length = this.#pending.readUInt16BE(2);
        at = 4;
      }
      if (this.#pending.length < at + 4 + length) return;
      const mask = this.#pending.subarray(at, at + 4);
      const payload = Buffer.from(this.#pending.subarray(at + 4, at + 4 + length));
      for (let index = 0; index < length; index++) payload[index] = (payload[index] ?? 0) ^ (mask[index % 4] ?? 0);
      this.#pending = this.#pending.subarray(at + 4 + length);
      if ((first & 0x0f) === 2) this.onMessage(payload);
      else if ((first & 0x0f) === 8) this.close();
    }
  }
}

/** RFC 6455, section 1.3. */
const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
