/** What a cluster leaves on a machine while it is there, by name: after its end the list is empty. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { cgroupFolders } from "./host/cgroups.ts";
import { running } from "./host/processes.ts";
import { bridge, hubAddress, nodeLayouts, stateFolder } from "./layout.ts";

/** One line for each thing that is there. */
export function traces(): string[] {
  const links = [bridge, ...nodeLayouts.map(({ linkInterface }) => linkInterface)];
  return [
    ...running().map(({ part, pid }) => `process ${pid} of ${part}`),
    ...links.filter((name) => existsSync(`/sys/class/net/${name}`)).map((name) => `interface ${name}`),
    ...routesInto(nodeLayouts.map(({ podRange }) => podRange)).map((range) => `route to ${range}`),
    ...nodeLayouts.flatMap(({ cgroup }) => cgroupFolders(cgroup)).map((folder) => `cgroup ${folder}`),
    ...mountsUnder(stateFolder).map((path) => `mount ${path}`),
    ...siblings(stateFolder).map((path) => `folder ${path}`),
    ...(addressIsOurs() ? [`address ${hubAddress}`] : []),
  ];
}

/** /proc/net/route writes IPv4 addresses as hexadecimal numbers in the machine's byte order. */
function routesInto(ranges: readonly string[]): string[] {
  const destinations = readFileSync("/proc/net/route", "utf8")
    .split("\n")
    .map((line) => line.split("\t")[1] ?? "");
  return ranges.filter((range) => destinations.includes(hexadecimal(range.split("/")[0] ?? "")));
}

function hexadecimal(address: string): string {
  const bytes = address.split(".").map((part) => Number(part).toString(16).padStart(2, "0").toUpperCase());
  return bytes.reverse().join("");
}

function addressIsOurs(): boolean {
  return readFileSync("/proc/net/fib_trie", "utf8").includes(` ${hubAddress}\n`);
}

function mountsUnder(folder: string): string[] {
  return readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "")
    .filter((path) => path === folder || path.startsWith(`${folder}/`));
}

/** The folder itself, and what a starter that lost the race to it may have left. */
function siblings(folder: string): string[] {
  const own = basename(folder);
  return readdirSync(dirname(folder))
    .filter((name) => name === own || name.startsWith(`${own}.`))
    .map((name) => join(dirname(folder), name));
}
