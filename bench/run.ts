/**
 * One run: scenario by scenario, round by round, each side in turn (A B A B), so that what the machine does meanwhile happens to all of them.
 * A measurement that fails is noted and has no value; one that connection tracking stood in the way of voids the run. A round during which
 * the machine's host gave its processors to others is measured again, whatever it told, while there is patience.
 */
import { messageOf } from "../core/base/errors.ts";
import { voidedBy, type ConntrackState } from "./measure/conntrack.ts";
import type { Samples } from "./report/rows.ts";
import type { GrowthScenario, NotMeasured, PairedScenario, Place, Scenario, Values } from "./scenarios/scenario.ts";
import type { SideName } from "./side.ts";

export interface RunOptions {
  readonly rounds: number;
  readonly onStep: (step: Step) => void;
  /** Of the namespaces that a place's traffic goes through, by what they are called. */
  readonly conntrack: (place: Place) => Promise<ReadonlyMap<string, ConntrackState | undefined>>;
  /** Which share of the processors the host took since the last call, 0 to 1. */
  readonly stolen: () => number;
  /** How long rounds may be measured again, all of them together; milliseconds. */
  readonly patienceMs: number;
}

/** Told as it happens. */
export type Step =
  | { readonly kind: "scenario"; readonly scenario: string }
  | {
      readonly kind: "measured";
      readonly scenario: string;
      readonly round: number;
      readonly side: SideName;
      /** Of what grows. */
      readonly n?: number;
      readonly values: Values;
    }
  | { readonly kind: "note"; readonly note: Note };

export type Note =
  | { readonly kind: "not-measured"; readonly scenario: string; readonly side: SideName; readonly why: string }
  | {
      readonly kind: "failed";
      readonly scenario: string;
      readonly side: SideName;
      readonly round: number;
      readonly why: string;
    }
  | {
      readonly kind: "void";
      readonly scenario: string;
      readonly side: SideName;
      readonly round: number;
      readonly why: string;
    }
  | {
      readonly kind: "disturbed";
      readonly scenario: string;
      /** Of all sides. */
      readonly side?: never;
      readonly round: number;
      readonly why: string;
    };

/** What one side's measurement told, or what a round's sides told together. */
type Told = readonly [SideName, Values];

export class Run {
  readonly #options: RunOptions;
  readonly #samples = new Map<string, { figure: string; side: SideName; n?: number; values: number[] }>();
  readonly #notes: Note[] = [];
  #patienceMs: number;

  constructor(options: RunOptions) {
    this.#options = options;
    this.#patienceMs = options.patienceMs;
  }

