/** What `npm start` does: builds the lab, says step by step what it did, and keeps it until it is told to end; or checks it once. */
import { messageOf } from "../core/base/errors.ts";
import { dieWithParent } from "../core/linux/process.ts";
import { runCheck } from "./check/run.ts";
import { readFlags } from "./flags.ts";
import { LiveTable } from "./live-table.ts";
import { Refused } from "./refusals.ts";
import { startLab, type LabOptions } from "./start.ts";
import { stepLine } from "./step-lines.ts";

export async function main(argv: readonly string[]): Promise<void> {
  dieWithParent("SIGKILL");
  const { lab, check } = readFlags(argv);
  if (check === undefined) return keep(lab);
  process.exitCode = await runCheck({ lab, ...check });
}

async function keep(options: LabOptions): Promise<void> {
  const table = new LiveTable(process.stdout);
  const ready = Promise.withResolvers<void>();
  const lab = await startLab({
    ...options,
    readyWithinMs: 0,
    onEvent(event) {
      const line = stepLine(event);
      if (line !== undefined) table.note(line);
      if (event.kind === "ready") ready.resolve();
    },
  });
  let isAsked = false;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.on(signal, () => {
      isAsked = true;
      void lab.close();
    });
  await Promise.race([ready.promise, lab.ended]);
  // A lab of plain pods has no agents to tell of anything.
  if (options.components === undefined) await table.run(lab);
  await lab.ended;
  if (!isAsked) throw new Refused("The lab ended unasked: its first process was killed, or failed (see above).");
}

if (import.meta.main) {
  await main(process.argv.slice(2)).catch((thrown: unknown) => {
    process.stderr.write(`${messageOf(thrown)}\n`);
    process.exitCode = 2;
  });
}
