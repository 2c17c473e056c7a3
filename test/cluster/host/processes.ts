/** A cluster's processes, told from all others by a variable in their environment: exact, and it survives their starter. */
import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "../../support/until.ts";
import { clusterNumber, logFolder } from "../layout.ts";

const mark = `AMBIENTD_CLUSTER_${clusterNumber}_PART`;

export interface Running {
  readonly part: string;
  readonly pid: number;
  /** It is the init process of a node. */
  readonly isInit: boolean;
}

/** Starts a part that outlives us. Its output is appended to `<part>.log`. @returns its process id, and its standard input if asked for. */
export function startPart(
  part: string,
  argv: readonly string[],
  options: { readonly env: NodeJS.ProcessEnv; readonly openInput?: boolean },
): { readonly pid: number; readonly input: NodeJS.WritableStream | null } {
  mkdirSync(logFolder, { recursive: true, mode: 0o700 });
  const log = openSync(join(logFolder, `${part}.log`), "a", 0o600);
  const [program = "", ...rest] = argv;
  const child = spawn(program, rest, {
    cwd: "/",
    detached: true,
    env: { ...options.env, [mark]: part },
    stdio: [options.openInput === true ? "pipe" : "ignore", log, log],
  });
  closeSync(log);
  child.on("error", () => {});
  child.unref();
  if (child.pid === undefined) throw new Error(`${program} can't be started`);
  return { pid: child.pid, input: child.stdin };
}

/** Those that run now, of one part or of all. */
export function running(part?: string): Running[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      const found = partOf(name);
      if (found === undefined || (part !== undefined && found !== part)) return [];
      return [{ part: found, pid: Number(name), isInit: isInit(name) }];
    });
}

/** Kills and waits until they are gone from the process table, zombies of a foreign parent aside. */
export async function killAll(part?: string): Promise<void> {
  await until(`no process of ${part ?? "the cluster"} is left`, 30_000, () => {
    const left = running(part);
    for (const { pid } of left) kill(pid);
    return left.length === 0;
  });
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended by itself in between.
  }
}

function partOf(pid: string): string | undefined {
  try {
    // A zombie's environment is empty: it counts as gone.
    const environment = readFileSync(`/proc/${pid}/environ`, "latin1");
    const at = environment.startsWith(`${mark}=`) ? 0 : environment.indexOf(`\0${mark}=`) + 1;
    if (at === 0 && !environment.startsWith(`${mark}=`)) return undefined;
    return environment.slice(at + mark.length + 1).split("\0", 1)[0];
  } catch {
    return undefined;
  }
}

function isInit(pid: string): boolean {
  try {
    const [, numbers = ""] = /^NSpid:\s+(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
    const inner = numbers.split(/\s+/);
    return inner.length > 1 && inner.at(-1) === "1";
  } catch {
    return false;
  }
}
