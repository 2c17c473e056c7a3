/** Three minutes of `npm run soak`. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom } from "../../core/base/random.ts";
import { useLab } from "../support/mesh-lab.ts";
import { meshManifests } from "../soak/mesh.ts";
import { soak } from "../soak/soak.ts";
import { complaints, heading, lineOf } from "../soak/verdict.ts";

const lab = useLab(meshManifests, { certTtlSeconds: 60 });

test("H055 H108 three minutes of churn, loss, delay and renewed certificates lose nothing, and nothing grows", async (t) => {
  t.diagnostic(heading);
  const report = await soak({
    lab: lab(),
    seconds: 180,
    everySeconds: 15,
    random: seededRandom(7),
    onRow: (row) => t.diagnostic(lineOf(row)),
  });
  assert.deepEqual(complaints(report), []);
});
