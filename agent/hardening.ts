/** What would undo the agent's promises from outside, refused at the start; and what of its memory would outlive it, forbidden. */
import { readFileSync } from "node:fs";
import process from "node:process";
import type { Log } from "../core/base/log.ts";
import { forbidCoreFiles, forbidInspection } from "../core/linux/process.ts";

/** @returns why the agent does not start in this environment, with the fix; undefined where it may. @param execArgv flags of Node itself. */
export function environmentProblem(
  env: Readonly<Record<string, string | undefined>>,
  execArgv: readonly string[],
): string | undefined {
  for (const [variable, consequence] of Object.entries(refusedVariables)) {
    if ((env[variable] ?? "") !== "") return `ambientd agent: ${variable} is set, and it ${consequence}: leave it out.`;
  }
  const flag = execArgv.find((one) => refusedFlags.test(one));
  if (flag !== undefined)
    return `ambientd agent: Node runs with ${flag}, which opens its memory or its traffic: leave it out.`;
  return undefined;
}

/** Keys are in this process's memory: it leaves no core file, is not looked into by others, and opens no debugger. */
export function protectMemory(log: Log): void {
  const failed = [forbidCoreFiles(), isOwnUserNamespace() ? undefined : forbidInspection()];
  for (const error of failed)
    if (error !== undefined) log.warn({ error: error.type }, "memory is less protected than it could be");
  // Node's own answer is to open its inspector; --disable-sigusr1 says the same before our first line runs.
  process.on("SIGUSR1", () => log.warn("SIGUSR1 is ignored: an agent opens no debugger"));
}

/** A user who runs the lab in a namespace of their own could not look at their own process any more: it would be global root's. */
function isOwnUserNamespace(): boolean {
  try {
    return !/^\s*0\s+0\s+4294967295\s*$/.test(readFileSync("/proc/self/uid_map", "utf8"));
  } catch {
    return false;
  }
}

const refusedVariables: Readonly<Record<string, string>> = {
  NODE_OPTIONS: "can load any code and lower any guard",
  NODE_TLS_REJECT_UNAUTHORIZED: "can turn the verification of certificates off",
  NODE_EXTRA_CA_CERTS: "adds roots that the mesh does not know",
  OPENSSL_CONF: "can load any engine and change what TLS allows",
};

const refusedFlags =
  /^--(?:tls-keylog|trace-tls|tls-min-v1\.[012]|tls-max-v1\.2|openssl-|use-openssl-ca|inspect|heapsnapshot-signal)/;
