/**
 * One run: scenario by scenario, round by round, each side in turn (A B A B), so that what the machine does meanwhile happens to all of them.
 * A measurement that fails is noted and has no value; one that connection tracking stood in the way of voids the run.
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
    };

export class Run {
  readonly #options: RunOptions;
  readonly #samples = new Map<string, { figure: string; side: SideName; n?: number; values: number[] }>();
  readonly #notes: Note[] = [];

  constructor(options: RunOptions) {
    this.#options = options;
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
      const values = await this.#attempt(scenario.name, "ours", round, () => scenario.measure(round));
      if (values !== undefined) this.#keep(scenario.name, round, "ours", values);
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
      const bySide = new Map<SideName, Values>();
      for (const place of ready) {
        const values = await this.#watched(scenario, place, round);
        if (values !== undefined) bySide.set(place.side.name, values);
      }
      for (const [side, values] of scenario.compare?.(bySide) ?? []) this.#keep(name, round, side, values);
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
    if (values !== undefined) this.#keep(scenario.name, round, side, values);
    return values;
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
  const what = { "not-measured": "not measured", failed: "failed", void: "void" }[note.kind];
  return `${note.scenario}, ${note.side}${at}: ${what}: ${note.why}`;
}

function isNotMeasured(result: Values | NotMeasured): result is NotMeasured {
  return typeof (result as NotMeasured).notMeasured === "string";
}
