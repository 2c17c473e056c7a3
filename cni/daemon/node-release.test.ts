import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import { CniError } from "./errors.ts";
import { NodeRelease } from "./node-release.ts";

const limits = { annotationMs: 1, drainMs: 1 };

test("pods leave, then the plugin goes, then it is said, each once", async () => {
  const world = makeWorld();
  const release = world.release.run(limits, 1000);
  assert.equal(world.release.begun, true);
  assert.deepEqual(world.done, ["pods"]);
  world.left.resolve();
  await Promise.all([release, world.release.run(limits, 1000)]);
  assert.deepEqual(world.done, ["pods", "uninstall", "confirm"]);
});

test("pods that stay too long don't keep the plugin, and nothing is said before they have left", async () => {
  const world = makeWorld();
  const release = world.release.run(limits, 1000);
  world.clock.advance(1000);
  await turns();
  assert.deepEqual(world.done, ["pods", "uninstall"]);
  world.left.resolve();
  await release;
  assert.deepEqual(world.done, ["pods", "uninstall", "confirm"]);
});

test("a plugin that can't be taken off is no release, and neither are pods that can't leave", async () => {
  const kept = makeWorld();
  kept.uninstallError = new CniError({ code: "cni.no-agent" });
  kept.left.resolve();
  await kept.release.run(limits, 1000);
  assert.deepEqual(kept.done, ["pods", "uninstall"]);
  const stayed = makeWorld();
  stayed.left.reject(new Error("bug"));
  await stayed.release.run(limits, 1000);
  assert.deepEqual(stayed.done, ["pods", "uninstall"]);
});

test("what could not be said is said again", async () => {
  const world = makeWorld();
  world.confirmErrors = 3;
  world.left.resolve();
  const release = world.release.run(limits, 1000);
  for (let i = 0; i < 3; i += 1) {
    await turns();
    world.clock.advance(1000);
  }
  await release;
  assert.deepEqual(world.done.slice(2), ["confirm", "confirm", "confirm", "confirm"]);
});

function makeWorld() {
  const clock = new ManualClock();
  const error = new CniError({ code: "cni.no-agent" });
  const state = {
    clock,
    done: [] as string[],
    left: Promise.withResolvers<void>(),
    uninstallError: undefined as CniError | undefined,
    confirmErrors: 0,
  };
  const release = new NodeRelease({
    pods: () => {
      state.done.push("pods");
      return state.left.promise;
    },
    uninstall: async () => {
      state.done.push("uninstall");
      return state.uninstallError;
    },
    confirm: async () => {
      state.done.push("confirm");
      return state.confirmErrors-- > 0 ? error : undefined;
    },
    clock,
    log: silentLog,
  });
  return Object.assign(state, { release });
}

async function turns(): Promise<void> {
  for (let i = 0; i < 10; i += 1) await new Promise((resolve) => setImmediate(resolve));
}
