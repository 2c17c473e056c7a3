/** One line of the access log, written field by field: there is one for every connection, and no record of its fields is made first. */
import { plainLine, type LineHead } from "../../core/base/plain-line.ts";
import { mostPrintable, printable } from "../../core/base/printable.ts";
import type { FieldTaker } from "../connection/close-record.ts";

/** What a stranger chose is made fit to be printed. */
export interface Line extends FieldTaker {
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
  return value.length <= mostPrintable && plain.test(value) ? `"${value}"` : JSON.stringify(printable(value));
}

/** Neither in need of an escape nor of {@link printable}: nearly everything that is ever said. */
const plain = /^[ !#-[\]-~]*$/;
