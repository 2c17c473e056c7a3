/** Series of workloads that the mesh does not have any more: they are dropped, so that a year of rollouts does not fill the scrape. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { MeshWorkload } from "../../core/protocol/wds/workload.ts";
import { trafficLabelNames } from "./catalogue.ts";
import type { Ledger } from "./ledger.ts";
import { unknown } from "./traffic-labels.ts";

export class Gone {
  #running = false;

  /** Looks through the mesh in slices. A series whose workloads are all there keeps its count however long it is idle. */
  async sweep(ledger: Ledger, workloads: Iterable<MeshWorkload>): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    const missing = new Set(ledger.takeIdle().flatMap(groupsOf));
    let looked = 0;
    if (missing.size > 0) {
      for (const { namespace, workloadName, canonicalName, canonicalRevision } of workloads) {
        missing.delete([workloadName, canonicalName, canonicalRevision, namespace].map(orUnknown).join("\n"));
        looked += 1;
        if (looked % perSlice === 0) await nextTurn();
      }
      ledger.sweep((labels) => groupsOf(labels).some((group) => missing.has(group)));
    }
    this.#running = false;
  }
}

/** The workloads of a series as far as they are named: workload, canonical service, revision, namespace. */
function groupsOf(labels: readonly string[]): string[] {
  return [sourceAt, destinationAt]
    .map((at) => labels.slice(at, at + 4))
    .filter((group) => group.some((value) => value !== unknown))
    .map((group) => group.join("\n"));
}

function orUnknown(text: string): string {
  return text === "" ? unknown : text;
}

const sourceAt = trafficLabelNames.indexOf("source_workload");
const destinationAt = trafficLabelNames.indexOf("destination_workload");
const perSlice = 200;
