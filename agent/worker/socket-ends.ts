/** The two ends of a socket, canonical: what a wildcard socket calls ::ffff:10.0.0.1 is 10.0.0.1 everywhere else. */
import type { Socket } from "node:net";
import { socketIp, type Endpoint } from "../../core/base/ip.ts";

/** The TCP peer; undefined once the socket is gone. */
export function peerOf(socket: Socket): Endpoint | undefined {
  return endpointOf(socket.remoteAddress, socket.remotePort);
}

/** Our own end. */
export function localOf(socket: Socket): Endpoint | undefined {
  return endpointOf(socket.localAddress, socket.localPort);
}

function endpointOf(text: string | undefined, port: number | undefined): Endpoint | undefined {
  const address = text === undefined ? undefined : socketIp(text);
  return address === undefined || port === undefined ? undefined : { address, port };
}
