/** What an agent's threads are told of: meshes of growing size, and policies of growing number, each by a process that starts anew. */
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { LoadCost } from "../engines/state-load-run.ts";
import type { GrowthScenario, Values } from "../scenarios/scenario.ts";
import { scratchFolder } from "../scratch.ts";
import { addressResponse, policyResponse, type MeshSize } from "../../test/support/large-mesh.ts";

export function growthWorkloads(): GrowthScenario {
  return {
    kind: "growth",
    name: "growth-workloads",
    sizes: [1_000, 5_000, 10_000, 25_000, 50_000],
    async measure(workloads) {
      const cost = await loaded({ workloads, services: Math.ceil(workloads / 25), policies: 0 });
      return { ...valuesOf("growth-workloads", cost), "growth-workloads.main-cpu": cost.mainCpuMs };
    },
  };
}

export function growthPolicies(): GrowthScenario {
  return {
    kind: "growth",
    name: "growth-policies",
    sizes: [1, 10, 100, 1_000, 3_000, 10_000],
    measure: async (policies) => valuesOf("growth-policies", await loaded({ workloads: 0, services: 0, policies })),
  };
}

async function loaded(size: MeshSize): Promise<LoadCost> {
  const scratch = scratchFolder("bench-growth-");
  try {
    const files = [join(scratch.path, "addresses"), join(scratch.path, "policies")] as const;
    writeFileSync(files[0], addressResponse(size));
    writeFileSync(files[1], policyResponse(size));
    const program = join(import.meta.dirname, "../engines/state-load-run.ts");
    const { stdout } = await promisify(execFile)(process.execPath, [program, ...files], { timeout: patienceMs });
    return JSON.parse(stdout) as LoadCost;
  } finally {
    scratch.remove();
  }
}

function valuesOf(name: string, { wallMs, rssSettledBytes, workers }: LoadCost): Values {
  return {
    [`${name}.load`]: wallMs / 1_000,
    [`${name}.worker-cpu`]: Math.max(...workers.map(({ cpuMs }) => cpuMs)),
    [`${name}.worker-heap`]: Math.max(...workers.map(({ heapBytes }) => heapBytes)) / 1e6,
    [`${name}.memory`]: rssSettledBytes / 1e6,
  };
}

const patienceMs = 120_000;
