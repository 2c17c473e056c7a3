/** Pods come, go and take each other's places while their certificates change: whose socket accepts decides whose certificate is shown. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { seededRandom, type Random } from "../../core/base/random.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { until } from "../support/until.ts";
import { ChurnWorld, type Incarnation, type Proof } from "./churn-world.ts";

const skip = enterNamespaces() ?? false;

/** More of them: CROSSING_STEPS=1000000, a number of steps. */
const steps = Number(process.env["CROSSING_STEPS"] ?? 1_500);

for (const seed of [1, 2]) {
  test(
    `H055 ${steps} steps of pods, certificates, workers and time (seed ${seed}): a socket shows its pod's newest certificate, and no other`,
    { skip },
    async (t) => {
      const world = await ChurnWorld.open(seededRandom(seed * 7_919), places);
      const before = descriptors();
      const run = new Run(world, seededRandom(seed));
      try {
        for (let step = 0; step < steps; step++) await run.step();
        await run.settle();
        const { tunnels, streams, issued } = world.counts;
        t.diagnostic(`${JSON.stringify(run.done)}, ${tunnels} tunnels, ${streams} streams, ${issued} certificates`);
        assert.deepEqual(world.faults, []);
        for (const count of [tunnels, streams]) assert.ok(count > steps / 20, `only ${count} were served`);
        await run.clear();
        await until("nothing of any pod is left", 10_000, () => {
          world.clock.advance(1_000);
          return world.pods.rows().length === 0 && world.tunnels === 0 && descriptors() <= before;
        });
      } finally {
        world.close();
      }
    },
  );
}

type Act = "add" | "remove" | "tell" | "take" | "in" | "out" | "time" | "worker";

class Run {
  readonly done: Record<Act, number> = { add: 0, remove: 0, tell: 0, take: 0, in: 0, out: 0, time: 0, worker: 0 };
  readonly #world: ChurnWorld;
  readonly #random: Random;
  readonly #running = new Set<Promise<void>>();
  /** Control has not told of them yet. */
  readonly #untold: Incarnation[] = [];
  readonly #stale: Incarnation[] = [];
  #pods = 0;

  constructor(world: ChurnWorld, random: Random) {
    this.#world = world;
    this.#random = random;
  }

  async step(): Promise<void> {
    const act = this.#random() < 0.004 ? "worker" : this.#one(chances);
    this.done[act] += 1;
    this.#act(act);
    // Sometimes several things happen in one turn of the loop, and never too many at once.
    if (this.#random() < 0.5) await new Promise(setImmediate);
    await this.settle(12);
  }

  /** Until fewer are under way. Who waits for what doesn't come waits for time. */
  async settle(fewer = 1): Promise<void> {
    while (this.#running.size >= fewer) {
      const some = this.#running.size;
      await Promise.race([...this.#running, new Promise((resolve) => setTimeout(resolve, 20))]);
      if (this.#running.size === some) this.#world.clock.advance(1_000);
    }
  }

  async clear(): Promise<void> {
    for (const incarnation of this.#present()) this.#world.remove(incarnation);
    await this.settle();
  }

  #act(act: Act): void {
    const world = this.#world;
    const present = this.#present();
    switch (act) {
      case "add": {
        const free = world.serving.flatMap((one, place) => (one === undefined ? [place] : []));
        if (free.length > 0) this.#add(this.#one(free));
        return;
      }
      case "remove": {
        if (present.length === 0) return;
        const incarnation = this.#one(present);
        world.remove(incarnation);
        this.#stale.push(incarnation);
        return;
      }
      case "tell": {
        const next = this.#untold.shift();
        if (next !== undefined) world.announce(next);
        return;
      }
      case "take": {
        const gone = this.#stale.shift();
        // Its name may be another pod's by now.
        if (gone !== undefined && !present.some(({ name }) => name === gone.name)) world.withdraw(gone);
        return;
      }
      case "in":
        return this.#dial(this.#place(), (place) => world.dialIn(place));
      case "out":
        return this.#dial(this.#place(), (place) => world.dialOut(place));
      case "time":
        world.clock.advance(this.#random() < 0.2 ? this.#random() * 60_000 : this.#random() * 2_000);
        return world.tick();
      case "worker":
        return world.replaceWorker(Math.floor(this.#random() * 2));
    }
  }

  #add(place: number): void {
    this.#pods += 1;
    const name = this.#random() < 0.3 ? `again-${place}` : `pod-${this.#pods}`;
    const account = `account-${Math.floor(this.#random() * accounts)}`;
    const incarnation = { uid: `uid-${this.#pods}`, name, account, place };
    this.#world.add(incarnation);
    if (this.#random() < 0.5) this.#world.announce(incarnation);
    else this.#untold.push(incarnation);
  }

  /** What the dial proves is held against what could be proven between its beginning and its end. */
  #dial(place: number, dial: (place: number) => Promise<Proof | undefined>): void {
    const { faults, told } = this.#world;
    const owner = this.#world.acceptorAt(place);
    const uri = `spiffe://cluster.local/ns/default/sa/${owner?.account}`;
    const since = told.get(uri)?.length ?? 0;
    const work = dial(place).then((proof) => {
      this.#running.delete(work);
      if (proof === undefined || owner === undefined) return;
      if (proof.uri !== uri) faults.push(`${owner.uid} of ${uri} has shown ${proof.uri}`);
      // The last one of before the dial, or one that came meanwhile.
      else if (
        !told
          .get(uri)
          ?.slice(Math.max(0, since - 1))
          .includes(proof.serial)
      ) {
        faults.push(
          `${owner.uid} of ${uri} has shown number ${told.get(uri)?.indexOf(proof.serial)}, not ${since - 1}`,
        );
      }
    });
    this.#running.add(work);
  }

  #present(): Incarnation[] {
    return this.#world.serving.filter((one) => one !== undefined);
  }

  #place(): number {
    return Math.floor(this.#random() * places);
  }

  #one<T>(of: readonly T[]): T {
    return of[Math.floor(this.#random() * of.length)]!;
  }
}

function descriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

const places = 8;
const accounts = 5;
/** As often as they are named. */
const chances: readonly Act[] = [
  ...Array<Act>(6).fill("in"),
  ...Array<Act>(6).fill("out"),
  ...Array<Act>(3).fill("add"),
  ...Array<Act>(2).fill("remove"),
  ...Array<Act>(3).fill("tell"),
  ...Array<Act>(1).fill("take"),
  ...Array<Act>(2).fill("time"),
];
