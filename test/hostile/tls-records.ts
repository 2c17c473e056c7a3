/**
 * TLS 1.3 records by hand (RFC 8446 5.2, 7.3) over a connection whose handshake Node did: the secrets come from its key log, and from
 * then on the client's records are written here.
 */
import { createCipheriv, createHmac } from "node:crypto";
import { connect as connectTls } from "node:tls";
import type { Socket } from "node:net";
import { secureOptions } from "../../agent/tunnel/tls.ts";
import { alice } from "../support/hbone-pair.ts";
import { dialTcp, type PeerOptions } from "./frame-peer.ts";

export const contentTypes = { alert: 21, handshake: 22, applicationData: 23 } as const;

export class RecordWriter {
  /** Beneath TLS. */
  readonly socket: Socket;
  readonly #hash: "sha256" | "sha384";
  #secret: Buffer;
  #key: Buffer;
  #iv: Buffer;
  #sequence = 0n;

  private constructor(socket: Socket, secret: Buffer) {
    this.socket = socket;
    this.#secret = secret;
    this.#hash = secret.length === 48 ? "sha384" : "sha256";
    [this.#key, this.#iv] = this.#derive();
  }

  /** A finished handshake as alice; nothing has been sent in it, and the server has begun to speak. */
  static async dial(options: PeerOptions): Promise<RecordWriter> {
    const socket = await dialTcp(options);
    const tls = connectTls({
      socket,
      ...secureOptions(options.as ?? alice),
      ALPNProtocols: ["h2"],
      checkServerIdentity: () => undefined,
    });
    tls.on("error", () => {});
    let secret: Buffer | undefined;
    tls.on("keylog", (line) => {
      const [label, , hex = ""] = line.toString().trim().split(" ");
      if (label === "CLIENT_TRAFFIC_SECRET_0") secret = Buffer.from(hex, "hex");
    });
    // Its SETTINGS: our Finished has gone out and has been believed.
    await new Promise<void>((resolve) => tls.once("data", () => resolve()));
    if (secret === undefined) throw new Error("no key log");
    return new RecordWriter(socket, secret);
  }

  /** One encrypted record. */
  record(type: number, content: Uint8Array): Buffer {
    const header = Buffer.from([contentTypes.applicationData, 3, 3, 0, 0]);
    header.writeUInt16BE(content.length + 1 + tagBytes, 3);
    const nonce = Buffer.from(this.#iv);
    nonce.writeBigUInt64BE(nonce.readBigUInt64BE(4) ^ this.#sequence, 4);
    this.#sequence += 1n;
    const cipher = createCipheriv(this.#hash === "sha384" ? "aes-256-gcm" : "aes-128-gcm", this.#key, nonce);
    cipher.setAAD(header);
    const sealed = [cipher.update(content), cipher.update(Buffer.from([type])), cipher.final(), cipher.getAuthTag()];
    return Buffer.concat([header, ...sealed]);
  }

  /** KeyUpdate (RFC 8446 4.6.3), after which this side's keys are the next ones. @param wanted asks the other side for the same. */
  keyUpdate(wanted: boolean): Buffer {
    const bytes = this.record(contentTypes.handshake, Buffer.from([24, 0, 0, 1, wanted ? 1 : 0]));
    this.#secret = this.#expand("traffic upd", this.#secret.length);
    [this.#key, this.#iv] = this.#derive();
    this.#sequence = 0n;
    return bytes;
  }

  /** Written as far as the other side takes it. @returns whether the connection stands. */
  async send(bytes: Uint8Array): Promise<boolean> {
    if (this.socket.destroyed) return false;
    if (!this.socket.write(bytes)) {
      await new Promise<void>((resolve) => {
        this.socket.once("drain", resolve);
        this.socket.once("close", () => resolve());
      });
    }
    return !this.socket.destroyed;
  }

  #derive(): [key: Buffer, iv: Buffer] {
    return [this.#expand("key", this.#hash === "sha384" ? 32 : 16), this.#expand("iv", 12)];
  }

  /** HKDF-Expand-Label with an empty context; one round of HMAC is enough for these lengths. */
  #expand(label: string, length: number): Buffer {
    const name = Buffer.from(`tls13 ${label}`, "latin1");
    const info = Buffer.concat([Buffer.from([0, length, name.length]), name, Buffer.from([0, 1])]);
    return createHmac(this.#hash, this.#secret).update(info).digest().subarray(0, length);
  }
}

const tagBytes = 16;
