/**
 * A server that ends as it should: at SIGTERM it takes no more connections, answers those it has, and goes. 9000 echo. What it had not answered
 * when it went is said on standard output.
 */
import { createServer, type Socket } from "node:net";

const unanswered = new Set<Socket>();
let answered = 0;
let accepted = 0;
/** Clients of the test come every other millisecond. */
const aloneMs = 25;

const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
  accepted += 1;
  unanswered.add(socket);
  socket.on("data", (chunk) => {
    socket.write(chunk);
    if (unanswered.delete(socket)) answered += 1;
  });
  socket.on("end", () => socket.end());
  socket.on("error", () => unanswered.delete(socket));
});
server.listen({ host: "::", port: 9000, backlog: 1024 }, () => say({ event: "serving" }));

process.once("SIGTERM", () => closeOnceAlone(accepted));

/**
 * Who is in the kernel's queue when it is closed is reset, and between the last look at the queue and its end there is always a moment: it is
 * closed when nobody has come for so long that whoever would has heard.
 */
function closeOnceAlone(before: number): void {
  setTimeout(() => {
    if (accepted !== before) return closeOnceAlone(accepted);
    server.close(() => {
      say({ event: "over", answered, unanswered: unanswered.size });
      process.exit();
    });
  }, aloneMs);
}

function say(what: object): void {
  process.stdout.write(`${JSON.stringify(what)}\n`);
}
