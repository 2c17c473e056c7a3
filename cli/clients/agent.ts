/** The node agents of a mesh, in a lab or in a cluster, as the commands ask them. */
import { request } from "node:http";
import { mapBounded } from "./bounded.ts";
import { exitCodes } from "../exit-codes.ts";
import { Failure } from "../render/failure.ts";
import { say } from "../render/output.ts";

/** Somebody to ask. */
export interface Agent {
  /** `node1.agent` in a lab, `namespace/pod` in a cluster. */
  readonly name: string;
  readonly node: string;
  /** It has been told to end, and serves what is still open. */
  readonly isEnding: boolean;
  /** GET of its admin interface. @throws Failure */
  readonly get: (path: string) => Promise<unknown>;
  /** What it wrote, line by line. @throws Failure */
  readonly lines: (options: LogOptions) => AsyncIterable<string>;
}

export interface LogOptions {
  readonly follow: boolean;
  /** Seconds back from now; a lab keeps all it has. */
  readonly sinceSeconds?: number;
  /** Only so many of the last lines. */
  readonly tail?: number;
}

/** What `/config_dump` holds of a workload, as far as tables show it. */
export interface DumpedWorkload {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly workloadIps: readonly string[];
  readonly protocol: string;
  readonly node: string;
  readonly serviceAccount: string;
  readonly trustDomain: string;
  readonly status: string;
  readonly services: readonly string[];
  readonly waypoint?: unknown;
  readonly authorizationPolicies: readonly string[];
}

export interface DumpedCertificate {
  readonly identity: string;
  readonly state: string;
  readonly certChain: readonly {
    readonly serialNumber: string;
    readonly validFrom: string;
    readonly expirationTime: string;
  }[];
}

/** ztunnel's dump has the first two and workloadState; the others are this agent's own. */
export interface ConfigDump {
  readonly workloads: readonly DumpedWorkload[];
  readonly certificates: readonly DumpedCertificate[];
  /** By pod uid. */
  readonly workloadState?: Readonly<Record<string, { readonly state: string; readonly error?: unknown }>>;
  readonly xds?: { readonly phase: string; readonly lastError?: unknown };
  readonly readiness?: readonly { readonly name: string; readonly pending?: string }[];
  readonly version?: { readonly version?: string };
}

export async function configDump(agent: Agent): Promise<ConfigDump> {
  const dump = await agent.get("/config_dump");
  if (typeof dump === "object" && dump !== null && Array.isArray((dump as { workloads?: unknown }).workloads)) {
    return { ...(dump as ConfigDump), certificates: (dump as ConfigDump).certificates ?? [] };
  }
  throw new Failure(
    `Agent ${agent.name} answers with something that is no dump.`,
    "Is it an agent of this mesh? ambientctl version lists them.",
  );
}

/** Those whose word counts now: an agent that is ending hears no news once its successor serves. */
export function inForce(agents: readonly Agent[]): Agent[] {
  const succeeded = new Set(agents.filter(({ isEnding }) => !isEnding).map(({ node }) => node));
  return agents.filter(({ isEnding, node }) => !isEnding || !succeeded.has(node));
}

export interface Answers<T> {
  readonly answers: readonly { readonly agent: Agent; readonly answer: T }[];
  readonly missing: readonly { readonly agent: Agent; readonly failure: Failure }[];
}

/** Asks every agent, a few at a time. One that can't be asked doesn't keep the others from answering. */
export async function askAll<T>(agents: readonly Agent[], ask: (agent: Agent) => Promise<T>): Promise<Answers<T>> {
  const asked = await mapBounded(agents, atOnce, async (agent) => {
    try {
      return { agent, answer: await ask(agent) };
    } catch (thrown) {
      if (thrown instanceof Failure) return { agent, failure: thrown };
      throw thrown;
    }
  });
  return {
    answers: asked.flatMap((one) => ("answer" in one ? [{ agent: one.agent, answer: one.answer as T }] : [])),
    missing: asked.flatMap(({ agent, failure }) => (failure === undefined ? [] : [{ agent, failure }])),
  };
}

/** As {@link askAll}; who is missing is said on standard error and in the exit code. @throws Failure where nobody answers. */
export async function askThose<T>(
  agents: readonly Agent[],
  ask: (agent: Agent) => Promise<T>,
): Promise<Answers<T>["answers"]> {
  const { answers, missing } = await askAll(agents, ask);
  const [first] = missing;
  if (answers.length === 0 && first !== undefined) throw first.failure;
  for (const { agent, failure } of missing) say(`Without ${agent.node}: ${failure.message}\n  ${failure.nextStep}`);
  if (missing.length > 0) process.exitCode = exitCodes.partly;
  return answers;
}

/** GET over a unix socket. @param hint what to do where nobody answers. @throws Failure */
export function getFromSocket(socketPath: string, path: string, hint: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const unreachable = (why: string): void =>
      reject(new Failure(`The agent at ${socketPath} can't be asked: ${why}.`, hint));
    const asked = request({ socketPath, path, timeout: 5_000 }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => {
        if (response.statusCode !== 200) return unreachable(`it answered ${response.statusCode}`);
        resolve(parse(Buffer.concat(chunks).toString(), unreachable));
      });
    });
    asked.on("timeout", () => asked.destroy(new Error("no answer within 5 s")));
    asked.on("error", (error) => unreachable(error.message));
    asked.end();
  });
}

function parse(text: string, unreachable: (why: string) => void): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return unreachable("its answer is no JSON");
  }
}

/** Agents asked at the same time. */
const atOnce = 8;
