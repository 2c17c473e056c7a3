/** What tests with foreign peers do with a connection, whoever carries it: talk, close halves, break it, send much, be many. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { until } from "../support/until.ts";

/** What one end of a connection has heard so far. */
export class Heard {
  readonly socket: Socket;
  /** `ADDRESS:PORT` of the other end. */
  readonly peer: string;
  /** `ADDRESS:PORT` of this end. */
  local = "";
  bytes = 0;
  text = "";
  /** `reset`: an error, whichever came first. */
  state: "open" | "ended" | "reset" = "open";
  errno: string | undefined;
  readonly #hash = createHash("sha256");

  constructor(socket: Socket) {
    this.socket = socket;
    this.peer = `${socket.remoteAddress}:${socket.remotePort}`;
    const told = (): void => void (this.local = `${socket.localAddress}:${socket.localPort}`);
    if (socket.connecting) socket.once("connect", told);
    else told();
    socket.on("data", (chunk) => {
      this.bytes += chunk.length;
      this.#hash.update(chunk);
      if (this.text.length < 1_000) this.text += String(chunk);
    });
    socket.on("end", () => {
      if (this.state === "open") this.state = "ended";
    });
    socket.on("error", ({ code }: NodeJS.ErrnoException) => {
      this.state = "reset";
      this.errno = code;
    });
  }

  /** Of all that has come; once. */
  digest(): string {
    return this.#hash.digest("hex");
  }

  becomes(state: "ended" | "reset"): Promise<unknown> {
    return until(`the connection is ${state}`, 10_000, () => {
      // An end may be followed by a reset, and not the other way round.
      if (this.state === "reset" && state === "ended") throw new Error(`${this.errno} instead`);
      return this.state === state;
    });
  }

  says(text: string): Promise<unknown> {
    return until(`the connection says ${text}`, 10_000, () => this.text === text);
  }
}

/** Both ends of one connection. */
export interface Ends {
  readonly client: Heard;
  readonly server: Heard;
}

export async function talkBothWays({ client, server }: Ends): Promise<void> {
  client.socket.write("from the client");
  await server.says("from the client");
  server.socket.write("from the server");
  await client.says("from the server");
}

/** One half ends, and the other goes on until it ends, too. */
export async function closeOneHalfFirst(first: Heard, second: Heard): Promise<void> {
  first.socket.end("the last of the first");
  await second.becomes("ended");
  assert.equal(second.text, "the last of the first");
  second.socket.write("still ");
  await first.says("still ");
  second.socket.end("here");
  await first.becomes("ended");
  assert.equal(first.text, "still here");
}

/** Both halves end, the client's first, and neither breaks off. */
export async function endInOrder({ client, server }: Ends): Promise<void> {
  client.socket.end();
  await server.becomes("ended");
  server.socket.end();
  await client.becomes("ended");
}

/** Says its own address to an application that echoes: `says(local)` then takes nobody else's echo for its own. */
export async function sayOwnAddress(socket: Socket): Promise<Heard> {
  const heard = new Heard(socket);
  if (socket.connecting) await new Promise((resolve) => socket.once("connect", resolve));
  socket.write(heard.local);
  return heard;
}

/** Random bytes in both directions at once; both arrive whole. */
export async function sendMuch(ends: Ends, bytes: number): Promise<void> {
  const sent = await Promise.all([pour(ends.client.socket, bytes), pour(ends.server.socket, bytes)]);
  await until("all has come", 60_000, () => ends.server.bytes === bytes && ends.client.bytes === bytes);
  assert.deepEqual([ends.server.digest(), ends.client.digest()], sent);
}

/** @returns the SHA-256 of what it has written. */
async function pour(socket: Socket, bytes: number): Promise<string> {
  const hash = createHash("sha256");
  const block = randomBytes(blockBytes);
  for (let left = bytes; left > 0; left -= blockBytes) {
    // Every block is another one, so that blocks in the wrong order would show.
    block.writeUInt32BE(left, 0);
    const chunk = Buffer.from(block.subarray(0, Math.min(left, blockBytes)));
    hash.update(chunk);
    if (!socket.write(chunk)) await new Promise((resolve) => socket.once("drain", resolve));
  }
  return hash.digest("hex");
}

const blockBytes = 64 << 10;
