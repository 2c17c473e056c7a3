/** `npm start -- --check`: builds the demo, lets it run, judges it once, and takes it down again. */
import { setTimeout as sleep } from "node:timers/promises";
import { systemRandom } from "../../core/base/random.ts";
import { messageOf } from "../../core/base/errors.ts";
import { Ledger, type Observation } from "../reachability/ledger.ts";
import { LogFollower } from "../reachability/log-follower.ts";
import { readMesh } from "../reachability/mesh-view.ts";
import { outcomeOf } from "../reachability/outcome.ts";
import { tableRows } from "../reachability/rows.ts";
import { Refused } from "../refusals.ts";
import { startLab, type LabHandle, type LabOptions } from "../start.ts";
import type { LabStatus } from "../status.ts";
import type { FrameCounts } from "../frame-counter.ts";
import { judge, markers, pairs, type Evidence, type Verdict } from "./assertions.ts";
import type { Part } from "./parts.ts";
import { sabotage, sabotagedOptions } from "./sabotage.ts";

export interface CheckOptions {
  readonly lab: LabOptions;
  readonly json: boolean;
  /** The part to break first. */
  readonly broken?: Part;
}

/** 0: every assertion ran and held. 1: one failed. 2: something could not be run. */
export type CheckExit = 0 | 1 | 2;

/** Requests of each pair that are looked at. */
const wantedRequests = 5;
/** A watchdog; on an idle machine it takes about eight seconds. */
const gatherWithinMs = 90_000;

export async function runCheck(options: CheckOptions): Promise<CheckExit> {
  let lab: LabHandle | undefined;
  try {
    lab = await startLab({ ...options.lab, ...sabotagedOptions(options.broken) });
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => void lab?.close());
    const verdicts = await check(lab, options.broken);
    report(verdicts, options.json);
    return verdicts.every((verdict) => verdict.held) ? 0 : 1;
  } catch (thrown) {
    const sentence = thrown instanceof Refused ? thrown.message : `The check could not be run: ${messageOf(thrown)}`;
    if (options.json) process.stdout.write(`${JSON.stringify({ result: "not-run", reason: sentence })}\n`);
    else process.stderr.write(`${sentence}\n`);
    return 2;
  } finally {
    await lab?.close();
  }
}

async function check(lab: LabHandle, broken: Part | undefined): Promise<Verdict[]> {
  const ledger = new Ledger();
  const follower = new LogFollower(lab, ledger);
  const status = await lab.request<LabStatus>("GET", "/status");
  follower.follow(status);
  await settled(ledger);
  if (broken !== undefined) await sabotage(lab, broken);
  const fromMs = await steady(lab, ledger, follower);
  const wanted = [...markers.meshed, ...markers.open];
  await lab.request("POST", "/sniff/node1", { markers: wanted });
  const sinceMs = performance.now();
  await gathered(lab, ledger, follower, Math.max(sinceMs, fromMs));
  const link = await lab.request<FrameCounts>("DELETE", "/sniff/node1");
  const mesh = await readMesh(lab.pid, "node1");
  const nowMs = performance.now();
  const observations = since(ledger, sinceMs, nowMs);
  const evidence: Evidence = {
    observations,
    rows: tableRows(ledger, mesh, systemRandom, nowMs),
    link: { marked: link.marked, dropped: link.dropped },
    workers: workersSeen(ledger),
    expectedWorkers: new Set(status.nodes.flatMap(({ name }) => [`${name}/0`, `${name}/1`])),
    nowMs,
  };
  follower.close();
  return judge(evidence);
}

/** The demo has come to rest when its first pair is served through a tunnel, whatever happens to it afterwards. */
async function settled(ledger: Ledger): Promise<void> {
  await untilOrEnd(() => {
    const [pair] = pairs;
    return (ledger.observations().get(pair) ?? []).some(({ inbound }) => inbound?.protocol === "hbone");
  });
}

/** After a sabotage the mesh needs a moment to hear of it: the time that two rounds of every client take. */
async function steady(lab: LabHandle, ledger: Ledger, follower: LogFollower): Promise<number> {
  const beganMs = performance.now();
  await untilOrEnd(async () => {
    follower.follow(await lab.request<LabStatus>("GET", "/status"));
    const heard = since(ledger, beganMs, performance.now(), false);
    return pairs.every((pair) => (heard.get(pair)?.length ?? 0) >= 2);
  });
  return performance.now();
}

async function gathered(lab: LabHandle, ledger: Ledger, follower: LogFollower, sinceMs: number): Promise<void> {
  await untilOrEnd(async () => {
    follower.follow(await lab.request<LabStatus>("GET", "/status"));
    const seen = since(ledger, sinceMs, performance.now());
    return pairs.every((pair) => (seen.get(pair)?.length ?? 0) >= wantedRequests);
  });
}

/** What is decided of the requests heard of since then. The lines of one request come apart: undecided ones are left out. */
function since(ledger: Ledger, fromMs: number, nowMs: number, decidedOnly = true): Map<string, Observation[]> {
  const kept = new Map<string, Observation[]>();
  for (const [pair, observations] of ledger.observations()) {
    const recent = observations.filter(
      (seen) => seen.heardMs >= fromMs && (!decidedOnly || outcomeOf(seen, nowMs) !== undefined),
    );
    kept.set(pair, recent);
  }
  return kept;
}

function workersSeen(ledger: Ledger): Set<string> {
  const workers = new Set<string>();
  for (const observations of ledger.observations().values()) {
    for (const { outbound, inbound } of observations) {
      for (const record of [outbound, inbound])
        if (record?.worker !== undefined) workers.add(`${record.node}/${record.worker}`);
    }
  }
  return workers;
}

/** Gives up quietly: what has not been seen by then fails its assertion, which says so. */
async function untilOrEnd(probe: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + gatherWithinMs;
  while (performance.now() < end && !(await probe())) await sleep(200);
}

function report(verdicts: readonly Verdict[], json: boolean): void {
  const failed = verdicts.filter((verdict) => !verdict.held);
  if (json) {
    process.stdout.write(
      `${JSON.stringify({ result: failed.length === 0 ? "held" : "failed", assertions: verdicts })}\n`,
    );
    return;
  }
  for (const { part, name, held, detail } of verdicts)
    process.stdout.write(`${held ? "ok   " : "FAIL "} ${part}: ${name} (${detail})\n`);
  const parts = [...new Set(failed.map((verdict) => verdict.part))];
  process.stdout.write(failed.length === 0 ? `All ${verdicts.length} held.\n` : `Failed: ${parts.join(", ")}.\n`);
}
