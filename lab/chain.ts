/**
 * The chain of processes that carries a lab, each link of which dies with the one before it:
 *
 *     npm → node (main.ts) → setpriv, then unshare → node (init.ts), PID 1 of its own namespace → everything else
 *
 * The kernel sees to that (PR_SET_PDEATHSIG, unshare --kill-child); where a change of credentials cleared the signal, the
 * lifeline does: a pipe whose other end is ours, and whose end-of-file ends PID 1.
 */
import { spawn, type ChildProcess } from "node:child_process";
import type { Duplex } from "node:stream";
import { createInterface } from "node:readline";
import { listProcesses } from "../core/linux/procfs.ts";
import type { LabConfig } from "./config.ts";
import type { TimedEvent } from "./events.ts";
import { checkoutRoot, labProgram } from "./programs.ts";
import { noNamespaces, Refused } from "./refusals.ts";

export interface Chain {
  /** Of the lab's PID 1, as the host counts. */
  readonly pid: number;
  /** In a user namespace of its own, as an ordinary user's lab is. */
  readonly ownUserNamespace: boolean;
  /** Resolves when the last process of the lab has ended. */
  readonly ended: Promise<void>;
  /** Asks PID 1 to end everything in order. */
  shutDown(): void;
  /** At once. */
  kill(): void;
}

/**
 * Starts PID 1 in namespaces of its own: plainly where we may, else with a user namespace around it. Whether that is
 * allowed is found by trying; @throws Refused with what the machine said last and what to do.
 */
export async function startChain(config: LabConfig, onEvent: (event: TimedEvent) => void): Promise<Chain> {
  const ways = process.getuid?.() === 0 ? [[], userNamespace] : [userNamespace];
  let complaint = "";
  for (const way of ways) {
    const chain = await tryChain(way, config, onEvent);
    if (typeof chain !== "string") return chain;
    complaint = chain;
  }
  throw new Refused(noNamespaces(complaint));
}

/** @returns what unshare had to complain about, if PID 1 was never there. */
function tryChain(
  way: readonly string[],
  config: LabConfig,
  onEvent: (event: TimedEvent) => void,
): Promise<Chain | string> {
  const child = spawn("setpriv", ["--pdeathsig", "KILL", "unshare", ...way, ...namespaces, ...init(config.name)], {
    cwd: checkoutRoot,
    stdio: ["ignore", "inherit", "pipe", "pipe"],
    // A session of its own: Ctrl-C on the terminal means us, and we end the lab in order.
    detached: true,
  });
  const lifeline = child.stdio[3] as Duplex;
  lifeline.on("error", () => undefined); // close of the child follows
  let complaint = "";
  let isUp = false;
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    if (isUp) process.stderr.write(text);
    else complaint = `${complaint}${text}`.slice(-500);
  });
  return new Promise((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", () => resolve(complaint.trim().replaceAll("\n", "; ")));
    createInterface({ input: lifeline }).on("line", (line) => {
      const message = JSON.parse(line) as TimedEvent | { readonly kind: "hello" };
      if (message.kind !== "hello") return onEvent(message);
      isUp = true;
      lifeline.write(`${JSON.stringify(config)}\n`);
      resolve(chainOf(child, lifeline, way.length > 0));
    });
  });
}

function chainOf(child: ChildProcess, lifeline: Duplex, ownUserNamespace: boolean): Chain {
  const pid = listProcesses().find(({ parent }) => parent === child.pid)?.pid ?? 0;
  return {
    pid,
    ownUserNamespace,
    ended: new Promise((resolve) => child.once("close", () => resolve())),
    shutDown: () => void lifeline.write('{"kind":"shut-down"}\n'),
    kill: () => void child.kill("SIGKILL"),
  };
}

function init(name: string): string[] {
  return [process.execPath, labProgram("init"), `--lab=${name}`];
}

const userNamespace = ["--user", "--map-root-user"];
const namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"];
