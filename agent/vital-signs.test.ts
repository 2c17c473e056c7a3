import assert from "node:assert/strict";
import { test } from "node:test";
import { stillness, VitalSigns } from "./vital-signs.ts";

test("there is somebody to be held up while any worker has connections and none waits for the mesh", () => {
  const main = new VitalSigns(2);
  const worker = new VitalSigns(main.buffer);
  assert.equal(main.isBusy, false);
  worker.beat(1, { ...stillness, connections: 3 });
  assert.equal(main.isBusy, true);
  worker.beat(0, { ...stillness, connections: 1, awaitsMesh: true });
  assert.equal(main.isBusy, false);
  worker.beat(0, stillness);
  assert.equal(main.isBusy, true);
  worker.beat(1, stillness);
  assert.equal(main.isBusy, false);
});