  get samples(): readonly Samples[] {
    return [...this.#samples.values()];
  }

  /** In order, each once: what can't be measured at a side is said for the first round only. */
  get notes(): readonly Note[] {
    return this.#notes;
  }

  async measure(scenario: Scenario, places: readonly Place[]): Promise<void> {
    this.#options.onStep({ kind: "scenario", scenario: scenario.name });
    if (scenario.kind === "paired") return this.#paired(scenario, places);
    if (scenario.kind === "growth") return this.#growing(scenario);
    for (let round = 1; round <= this.#options.rounds; round++) {
      await this.#undisturbed({ scenario: scenario.name, round, tries: mostTries }, async () => {
        const values = await this.#attempt(scenario.name, "ours", round, () => scenario.measure(round));
        return values === undefined ? [] : [["ours", values]];
      });
    }
    await this.#attempt(scenario.name, "ours", this.#options.rounds, async () => {
      await scenario.finish?.();
      return {};
    });
  }

  async #growing(scenario: GrowthScenario): Promise<void> {
    const { name, sizes } = scenario;
    for (let round = 1; round <= this.#options.rounds; round++) {
      for (const size of sizes) {
        const values = await this.#attempt(name, "ours", round, () => scenario.measure(size));
        // What the next one would be built upon is not there.
        if (values === undefined) break;
        this.#keep(name, round, "ours", values, size);
      }
      await this.#attempt(name, "ours", round, async () => {
        await scenario.finish?.();
        return {};
      });
    }
  }

  async #paired(scenario: PairedScenario, places: readonly Place[]): Promise<void> {
    const { name } = scenario;
    const ready: Place[] = [];
    for (const place of places) {
      const prepared = await this.#attempt(name, place.side.name, 0, async () => {
        await scenario.prepare?.(place);
        return {};
      });
      if (prepared !== undefined) ready.push(place);
    }
    for (let round = 1; round <= this.#options.rounds; round++) {
      const tries = scenario.isCumulative ? 1 : mostTries;
      await this.#undisturbed({ scenario: name, round, tries }, async () => {
        const bySide = new Map<SideName, Values>();
        for (const place of ready) {
          const values = await this.#watched(scenario, place, round);
          if (values !== undefined) bySide.set(place.side.name, values);
        }
        return [...bySide, ...(scenario.compare?.(bySide) ?? [])];
      });
    }
    for (const place of places)
      await this.#attempt(name, place.side.name, this.#options.rounds, async () => {
        await scenario.finish?.(place);
        return {};
      });
  }

  async #watched(scenario: PairedScenario, place: Place, round: number): Promise<Values | undefined> {
    const { conntrack } = this.#options;
    const side = place.side.name;
    const before = await conntrack(place);
    const values = await this.#attempt(scenario.name, side, round, () => scenario.measure(place));
    for (const [namespace, after] of await conntrack(place)) {
      const why = voidedBy(before.get(namespace), after);
      if (why !== undefined)
        this.#note({ kind: "void", scenario: scenario.name, side, round, why: `${namespace}: ${why}` });
    }
    return values;
  }

  /** Keeps what a round told. Whether that counts is decided by the host alone, and before anybody has looked at it. */
  async #undisturbed(
    { scenario, round, tries }: { readonly scenario: string; readonly round: number; readonly tries: number },
    measure: () => Promise<readonly Told[]>,
  ): Promise<void> {
    const { stolen } = this.#options;
    for (let left = tries - 1; ; left--) {
      const beganMs = performance.now();
      stolen();
      const told = await measure();
      const share = stolen();
      const again = share > mostStolen && left > 0 && this.#patienceMs > 0;
      if (share > mostStolen) {
        const why = `the host took ${(share * 100).toFixed(0)} % of the processors${again ? ": measured again" : ""}`;
        this.#note({ kind: "disturbed", scenario, round, why });
      }
      if (again) {
        this.#patienceMs -= performance.now() - beganMs;
        continue;
      }
      for (const [side, values] of told) this.#keep(scenario, round, side, values);
      return;
    }
  }

  async #attempt(
    scenario: string,
    side: SideName,
    round: number,
    body: () => Promise<Values | NotMeasured>,
  ): Promise<Values | undefined> {
    try {
      const values = await body();
      if (!isNotMeasured(values)) return values;
      this.#note({ kind: "not-measured", scenario, side, why: values.notMeasured });
    } catch (error) {
      this.#note({ kind: "failed", scenario, side, round, why: messageOf(error) });
    }
    return undefined;
  }

  #keep(scenario: string, round: number, side: SideName, values: Values, n?: number): void {
    const size = n === undefined ? {} : { n };
    for (const [figure, value] of Object.entries(values)) {
      const key = `${figure} ${side} ${n ?? ""}`;
      let samples = this.#samples.get(key);
      if (samples === undefined) this.#samples.set(key, (samples = { figure, side, ...size, values: [] }));
      samples.values.push(value);
    }
    this.#options.onStep({ kind: "measured", scenario, round, side, ...size, values });
  }

  #note(note: Note): void {
    const isKnown = this.#notes.some(
      ({ kind, scenario, side }) =>
        kind === "not-measured" && kind === note.kind && scenario === note.scenario && side === note.side,
    );
    if (isKnown) return;
    this.#notes.push(note);
    this.#options.onStep({ kind: "note", note });
  }
}

export function noteLine(note: Note): string {
  const at = note.kind === "not-measured" || note.round === 0 ? "" : `, round ${note.round}`;
  const what = { "not-measured": "not measured", failed: "failed", void: "void", disturbed: "disturbed" }[note.kind];
  const side = note.side === undefined ? "" : `, ${note.side}`;
  return `${note.scenario}${side}${at}: ${what}: ${note.why}`;
}

/** A fiftieth of the time. More moves 99th percentiles, and the CPU time that the kernel counts grows with what the host takes. */
const mostStolen = 0.02;
/** Of one round: what the host does may take longer. */
const mostTries = 3;

function isNotMeasured(result: Values | NotMeasured): result is NotMeasured {
  return typeof (result as NotMeasured).notMeasured === "string";
}
