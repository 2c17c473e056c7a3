/**
 * The last object of each shape that serves connections, though nobody needs it any more: V8 throws compiled code away with the last object
 * of a shape that the code was compiled for. A thread that collects while nothing is open would have to compile again, and the next thousand
 * connections would cost half as much again. What is reached from one of these is kept with it.
 */
export const specimens: Record<Specimen, unknown> = {
  inbound: undefined,
  outbound: undefined,
  attempt: undefined,
  opening: undefined,
  connectRequest: undefined,
  logLine: undefined,
  clientTunnel: undefined,
  serverTunnel: undefined,
  request: undefined,
  headerBlock: undefined,
  authorization: undefined,
  immediate: undefined,
  timer: undefined,
};

type Specimen =
  /** Of a connection: its relay, and from there both of its ends. */
  | "inbound"
  | "outbound"
  /** To connect it, by TCP or in a tunnel. */
  | "attempt"
  | "opening"
  | "connectRequest"
  /** To tell of it. */
  | "logLine"
  /** Of a tunnel, and from there what is beneath it. */
  | "clientTunnel"
  | "serverTunnel"
  /** Of a stream that came in one. */
  | "request"
  | "headerBlock"
  | "authorization"
  /** Node's own. */
  | "immediate"
  | "timer";
