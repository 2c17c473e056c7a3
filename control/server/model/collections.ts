/**
 * Collections whose readers are remembered: a derived row is computed by a function that looks things up, every look-up
 * is recorded, and when one of them would answer differently the row is computed again. Rows are never patched.
 */
import { isDeepStrictEqual } from "node:util";

/** One thing that can be asked, and the rows that asked it. */
interface Dependency {
  readonly question: string;
  readonly rows: Set<string>;
}

/** Who asked what. One for all collections of a model. */
export class Dependencies {
  readonly #byQuestion = new Map<string, Dependency>();
  readonly #byRow = new Map<string, readonly Dependency[]>();
  readonly #stale = new Set<string>();

  /** Says that an answer may have changed: the rows that asked are stale. */
  changed(question: string): void {
    for (const row of this.#byQuestion.get(question)?.rows ?? []) this.#stale.add(row);
  }

  /** Says that a row must be computed whatever it has asked: its own object is new, or gone. */
  invalidate(row: string): void {
    this.#stale.add(row);
  }

  /** The rows to compute again, in no particular order. */
  takeStale(): string[] {
    const rows = [...this.#stale];
    this.#stale.clear();
    return rows;
  }

  /** Computes a row, and remembers what it asked instead of what it asked before. */
  track<Output>(row: string, compute: (reader: Reader) => Output): Output {
    this.forget(row);
    const questions = new Set<string>();
    const output = compute({ ask: (question) => questions.add(question) });
    this.#byRow.set(
      row,
      [...questions].map((question) => this.#dependency(question, row)),
    );
    return output;
  }

  forget(row: string): void {
    for (const dependency of this.#byRow.get(row) ?? []) {
      dependency.rows.delete(row);
      if (dependency.rows.size === 0) this.#byQuestion.delete(dependency.question);
    }
    this.#byRow.delete(row);
  }

  #dependency(question: string, row: string): Dependency {
    let dependency = this.#byQuestion.get(question);
    if (dependency === undefined) {
      dependency = { question, rows: new Set() };
      this.#byQuestion.set(question, dependency);
    }
    dependency.rows.add(row);
    return dependency;
  }
}

/** What a row's function looks through. */
export interface Reader {
  ask(question: string): void;
}

/** Index name → the values a member is found under. */
type Indexes<Value> = Readonly<Record<string, (value: Value, key: string) => readonly string[]>>;

/**
 * Values by key and by index. Two collections may share an index's name: then a reader of the one is asked again when
 * the other changes, which costs a little time and saves a lot of memory.
 */
export class Collection<Value, Index extends string = never> {
  readonly #name: string;
  readonly #dependencies: Dependencies;
  readonly #indexes: Indexes<Value>;
  readonly #values = new Map<string, Value>();
  readonly #members = new Map<string, Set<string>>();

  constructor(name: string, dependencies: Dependencies, indexes: Record<Index, Indexes<Value>[string]>) {
    this.#name = name;
    this.#dependencies = dependencies;
    this.#indexes = indexes;
  }

  /** Sets or, with undefined, removes. An equal value is no change. */
  put(key: string, value: Value | undefined): void {
    const before = this.#values.get(key);
    if (isDeepStrictEqual(before, value)) return;
    if (before !== undefined) this.#eachMembership(key, before, (members) => members.delete(key));
    if (value === undefined) this.#values.delete(key);
    else this.#values.set(key, value);
    if (value !== undefined) this.#eachMembership(key, value, (members) => members.add(key));
    this.#dependencies.changed(`${this.#name}:${key}`);
  }

  get(reader: Reader, key: string): Value | undefined {
    reader.ask(`${this.#name}:${key}`);
    return this.#values.get(key);
  }

  /** In order of key. */
  lookup(reader: Reader, index: Index, wanted: string): Value[] {
    const question = `${index}:${wanted}`;
    reader.ask(question);
    return [...(this.#members.get(question) ?? [])].sort().flatMap((key) => this.#values.get(key) ?? []);
  }

  /** Without being remembered: for the model's own bookkeeping. */
  peek(key: string): Value | undefined {
    return this.#values.get(key);
  }

  #eachMembership(key: string, value: Value, act: (members: Set<string>) => void): void {
    for (const [index, valuesOf] of Object.entries(this.#indexes)) {
      for (const wanted of valuesOf(value, key)) {
        const question = `${index}:${wanted}`;
        const members = this.#members.get(question) ?? new Set();
        act(members);
        if (members.size === 0) this.#members.delete(question);
        else this.#members.set(question, members);
        this.#dependencies.changed(question);
      }
    }
  }
}
