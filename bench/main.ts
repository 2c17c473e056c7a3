/**
 * `npm run bench -- [flags]`: our agents beside their peers. Exit code 0: measured (and, with `--targets`, met); 1: something failed, or
 * targets are missed; 2: there is no lab to be had here, or a flag is wrong; 3: void, connection tracking stood in the way.
 */
import { accessSync, constants, existsSync, writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { messageOf } from "../core/base/errors.ts";
import { Refused } from "../lab/refusals.ts";
import { allCurves } from "./growth/all.ts";
import { curveRows, curvesOf } from "./growth/curves.ts";
import { findTools, type Tool, type ToolName } from "./load/tools.ts";
import { conntrackAt, inScene } from "./in-scene.ts";
import { stolenShares } from "./measure/host.ts";
import { readOptions, usage, type BenchOptions } from "./options.ts";
import { curveTable } from "./report/curve-table.ts";
import { thisMachine } from "./report/machine.ts";
import { renderPage } from "./report/page.ts";
import type { Report } from "./report/report.ts";
import { rowsOf } from "./report/rows.ts";
import { heading, table } from "./report/table.ts";
import { noteLine, Run, type Step } from "./run.ts";
import { allScenarios } from "./scenarios/all.ts";
import type { Place, Scenario, SceneKind } from "./scenarios/scenario.ts";
import { areMet, judge, readTargets, verdictLine } from "./targets.ts";
import { quantity } from "./report/numbers.ts";
import { figure } from "./figures.ts";

async function main(): Promise<number> {
  try {
    const names = [...allScenarios(), ...allCurves()].map(({ name }) => name);
    const options = readOptions(process.argv.slice(2), names);
    if (!options.help) return await bench(options);
    say(`${usage}scenarios: ${names.join(", ")}`);
    return 0;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    process.stderr.write(`${error.message}\n`);
    return 2;
  }
}

async function bench(options: BenchOptions): Promise<number> {
  const { rounds, seconds, workers, sides } = options;
  for (const path of [options.json, options.page]) if (path !== undefined) refuseUnwritable(path);
  const began = performance.now();
  const startedAt = new Date().toISOString().slice(0, 16);
  const about = { machine: thisMachine(), startedAt, rounds, seconds, workers, sides };
  say(heading(about));
  const patienceMs = rounds * patienceOfRoundMs;
  const run = new Run({ rounds, onStep: sayStep, conntrack: conntrackAt, stolen: stolenShares(), patienceMs });
  const skipped: string[] = [];
  const skip = (sentence: string): void => {
    if (skipped.includes(sentence)) return;
    skipped.push(sentence);
    say(`skipped: ${sentence}`);
  };
  const scenarios = await possible(wanted(options), skip);
  for (const kind of sceneKinds) {
    const these = scenarios.paired.filter(({ scene }) => scene === kind);
    if (these.length === 0) continue;
    say(`\n${startings[kind]}`);
    await inScene({ kind, options, tools: scenarios.tools, skip }, (places) => inTurn(run, these, places));
  }
  for (const scenario of scenarios.alone) await run.measure(scenario, []);
  const [rows, curves] = [rowsOf(run.samples), curvesOf(run.samples)];
  const voided = run.notes.filter(({ kind }) => kind === "void");
  const report: Report = {
    ...about,
    rows,
    curves,
    notes: [...skipped.map((sentence) => `skipped: ${sentence}`), ...run.notes.map(noteLine)],
    verdicts: options.targets ? judge(readTargets(), rows) : [],
  };
  const tables = [...(rows.length > 0 ? [table(rows)] : []), ...(curves.length > 0 ? [curveTable(curves)] : [])];
  say(`\n${tables.join("\n")}\ntook ${((performance.now() - began) / 60_000).toFixed(1)} minutes`);
  for (const note of report.notes) say(note);
  if (voided.length > 0) {
    say(`\nThis run is void: connection tracking stood in the way ${voided.length} times. Nothing was written.`);
    return 3;
  }
  write(options, report);
  for (const verdict of report.verdicts) say(verdictLine(verdict));
  if (options.targets) return areMet(report.verdicts) ? 0 : 1;
  return run.notes.some(({ kind }) => kind === "failed") ? 1 : 0;
}

/** Curves are measured by themselves: they take their time, and nothing is compared by them. */
function wanted({ only, curves, ...loads }: BenchOptions): Scenario[] {
  const all: Scenario[] = curves
    ? allCurves(loads)
    : [...allScenarios(loads), ...(only === undefined ? [] : allCurves(loads))];
  return all.filter(({ name }) => only === undefined || only.some((word) => name.startsWith(word)));
}

/** What can be measured with the tools that can be had here. */
async function possible(scenarios: readonly Scenario[], skip: (sentence: string) => void) {
  const paired = scenarios.filter((scenario) => scenario.kind === "paired");
  const found = await findTools([...new Set(paired.flatMap(({ tools }) => tools))]);
  const tools = new Map<ToolName, Tool>();
  for (const [name, tool] of found) if ("argv" in tool) tools.set(name, tool);
  const complete = paired.filter(({ name, tools: needed }) => {
    const missing = needed.filter((tool) => !tools.has(tool));
    for (const tool of missing) {
      const why = found.get(tool);
      skip(`${name}: ${tool} ${why !== undefined && "missing" in why ? why.missing : "is not there"}`);
    }
    return missing.length === 0;
  });
  return { paired: complete, alone: scenarios.filter((scenario) => scenario.kind !== "paired"), tools };
}

async function inTurn(run: Run, scenarios: readonly Scenario[], places: readonly Place[]): Promise<void> {
  for (const scenario of scenarios) await run.measure(scenario, places);
}

/** Now rather than after half an hour. */
function refuseUnwritable(path: string): void {
  try {
    accessSync(dirname(resolve(path)), constants.W_OK);
    if (existsSync(path)) accessSync(path, constants.W_OK);
  } catch (error) {
    throw new Refused(`${path} can't be written: ${messageOf(error)}.`);
  }
}

function write({ json, page }: BenchOptions, report: Report): void {
  if (json !== undefined)
    writeFileSync(json, `${JSON.stringify([...report.rows, ...curveRows(report.curves)], null, 2)}\n`);
  if (page !== undefined) writeFileSync(page, renderPage(report));
  for (const path of [json, page]) if (path !== undefined) say(`wrote ${path}`);
}

function sayStep(step: Step): void {
  if (step.kind === "scenario") return say(`\n${step.scenario}`);
  if (step.kind === "note") return say(`  ${noteLine(step.note)}`);
  const values = Object.entries(step.values).map(([id, value]) => {
    const what = id.slice(id.indexOf(".") + 1);
    return `${what} ${quantity(value, figure(id).unit)}`;
  });
  const at = step.n === undefined ? "" : `${step.n.toLocaleString("en").padStart(6)}: `;
  if (values.length > 0) say(`  ${step.round} ${step.side.padEnd(8)} ${at}${values.join(", ")}`);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** For rounds that the host disturbs. */
const patienceOfRoundMs = 100_000;
const sceneKinds: readonly SceneKind[] = ["usual", "own-tunnels"];

const startings: Readonly<Record<SceneKind, string>> = {
  usual: "starting the lab…",
  "own-tunnels": "starting the lab anew, with a tunnel for each connection…",
};

process.exitCode = await main();
