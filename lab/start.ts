/** Starting a lab from the host: for `npm start`, tests and benches. */
import type { ChildProcess } from "node:child_process";
import { resolve } from "node:path";
import type { Families } from "./addresses.ts";
import { execInPod, type ExecOptions } from "./attach.ts";
import { startChain } from "./chain.ts";
import { compiledPrograms } from "./compiled.ts";
import { LabClient } from "./client.ts";
import { components as allComponents, type Component, type LabConfig } from "./config.ts";
import type { TimedEvent } from "./events.ts";
import type { Env } from "./programs.ts";
import { Refused } from "./refusals.ts";
import type { LabStatus } from "./status.ts";

export interface LabOptions {
  /** Default: `lab-` and our process id. */
  readonly name?: string;
  /** Their names, or how many: then node1, node2 … Default 2. */
  readonly nodes?: number | readonly string[];
  /** Default both. */
  readonly families?: Families;
  /** Folder of manifests; what is changed in it later counts only with `watch`. */
  readonly manifests: string;
  readonly watch?: boolean;
  /** Data-plane workers of each agent. Default 2. */
  readonly workers?: number;
  readonly certTtlSeconds?: number;
  /** What runs beside the pods. Default: all of it. */
  readonly components?: readonly Component[];
  /** Environment variables by component. */
  readonly environment?: Partial<Record<Component, Env>>;
  /** Default: those beside the lab, so the sources in a checkout. `compiled`: as they are shipped, for whoever measures them. */
  readonly programs?: "own" | "compiled";
  /** How long an ambient pod's first process waits for the pod's enrolment. Default 10,000. */
  readonly enrolmentWaitMs?: number;
  /** How long all pods may take to be ready, in milliseconds; 0 does not wait for them. Default 60,000. */
  readonly readyWithinMs?: number;
  readonly onEvent?: (event: TimedEvent) => void;
}

export interface LabHandle {
  readonly name: string;
  /** Of the lab's PID 1, as the host counts. */
  readonly pid: number;
  /** In a user namespace of its own. */
  readonly ownUserNamespace: boolean;
  /** @see control-socket.ts for what may be asked. */
  readonly request: LabClient["request"];
  readonly open: LabClient["open"];
  /** @param pod `namespace/name` */
  exec(pod: string, command: readonly string[], options?: ExecOptions): Promise<ChildProcess>;
  /** Resolves when nothing of the lab is left, however it ended. */
  readonly ended: Promise<void>;
  /** Ends the lab in order. */
  close(): Promise<void>;
}

/**
 * Builds a lab and resolves once every pod in it runs and is ready, or has ended. It lives as long as this process.
 * @throws Refused: one sentence for a person, when this machine, or what was asked for, doesn't make a lab.
 */
export async function startLab(options: LabOptions): Promise<LabHandle> {
  const compiled = options.programs === "compiled" ? { programs: await compiledPrograms() } : {};
  const config = { ...configOf(options), ...compiled };
  const built = Promise.withResolvers<void>();
  const ready = Promise.withResolvers<void>();
  const refuse = (sentence: string): void => {
    built.reject(new Refused(sentence));
    ready.reject(new Refused(sentence));
  };
  for (const { promise } of [built, ready]) promise.catch(() => undefined); // only one of them may be waited for
  const chain = await startChain(config, (event) => {
    if (event.kind === "built") built.resolve();
    if (event.kind === "ready") ready.resolve();
    if (event.kind === "refused") refuse(event.sentence);
    options.onEvent?.(event);
  });
  void chain.ended.then(() => refuse("The lab's first process ended before the lab was built."));
  const client = new LabClient(chain.pid);
  try {
    await built.promise;
    await withinTime(ready.promise, options.readyWithinMs ?? 60_000, client);
  } catch (error) {
    chain.kill();
    await chain.ended;
    throw error;
  }
  return {
    name: config.name,
    pid: chain.pid,
    ownUserNamespace: chain.ownUserNamespace,
    request: (method, path, body) => client.request(method, path, body),
    open: (method, path, body) => client.open(method, path, body),
    exec: (pod, command, how) => execInPod(chain.pid, pod, command, how),
    ended: chain.ended,
    async close() {
      chain.shutDown();
      await chain.ended;
    },
  };
}

/** @throws Refused that names the pods which were not ready in time. */
async function withinTime(ready: Promise<void>, withinMs: number, client: LabClient): Promise<void> {
  if (withinMs === 0) return;
  const late = Promise.withResolvers<"late">();
  const timer = setTimeout(() => late.resolve("late"), withinMs);
  const first = await Promise.race([ready, late.promise]).finally(() => clearTimeout(timer));
  if (first !== "late") return;
  const { pods, processes } = await client.request<LabStatus>("GET", "/status");
  const missing = pods.filter((pod) => !pod.ready).map(({ pod, stage }) => `${pod} (${stage})`);
  const down = processes.filter(({ state }) => state.phase === "waiting").map(({ name }) => `${name} keeps ending`);
  throw new Refused(`Not ready after ${withinMs / 1000} s: ${[...missing, ...down].join(", ")}.`);
}

function configOf(options: LabOptions): LabConfig {
  const { nodes = 2, components = allComponents, environment = {}, certTtlSeconds } = options;
  const names = typeof nodes === "number" ? Array.from({ length: nodes }, (_, i) => `node${i + 1}`) : nodes;
  for (const name of names)
    if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(name)) throw new Refused(`"${name}" is no name for a node.`);
  return {
    name: options.name ?? `lab-${process.pid}`,
    nodes: names,
    families: options.families ?? "46",
    manifests: resolve(options.manifests),
    watch: options.watch ?? false,
    workers: options.workers ?? 2,
    components: {
      control: components.includes("control"),
      cni: components.includes("cni"),
      agent: components.includes("agent"),
    },
    environment: { control: {}, cni: {}, agent: {}, ...environment },
    enrolmentWaitMs: options.enrolmentWaitMs ?? 10_000,
    ...(certTtlSeconds === undefined ? {} : { certTtlSeconds }),
  };
}
