import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Disk, HeldFile } from "./disk.ts";
import type { Installer } from "./installer.ts";
import { bridgeList, bridgeSingle, NodeDirectory, watchedDisk } from "./test-support/node-directory.ts";

const scenes = {
  "a list is extended": { file: "10-bridge.conflist", text: bridgeList, owner: ["bridge", "portmap"] },
  "a single plugin is made a list": { file: "10-bridge.conf", text: bridgeSingle, owner: ["bridge"] },
} as const;

for (const [name, { file, text, owner }] of Object.entries(scenes)) {
  const fresh = () => new NodeDirectory({ [file]: text });

  test(`when the installer ends at any step while ${name}, pods can be made, and the next one finishes the work`, async () => {
    await atEveryStep(fresh, async (node, disk) => {
      await reaches(node.installer({ disk }), (installer) => installer.start());
      assert.equal(node.damage(owner), undefined);
      await finish(node, { [file]: text });
    });
  });

  test(`when it ends at any step of an upgrade after ${name}, the executable is one of the two releases`, async () => {
    await atEveryStep(fresh, async (node, disk) => {
      await startAndClose(node);
      node.release("second release");
      await reaches(node.installer({ disk }), (installer) => installer.start());
      assert.equal(node.damage(owner), undefined);
      await finish(node, { [file]: text });
    });
  });

  test(`when it ends at any step of uninstalling after ${name}, no chain names an executable that has gone`, async () => {
    await atEveryStep(fresh, async (node, disk) => {
      await startAndClose(node);
      await reaches(node.installer({ disk }), (installer) => installer.uninstall());
      assert.equal(node.damage(owner), undefined);
      assert.equal(await node.installer().uninstall(), undefined);
      assert.deepEqual([node.conf(), node.bin()], [{ [file]: text }, {}]);
    });
  });
}

test("a process that is killed at any step leaves the same: kill -9", async () => {
  for (let last = 0; ; last++) {
    using node = new NodeDirectory();
    const installed = await isDone(promisify(execFile)(process.execPath, [dying, node.path, String(last)]));
    assert.equal(node.damage(["bridge", "portmap"]), undefined, `killed at step ${last}`);
    await finish(node, { "10-bridge.conflist": bridgeList });
    if (!installed) continue;
    assert.ok(last > 6, "it was killed at every step before");
    break;
  }
});

/** Runs `body` with a disk that ends before its first change, then before its second, until it isn't reached any more. */
async function atEveryStep(
  fresh: () => NodeDirectory,
  body: (node: NodeDirectory, disk: Disk) => Promise<void>,
): Promise<void> {
  let reached = true;
  for (let last = 0; reached; last++) {
    using node = fresh();
    reached = false;
    const disk = watchedDisk((step, _name, half) => {
      if (step !== last) return;
      half();
      reached = true;
      ended?.();
      // Nothing after this step ever happens, no tidying up either.
      return new Promise<void>(() => undefined);
    });
    const held: HeldFile[] = [];
    const hold = async (path: string): Promise<HeldFile> => {
      const file = await disk.hold(path);
      held.push(file);
      return file;
    };
    await body(node, { ...disk, hold });
    for (const file of held) await file.close();
  }
}

let ended: (() => void) | undefined;

/** Settles when the work is done, or has ended in the middle. In either case this installer does nothing any more. */
async function reaches(installer: Installer, work: (installer: Installer) => Promise<unknown>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<"ended">();
  ended = () => resolve("ended");
  if ((await Promise.race([work(installer), promise])) !== "ended") await installer.close();
}

async function startAndClose(node: NodeDirectory): Promise<void> {
  const installer = node.installer();
  assert.equal(await installer.start(), undefined);
  await installer.close();
}

/** The next installer has everything in place, leaves no unfinished files, and its uninstalling brings the original back. */
async function finish(node: NodeDirectory, original: Readonly<Record<string, string>>): Promise<void> {
  const next = node.installer();
  assert.equal(await next.start(), undefined);
  assert.ok(next.ready());
  assert.ok(
    [...readdirSync(join(node.path, "conf")), ...readdirSync(join(node.path, "bin"))].every(
      (name) => !name.includes(".tmp."),
    ),
  );
  assert.equal(await next.uninstall(), undefined);
  assert.deepEqual([node.conf(), node.bin()], [original, {}]);
}

async function isDone(process: Promise<unknown>): Promise<boolean> {
  return process.then(
    () => true,
    () => false,
  );
}

const dying = fileURLToPath(new URL("./test-support/install-and-die.ts", import.meta.url));
