/** What the agents hold and how late they are, read from outside. */
import type { TestLab } from "../support/mesh-lab.ts";
import { openDescriptors, residentBytes } from "../support/agent-process.ts";
import { nodes } from "./mesh.ts";

export interface Vitals {
  readonly node: string;
  /** Octets. */
  readonly rss: number;
  readonly descriptors: number;
  /** Of all threads, the longest that the slowest hundredth of looks at the event loop was late since the last reading; milliseconds. */
  readonly lagMs: number;
}

export async function readVitals(lab: TestLab): Promise<Vitals[]> {
  return Promise.all(
    nodes.map(async (node) => ({
      node,
      rss: await residentBytes(lab, node),
      descriptors: await openDescriptors(lab, node),
      lagMs: await lagOf(lab, node),
    })),
  );
}

async function lagOf(lab: TestLab, node: string): Promise<number> {
  const { nodes: all } = await lab.status();
  const address = all.find(({ name }) => name === node)?.addresses[0] ?? "";
  const { stdout } = await lab.run("plain/probe", ["curl", "-s", "-m", "10", `http://${address}:15020/metrics`]);
  const seconds = [...stdout.matchAll(/^ambientd_event_loop_delay_seconds\{[^}]*quantile="0\.99"[^}]*\} (\S+)$/gm)];
  return Math.max(0, ...seconds.map(([, value]) => Number(value))) * 1_000;
}
