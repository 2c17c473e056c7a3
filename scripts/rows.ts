/**
 * Rows of our three checklists, as the names of tests carry them: F-nnn, the inventory of what a node agent does; Hnnn, the attacks and
 * faults it must survive; Mnn, the matrix of waypoints. A run says of each row how its tests went; a row counts as shown when one
 * passed and none failed or was skipped.
 */

/** How the tests of a row went. */
export interface RowTally {
  passed: number;
  failed: number;
  skipped: number;
}

export type Outcome = keyof RowTally;

export class Rows {
  readonly #tallies = new Map<string, RowTally>();

  /** @param testName that may begin with rows: `F-017 H042 a sentence`. */
  count(testName: string, outcome: Outcome): void {
    for (const row of rowsOf(testName)) {
      const tally = this.#tallies.get(row) ?? { passed: 0, failed: 0, skipped: 0 };
      tally[outcome]++;
      this.#tallies.set(row, tally);
    }
  }

  /** In order of their names. */
  toJSON(): Record<string, RowTally> {
    return Object.fromEntries([...this.#tallies].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  isShown(row: string): boolean {
    const tally = this.#tallies.get(row);
    return tally !== undefined && tally.passed > 0 && tally.failed === 0 && tally.skipped === 0;
  }

  /** Of the inventory: what an agent must and should do, and this run has not shown. */
  get missing(): string[] {
    return inventory.filter((row) => !this.isShown(row));
  }
}

export function rowsOf(testName: string): string[] {
  const [prefix = ""] = /^(?:(?:F-\d{3}|H\d{3}|M\d{2,3}) )*/.exec(testName) ?? [];
  return prefix.split(" ").filter((row) => row !== "");
}

/** The inventory's rows that an agent must or should have (170 of 183; the others it may have). */
const optional: ReadonlySet<number> = new Set([11, 23, 84, 92, 93, 94, 122, 173, 191, 204, 210, 217, 221]);
const spans = [
  [1, 28],
  [30, 57],
  [60, 69],
  [80, 104],
  [110, 126],
  [130, 141],
  [150, 157],
  [160, 174],
  [180, 191],
  [200, 227],
] as const;

export const inventory: readonly string[] = spans.flatMap(([first, last]) =>
  Array.from({ length: last - first + 1 }, (_, i) => first + i)
    .filter((number) => !optional.has(number))
    .map((number) => `F-${String(number).padStart(3, "0")}`),
);
