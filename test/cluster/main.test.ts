/** The command line where nothing can be, or shall be, started. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { run } from "./command.ts";

const main = join(import.meta.dirname, "main.ts");
const node = [process.execPath, main];
const asRoot = process.getuid?.() === 0;
const noUsers = asRoot && (await run(["unshare", "--user", "true"])).code !== 0 ? "no user namespaces here" : false;
/** A cluster that nobody starts. */
const env = { ...process.env, AMBIENTD_CLUSTER_NUMBER: "9" };

describe("npm run cluster", () => {
  it("names the missing part and exits 2 for who isn't root", { skip: noUsers }, async () => {
    // Nobody by name, who still may read a checkout that only root can.
    const demoted = asRoot ? ["unshare", "--user", ...node] : node;
    const { code, stderr } = await run(demoted, { env });
    assert.equal(stderr, "There can be no cluster here: it needs root.\n");
    assert.equal(code, 2);
  });

  it("explains itself to who asks for something else, and exits 2", async () => {
    const { code, stderr } = await run([...node, "sideways"], { env });
    assert.match(stderr, /^usage: npm run cluster/);
    assert.equal(code, 2);
  });

  it("says that none is up where none is, and exits 2", async () => {
    for (const argv of [["status"], ["reboot", "node1"]]) {
      const { code, stderr } = await run([...node, ...argv], { env });
      assert.match(stderr, /no cluster is up/);
      assert.equal(code, 2);
    }
  });

  it("takes nothing down where nothing is", { skip: asRoot ? false : "needs root" }, async () => {
    const { code, stderr } = await run([...node, "down"], { env });
    assert.equal(stderr, "No cluster was there.\n");
    assert.equal(code, 0);
  });
});
