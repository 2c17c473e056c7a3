/** A pod's listening sockets: those that an earlier agent left in the store, proven to be what they should be, and new ones for the rest. */
import { describe, TypedError } from "../../core/base/errors.ts";
import type { Log } from "../../core/base/log.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { inspectListener, isSocketIn, markSocket } from "../../core/linux/listening-socket.ts";
import { closeDescriptor, listenTcp } from "../../core/linux/sockets.ts";
import type { StoredListener } from "../../core/protocol/listener-store/messages.ts";
import { listenBacklog, type PodDescriptors } from "../worker-messages.ts";
import type { TakenListener } from "./store-client.ts";

export class ListenError extends TypedError<
  | { readonly code: "pods.listen"; readonly uid: string; readonly port: number; readonly reason: string }
  | { readonly code: "pods.not-transparent"; readonly uid: string; readonly port: number }
> {}

export interface ListenSettings {
  readonly packetMark: number;
  readonly ipv6: boolean;
  /** undefined: transparent where the kernel lets us; true: or else fail; false: never. */
  readonly originalSource: boolean | undefined;
}

export interface PodListeners {
  readonly descriptors: PodDescriptors;
  /** All of them are. */
  readonly transparent: boolean;
}

/** A listening socket of a pod, and where it listens. */
export type PodSockets = Map<number, { readonly fd: number; readonly transparent: boolean }>;

/** Outbound capture, inbound plaintext capture, HBONE (agent-wire 1.2). */
export const podPorts = [15_001, 15_006, 15_008] as const;

/** Those of the store's sockets that are what they are said to be, by port. The others are closed. */
export function provenSockets(
  pod: ListenPod,
  taken: readonly TakenListener[],
  settings: ListenSettings,
  log: Log,
): PodSockets {
  const found: PodSockets = new Map();
  for (const { listener, fd } of taken) {
    const problem = problemOf(pod, listener, fd, settings) ?? (found.has(listener.port) ? "a second one" : undefined);
    const transparent = inspectListener(fd)?.transparent === true;
    if (problem === undefined) found.set(listener.port, { fd, transparent });
    else {
      closeDescriptor(fd);
      log.warn({ uid: pod.uid, port: listener.port, problem }, "a socket of the listener store is of no use");
    }
  }
  return found;
}

/** Listens on every port of a pod. @param found used or closed, whatever comes of it. */
export function openPodListeners(
  pod: ListenPod,
  found: PodSockets,
  settings: ListenSettings,
): PodListeners | ListenError {
  const opened: PodSockets = new Map(found);
  for (const port of podPorts) {
    const listener = found.get(port) ?? listen(pod.netns, port, settings);
    const failed = listener instanceof LinuxError;
    if (!failed) opened.set(port, listener);
    if (!failed && (listener.transparent || settings.originalSource !== true)) continue;
    for (const { fd } of opened.values()) closeDescriptor(fd);
    return failed
      ? new ListenError({ code: "pods.listen", uid: pod.uid, port, reason: describe(listener.type) })
      : new ListenError({ code: "pods.not-transparent", uid: pod.uid, port });
  }
  const [outbound = -1, plaintext = -1, hbone = -1] = podPorts.map((port) => opened.get(port)?.fd);
  const transparent = settings.originalSource !== false && [...opened.values()].every((one) => one.transparent);
  return { descriptors: { outbound, plaintext, hbone }, transparent };
}

interface ListenPod {
  readonly uid: string;
  /** Descriptor of its namespace. */
  readonly netns: number;
}

/** Why a socket that was kept for this pod can't be used for it. */
function problemOf(pod: ListenPod, said: StoredListener, fd: number, settings: ListenSettings): string | undefined {
  const socket = inspectListener(fd);
  if (socket === undefined) return "it is no listening TCP socket";
  if (said.uid !== pod.uid) return `it is kept for pod ${said.uid}`;
  if (socket.port !== said.port || !podPorts.some((port) => port === said.port)) return `it listens on ${socket.port}`;
  if (socket.owner !== process.getuid?.()) return `user ${socket.owner} made it`;
  if (!isSocketIn(fd, pod.netns)) return "it is in another network namespace";
  if (settings.originalSource === true && !socket.transparent) return "it is not transparent";
  return markSocket(fd, settings.packetMark)?.message;
}

function listen(
  netns: number,
  port: number,
  settings: ListenSettings,
): { fd: number; transparent: boolean } | LinuxError {
  const { packetMark, ipv6, originalSource } = settings;
  const address = ipv6 ? "::" : "0.0.0.0";
  return listenTcp({
    netns,
    address,
    port,
    backlog: listenBacklog,
    mark: packetMark,
    transparent: originalSource !== false,
  });
}
