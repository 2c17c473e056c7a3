import assert from "node:assert/strict";
import { test } from "node:test";
import { PodConnections, podConnectionCells } from "../pod-connections.ts";
import { stillness, VitalSigns } from "../vital-signs.ts";
import { busyLoad, crowd, PodHome } from "./pod-home.ts";

test("a pod's home accepts, and nobody else while it does, has room and time", () => {
  const world = new World();
  assert.deepEqual([world.home.look(), world.helper.accepts], [true, false]);
  world.looks(10);
  assert.equal(world.helper.accepts, false);
  const nobodys = new PodHome({ home: undefined, own: 1, connections: world.ofHelper, signs: world.signs });
  assert.deepEqual([nobodys.accepts, nobodys.look()], [true, true]);
});

test("while the home holds a crowd the others help, until half of it has left", () => {
  const world = new World();
  for (let held = 0; held < crowd; held++) world.ofHome.began();
  world.looks(1);
  assert.equal(world.helper.accepts, true);
  for (let held = crowd; held > crowd / 2; held--) world.ofHome.ended();
  world.looks(1);
  assert.equal(world.helper.accepts, true);
  world.ofHome.ended();
  world.looks(1);
  assert.equal(world.helper.accepts, false);
});

test("while the home is busy the others help, until half of its time is free", () => {
  const world = new World();
  for (const [load, helps] of [
    [busyLoad - 0.01, false],
    [busyLoad, true],
    [busyLoad / 2 + 0.01, true],
    [busyLoad / 2 - 0.01, false],
  ] as const) {
    world.load = load;
    world.looks(1);
    assert.equal(world.helper.accepts, helps, String(load));
  }
});

test("where the home may not accept, stands still or is gone the others do, and give way when it is back", () => {
  const world = new World();
  world.ofHome.accepts = false;
  world.looks(1);
  assert.equal(world.helper.accepts, true);
  world.ofHome.accepts = true;
  world.looks(1);
  assert.equal(world.helper.accepts, false);

  world.helper.look();
  assert.equal(world.helper.accepts, false, "one look may come before each beat");
  world.helper.look();
  assert.equal(world.helper.accepts, true);
  world.looks(1);
  assert.equal(world.helper.accepts, false);

  world.ofHome.clear();
  world.looks(1);
  assert.equal(world.helper.accepts, true);
});

/** Worker 0 is at home, worker 1 helps. */
class World {
  readonly signs = new VitalSigns(2);
  readonly ofHome: PodConnections;
  readonly ofHelper: PodConnections;
  readonly home: PodHome;
  readonly helper: PodHome;
  load = 0;

  constructor() {
    const cells = podConnectionCells();
    [this.ofHome, this.ofHelper] = [new PodConnections(cells, 0), new PodConnections(cells, 1)];
    this.home = new PodHome({ home: 0, own: 0, connections: this.ofHome, signs: this.signs });
    this.helper = new PodHome({ home: 0, own: 1, connections: this.ofHelper, signs: this.signs });
    this.ofHome.accepts = true;
  }

  /** Both beat, and the helper looks. */
  looks(times: number): void {
    for (let at = 0; at < times; at++) {
      this.signs.beat(0, { ...stillness, load: this.load });
      this.helper.look();
    }
  }
}
