/** What /proc tells and takes: processes, sysctls, the sockets of a namespace. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { formatIp, type Endpoint } from "../base/ip.ts";
import { fromNode, type LinuxError } from "./errno.ts";
import { inNamespaceOf } from "./namespace.ts";

export interface ProcessStat {
  readonly pid: number;
  readonly name: string;
  /** One letter: R, S, D, Z … (proc(5)). */
  readonly state: string;
  readonly parent: number;
  /** Clock ticks after boot; with the pid it names a process for good. */
  readonly startTime: bigint;
}

export interface TcpSocket {
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly state: TcpState;
}

export type TcpState = (typeof tcpStates)[number];

/** Every process in this PID namespace that still was there when it was looked at. */
export function listProcesses(): ProcessStat[] {
  return readdirSync("/proc").flatMap((entry) => {
    const stat = /^\d+$/.test(entry) ? processStat(Number(entry)) : undefined;
    return stat === undefined ? [] : [stat];
  });
}

/** One process, or undefined when there is none of that id. */
export function processStat(pid: number): ProcessStat | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return undefined;
  }
  // The name may hold spaces and brackets: the fields go on after the last one.
  const end = text.lastIndexOf(")");
  const fields = text.slice(end + 2).split(" ");
  return {
    pid,
    name: text.slice(text.indexOf("(") + 1, end),
    state: fields[0] ?? "",
    parent: Number(fields[1]),
    startTime: BigInt(fields[19] ?? "0"),
  };
}

/** A kernel setting by its path below /proc/sys ("net/ipv4/ip_forward"); those of `net` are each namespace's own. */
function readSysctl(name: string, netns?: number): string | LinuxError {
  try {
    return inNamespaceOf(netns, () => readFileSync(`/proc/sys/${name}`, "utf8")).trim();
  } catch (error) {
    return fromNode(error, "open", name);
  }
}

export function writeSysctl(name: string, value: string | number, netns?: number): LinuxError | undefined {
  try {
    inNamespaceOf(netns, () => writeFileSync(`/proc/sys/${name}`, String(value)));
    return undefined;
  } catch (error) {
    return fromNode(error, "open", name);
  }
}

/** Whether that namespace speaks IPv6 at all (compiled in, and not switched off on loopback). */
export function hasIpv6(netns?: number): boolean {
  return readSysctl("net/ipv6/conf/lo/disable_ipv6", netns) === "0";
}

/** All TCP sockets of a namespace, both families, whoever owns them. */
export function tcpSockets(netns?: number): TcpSocket[] {
  return inNamespaceOf(netns, () => ["tcp", "tcp6"].flatMap(readTcpTable));
}

/** Where UDP sockets of a namespace are bound, both families, whoever owns them. */
export function udpEndpoints(netns?: number): Endpoint[] {
  return inNamespaceOf(netns, () => ["udp", "udp6"].flatMap((name) => readTable(name).map(({ local }) => local)));
}

function readTcpTable(name: string): TcpSocket[] {
  return readTable(name).map(({ local, remote, state }) => ({
    local,
    remote,
    state: tcpStates[state] ?? "unknown",
  }));
}

function readTable(name: string): { local: Endpoint; remote: Endpoint; state: number }[] {
  let text: string;
  try {
    text = readFileSync(`/proc/thread-self/net/${name}`, "utf8");
  } catch (error) {
    // No IPv6 in this kernel. Any other failure must not look like "no sockets": rules are deleted on that word.
    const failure = fromNode(error, "open", name);
    if (failure.errno === "ENOENT") return [];
    throw failure;
  }
  const rows = text.split("\n").slice(1, -1);
  return rows.map((row) => {
    const [, local = "", remote = "", state = ""] = row.trim().split(/\s+/);
    return {
      local: endpoint(local),
      remote: endpoint(remote),
      state: Number.parseInt(state, 16),
    };
  });
}

/** `0100007F:1F90`: 32-bit words in the host's order, which is little-endian on all that we run on; the port is plain. */
function endpoint(text: string): Endpoint {
  const [hex = "", port = ""] = text.split(":");
  const words = Buffer.from(hex, "hex").swap32();
  return { address: formatIp(words) ?? "", port: Number.parseInt(port, 16) };
}

// include/net/tcp_states.h, by number
const tcpStates = [
  "unknown",
  "established",
  "syn-sent",
  "syn-received",
  "fin-wait-1",
  "fin-wait-2",
  "time-wait",
  "closed",
  "close-wait",
  "last-ack",
  "listen",
  "closing",
  "new-syn-received",
] as const;
