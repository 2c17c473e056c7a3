/**
 * What traffic feels of state: requests while the whole of a large mesh arrives, again and again, at one of the two agents; and requests and
 * connections under 10,000 policies. Each is compared with the same traffic of the same round without.
 */
import { latency } from "../scenarios/latency.ts";
import { keptAlive, newConnections } from "../scenarios/requests.ts";
import type { LoneScenario, NotMeasured, PairedScenario, Values } from "../scenarios/scenario.ts";
import { meshPush, policiesPush, policiesRemoval } from "./pushes.ts";
import { nodes, StateLab, versions } from "./state-lab.ts";

/** @param seconds of each load. */
export function stateTraffic(seconds = 4): LoneScenario {
  let lab: StateLab | undefined;
  return {
    kind: "alone",
    name: "state-traffic",
    async measure(round) {
      if (lab === undefined) {
        const opened = await opening(seconds);
        if (typeof opened === "string") return { notMeasured: opened };
        lab = opened;
      }
      // Which comes first changes from round to round: what else happens in a minute, such as code that gets faster, then evens out.
      const early = round % 2 === 0 ? await underPolicies(lab) : undefined;
      const usual = await trafficOf(lab);
      const policed = early ?? (await underPolicies(lab));
      const pushed = await duringPushes(lab, usual.p99);
      return { ...moved(usual, policed), ...pushed };
    },
    async finish() {
      await lab?.close();
      lab = undefined;
    },
  };
}

async function opening(seconds: number): Promise<StateLab | string> {
  const lab = await StateLab.open(seconds);
  if (typeof lab === "string") return lab;
  try {
    for (const version of versions) await lab.plane.load(version, meshPush(version));
    await lab.plane.load("policies", policiesPush("bench-ours", policies));
    await lab.plane.load("no-policies", policiesRemoval("bench-ours", policies));
    for (const scenario of scenarios) await scenario.prepare?.(lab.place);
    // Not counted: code gets warm, and what is pushed from now on takes the place of something.
    for (const node of Object.values(nodes)) await lab.pushMesh(node);
    await trafficOf(lab);
    return lab;
  } catch (error) {
    await lab.close();
    throw error;
  }
}

/** Of one round, as the figures of traffic have it. */
interface Traffic {
  readonly requestUs: number;
  readonly connectionUs: number;
  readonly p99: number;
}

async function trafficOf({ place }: StateLab): Promise<Traffic> {
  const values: Record<string, number> = {};
  for (const scenario of scenarios) Object.assign(values, valuesOf(await scenario.measure(place)));
  return {
    requestUs: values["requests-16.cpu"] ?? Number.NaN,
    connectionUs: values["connections.cpu"] ?? Number.NaN,
    p99: values["latency-1000.p99"] ?? Number.NaN,
  };
}

async function underPolicies(lab: StateLab): Promise<Traffic> {
  for (const node of Object.values(nodes)) await lab.plane.push("policies", node);
  try {
    return await trafficOf(lab);
  } finally {
    for (const node of Object.values(nodes)) await lab.plane.push("no-policies", node);
  }
}

function moved(usual: Traffic, policed: Traffic): Values {
  return {
    "state.policies-connection": policed.connectionUs,
    "state.policies-connection-added": policed.connectionUs - usual.connectionUs,
    "state.policies-request-added": policed.requestUs - usual.requestUs,
    "state.policies-p99": policed.p99 - usual.p99,
  };
}

/** One agent after the other: elsewhere they don't share their cores. The worse of the two counts. */
async function duringPushes(lab: StateLab, usualP99: number): Promise<Values> {
  const worst: number[] = [];
  for (const node of Object.values(nodes)) {
    let isOver = false;
    // The next one as soon as the last one is acknowledged: there is no moment without.
    const pushing = (async () => {
      while (!isOver) await lab.pushMesh(node);
    })();
    try {
      worst.push(valuesOf(await latencies.measure(lab.place))["latency-1000.p99"] ?? Number.NaN);
    } finally {
      isOver = true;
      await pushing;
    }
  }
  return { "state.push-p99": Math.max(...worst) - usualP99 };
}

function valuesOf(measured: Values | NotMeasured): Values {
  return typeof measured["notMeasured"] === "string" ? {} : (measured as Values);
}

const latencies: PairedScenario = latency(1_000);
const scenarios: readonly PairedScenario[] = [keptAlive(16), newConnections(), latencies];
const policies = 10_000;
