/** `ambientctl log`: one line per connection the agents ended, with both identities and the reason. */
import { Command } from "commander";
import { factOf, type CloseRecord } from "../../lab/reachability/facts.ts";
import type { Agent, LogOptions } from "../clients/agent.ts";
import { addAgentOptions, agentsOf } from "../clients/agents.ts";
import type { AgentFilter } from "../clients/cluster-agents.ts";
import { mergeByTime } from "../analyze/merge-lines.ts";
import { exitCodes } from "../exit-codes.ts";
import { formatOf, globalsOf } from "../global-options.ts";
import { duration, wholeNumber } from "../render/arguments.ts";
import { Failure } from "../render/failure.ts";
import { renderData, say, type Format } from "../render/output.ts";
import { printable } from "../render/table.ts";
import { chooseTarget } from "../target.ts";

interface Options extends AgentFilter {
  readonly pod?: string;
  readonly follow: boolean;
  /** Milliseconds. */
  readonly since?: number;
  readonly tail?: number;
}

interface Line {
  readonly node: string;
  readonly text: string;
  readonly record: CloseRecord & Readonly<Record<string, unknown>>;
}

export function logCommand(): Command {
  const command = new Command("log").description("show how connections ended: who, whom, over what, and why");
  return addAgentOptions(command)
    .option("--pod <text>", "only lines that hold this text, as namespace, pod or address")
    .option("-f, --follow", "go on as connections end", false)
    .option("--since <time>", "only so far back: 30s, 5m, 2h", duration)
    .option("--tail <lines>", "only so many of each agent's last lines", wholeNumber(0))
    .action(async (options: Options) => {
      const target = await chooseTarget(command);
      const { namespace } = globalsOf(command);
      const agents = await agentsOf(target, options);
      const missing: Failure[] = [];
      const sources = agents.map((agent) => closedOf(agent, options, missing));
      const merged = options.follow ? asTheyCome(sources) : mergeByTime(sources, timeOf);
      for await (const line of merged) {
        if (options.pod !== undefined && !line.text.includes(options.pod)) continue;
        if (namespace === undefined || isOf(line, namespace)) show(line, formatOf(command));
      }
      if (missing.length > 0) process.exitCode = missing.length < agents.length ? exitCodes.partly : exitCodes.unusable;
    });
}

/** One that can't be heard doesn't silence the others. */
async function* closedOf(agent: Agent, { follow, since, tail }: Options, missing: Failure[]): AsyncGenerator<Line> {
  const wanted: LogOptions = {
    follow,
    ...(since !== undefined && { sinceSeconds: Math.max(1, Math.ceil(since / 1000)) }),
    ...(tail !== undefined && { tail }),
  };
  // A lab's log is asked for whole.
  const earliestMs = since === undefined ? 0 : Date.now() - since;
  try {
    for await (const text of agent.lines(wanted)) {
      const fact = factOf(text);
      if (fact?.kind !== "closed") continue;
      const line: Line = { node: agent.node, text, record: { ...fact.record } };
      if (Date.parse(timeOf(line)) < earliestMs) continue;
      yield line;
    }
    if (follow) say(`The log of ${agent.name} has ended: its agent was replaced or ended.`);
  } catch (thrown) {
    if (!(thrown instanceof Failure)) throw thrown;
    missing.push(thrown);
    say(`Without ${agent.node}: ${thrown.message}\n  ${thrown.nextStep}`);
  }
}

/** Whoever has something to say says it. */
async function* asTheyCome(sources: readonly AsyncGenerator<Line>[]): AsyncGenerator<Line> {
  const next = async (source: AsyncGenerator<Line>): Promise<Heard> => ({ source, result: await source.next() });
  const waiting = new Map(sources.map((source) => [source, next(source)]));
  while (waiting.size > 0) {
    const { source, result } = await Promise.race(waiting.values());
    if (result.done === true) waiting.delete(source);
    else {
      waiting.set(source, next(source));
      yield result.value;
    }
  }
}

interface Heard {
  readonly source: AsyncGenerator<Line>;
  readonly result: IteratorResult<Line>;
}

function isOf({ record }: Line, namespace: string): boolean {
  return record["src.namespace"] === namespace || record["dst.namespace"] === namespace;
}

function timeOf({ record }: Line): string {
  return typeof record["time"] === "string" ? record["time"] : "";
}

function show({ node, text, record }: Line, format: Format): void {
  if (format === "json") process.stdout.write(`${text}\n`);
  else if (format === "yaml") process.stdout.write(`---\n${renderData("yaml", record)}`);
  else process.stdout.write(`${printable(sentence(node, record))}\n`);
}

/** One connection on one terminal line. */
function sentence(node: string, record: Line["record"]): string {
  const field = (name: string): string => (typeof record[name] === "string" ? record[name] : "");
  const pod = (end: "src" | "dst"): string => {
    const name = field(`${end}.workload`);
    return name === "" ? field(`${end}.addr`) : `${field(`${end}.namespace`)}/${name}`;
  };
  const policy = record.policy === undefined ? "" : ` (${record.policy})`;
  const identity = record["src.identity"] === undefined ? "" : ` as ${record["src.identity"]}`;
  return `${field("time")} ${node} ${record.direction.padEnd(8)} ${pod("src")} → ${pod("dst")} ${record.protocol}${identity} ${record.reason}${policy} ${field("duration")}`;
}
