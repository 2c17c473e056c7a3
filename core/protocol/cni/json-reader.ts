/** Reading JSON of an expected shape: the typed thing, or every fault with its path. */

export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Collects what is wrong while a value is read; after a fault the reading goes on with a stand-in. */
export class Faults {
  readonly #found: string[] = [];

  get found(): readonly string[] {
    return this.#found;
  }

  add(path: string, problem: string): void {
    // A hostile document can have a fault in each of a million items: the first ones are telling enough.
    if (this.#found.length < 8) this.#found.push(`${path} ${problem}`);
  }

  /** Absent and null are the same to Go, and so they are here. */
  object(value: unknown, path: string): JsonObject {
    if (value === undefined || value === null) return {};
    if (isObject(value)) return value;
    this.add(path, "is no object");
    return {};
  }

  list(value: unknown, path: string): readonly unknown[] {
    if (value === undefined || value === null) return [];
    if (Array.isArray(value)) return value as unknown[];
    this.add(path, "is no list");
    return [];
  }

  text(value: unknown, path: string): string {
    if (value === undefined || value === null) return "";
    if (typeof value === "string") return value;
    this.add(path, "is no string");
    return "";
  }

  texts(value: unknown, path: string): string[] {
    return this.list(value, path).map((item, at) => this.text(item, `${path}[${at}]`));
  }

  /** A whole number, or undefined where there is none. */
  integer(value: unknown, path: string): number | undefined {
    if (value === undefined || value === null) return undefined;
    if (Number.isSafeInteger(value)) return value as number;
    this.add(path, "is no whole number");
    return undefined;
  }
}
