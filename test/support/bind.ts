/** A real BIND in a pod: authoritative for two zones, silent about all others. Its Debian package would start a server: it is unpacked, not installed. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cached } from "../cluster/parts/cache.ts";
import { Unavailable } from "../cluster/unavailable.ts";
import { find } from "../../scripts/peers.ts";

/** The program, fetched once; undefined where it can't be had. */
export async function bindProgram(): Promise<string | undefined> {
  const fetched = await cached(
    "bind9",
    (folder) => Promise.resolve(unpack(folder) ? undefined : new Unavailable("bind9")),
    "peers",
  );
  const path = typeof fetched === "string" ? join(fetched, "usr/sbin/named") : undefined;
  return path !== undefined && runs(path) ? path : find("named");
}

export interface BindFiles {
  readonly command: readonly string[];
  remove(): void;
}

/** What a pod runs to be this server, at every address on port 53. */
export function bindFiles(program: string): BindFiles {
  const folder = mkdtempSync(join(tmpdir(), "ambientd-bind-"));
  const write = (name: string, text: string): void => writeFileSync(join(folder, name), text);
  write("named.conf", configuration(folder));
  write("example.test.zone", zone);
  write("cluster.local.zone", clusterZone);
  const command = [program, "-g", "-c", join(folder, "named.conf"), "-n", "1"];
  return { command, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

function unpack(folder: string): boolean {
  const run = (command: string, ...argv: string[]): boolean =>
    spawnSync(command, argv, { cwd: folder, stdio: "ignore" }).status === 0;
  return (
    run("apt-get", "download", "-qq", "bind9") &&
    run("sh", "-c", "dpkg -x ./bind9_*.deb .") &&
    existsSync(join(folder, "usr/sbin/named"))
  );
}

/** Its libraries are there, too: they come with bind9-dnsutils. */
function runs(program: string): boolean {
  return spawnSync(program, ["-v"], { stdio: "ignore" }).status === 0;
}

function configuration(folder: string): string {
  return `
options {
  directory "${folder}";
  pid-file "${folder}/named.pid";
  session-keyfile "${folder}/session.key";
  managed-keys-directory "${folder}";
  listen-on { any; };
  listen-on-v6 { any; };
  recursion no;
  allow-query { any; };
  allow-transfer { any; };
  allow-update { any; };
  dnssec-validation no;
  rrset-order { order none; };
  minimal-responses yes;
  max-udp-size 4096;
  answer-cookie no;
};
controls { };
zone "example.test" { type primary; file "example.test.zone"; allow-update { any; }; };
zone "cluster.local" { type primary; file "cluster.local.zone"; };
`;
}

const head = `$TTL 300
@ IN SOA ns hostmaster 1 3600 600 86400 300
@ IN NS ns
ns IN A 192.0.2.1
`;

const zone = `${head}
www IN A 192.0.2.80
www IN AAAA 2001:db8::80
six IN AAAA 2001:db8::6
alias IN CNAME www
text IN TXT "plain"
large IN TXT ${Array.from({ length: 6 }, (_, i) => `"${String(i).repeat(200)}"`).join(" ")}
_http._tcp IN SRV 0 5 80 www
mail IN MX 10 www
owned IN A 192.0.2.99
owned IN TXT "not an address"
`;

/** What the cluster's own DNS knows and the mesh does not. */
const clusterZone = `${head}
external.shop.svc IN CNAME www.example.test.
db-0.db.shop.svc IN A 192.0.2.50
_tcp.near.shop.svc IN SRV 0 5 80 near.shop.svc
_http._tcp.near.shop.svc IN SRV 0 5 80 near.shop.svc
`;
