/** A pod's listening sockets: those that an earlier agent left in the store, proven to be what they should be, and new ones for the rest. */
import { describe, TypedError } from "../../core/base/errors.ts";
import type { Log } from "../../core/base/log.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { inspectListener, isSocketIn, markSocket } from "../../core/linux/listening-socket.ts";
import { hasIpv6 } from "../../core/linux/procfs.ts";
import { closeDescriptor, type KeepAlive, listenTcp, setKeepAlive } from "../../core/linux/sockets.ts";
import { bindUdp } from "../../core/linux/udp-sockets.ts";
import { listenerName, type StoredListener } from "../../core/protocol/listener-store/messages.ts";
import { listenBacklog, type DnsDescriptor, type PodDescriptors } from "../worker-messages.ts";
import type { TakenListener } from "./store-client.ts";

export class ListenError extends TypedError<
  | { readonly code: "pods.listen"; readonly uid: string; readonly port: number; readonly reason: string }
  | { readonly code: "pods.not-transparent"; readonly uid: string; readonly port: number }
> {}

export interface ListenSettings {
  /** undefined: packets are not marked. */
  readonly packetMark: number | undefined;
  /** Of what is accepted. */
  readonly keepAlive?: KeepAlive | undefined;
  /** Where pods' queries are answered; undefined: nowhere. */
  readonly dns?: DnsListenSettings | undefined;
  readonly ipv6: boolean;
  /** undefined: transparent where the kernel lets us; true: or else fail; false: never. */
  readonly originalSource: boolean | undefined;
  /** Whether another program's agent may listen beside this one while it is replaced. So may root in the pod: only for that. */
  readonly sharePorts?: boolean;
}

export interface DnsListenSettings {
  readonly addresses: readonly string[];
  readonly port: number;
}

export interface PodListeners {
  readonly descriptors: PodDescriptors;
  /** All of them are, but for those of DNS, which need not be. */
  readonly transparent: boolean;
}

/** Listening sockets of a pod by {@link listenerName}. */
export type PodSockets = Map<string, PodSocket>;

interface PodSocket {
  readonly fd: number;
  readonly transparent: boolean;
}

/** Outbound capture, inbound plaintext capture, HBONE (agent-wire 1.2). */
const podPorts = [15_001, 15_006, 15_008] as const;

/** What an agent listens on in a pod. @param netns descriptor of its namespace. */
export function wantedListeners(netns: number, { dns }: ListenSettings): Wanted[] {
  const captures = podPorts.map((port): Wanted => ({ port, transparent: true }));
  const addresses = dns?.addresses.filter((address) => !address.includes(":") || hasIpv6(netns)) ?? [];
  return [
    ...captures,
    ...addresses.flatMap((address): Wanted[] => {
      const at = { port: dns?.port ?? 0, transparent: false, address };
      return [at, { ...at, protocol: "udp" }];
    }),
  ];
}

/** A socket that there shall be. */
export type Wanted = Omit<StoredListener, "uid">;

