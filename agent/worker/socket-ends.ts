/** The two ends of a socket, canonical: what a wildcard socket calls ::ffff:10.0.0.1 is 10.0.0.1 everywhere else. */
import { BareSocket } from "../../core/linux/bare-socket.ts";
import type { EndSocket } from "../relay/tcp-end.ts";
import { socketEndpoint, type Endpoint } from "../../core/base/ip.ts";

/** The TCP peer; undefined once the socket is gone. */
export function peerOf(socket: EndSocket): Endpoint | undefined {
  if (socket instanceof BareSocket) return socket.remote;
  return socketEndpoint(socket.remoteAddress, socket.remotePort);
}

/** Our own end. */
export function localOf(socket: EndSocket): Endpoint | undefined {
  if (socket instanceof BareSocket) return socket.local;
  return socketEndpoint(socket.localAddress, socket.localPort);
}
