/**
 * A process that holds connections: opens as many as it is told, asks once on each, and then only keeps them.
 * Usage: node hold-client.ts ADDRESS PORT PATH AT-A-TIME; each line on standard input is a number of connections to add, and is answered
 * by a line of JSON ({@link Held}) once all of them were answered. It ends, and with it the connections, when its input does.
 */
import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { answerLength } from "./answer-length.ts";

export interface Held {
  /** All that are open now. */
  readonly open: number;
  /** For the last order. */
  readonly seconds: number;
}

const [address = "", port = "", path = "/", atATime = "1"] = process.argv.slice(2);
const request = Buffer.from(`GET ${path} HTTP/1.1\r\nHost: ${address}\r\n\r\n`);
const open = new Set<Socket>();
/** Whoever reads is done with the bytes at once: one buffer is enough for all. */
const buffer = Buffer.allocUnsafe(16 * 1024);

for await (const line of createInterface({ input: process.stdin })) {
  const started = performance.now();
  let left = Number(line);
  const openSome = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      open.add(await answered());
    }
  };
  await Promise.all(Array.from({ length: Number(atATime) }, openSome));
  const held: Held = { open: open.size, seconds: (performance.now() - started) / 1_000 };
  process.stdout.write(`${JSON.stringify(held)}\n`);
}
for (const socket of open) socket.removeAllListeners("close").destroy();

/** A connection whose one request was answered. */
function answered(): Promise<Socket> {
  const { promise, resolve } = Promise.withResolvers<Socket>();
  let wanted: number | undefined;
  let received = 0;
  const socket = connect({
    host: address,
    port: Number(port),
    noDelay: true,
    onread: {
      buffer,
      callback: (count, bytes) => {
        received += count;
        if (wanted === undefined) {
          const length = answerLength(bytes.subarray(0, count));
          if (typeof length === "string") return fail(length);
          wanted = length;
        }
        if (wanted !== undefined && received >= wanted) resolve(socket);
        return true;
      },
    },
  });
  socket.once("connect", () => socket.write(request));
  socket.on("error", (error) => fail(error.message));
  socket.on("close", () => fail(`a connection was closed (${open.size} are open)`));
  return promise;
}

function fail(sentence: string): never {
  process.stderr.write(`${sentence}\n`);
  process.exit(1);
}