/** Those of the store's sockets that are what they are said to be, by port. The others are closed. */
export function provenSockets(
  pod: ListenPod,
  taken: readonly TakenListener[],
  settings: ListenSettings,
  log: Log,
): PodSockets {
  const found: PodSockets = new Map();
  for (const { listener, fd } of taken) {
    const name = listenerName(listener);
    const problem = problemOf(pod, listener, fd, settings) ?? (found.has(name) ? "a second one" : undefined);
    const transparent = inspectListener(fd)?.transparent === true;
    if (problem === undefined) found.set(name, { fd, transparent });
    else {
      closeDescriptor(fd);
      log.warn({ uid: pod.uid, listener: name, problem }, "a socket of the listener store is of no use");
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
  const wanted = wantedListeners(pod.netns, settings);
  for (const one of wanted) {
    const { port } = one;
    const listener = found.get(listenerName(one)) ?? listen(pod.netns, one, settings);
    const failed = listener instanceof LinuxError;
    if (!failed) opened.set(listenerName(one), listener);
    if (!failed && (listener.transparent || !one.transparent || settings.originalSource !== true)) continue;
    for (const { fd } of opened.values()) closeDescriptor(fd);
    return failed
      ? new ListenError({ code: "pods.listen", uid: pod.uid, port, reason: describe(listener.type) })
      : new ListenError({ code: "pods.not-transparent", uid: pod.uid, port });
  }
  const sockets = wanted.map((one) => ({ ...one, ...opened.get(listenerName(one))! }));
  const [outbound = -1, plaintext = -1, hbone = -1] = sockets.map(({ fd }) => fd);
  const captures = sockets.slice(0, podPorts.length);
  const dns = sockets
    .slice(podPorts.length)
    .map(({ protocol, address = "", fd }): DnsDescriptor => ({ protocol: protocol ?? "tcp", address, fd }));
  return {
    descriptors: { outbound, plaintext, hbone, dns },
    transparent: settings.originalSource !== false && captures.every((one) => one.transparent),
  };
}

/** Every descriptor of a pod, with what it is. */
export function socketsOf({ outbound, plaintext, hbone, dns = [] }: PodDescriptors, dnsPort: number): Named[] {
  const captures = [outbound, plaintext, hbone].map((fd, at) => ({ port: podPorts[at] ?? 0, fd }));
  const queries = dns.map(({ protocol, address, fd }) => {
    return { port: dnsPort, address, fd, ...(protocol === "udp" && { protocol }) };
  });
  return [...captures, ...queries];
}

type Named = Omit<Wanted, "transparent"> & { readonly fd: number };

interface ListenPod {
  readonly uid: string;
  /** Descriptor of its namespace. */
  readonly netns: number;
}

/** Why a socket that was kept for this pod can't be used for it. */
function problemOf(pod: ListenPod, said: StoredListener, fd: number, settings: ListenSettings): string | undefined {
  const socket = inspectListener(fd);
  if (socket === undefined) return "it is no listening socket";
  if (said.uid !== pod.uid) return `it is kept for pod ${said.uid}`;
  const { port, address, protocol } = socket;
  const name = listenerName({
    port,
    ...(address && { address }),
    ...(protocol === "udp" && { protocol }),
  });
  const wanted = wantedListeners(pod.netns, settings).find((one) => listenerName(one) === name);
  if (wanted === undefined || listenerName(said) !== name) return `it listens on ${name}`;
  if (socket.owner !== process.getuid?.()) return `user ${socket.owner} made it`;
  if (!isSocketIn(fd, pod.netns)) return "it is in another network namespace";
  if (settings.originalSource === true && wanted.transparent && !socket.transparent) return "it is not transparent";
  const { packetMark, keepAlive } = settings;
  if (keepAlive !== undefined && socket.protocol === "tcp") setKeepAlive(fd, keepAlive);
  return packetMark === undefined ? undefined : markSocket(fd, packetMark)?.message;
}

function listen(netns: number, wanted: Wanted, settings: ListenSettings): PodSocket | LinuxError {
  const { packetMark, ipv6, originalSource, keepAlive } = settings;
  const mark = packetMark === undefined ? {} : { mark: packetMark };
  const { port, protocol, address = ipv6 ? "::" : "0.0.0.0" } = wanted;
  if (protocol === "udp") {
    const fd = bindUdp({ netns, address, port, ...mark });
    return fd instanceof LinuxError ? fd : { fd, transparent: false };
  }
  return listenTcp({
    netns,
    address,
    port,
    backlog: listenBacklog,
    ...mark,
    ...(keepAlive && { keepAlive }),
    transparent: wanted.transparent && originalSource !== false,
    // Loopback may be brought up later.
    freebind: wanted.address !== undefined,
    sharePort: settings.sharePorts === true,
  });
}
