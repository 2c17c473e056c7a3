/** What `npm start` does: builds the lab, says step by step what it did, and keeps it until it is told to end. */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { dieWithParent } from "../core/linux/process.ts";
import { isFamilies } from "./addresses.ts";
import { components, type Component } from "./config.ts";
import type { TimedEvent } from "./events.ts";
import { checkoutRoot } from "./programs.ts";
import { Refused } from "./refusals.ts";
import { startLab, type LabOptions } from "./start.ts";

export async function main(argv: readonly string[]): Promise<void> {
  dieWithParent("SIGKILL");
  const lab = await startLab({ ...optionsOf(argv), readyWithinMs: 0, onEvent: say });
  let isAsked = false;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.on(signal, () => {
      isAsked = true;
      void lab.close();
    });
  await lab.ended;
  if (!isAsked) throw new Refused("The lab ended unasked: its first process was killed, or failed (see above).");
}

/** @throws Refused with the flag and what it takes. */
export function optionsOf(argv: readonly string[]): LabOptions {
  const { name, nodes = "2", families = "46", workers = "2", manifests, ...rest } = flagsOf(argv);
  if (!/^[1-9]\d{0,2}$/.test(nodes)) throw new Refused(`--nodes takes a number from 1 to 254, not "${nodes}".`);
  if (!isFamilies(families)) throw new Refused(`--families takes 4, 6 or 46, not "${families}".`);
  if (!/^[1-9]\d?$/.test(workers)) throw new Refused(`--workers takes a number from 1 to 99, not "${workers}".`);
  return {
    nodes: Number(nodes),
    families,
    workers: Number(workers),
    manifests: manifests ?? join(checkoutRoot, "lab/manifests"),
    watch: true,
    ...(name === undefined ? {} : { name }),
    ...(rest.components === undefined ? {} : { components: componentsOf(rest.components) }),
  };
}

function flagsOf(argv: readonly string[]) {
  const text = { type: "string" } as const;
  const options = { name: text, nodes: text, families: text, workers: text, manifests: text, components: text };
  try {
    return parseArgs({ args: [...argv], options }).values;
  } catch (error) {
    throw new Refused(`${error instanceof Error ? error.message : String(error)}.`);
  }
}

/** `cni,agent`; empty for a lab of plain pods. */
function componentsOf(list: string): Component[] {
  return list
    .split(",")
    .filter((word) => word !== "")
    .map((word) => {
      const found = components.find((component) => component === word);
      if (found === undefined) throw new Refused(`--components takes some of ${components.join(",")}, not "${word}".`);
      return found;
    });
}

function say(event: TimedEvent): void {
  const text = lineOf(event);
  if (text !== undefined) process.stdout.write(`${String(event.atMs).padStart(6)} ms  ${text}\n`);
}

function lineOf(event: TimedEvent): string | undefined {
  switch (event.kind) {
    case "step":
      return `${event.name} (${event.tookMs} ms)`;
    case "pod":
      return event.ready ? `pod ${event.pod} is ready` : undefined;
    case "pod-gone":
      return `pod ${event.pod} is gone`;
    case "process":
      return event.state.phase === "waiting"
        ? `${event.name} ended (${event.state.last.how}), starts again`
        : undefined;
    case "problem":
      return event.sentence;
    case "built":
      return "built; pods are starting";
    case "ready":
      return "everything runs";
    case "refused":
      return undefined; // said by whoever asked for the lab
  }
}
