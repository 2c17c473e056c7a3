import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { Unavailable } from "../unavailable.ts";
import { cached, cacheFolder } from "./cache.ts";

describe("the cache of parts", () => {
  const before = process.env["AMBIENTD_CACHE"];
  let root = "";

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "ambientd-cache-"));
    process.env["AMBIENTD_CACHE"] = root;
  });

  afterEach(() => {
    rmSync(root, { recursive: true });
    if (before === undefined) delete process.env["AMBIENTD_CACHE"];
    else process.env["AMBIENTD_CACHE"] = before;
  });

  it("makes a part once", async () => {
    let made = 0;
    const make = async (folder: string) => {
      made++;
      writeFileSync(join(folder, "program"), "bytes");
      return undefined;
    };
    const first = await cached("thing-1", make);
    const second = await cached("thing-1", make);
    assert.equal(first, join(root, "cluster", "thing-1"));
    assert.equal(second, first);
    assert.equal(made, 1);
    assert.equal(readFileSync(join(first, "program"), "utf8"), "bytes");
  });

  it("holds nothing under a part's name before it is whole, and nothing at all of one that failed", async () => {
    const refused = await cached("thing-1", async () => {
      assert.ok(!existsSync(join(cacheFolder(), "thing-1")));
      return new Unavailable("nobody has it");
    });
    assert.deepEqual(refused, new Unavailable("nobody has it"));
    await assert.rejects(
      cached("thing-1", () => Promise.reject(new Error("a bug"))),
      /a bug/,
    );
    assert.deepEqual(readdirSync(cacheFolder()), []);
  });

  it("removes what a maker left that was killed, and nothing of one that goes on", async () => {
    const ofTheDead = join(cacheFolder(), "thing-1.unfinished-4194305");
    const ofTheLiving = join(cacheFolder(), `thing-1.unfinished-${process.ppid}`);
    for (const folder of [ofTheDead, ofTheLiving]) mkdirSync(folder, { recursive: true });
    await cached("thing-1", async () => undefined);
    assert.deepEqual(readdirSync(cacheFolder()).sort(), ["thing-1", `thing-1.unfinished-${process.ppid}`]);
  });

  it("takes the other's where two made the same part", async () => {
    const slow = Promise.withResolvers<undefined>();
    const first = cached("thing-1", () => slow.promise);
    mkdirSync(join(cacheFolder(), "thing-1"));
    writeFileSync(join(cacheFolder(), "thing-1", "theirs"), "");
    slow.resolve(undefined);
    assert.equal(await first, join(cacheFolder(), "thing-1"));
    assert.deepEqual(readdirSync(join(cacheFolder(), "thing-1")), ["theirs"]);
  });
});
