/**
 * Ends connections as it is told: `puppet.ts listen PORT` or `puppet.ts connect`. Commands come as lines on standard input, what the
 * sockets were told goes as JSON lines to standard output. A client names each connection in its first line, so that both ends
 * speak of the same one.
 *
 *     connect NAME HOST:PORT   NAME write TEXT   NAME fin   NAME rst
 */
import { connect, createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";

const sockets = new Map<string, Socket>();
const [what = "", port = "0"] = process.argv.slice(2);

if (what === "listen") {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.once("data", (chunk) => {
      const [name = "", ...rest] = chunk.toString().split("\n");
      adopt(name, socket);
      say(name, "accepted");
      if (rest.join("") !== "") say(name, "data", { text: rest.join("") });
    });
  });
  server.listen(Number(port), "::", () => say("", "listening"));
}

for await (const line of createInterface({ input: process.stdin })) {
  const [name = "", verb = "", argument = ""] = line.split(" ");
  if (name === "connect") dial(verb, argument);
  else if (verb === "write") sockets.get(name)?.write(argument);
  else if (verb === "fin") sockets.get(name)?.end();
  else if (verb === "rst") sockets.get(name)?.resetAndDestroy();
}
process.exit(0);

function dial(name: string, target: string): void {
  const at = target.lastIndexOf(":");
  const host = target.slice(0, at).replace(/^\[|\]$/g, "");
  const socket = connect({ host, port: Number(target.slice(at + 1)), allowHalfOpen: true });
  adopt(name, socket);
  socket.on("connect", () => {
    socket.write(`${name}\n`);
    say(name, "connected");
  });
}

function adopt(name: string, socket: Socket): void {
  sockets.set(name, socket);
  socket.on("data", (chunk) => say(name, "data", { text: chunk.toString() }));
  socket.on("end", () => say(name, "end"));
  socket.on("error", (error: NodeJS.ErrnoException) => say(name, "error", { code: error.code }));
  socket.on("close", () => say(name, "closed"));
}

function say(name: string, event: string, details: object = {}): void {
  process.stdout.write(`${JSON.stringify({ name, event, ...details })}\n`);
}
