/**
 * Puts DNS messages to a server and prints what comes back, one JSON line each: `dns-client.ts HOST:PORT udp|tcp HEX…`. Over UDP each message has a
 * socket of its own; over TCP all go down one connection, and replies are printed as they come, until there are as many as messages.
 */
import { createSocket } from "node:dgram";
import { connect } from "node:net";
import { parseEndpoint } from "../../../core/base/ip.ts";
import { frame, FrameReader } from "../../../core/protocol/dns/tcp-frames.ts";

const [target = "", protocol = "", ...messages] = process.argv.slice(2);
const server = parseEndpoint(target);
if (server === undefined) throw new Error(`${target} is no address and port`);
const { address, port } = server;
const queries = messages.map((text) => Buffer.from(text, "hex"));

if (protocol === "udp") await Promise.all(queries.map((query, at) => overUdp(query, at)));
else await overTcp();

function overUdp(query: Buffer, at: number): Promise<void> {
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  return new Promise((resolve) => {
    const done = (result: object): void => {
      clearTimeout(timer);
      say({ at, ...result });
      socket.close();
      resolve();
    };
    const timer = setTimeout(() => done({ error: "no answer" }), 8_000);
    // Connected: what doesn't come from the server isn't heard.
    socket.connect(port, address, () => socket.send(query));
    socket.on("message", (reply) => done({ reply: reply.toString("hex") }));
    socket.on("error", (error: NodeJS.ErrnoException) => done({ error: error.code }));
  });
}

function overTcp(): Promise<void> {
  const socket = connect({ host: address, port });
  const frames = new FrameReader();
  let left = queries.length;
  return new Promise((resolve) => {
    const timer = setTimeout(() => socket.destroy(), 12_000);
    for (const query of queries) socket.write(frame(query));
    socket.on("data", (chunk) => {
      frames.push(chunk);
      for (let reply = frames.next(); reply !== undefined; reply = frames.next()) {
        say({ reply: Buffer.from(reply).toString("hex") });
        if (--left === 0) socket.end();
      }
    });
    socket.on("error", (error: NodeJS.ErrnoException) => say({ error: error.code }));
    socket.on("close", () => {
      clearTimeout(timer);
      say({ closed: true, left });
      resolve();
    });
  });
}

function say(result: object): void {
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
