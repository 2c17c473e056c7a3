/** The foreign programs that tests hold ours against: installed where that can be done, named where it can't. */
import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";

export interface Peer {
  readonly command: string;
  /** Where that is a library: the file by which one sees that it is there. */
  readonly file?: string;
  /** The Debian package it comes in. */
  readonly debian: string;
}

/** A module of the system's own Python: /usr/bin/python3. */
export const prometheusClient = "/usr/lib/python3/dist-packages/prometheus_client/openmetrics/parser.py";

const peers: readonly Peer[] = [
  { command: "nft", debian: "nftables" },
  { command: "curl", debian: "curl" },
  { command: "openssl", debian: "openssl" },
  { command: "ss", debian: "iproute2" },
  // And the libraries of named, which test/support/bind.ts fetches.
  { command: "dig", debian: "bind9-dnsutils" },
  // Reads OpenMetrics strictly.
  { command: "python3", file: prometheusClient, debian: "python3-prometheus-client" },
  { command: "h2load", debian: "nghttp2-client" },
  { command: "nghttp", debian: "nghttp2-client" },
];

/** Installs what is missing by apt when root; answers with one line for each peer that can't be had. */
export function installPeers(wanted: readonly Peer[] = peers): string[] {
  const missing = wanted.filter((peer) => !isThere(peer));
  if (missing.length === 0) return [];
  const names = missing.map((peer) => peer.debian).join(" ");
  if (process.getuid?.() !== 0) return [`not installed, needs root: ${names}; the tests that use them are skipped`];
  if (find("apt-get") === undefined)
    return [`not installed, no apt-get here: ${names}; the tests that use them are skipped`];
  const environment = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const install = (): number | null =>
    spawnSync("apt-get", ["install", "-y", "-qq", "--no-install-recommends", ...missing.map((peer) => peer.debian)], {
      env: environment,
      stdio: "ignore",
    }).status;
  if (install() !== 0) {
    spawnSync("apt-get", ["update", "-qq"], { env: environment, stdio: "ignore" });
    install();
  }
  return missing.map((peer) =>
    !isThere(peer) ? `could not install ${peer.debian}; the tests that use it are skipped` : `installed ${peer.debian}`,
  );
}

function isThere({ command, file }: Peer): boolean {
  return file === undefined ? find(command) !== undefined : existsSync(file);
}

/** The path of a program, or undefined where the machine has none. */
export function find(command: string): string | undefined {
  const folders = [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/sbin"];
  return folders
    .map((folder) => `${folder}/${command}`)
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}
