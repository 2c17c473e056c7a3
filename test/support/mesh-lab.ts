/** A lab as the end-to-end tests use it: pods to run clients in, logs to read, manifests to change, a link to look at. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { request, type IncomingMessage } from "node:http";
import { createInterface } from "node:readline";
import { join } from "node:path";
import { after, before, beforeEach } from "node:test";
import { factOf, type CloseRecord } from "../../lab/reachability/facts.ts";
import type { Condition } from "../../control/sources/objects.ts";
import type { TimedEvent } from "../../lab/events.ts";
import type { FrameCounts } from "../../lab/frame-counter.ts";
import type { ProcessAction } from "../../lab/processes.ts";
import { checkoutRoot } from "../../lab/programs.ts";
import { Refused } from "../../lab/refusals.ts";
import { startLab, type LabHandle, type LabOptions } from "../../lab/start.ts";
import type { LabStatus } from "../../lab/status.ts";
import { manifestFolder, manifestText, type Manifest } from "./manifests.ts";
import { until } from "./until.ts";

/**
 * Builds a lab before the tests of a file and takes it down after them. Where the machine doesn't let anybody build one, the tests are skipped with
 * the lab's own sentence.
 * @returns a function that answers with the lab once the tests run.
 */
export function useLab(manifests: readonly Manifest[], options: Omit<LabOptions, "manifests"> = {}): () => TestLab {
  let lab: TestLab | undefined;
  let refusal: string | undefined;
  let isMachineWilling = false;
  before(async () => {
    const written = manifestFolder(manifests);
    try {
      lab = new TestLab(await startLab({ ...options, manifests: written.folder, onEvent: listen }));
    } catch (error) {
      // A lab that has a kernel to run on and does not come up is a failure like any other.
      if (isMachineWilling || !(error instanceof Refused)) throw error;
      refusal = error.message;
    } finally {
      written.remove();
    }
  });
  beforeEach((t) => {
    if (refusal !== undefined && "skip" in t) t.skip(refusal);
  });
  after(() => lab?.handle.close());
  return () => {
    if (lab === undefined) throw new Error(refusal ?? "the lab is not there");
    return lab;
  };

  function listen(event: TimedEvent): void {
    if (event.kind === "step" && event.name === "file system") isMachineWilling = true;
    options.onEvent?.(event);
  }
}

/** One line of test/e2e/apps/dns-client.ts. */
export interface DnsReply {
  /** Over UDP: which of the queries this answers. */
  readonly at?: number;
  /** The message, in hexadecimal. */
  readonly reply?: string;
  readonly error?: string;
}

export class TestLab {
  readonly handle: LabHandle;

  constructor(handle: LabHandle) {
    this.handle = handle;
  }

  /** Runs test/e2e/apps/client.ts in a pod to its end; its results, one object a line. */
  async client<Result = Record<string, unknown>>(pod: string, ...argv: (string | number)[]): Promise<Result[]> {
    const running = await this.start(pod, ...argv);
    running.end();
    await running.ended;
    return running.results as Result[];
  }

  /** Starts test/e2e/apps/client.ts in a pod; its input stays open. */
  start(pod: string, ...argv: (string | number)[]): Promise<RunningClient> {
    return this.#startApp("client", pod, argv);
  }

  /** Starts test/e2e/apps/puppet.ts in a pod. */
  startPuppet(pod: string, ...argv: (string | number)[]): Promise<RunningClient> {
    return this.#startApp("puppet", pod, argv);
  }

  /** Starts test/e2e/apps/control-client.ts in a pod, with the token of the pod's node; its input stays open. */
  startControlClient(pod: string, ...argv: (string | number)[]): Promise<RunningClient> {
    return this.#startApp("control-client", pod, argv);
  }

  /** What control answers somebody who is no agent: the first result of test/e2e/apps/control-client.ts. */
  async askControl(pod: string, ...argv: (string | number)[]): Promise<Record<string, unknown>> {
    const running = await this.startControlClient(pod, ...argv);
    const answer = await running.result("an answer of control", () => true);
    running.end();
    await running.ended;
    return answer;
  }

