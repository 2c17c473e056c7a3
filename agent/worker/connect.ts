/** connect() inside a pod, as a promise that settles once: the connected socket, or why not. */
import type { Socket } from "node:net";
import { namedError } from "../../core/linux/errno.ts";
import { connectFailure, type Failure } from "./socket-errors.ts";
import type { ConnectRequest, WorkerContext } from "./context.ts";

export function connectFrom(context: WorkerContext, request: ConnectRequest): Promise<Socket | Failure> {
  return new Promise((resolve) => {
    const socket = context.connect(request);
    const settle = (result: Socket | Failure): void => {
      cancel();
      socket.removeListener("error", failed);
      socket.removeListener("connect", connected);
      resolve(result);
    };
    const connected = (): void => settle(socket);
    const failed = (error: Error): void => settle(connectFailure(error));
    const cancel = context.clock.after(context.settings.connectDeadlineMs, () => {
      settle(connectFailure(namedError("connect", "ETIMEDOUT")));
      socket.on("error", ignore);
      socket.destroy();
    });
    socket.on("connect", connected);
    socket.on("error", failed);
  });
}

export function isFailure(result: Socket | Failure): result is Failure {
  return "reason" in result;
}

function ignore(): void {}
