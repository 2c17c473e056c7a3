/** Reads parsed YAML as what it should be, and says where it is not. Inside this room a mistake throws; `localMesh` returns it. */
import { TypedError } from "../../core/base/errors.ts";

export class LocalMeshError extends TypedError<
  | { readonly code: "local-mesh.not-yaml"; readonly problem: string }
  | { readonly code: "local-mesh.bad-field"; readonly path: string; readonly problem: string }
> {
  sentence(): string {
    const { type } = this;
    return type.code === "local-mesh.not-yaml" ? `it is no YAML (${type.problem})` : `${type.path} ${type.problem}`;
  }
}

/** An object whose keys are all known by the time it is `done`. */
export class Fields {
  readonly path: string;
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #read = new Set<string>();

  constructor(value: unknown, path: string) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw mistake(path, "is no object");
    this.#values = value as Readonly<Record<string, unknown>>;
    this.path = path;
  }

  text(key: string, otherwise?: string): string {
    const value = this.#take(key) ?? otherwise;
    if (value === undefined) throw mistake(this.#at(key), "is missing");
    if (typeof value !== "string") throw mistake(this.#at(key), "is no text: write it in quotes");
    return value;
  }

  number(key: string, otherwise: number, most = 0xffff_ffff): number {
    return wholeNumber(this.#take(key) ?? otherwise, this.#at(key), most);
  }

  flag(key: string): boolean {
    const value = this.#take(key) ?? false;
    if (typeof value !== "boolean") throw mistake(this.#at(key), "is neither true nor false");
    return value;
  }

  choice<T>(key: string, among: Readonly<Record<string, T>>, otherwise: string): T {
    return choiceOf(this.#take(key) ?? otherwise, this.#at(key), among);
  }

  /** An object that may be missing. */
  optional<T>(key: string, read: (fields: Fields) => T): T | undefined {
    const value = this.#take(key);
    return value === undefined || value === null ? undefined : done(new Fields(value, this.#at(key)), read);
  }

  list<T>(key: string, read: (value: unknown, path: string) => T): T[] {
    const value = this.#take(key) ?? [];
    if (!Array.isArray(value)) throw mistake(this.#at(key), "is no list");
    return value.map((one, index) => read(one, `${this.#at(key)}[${index}]`));
  }

  /** An object whose keys are names of something. */
  entries<T>(key: string, read: (name: string, value: unknown, path: string) => T): T[] {
    const value = this.#take(key) ?? {};
    const { values } = new Fields(value, this.#at(key));
    return Object.entries(values).map(([name, one]) => read(name, one, `${this.#at(key)}.${name}`));
  }

  get values(): Readonly<Record<string, unknown>> {
    return this.#values;
  }

  done(): void {
    const unknown = Object.keys(this.#values).find((key) => !this.#read.has(key));
    if (unknown !== undefined)
      throw mistake(this.#at(unknown), `is not known: write one of ${[...this.#read].join(", ")}`);
  }

  #take(key: string): unknown {
    this.#read.add(key);
    return this.#values[key];
  }

  #at(key: string): string {
    return this.path === "" ? key : `${this.path}.${key}`;
  }
}

/** Reads an object to its last key. */
export function done<T>(fields: Fields, read: (fields: Fields) => T): T {
  const result = read(fields);
  fields.done();
  return result;
}

export function text(value: unknown, path: string): string {
  if (typeof value !== "string") throw mistake(path, "is no text: write it in quotes");
  return value;
}

export function wholeNumber(value: unknown, path: string, most: number): number {
  const number = typeof value === "string" && /^\d+$/.test(value) ? Number(value) : value;
  if (typeof number === "number" && Number.isInteger(number) && number >= 0 && number <= most) return number;
  throw mistake(path, `is no whole number from 0 to ${most}`);
}

/** In any case, with or without `_`: files are written by hand. */
function choiceOf<T>(value: unknown, path: string, among: Readonly<Record<string, T>>): T {
  const plain = (name: string): string => name.toLowerCase().replaceAll("_", "");
  const found = Object.keys(among).find((name) => typeof value === "string" && plain(name) === plain(value));
  if (found === undefined) throw mistake(path, `is none of ${Object.keys(among).join(", ")}`);
  return among[found]!;
}

export function mistake(path: string, problem: string): LocalMeshError {
  return new LocalMeshError({ code: "local-mesh.bad-field", path, problem });
}