  /** Puts DNS messages to a server from a pod: test/e2e/apps/dns-client.ts. */
  async askDns(
    pod: string,
    server: string,
    protocol: "udp" | "tcp",
    queries: readonly Uint8Array[],
  ): Promise<DnsReply[]> {
    const running = await this.#startApp("dns-client", pod, [
      server,
      protocol,
      ...queries.map((one) => Buffer.from(one).toString("hex")),
    ]);
    running.end();
    await running.ended;
    return running.results;
  }

  async #startApp(app: string, pod: string, argv: readonly (string | number)[]): Promise<RunningClient> {
    const script = join(checkoutRoot, `test/e2e/apps/${app}.ts`);
    const child = await this.handle.exec(pod, [process.execPath, script, ...argv.map(String)], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    return new RunningClient(child);
  }

  /** Runs any program in a pod. */
  async run(
    pod: string,
    argv: readonly string[],
    env: Record<string, string> = {},
  ): Promise<{ code: number | null; stdout: string; stderr: string }> {
    const child = await this.handle.exec(pod, argv, { env });
    let stdout = "";
    let stderr = "";
    child.stdout?.on("data", (chunk) => (stdout += String(chunk)));
    child.stderr?.on("data", (chunk) => (stderr += String(chunk)));
    const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
    return { code, stdout, stderr };
  }

  status(): Promise<LabStatus> {
    return this.handle.request<LabStatus>("GET", "/status");
  }

  /** The pod's address of that family. */
  async addressOf(pod: string, family: 4 | 6 = 4): Promise<string> {
    const { pods } = await this.status();
    const address = pods
      .find((row) => row.pod === pod)
      ?.addresses.find((text) => text.includes(":") === (family === 6));
    if (address === undefined) throw new Error(`${pod} has no IPv${family} address`);
    return address;
  }

  /** The service's virtual address of that family. @param service `namespace/name` */
  async vipOf(service: string, family: 4 | 6 = 4): Promise<string> {
    const { services } = await this.status();
    const route = services.find((row) => row.service === service && row.vip.address.includes(":") === (family === 6));
    if (route === undefined) throw new Error(`${service} has no virtual IPv${family} address`);
    return route.vip.address;
  }

  /** What the agents logged of connections that ended, oldest first. */
  async accessLog(node: string): Promise<(CloseRecord & Record<string, unknown>)[]> {
    return (await this.log(`${node}.agent`)).split("\n").flatMap((line) => {
      const fact = factOf(line);
      return fact?.kind === "closed" ? [{ ...fact.record }] : [];
    });
  }

  /** Waits for an access-log line; lines are written in batches. */
  accessLine(
    node: string,
    what: string,
    matches: (record: CloseRecord & Record<string, unknown>) => boolean,
  ): Promise<CloseRecord & Record<string, unknown>> {
    return until(`an access-log line of ${node}: ${what}`, 15_000, async () =>
      (await this.accessLog(node)).findLast(matches),
    );
  }

  /** All that a process of the lab wrote: `control`, `node1.agent`, `node1.cni`, `node1.pod.NS.NAME`. */
  log(process: string): Promise<string> {
    return this.handle.request<string>("GET", `/log/${process}`);
  }

  /**
   * Waits until a node's agent has said all of this since it started last.
   * @param sinceMs it must have started after that time: what one said that has ended, or is ending, counts no more.
   */
  async agentSays(node: string, messages: readonly string[], sinceMs = 0): Promise<void> {
    await until(`the agent of ${node} says ${messages.join(", ")}`, 30_000, async () => {
      const lines = (await this.log(`${node}.agent`)).split("\n").filter((line) => line.startsWith("{"));
      const now = lines.slice(lines.findLastIndex((line) => line.includes('"agent starts"')));
      const { time = "" } = JSON.parse(now[0] ?? "{}") as { time?: string };
      return Date.parse(time) >= sinceMs && messages.every((text) => now.some((line) => line.includes(`"${text}"`)));
    });
  }

  /** Puts objects in force under a file name of their own; the same name replaces them. */
  async apply(file: string, ...manifests: readonly Manifest[]): Promise<void> {
    await this.handle.request("PUT", `/manifests/${file}`, manifestText(manifests));
  }

  async remove(file: string): Promise<void> {
    await this.handle.request("DELETE", `/manifests/${file}`);
  }

  async signal(process: string, signal: NodeJS.Signals): Promise<void> {
    await this.handle.request("POST", `/process/${process}/kill`, { signal });
  }

  /** As `lab/processes.ts` has it: `stop` holds it down, `cont` starts it again. */
  async act(process: string, action: ProcessAction, signal?: NodeJS.Signals): Promise<void> {
    await this.handle.request("POST", `/process/${process}/${action}`, signal === undefined ? {} : { signal });
  }

  /** What control says of an object on its status. @param where `namespace/name` */
  conditions(kind: string, where: string): Condition[] {
    const overlay = `/proc/${this.handle.pid}/root/run/lab/cluster/status/${kind}.${where.replace("/", ".")}.control.json`;
    if (!existsSync(overlay)) return [];
    const { status } = JSON.parse(readFileSync(overlay, "utf8")) as { status?: { conditions?: Condition[] } };
    return status?.conditions ?? [];
  }

  /** Asks a node's agent, by its admin socket. */
  async askAgent<Answer = Record<string, unknown>>(node: string, path = "/config_dump"): Promise<Answer> {
    const socketPath = `/proc/${this.handle.pid}/root/run/lab/nodes/${node}/ambientd/admin.sock`;
    const asked = request({ socketPath, path, timeout: 5_000, agent: false });
    asked.on("timeout", () => asked.destroy(new Error(`the agent of ${node} does not answer`)));
    asked.end();
    const [response] = (await once(asked, "response")) as [IncomingMessage];
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    return JSON.parse(Buffer.concat(chunks).toString()) as Answer;
  }

  /** Begins to watch a node's link anew. */
  async sniff(node: string, ...markers: string[]): Promise<void> {
    await this.handle.request("POST", `/sniff/${node}`, { markers });
  }

  sniffed(node: string): Promise<FrameCounts> {
    return this.handle.request<FrameCounts>("GET", `/sniff/${node}`);
  }
}

/** A client that runs: its results come in one by one. */
export class RunningClient {
  readonly child: ChildProcess;
  readonly results: Record<string, unknown>[] = [];
  /** Resolves when the program has ended and all its results are in. */
  readonly ended: Promise<void>;

  constructor(child: ChildProcess) {
    this.child = child;
    const lines = createInterface({ input: child.stdout! });
    lines.on("line", (line) => this.results.push(JSON.parse(line) as Record<string, unknown>));
    this.ended = new Promise((resolve) => lines.once("close", resolve));
  }

  /** Waits for a result; `from` leaves out the first so many. */
  result(
    what: string,
    matches: (result: Record<string, unknown>) => boolean,
    from = 0,
  ): Promise<Record<string, unknown>> {
    return until(`a client's result: ${what}`, 30_000, () => this.results.slice(from).find(matches));
  }

  send(line: string): void {
    this.child.stdin!.write(`${line}\n`);
  }

  /** Ends its input: a loop stops, a held connection is closed. */
  end(): void {
    this.child.stdin!.end();
  }
}
