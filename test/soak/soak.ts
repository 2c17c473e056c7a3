/**
 * A mesh under everything at once, for as long as one likes: traffic of all kinds while policies, pods and labels come and go, links
 * lose and delay, and certificates are renewed. Nothing may be lost, and what the agents hold may not grow.
 */
import { setTimeout as pause } from "node:timers/promises";
import type { Random } from "../../core/base/random.ts";
import { until } from "../support/until.ts";
import type { TestLab } from "../support/mesh-lab.ts";
import { nodes, otherNamespace, passingPod, passingPolicy } from "./mesh.ts";
import { Held, Loop, sendWhole } from "./traffic.ts";
import { readVitals, type Vitals } from "./vitals.ts";

export interface SoakRow {
  readonly seconds: number;
  readonly requests: number;
  readonly echoes: number;
  readonly transfers: number;
  readonly churn: number;
  readonly lost: number;
  readonly vitals: readonly Vitals[];
}

export interface SoakReport {
  readonly rows: readonly SoakRow[];
  /** One sentence for each thing that went wrong. */
  readonly lost: readonly string[];
}

export interface SoakOptions {
  readonly lab: TestLab;
  readonly seconds: number;
  /** Between two rows. */
  readonly everySeconds: number;
  readonly random: Random;
  readonly onRow: (row: SoakRow) => void;
}

export async function soak({ lab, seconds, everySeconds, random, onRow }: SoakOptions): Promise<SoakReport> {
  const startedMs = performance.now();
  const endMs = startedMs + seconds * 1_000;
  const isOver = (): boolean => performance.now() >= endMs;
  const lost: string[] = [];
  const counts = { transfers: 0, churn: 0 };
  const loops = await Promise.all([
    Loop.start(lab, "shop/alice", "http://far.shop.svc/"),
    Loop.start(lab, "shop/bob", "http://near.shop.svc/"),
    Loop.start(lab, "other/carol", "http://dave.other.svc/"),
  ]);
  const held = await Promise.all([
    Held.start(lab, "shop/alice", "far.shop.svc:9000", 20),
    Held.start(lab, "shop/bob", "near.shop.svc:9000", 20),
  ]);

  const rows: SoakRow[] = [];
  const row = async (): Promise<void> => {
    const requests = loops.map((loop) => loop.counts());
    const echoes = held.map((one) => one.counts());
    const one = {
      seconds: Math.round((performance.now() - startedMs) / 1_000),
      requests: sum(requests.map(({ good }) => good)),
      echoes: sum(echoes.map(({ good }) => good)),
      ...counts,
      lost: lost.length + sum([...requests, ...echoes].map((each) => each.lost.length)),
      vitals: await readVitals(lab),
    };
    rows.push(one);
    onRow(one);
  };

  await Promise.all([
    watch(isOver, everySeconds, row),
    asking(isOver, held),
    transferring(isOver, lab, counts, lost),
    breaking(isOver, lab),
    churning(isOver, lab, counts, lost, random),
  ]);
  for (const node of nodes) await lab.handle.request("POST", `/links/${node}`, calm);
  const ended = [
    ...(await Promise.all(loops.map((loop) => loop.stop()))),
    ...(await Promise.all(held.map((one) => one.stop()))),
  ];
  await row();
  return { rows, lost: [...lost, ...ended.flatMap((each) => each.lost)] };
}

async function watch(isOver: () => boolean, everySeconds: number, row: () => Promise<void>): Promise<void> {
  while (!isOver()) {
    await row();
    await pause(everySeconds * 1_000);
  }
}

async function asking(isOver: () => boolean, held: readonly Held[]): Promise<void> {
  while (!isOver()) {
    for (const one of held) one.ask();
    await pause(3_000);
  }
}

async function transferring(
  isOver: () => boolean,
  lab: TestLab,
  counts: { transfers: number },
  lost: string[],
): Promise<void> {
  while (!isOver()) {
    const problem = await sendWhole(lab, "shop/alice", "far.shop.svc:9001", 16 << 20);
    if (problem !== undefined) lost.push(problem);
    counts.transfers += 1;
    await pause(2_000);
  }
}

/** Connections that end in all the ways that connections end: nothing of them may stay. */
async function breaking(isOver: () => boolean, lab: TestLab): Promise<void> {
  while (!isOver()) {
    await lab.client("shop/bob", "breakage", "near.shop.svc:9000", 40);
    await pause(4_000);
  }
}

async function churning(
  isOver: () => boolean,
  lab: TestLab,
  counts: { churn: number },
  lost: string[],
  random: Random,
): Promise<void> {
  const acts = [
    async (round: number) => lab.apply("passing-policy.yaml", passingPolicy(round)),
    async () => lab.remove("passing-policy.yaml").catch(() => undefined),
    async (round: number) => {
      await lab.apply("passing-pod.yaml", ...passingPod(round));
      const page = await lab.client(
        "shop/alice",
        "get",
        `http://${await readyAddress(lab, `shop/passing-${round}`)}:8080/`,
      );
      if (page[0]?.["status"] !== 200) lost.push(`the new pod ${round} answered ${JSON.stringify(page[0])}`);
      await lab.remove("passing-pod.yaml");
    },
    async (round: number) => lab.apply("other.yaml", otherNamespace(round % 2 === 0)),
    async () => lab.handle.request("POST", `/links/${nodes[random() < 0.5 ? 0 : 1]}`, random() < 0.5 ? storm : calm),
  ];
  for (let round = 0; !isOver(); round++) {
    await acts[Math.floor(random() * acts.length)]?.(round);
    counts.churn += 1;
    await pause(500 + random() * 2_000);
  }
}

function readyAddress(lab: TestLab, pod: string): Promise<string> {
  return until(`${pod} is ready`, 30_000, async () => {
    const found = (await lab.status()).pods.find((one) => one.pod === pod);
    return found?.ready === true ? found.addresses[0] : undefined;
  });
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

const storm = { lossPercent: 1, delayMs: 3, reorderPercent: 1, duplicatePercent: 1 };
const calm = { lossPercent: 0, delayMs: 0, reorderPercent: 0, duplicatePercent: 0 };
