/** h2spec against our server and against Node's own in the same run. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Unavailable } from "../cluster/unavailable.ts";
import { engines } from "../support/engines.ts";
import { h2specExceptions } from "./h2spec-exceptions.ts";
import { countOf, runH2spec, sectionOf, type H2specReport } from "./h2spec-run.ts";
import { startH2specTarget, type H2specEngine } from "./h2spec-target.ts";
import { h2specProgram } from "./parts.ts";

const program = await h2specProgram();
const skip = program instanceof Unavailable ? program.missing : false;

for (const engine of engines)
  test(
    `our ${engine} engine passes every case of h2spec that Node's own server passes, and what it fails is listed with RFC 9113's reason`,
    {
      skip,
    },
    async (t) => {
      const [reference, first] = await Promise.all([reportOf("node-reference"), reportOf(engine)]);
      // A frame that a busy machine was late with is not a frame that isn't sent.
      const late = worse(first, reference).map(sectionOf);
      const own = late.length === 0 ? first : new Map([...first, ...(await reportOf(engine, late))]);
      t.diagnostic(`Node's own server: ${summary(reference)}`);
      t.diagnostic(`our ${engine} engine: ${summary(own)}`);

      assert.ok(reference.size >= 146, `h2spec ran ${reference.size} cases only`);
      assert.deepEqual([...own.keys()], [...reference.keys()]);
      assert.deepEqual(worse(own, reference), [], "Node's own server passes these");
      const listed = h2specExceptions[engine];
      const failed = [...own].filter(([, { kind }]) => kind === "failed");
      assert.deepEqual(
        failed.filter(([name]) => !listed.some((exception) => exception.name === name)),
        [],
        "these fail and are not listed in h2spec-exceptions.ts",
      );
      for (const { name, kind, reason } of listed) {
        assert.ok(own.has(name), `h2spec has no case ${name}`);
        t.diagnostic(`${own.get(name)?.kind}: ${name} (RFC 9113 ${reason}: ${kind})`);
      }
    },
  );

/** What fails where Node's own server passes. */
function worse(report: H2specReport, reference: H2specReport): string[] {
  return [...report.keys()].filter(
    (name) => report.get(name)?.kind === "failed" && reference.get(name)?.kind === "passed",
  );
}

async function reportOf(engine: H2specEngine, sections: readonly string[] = []): Promise<H2specReport> {
  const target = await startH2specTarget(engine);
  try {
    return await runH2spec(program as string, target.port, sections);
  } finally {
    await target.close();
  }
}

function summary(report: H2specReport): string {
  return `${countOf(report, "passed")} passed, ${countOf(report, "failed")} failed, ${countOf(report, "skipped")} skipped of ${report.size}`;
}
