/**
 * A waypoint that leaves HBONE to its node's agent: `sandwiched.ts PORT` answers every HTTP request by itself, with what it was told of the
 * connection: by the kernel, and by a PROXY header (version 2) where one comes first.
 */
import { createServer } from "node:net";
import { decodeProxyHeader } from "../../../core/protocol/proxy-protocol/v2.ts";

const pod = `${process.env["POD_NAMESPACE"] ?? "?"}/${process.env["POD_NAME"] ?? "?"}`;

createServer((socket) => {
  const { remoteAddress: peer, remotePort: peerPort } = socket;
  let bytes = Buffer.alloc(0);
  socket.on("error", () => {});
  socket.on("data", (chunk) => {
    bytes = Buffer.concat([bytes, chunk]);
    const reading = bytes[0] === 0x0d ? decodeProxyHeader(bytes) : undefined;
    if (reading instanceof Error) return void socket.destroy();
    const header = reading?.kind === "header" ? reading.header : undefined;
    const request = bytes.subarray(reading?.kind === "header" ? reading.length : 0);
    if (!request.includes("\r\n\r\n")) return;
    const tlvs = header?.tlvs.map(({ type, value }) => [type, Buffer.from(value).toString()]);
    const proxied = header && { source: header.source, destination: header.destination, tlvs };
    const body = JSON.stringify({ pod, peer, peerPort, proxied });
    socket.end(`HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  });
}).listen(Number(process.argv[2]), "::");
