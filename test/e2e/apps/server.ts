/**
 * What the tests' pods serve. Each port is one behaviour; every connection's end is said on standard output as one JSON line.
 *
 * 8080 HTTP: answers with who asked, as the kernel told it · 9000 echo · 9001 counts and hashes what it gets, and answers with it at the end of
 * input · 9002 sends as many bytes as the first line asks for · 9003 reads nothing, ever · 9004 answers only after the client's half-close ·
 * 9005 resets after the first byte · 9006 answers the client's half-close with a byte every 20 ms, without end
 */
import { createHash } from "node:crypto";
import { createServer as createHttpServer } from "node:http";
import { createServer, type Socket } from "node:net";
import { pattern } from "./pattern.ts";

const pod = `${process.env["POD_NAMESPACE"] ?? "?"}/${process.env["POD_NAME"] ?? "?"}`;

createHttpServer((request, response) => {
  const { remoteAddress: peer, remotePort: peerPort } = request.socket;
  say({ event: "request", url: request.url, peer, peerPort });
  const body = JSON.stringify({ pod, peer, peerPort, url: request.url, marker: request.headers["x-marker"] });
  response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
  response.end(body);
}).listen(8080, "::");

tcp(9000, (socket) => socket.on("data", (chunk) => void socket.write(chunk)).on("end", () => socket.end()));

tcp(9001, (socket) => {
  const hash = createHash("sha256");
  let bytes = 0;
  socket.on("data", (chunk) => {
    hash.update(chunk);
    bytes += chunk.length;
  });
  socket.on("end", () => socket.end(JSON.stringify({ bytes, sha256: hash.digest("hex") })));
});

tcp(9002, (socket) => {
  socket.once("data", (chunk) => {
    pattern(Number.parseInt(chunk.toString(), 10)).pipe(socket);
    let before = -1;
    const watch = setInterval(() => {
      const taken = socket.bytesWritten - socket.writableLength;
      if (taken === before) say({ event: "standing", port: 9002, taken });
      before = taken;
    }, 500);
    socket.on("close", () => clearInterval(watch));
  });
});

tcp(9003, (socket) => socket.pause());

tcp(9004, (socket) => {
  let got = "";
  socket.on("data", (chunk) => (got += chunk.toString()));
  socket.on("end", () => socket.end(`after your half-close: ${got}`));
});

tcp(9005, (socket) => socket.once("data", () => socket.resetAndDestroy()).on("end", () => socket.end()));

tcp(9006, (socket) => {
  socket.resume().on("end", () => {
    const drip = setInterval(() => socket.write("."), 20);
    socket.on("close", () => clearInterval(drip));
  });
});

say({ event: "serving" });

function tcp(port: number, serve: (socket: Socket) => void): void {
  createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const { remoteAddress: peer } = socket;
    say({ event: "open", port, peer });
    socket.on("error", (error: NodeJS.ErrnoException) => say({ event: "error", port, peer, code: error.code }));
    socket.on("close", () => say({ event: "close", port, peer }));
    serve(socket);
  }).listen(port, "::");
}

function say(what: object): void {
  process.stdout.write(`${JSON.stringify({ pod, ...what })}\n`);
}
