/** Tests of the kernel run in network and mount namespaces of their own, as root and as an ordinary user alike. */
import { spawnSync } from "node:child_process";
import process from "node:process";

/**
 * To be called once, at the top of a test file: the file is then run from its beginning inside fresh namespaces (net and mount,
 * and user where the caller isn't root), in the same process, so that the test runner notices nothing. In there loopback is
 * down, /run is an empty tmpfs, and everything goes when the process does.
 * @returns undefined inside, else why it cannot be done here: `test(name, { skip: enterNamespaces() }, …)`.
 */
export function enterNamespaces(): string | undefined {
  if (process.env[INSIDE] !== undefined) return undefined;
  const asRoot = ["--net", "--mount", "--propagation", "private"];
  const asUser = ["--user", "--map-root-user", ...asRoot];
  // Ubuntu 24.04 lets unshare pass and takes the capabilities away: so it is the mount that counts.
  const flags = (process.getuid?.() === 0 ? [asRoot, asUser] : [asUser]).find(canMount);
  if (flags === undefined) return "needs root, or unprivileged user namespaces (unshare --user)";
  const node = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  // sh mounts and becomes node: nothing is forked, so stdin, stdout and the process id stay those of this process.
  const script = 'mount -t tmpfs -o mode=0755 none /run && exec "$@"';
  const shell = ["unshare", ...flags, "--", "/bin/sh", "-c", script, "sh", ...node];
  return process.execve?.("/usr/bin/unshare", shell, { ...definedEnvironment(), [INSIDE]: "1" });
}

function canMount(flags: readonly string[]): boolean {
  return spawnSync("unshare", [...flags, "--", "mount", "-t", "tmpfs", "none", "/run"]).status === 0;
}

function definedEnvironment(): Record<string, string> {
  const entries = Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return Object.fromEntries(entries);
}

const INSIDE = "AMBIENTD_TEST_NAMESPACED";
