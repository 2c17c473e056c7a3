/** The flags of `npm run bench -- …`. A bad one names itself and what it takes. */
import { parseArgs } from "node:util";
import { messageOf } from "../core/base/errors.ts";
import { Refused } from "../lab/refusals.ts";
import type { SideName } from "./side.ts";
import { everySide } from "./scene.ts";

export interface BenchOptions {
  /** At least two, unless one was asked for. */
  readonly sides: readonly SideName[];
  /** Names, or beginnings of names, of scenarios; undefined: all. */
  readonly only: readonly string[] | undefined;
  readonly rounds: number;
  /** Of each load. */
  readonly seconds: number;
  readonly workers: number;
  /** Files. */
  readonly json: string | undefined;
  readonly page: string | undefined;
  /** Curves instead of comparisons. */
  readonly curves: boolean;
  /** Judge it by targets.json. */
  readonly targets: boolean;
  readonly help: boolean;
}

/** @param scenarios all there are. @throws Refused with the flag and what it takes. */
export function readOptions(argv: readonly string[], scenarios: readonly string[]): BenchOptions {
  const { quick = false, targets = false, help = false, ...given } = parsed(argv);
  const only = given.only === undefined ? undefined : scenariosOf(given.only, scenarios);
  const curves = given.curves ?? only?.every((word) => word.startsWith("growth")) ?? false;
  const usual = usually(quick, curves);
  const { rounds = usual.rounds, seconds = usual.seconds, workers = "2" } = given;
  if (!/^[1-9]\d?$/.test(rounds)) throw new Refused(`--rounds takes a number from 1 to 99, not "${rounds}".`);
  if (!/^[1-9]\d?$/.test(seconds)) throw new Refused(`--seconds takes a number from 1 to 99, not "${seconds}".`);
  if (!/^[1-9]\d?$/.test(workers)) throw new Refused(`--workers takes a number from 1 to 99, not "${workers}".`);
  return {
    sides: given.sides === undefined ? usual.sides : sidesOf(given.sides),
    only,
    rounds: Number(rounds),
    seconds: Number(seconds),
    workers: Number(workers),
    json: fileOf("--json", given.json),
    page: fileOf("--page", given.page),
    curves,
    targets,
    help,
  };
}

export const usage = `npm run bench -- [flags]: our agents beside their peers, in one run.
  --quick            ${"direct, ours and haproxy; three rounds of 3 s"}
  --sides a,b        some of ${everySide.join(", ")}
  --curves           how our agents' cost grows, with connections, pods, workloads and policies: one round of 2 s, nothing else
  --only a,b         scenarios, by name or by how their names begin
  --rounds N         how often each is measured (5)
  --seconds N        how long each load lasts (4)
  --workers N        threads of each proxy that can be told (2)
  --json FILE        writes the figures as rows
  --page FILE        writes a page with charts
  --targets          says of each target whether it is met; then the exit code does, too
`;

function usually(quick: boolean, curves: boolean) {
  if (curves) return { rounds: "1", seconds: "2", sides: ["ours"] as const };
  return quick ? { rounds: "3", seconds: "3", sides: quickSides } : { rounds: "5", seconds: "4", sides: everySide };
}

function parsed(argv: readonly string[]) {
  const text = { type: "string" } as const;
  const flag = { type: "boolean" } as const;
  const flags = { quick: flag, curves: flag, targets: flag, help: flag };
  const texts = { sides: text, only: text, rounds: text, seconds: text, workers: text, json: text, page: text };
  try {
    return parseArgs({ args: [...argv], options: { ...texts, ...flags } }).values;
  } catch (error) {
    throw new Refused(`${messageOf(error).split(". ")[0]}. \`npm run bench -- --help\` lists the flags.`);
  }
}

/** In the order in which they are always measured. */
function sidesOf(list: string): SideName[] {
  const wanted = list.split(",");
  const unknown = wanted.find((word) => !everySide.some((side) => side === word));
  if (unknown !== undefined) throw new Refused(`--sides takes some of ${everySide.join(",")}, not "${unknown}".`);
  return everySide.filter((side) => wanted.includes(side));
}

function scenariosOf(list: string, scenarios: readonly string[]): string[] {
  const wanted = list.split(",");
  const unknown = wanted.find((word) => word === "" || !scenarios.some((name) => name.startsWith(word)));
  if (unknown === undefined) return wanted;
  throw new Refused(`--only takes some of ${scenarios.join(",")}, or how they begin, not "${unknown}".`);
}

function fileOf(flag: string, path: string | undefined): string | undefined {
  if (path === "") throw new Refused(`${flag} takes the name of a file to write.`);
  return path;
}

const quickSides: readonly SideName[] = ["direct", "ours", "haproxy"];
