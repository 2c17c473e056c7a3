/** Reads an untyped document field by field: a value of the asked type, or its default and a fault that names the field. */
import { canonicalIp, formatIp, parseIp } from "../../core/base/ip.ts";
import type { Fault, IpBlock, Labels } from "./objects.ts";

type Path = Fault["path"];

export class Fields {
  readonly #value: Readonly<Record<string, unknown>>;
  readonly #path: Path;
  readonly #faults: Fault[];

  /** @param faults receives what is found wrong, here and in every child. */
  constructor(value: unknown, path: Path, faults: Fault[]) {
    this.#path = path;
    this.#faults = faults;
    if (isRecord(value)) {
      this.#value = value;
      return;
    }
    this.#value = {};
    if (value !== undefined && value !== null) this.#fault([], `must be an object, not ${describeType(value)}`);
  }

  has(name: string): boolean {
    return this.#of(name) !== undefined;
  }

  fault(name: string, message: string): void {
    this.#fault([name], message);
  }

  text(name: string, fallback = ""): string {
    return this.optionalText(name) ?? fallback;
  }

  optionalText(name: string): string | undefined {
    const value = this.#of(name);
    if (value === undefined || typeof value === "string") return value;
    this.#fault([name], `must be a string, not ${describeType(value)}`);
    return undefined;
  }

  /** One of a closed set of words. */
  oneOf<Word extends string>(name: string, words: readonly Word[], fallback: Word): Word {
    const value = this.optionalText(name);
    if (value === undefined) return fallback;
    const word = words.find((candidate) => candidate === value);
    if (word !== undefined) return word;
    this.#fault([name], `must be one of ${words.join(", ")}, not "${value}"`);
    return fallback;
  }

  flag(name: string): boolean {
    const value = this.#of(name);
    if (typeof value === "boolean") return value;
    if (value !== undefined) this.#fault([name], `must be true or false, not ${describeType(value)}`);
    return false;
  }

  optionalInteger(name: string, least: number, most: number): number | undefined {
    const value = this.#of(name);
    return value === undefined ? undefined : this.#integer(value, [name], least, most);
  }

  /** A port by number, or by the name of a container's port. */
  textOrInteger(name: string): string | number | undefined {
    return typeof this.#of(name) === "number" ? this.optionalInteger(name, 1, 65535) : this.optionalText(name);
  }

  /** A port from 1 to 65535; 0 and a fault where it is missing. */
  port(name: string): number {
    const value = this.optionalInteger(name, 1, 65535);
    if (value === undefined && !this.has(name)) this.#fault([name], "is required");
    return value ?? 0;
  }

  /** A list of ports as policies write them: strings, though a bare number means the same. */
  ports(name: string): number[] {
    return this.#list(name, (value, path) => {
      const number = typeof value === "string" && /^[0-9]{1,5}$/.test(value) ? Number(value) : value;
      return this.#integer(number, path, 1, 65535);
    });
  }

  texts(name: string): string[] {
    return this.#list(name, (value, path) => {
      if (typeof value === "string") return value;
      this.#fault(path, `must be a string, not ${describeType(value)}`);
      return undefined;
    });
  }

  /** IP addresses in canonical text. */
  addresses(name: string): string[] {
    return this.texts(name).flatMap((text, index) => {
      const address = canonicalIp(text);
      if (address === undefined) this.#fault([name, index], `must be an IP address, not "${text}"`);
      return address ?? [];
    });
  }

  /** Addresses and ranges, `10.0.0.1` or `10.0.0.0/8`, with the host bits cleared. */
  ipBlocks(name: string): IpBlock[] {
    return this.texts(name).flatMap((text, index) => {
      const block = parseIpBlock(text);
      if (block === undefined) this.#fault([name, index], `must be an IP address or range, not "${text}"`);
      return block ?? [];
    });
  }

  labels(name: string): Labels {
    const entries = Object.entries(this.record(name)).flatMap(([key, value]): [string, string][] => {
      if (typeof value === "string") return [[key, value]];
      this.#fault([name, key], `must be a string, not ${describeType(value)}`);
      return [];
    });
    return Object.fromEntries(entries);
  }

  record(name: string): Readonly<Record<string, unknown>> {
    const value = this.#of(name);
    if (value === undefined) return {};
    if (isRecord(value)) return value;
    this.#fault([name], `must be an object, not ${describeType(value)}`);
    return {};
  }

  /** The object in a field; one without fields where it is absent. */
  child(name: string): Fields {
    return new Fields(this.#of(name), [...this.#path, name], this.#faults);
  }

  children(name: string): Fields[] {
    return this.#list(name, (value, path) => {
      if (isRecord(value)) return new Fields(value, [...this.#path, ...path], this.#faults);
      this.#fault(path, `must be an object, not ${describeType(value)}`);
      return undefined;
    });
  }

  /** Where a misspelt field would change the meaning of all others, an unknown one is a fault. */
  only(...names: readonly string[]): void {
    for (const name of Object.keys(this.#value)) {
      if (!names.includes(name)) this.#fault([name], `is not a field here; known are ${names.join(", ")}`);
    }
  }

  /** An explicit null is as good as nothing, as for the API server. */
  #of(name: string): unknown {
    return Object.hasOwn(this.#value, name) ? (this.#value[name] ?? undefined) : undefined;
  }

  #list<Item>(name: string, read: (value: unknown, path: Path) => Item | undefined): Item[] {
    const value = this.#of(name);
    if (value === undefined) return [];
    if (!Array.isArray(value)) {
      this.#fault([name], `must be a list, not ${describeType(value)}`);
      return [];
    }
    return value.flatMap((item: unknown, index) => read(item, [name, index]) ?? []);
  }

  #integer(value: unknown, path: Path, least: number, most: number): number | undefined {
    if (Number.isInteger(value) && (value as number) >= least && (value as number) <= most) return value as number;
    const given = typeof value === "number" || typeof value === "string" ? `"${value}"` : describeType(value);
    this.#fault(path, `must be a whole number from ${least} to ${most}, not ${given}`);
    return undefined;
  }

  #fault(path: Path, message: string): void {
    this.#faults.push({ path: [...this.#path, ...path], message });
  }
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `10.1.2.3/8` → 10.0.0.0 and 8; a bare address is a range of one. */
export function parseIpBlock(text: string): IpBlock | undefined {
  const match = /^([^/]+)(?:\/([0-9]{1,3}))?$/.exec(text);
  const bytes = parseIp(match?.[1] ?? "");
  if (bytes === undefined) return undefined;
  const bits = bytes.length * 8;
  const length = match?.[2] === undefined ? bits : Number(match[2]);
  if (length > bits) return undefined;
  const masked = bytes.map((byte, index) => byte & (0xff00 >> Math.min(8, Math.max(0, length - index * 8))) & 0xff);
  return { address: formatIp(masked) ?? "", length };
}

function describeType(value: unknown): string {
  switch (typeof value) {
    case "number":
    case "boolean":
      return `the ${typeof value} ${String(value)}`;
    case "string":
      return `the text "${value}"`;
    default:
      return value === null ? "null" : Array.isArray(value) ? "a list" : "an object";
  }
}
