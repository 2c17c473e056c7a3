/** `ambientctl log`: one line per connection the agents ended, with both identities and the reason. */
import { once } from "node:events";
import { createInterface } from "node:readline";
import { Command } from "commander";
import { factOf, type CloseRecord } from "../../lab/reachability/facts.ts";
import { chooseLab, chooseNodes, labOption } from "../clients/lab.ts";
import { outputOption, type Format } from "../render/output.ts";
import { printable } from "../render/table.ts";

interface Options {
  readonly node?: string;
  readonly pod?: string;
  readonly follow: boolean;
  readonly output: Format;
}

export function logCommand(): Command {
  return new Command("log")
    .description("show how connections ended: who, whom, over what, and why")
    .option("--node <name>", "only the agent of this node")
    .option("--pod <text>", "only lines that hold this text, as namespace, pod or address")
    .option("-f, --follow", "go on as connections end", false)
    .addOption(labOption())
    .addOption(outputOption())
    .action(async (options: Options, command: Command) => {
      const lab = chooseLab(command);
      const nodes = await chooseNodes(lab, options.node);
      await Promise.all(
        nodes.map(async (node) => {
          const log = await lab.client.open("GET", `/log/${node}.agent?follow=${options.follow ? 1 : 0}`);
          const lines = createInterface({ input: log });
          lines.on("line", (line) => show(node, line, options));
          await once(lines, "close");
        }),
      );
    });
}

function show(node: string, line: string, options: Options): void {
  const fact = factOf(line);
  if (fact?.kind !== "closed") return;
  if (options.pod !== undefined && !line.includes(options.pod)) return;
  process.stdout.write(options.output === "json" ? `${line}\n` : `${printable(sentence(node, { ...fact.record }))}\n`);
}

/** One connection on one terminal line. */
function sentence(node: string, record: CloseRecord & Record<string, unknown>): string {
  const field = (name: string): string => (typeof record[name] === "string" ? record[name] : "");
  const pod = (end: "src" | "dst"): string => {
    const name = field(`${end}.workload`);
    return name === "" ? field(`${end}.addr`) : `${field(`${end}.namespace`)}/${name}`;
  };
  const policy = record.policy === undefined ? "" : ` (${record.policy})`;
  const identity = record["src.identity"] === undefined ? "" : ` as ${record["src.identity"]}`;
  return `${field("time")} ${node} ${record.direction.padEnd(8)} ${pod("src")} → ${pod("dst")} ${record.protocol}${identity} ${record.reason}${policy} ${field("duration")}`;
}
