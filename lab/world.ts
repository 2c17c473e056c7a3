/** The lab's own file system: a tmpfs over /run that vanishes with its mount namespace. */
import { mkdirSync } from "node:fs";
import { mountTmpfs } from "../core/linux/mounts.ts";
import { check } from "./topology.ts";

/** Paths as PID 1 sees them. Of these a node sees only the cluster's folder, its own /run and its own tokens. */
export const paths = {
  socket: "/run/lab/lab.sock",
  manifests: "/run/lab/cluster/manifests",
  status: "/run/lab/cluster/status",
  rootCertificate: "/run/lab/cluster/root-cert.pem",
  token: (node: string) => `/run/lab/tokens/${node}/istio-token`,
  log: (process: string) => `/run/lab/log/${process}.log`,
} as const;

/** @throws LinuxError where the kernel or the machine's policy refuses the mount. */
export function buildWorld(nodes: readonly string[]): void {
  check(mountTmpfs("/run", 0o755));
  const folders: (readonly [string, number])[] = [
    ["/run/lab", 0o755],
    [paths.manifests, 0o755],
    [paths.status, 0o755],
    ["/run/lab/control", 0o700],
    ["/run/lab/tokens", 0o700],
    ["/run/lab/log", 0o755],
    ...nodes.flatMap((node) => [
      [`/run/lab/nodes/${node}`, 0o755] as const,
      [`/run/lab/tokens/${node}`, 0o700] as const,
    ]),
  ];
  for (const [folder, mode] of folders) mkdirSync(folder, { recursive: true, mode });
}
