/** connect() inside a pod, as a promise that settles once: the connected socket, or why not. */
import type { Socket } from "node:net";
import { BareStream } from "../../core/linux/bare-stream.ts";
import { errnoOf, LinuxError, namedError } from "../../core/linux/errno.ts";
import type { EndSocket } from "../relay/tcp-end.ts";
import { takesBareStreams, type Transport } from "../tunnel/engine.ts";
import { connectFailure, type Failure } from "./socket-errors.ts";
import type { ConnectRequest, WorkerContext } from "./context.ts";

/**
 * @param request `from`: the address to connect from, where it isn't ours.
 * @param withinMs for each attempt, that of the settings when missing.
 */
export async function connectFrom(
  context: WorkerContext,
  request: Omit<ConnectRequest, "from"> & { readonly from?: string | undefined },
  withinMs = context.settings.connectDeadlineMs,
): Promise<EndSocket | Failure> {
  const { from: address, ...rest } = request;
  if (address === undefined) return settled(await connectOnce(context, rest, withinMs));
  const { sourcePorts } = context;
  for (let left = sourcePorts.tries; left > 0; left--) {
    const port = sourcePorts.next();
    const result = await connectOnce(context, { ...rest, from: { address, port } }, withinMs);
    if (!(result instanceof Error)) sourcePorts.ended("connected");
    if (!(result instanceof Error) || !portTaken.has(errnoOf(result) ?? "")) return settled(result);
    sourcePorts.wasTaken();
  }
  sourcePorts.ended("none-free");
  return settled(await connectOnce(context, { ...rest, from: { address } }, withinMs));
}

/** For what a tunnel runs over; emits `connect` or `error`, as net.Socket does. */
export function connectStream(context: WorkerContext, request: ConnectRequest): Transport {
  const { connectBare, tunnels } = context;
  if (connectBare !== undefined && takesBareStreams(tunnels.engine)) {
    const stream = BareStream.connecting((connected) => connectBare(request, connected));
    if (stream instanceof BareStream) return stream;
  }
  // Where nothing was begun it says why.
  return context.connect({ ...request, lendsReads: true });
}

export function isFailure(result: EndSocket | Failure): result is Failure {
  return "reason" in result;
}

function connectOnce(context: WorkerContext, request: ConnectRequest, withinMs: number): Promise<EndSocket | Error> {
  const { clock, connectBare } = context;
  if (connectBare === undefined) return connectOrdinary(context, request, withinMs);
  return new Promise((resolve) => {
    const socket = connectBare(request, (error) => {
      cancel();
      resolve(error ?? socket);
    });
    if (socket instanceof LinuxError) return resolve(socket);
    const cancel = clock.after(withinMs, () => {
      socket.destroy();
      resolve(timedOut());
    });
  });
}

function connectOrdinary(context: WorkerContext, request: ConnectRequest, withinMs: number): Promise<Socket | Error> {
  return new Promise((resolve) => {
    const socket = context.connect({ ...request, lendsReads: true });
    const settle = (result: Socket | Error): void => {
      cancel();
      socket.removeListener("error", settle);
      socket.removeListener("connect", connected);
      resolve(result);
    };
    const connected = (): void => settle(socket);
    const cancel = context.clock.after(withinMs, () => {
      settle(timedOut());
      socket.on("error", ignore);
      socket.destroy();
    });
    socket.on("connect", connected);
    socket.on("error", settle);
  });
}

function timedOut(): LinuxError {
  return namedError("connect", "ETIMEDOUT");
}

function settled(result: EndSocket | Error): EndSocket | Failure {
  return result instanceof Error ? connectFailure(result) : result;
}

function ignore(): void {}

/** Somebody listens there; or a connection to that destination has it. */
const portTaken: ReadonlySet<string> = new Set(["EADDRINUSE", "EADDRNOTAVAIL"]);
