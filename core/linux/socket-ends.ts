/** The two ends of a socket, canonical: what a wildcard socket calls ::ffff:10.0.0.1 is 10.0.0.1 everywhere else. */
import type { Socket } from "node:net";
import { socketEndpoint, type Endpoint } from "../base/ip.ts";
import { BareSocket } from "./bare-socket.ts";
import { BareStream } from "./bare-stream.ts";

export type AnySocket = BareSocket | BareStream | Socket;

/** The TCP peer; undefined once the socket is gone. */
export function peerOf(socket: AnySocket): Endpoint | undefined {
  if (socket instanceof BareSocket || socket instanceof BareStream) return socket.remote;
  return socketEndpoint(socket.remoteAddress, socket.remotePort);
}

/** Our own end. */
export function localOf(socket: AnySocket): Endpoint | undefined {
  if (socket instanceof BareSocket || socket instanceof BareStream) return socket.local;
  return socketEndpoint(socket.localAddress, socket.localPort);
}
