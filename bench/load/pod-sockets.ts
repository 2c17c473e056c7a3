/** What a pod's sockets are up to, read from its /proc/net/tcp and tcp6. */
import type { BenchPod } from "../pod.ts";

export async function listensOn(pod: BenchPod, port: number): Promise<boolean> {
  return (await socketsOf(pod)).some(({ local, state }) => state === "0A" && portOf(local) === port);
}

/** Connections that stand, between this pod and an IPv4 address, ours of either end. */
export async function establishedTo(pod: BenchPod, address: string): Promise<number> {
  const wanted = hexOf(address);
  return (await socketsOf(pod)).filter(({ remote, state }) => state === "01" && remote.split(":")[0]?.endsWith(wanted))
    .length;
}

export interface SocketLine {
  /** `0100007F:1F90` */
  readonly local: string;
  readonly remote: string;
  /** include/net/tcp_states.h, two digits. */
  readonly state: string;
}

/** The lines of /proc/net/tcp below its heading. */
export function parseSockets(text: string): SocketLine[] {
  return text
    .split("\n")
    .slice(1)
    .flatMap((line) => {
      const [, local, remote, state] = line.trim().split(/\s+/);
      return local === undefined || remote === undefined || state === undefined ? [] : [{ local, remote, state }];
    });
}

/** An IPv4 address as it stands there: four octets, the last one first. Mapped into IPv6 it is the end of the text. */
export function hexOf(address: string): string {
  const octets = address.split(".").map((octet) => Number(octet).toString(16).padStart(2, "0"));
  return octets.reverse().join("").toUpperCase();
}

async function socketsOf(pod: BenchPod): Promise<SocketLine[]> {
  const texts = await Promise.all(
    ["/proc/net/tcp", "/proc/net/tcp6"].map((path) => pod.readProc(path).catch(() => "")),
  );
  return texts.flatMap(parseSockets);
}

function portOf(end: string): number {
  return Number.parseInt(end.slice(end.indexOf(":") + 1), 16);
}
