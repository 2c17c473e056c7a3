/**
 * `npm run soak -- [--minutes N] [--seed N]`: a row every so often, then the verdict. Exit code 0: nothing was lost and nothing grew;
 * 1: something did; 2: there is no lab to be had here.
 */
import { parseArgs } from "node:util";
import { seededRandom } from "../../core/base/random.ts";
import { Refused } from "../../lab/refusals.ts";
import { startLab } from "../../lab/start.ts";
import { manifestFolder } from "../support/manifests.ts";
import { TestLab } from "../support/mesh-lab.ts";
import { meshManifests } from "./mesh.ts";
import { soak } from "./soak.ts";
import { complaints, heading, lineOf } from "./verdict.ts";

const options = parseArgs({ options: { minutes: { type: "string" }, seed: { type: "string" } } }).values;
const minutes = Number(options.minutes ?? 60);
const seed = Number(options.seed ?? Date.now() % 1_000_000);
if (!(minutes > 0) || !Number.isInteger(seed)) {
  process.stderr.write(
    "usage: npm run soak -- [--minutes N] [--seed N]: N minutes above 0, and a whole number to draw from\n",
  );
  process.exit(2);
}
process.exit(await run());

async function run(): Promise<number> {
  const written = manifestFolder(meshManifests);
  try {
    const handle = await startLab({ manifests: written.folder, certTtlSeconds: 60 });
    say(`seed ${seed}, ${minutes} minutes\n${heading}`);
    try {
      const report = await soak({
        lab: new TestLab(handle),
        seconds: minutes * 60,
        everySeconds: Math.min(60, minutes * 5),
        random: seededRandom(seed),
        onRow: (row) => say(lineOf(row)),
      });
      const found = complaints(report);
      for (const sentence of found) say(sentence);
      say(found.length === 0 ? "nothing was lost, and nothing grew" : `${found.length} complaints`);
      return found.length === 0 ? 0 : 1;
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    say(error.message);
    return 2;
  } finally {
    written.remove();
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
