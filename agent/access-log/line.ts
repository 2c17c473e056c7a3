/** One line of the access log, written field by field: there is one for every connection, and no object is made for it. */
import { plainLine } from "../../core/base/plain-line.ts";
import { printable } from "../../core/base/printable.ts";

/** How every line begins. */
export interface LineHead {
  readonly level: string;
  /** RFC 3339, UTC. */
  readonly time: string;
  readonly scope: string;
  readonly message: string;
}

/** Takes fields in the order they shall have. */
export interface Line {
  /** What is unknown is left out; what a stranger chose is made fit to be printed. */
  add(name: string, value: string | number | undefined): void;
  text(): string;
}

/** @param name of a field is one of ours, and needs no care. */
export class JsonLine implements Line {
  #text: string;

  constructor({ level, time, scope, message }: LineHead) {
    this.#text = `{"level":"${level}","time":"${time}","scope":"${scope}","message":"${message}"`;
  }

  add(name: string, value: string | number | undefined): void {
    if (typeof value === "string") this.#text += `,"${name}":${jsonText(value)}`;
    else if (value !== undefined) this.#text += `,"${name}":${value}`;
  }

  text(): string {
    return `${this.#text}}`;
  }
}

export class PlainLine implements Line {
  readonly #head: LineHead;
  readonly #fields: Record<string, string | number> = {};

  constructor(head: LineHead) {
    this.#head = head;
  }

  add(name: string, value: string | number | undefined): void {
    if (value !== undefined) this.#fields[name] = value;
  }

  text(): string {
    return plainLine(this.#head, this.#fields);
  }
}

function jsonText(value: string): string {
  return value.length <= longestPlain && plain.test(value) ? `"${value}"` : JSON.stringify(printable(value));
}

/** Neither in need of an escape nor of {@link printable}: nearly everything that is ever said. */
const plain = /^[ !#-[\]-~]*$/;
const longestPlain = 1_024;
