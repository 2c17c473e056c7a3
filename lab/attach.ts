/** Finding a running lab and getting into it, from the host. Nothing is kept on the host: /proc knows it all. */
import { spawn, type ChildProcess, type SpawnOptions } from "node:child_process";
import { readFileSync, readlinkSync } from "node:fs";
import { listProcesses } from "../core/linux/procfs.ts";
import { LabClient } from "./client.ts";
import type { ExecTarget } from "./status.ts";

export interface FoundLab {
  readonly name: string;
  /** Of its PID 1, as the host counts. */
  readonly pid: number;
}

/** Every lab that runs on this machine and that we may look into, oldest first. */
export function listLabs(): FoundLab[] {
  const byAge = listProcesses().sort((a, b) => Number(a.startTime - b.startTime));
  return byAge.flatMap(({ pid }) => {
    const name = labNameOf(pid);
    return name === undefined ? [] : [{ name, pid }];
  });
}

/** The lab of that name; without a name the only one there is, or the youngest. */
export function findLab(name?: string): FoundLab | undefined {
  return listLabs().findLast((lab) => name === undefined || lab.name === name);
}

export function connectLab(pid: number): LabClient {
  return new LabClient(pid);
}

/** How to run a command in a pod: a command line for the host, and the environment to run it in. */
export interface PodEntry {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/**
 * The command line that enters a pod's network namespace and its node's file system; it dies with whoever starts it.
 * @param pid of the lab's PID 1. @param pod `namespace/name`. @throws Error with the lab's sentence: no such pod.
 */
export async function enterPod(pid: number, pod: string, command: readonly string[]): Promise<PodEntry> {
  const target = await connectLab(pid).request<ExecTarget>("POST", "/exec-target", { pod });
  const inLab = (path: string): string => `/proc/${pid}/root${path}`;
  const user = isOwnUserNamespace(pid) ? [] : [`--user=/proc/${pid}/ns/user`, "--preserve-credentials"];
  // Both sides of nsenter's fork die with their parent: the entering one with us, the entered one with it.
  const dying = ["setpriv", "--pdeathsig", "KILL", "--"];
  const enter = [`--pid=/proc/${pid}/ns/pid`, `--mount=${inLab(target.mount)}`, `--net=${inLab(target.netns)}`];
  return { argv: [...dying, "nsenter", ...user, ...enter, "--", ...dying, ...command], env: target.env };
}

export interface ExecOptions extends Pick<SpawnOptions, "stdio"> {
  /** Added to the pod's own environment. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts a command in a pod, as {@link enterPod} says. Its working folder is `/`. */
export async function execInPod(
  pid: number,
  pod: string,
  command: readonly string[],
  options: ExecOptions = {},
): Promise<ChildProcess> {
  const { argv, env } = await enterPod(pid, pod, command);
  const [program = "", ...rest] = argv;
  return spawn(program, rest, { stdio: options.stdio ?? "pipe", env: { ...env, ...options.env } });
}

/** The name of the lab whose PID 1 this is, judged by its command line and by being the first of its namespace. */
function labNameOf(pid: number): string | undefined {
  const argv = textOf(`/proc/${pid}/cmdline`).split("\0");
  const marker = argv.find((word) => word.startsWith("--lab="));
  if (marker === undefined || !/\/lab\/init\.(ts|js)$/.test(argv[1] ?? "")) return undefined;
  const isFirst = /^NSpid:.*\s1$/m.test(textOf(`/proc/${pid}/status`));
  return isFirst && mayLookInto(pid) ? marker.slice("--lab=".length) : undefined;
}

/** Another user's lab is none of ours. */
function mayLookInto(pid: number): boolean {
  try {
    readlinkSync(`/proc/${pid}/root`);
    return true;
  } catch {
    return false;
  }
}

function isOwnUserNamespace(pid: number): boolean {
  return readlinkSync(`/proc/${pid}/ns/user`) === readlinkSync("/proc/self/ns/user");
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
