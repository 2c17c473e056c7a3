/** The text of a conflist, edited where our entry goes and nowhere else: order, spacing, numbers and unknown fields of its owner
 *  stay as they are, and taking the entry out again gives the very bytes that were there. All text here has passed JSON.parse. */
import type { JsonObject } from "../../core/protocol/cni/json-reader.ts";

/** @param entry appended as the last plugin of the list. */
export function withEntry(text: string, entry: JsonObject): string {
  const plugins = pluginsOf(text);
  const last = plugins.elements.at(-1);
  const [first] = plugins.elements;
  if (last === undefined || first === undefined) return text;
  const gap = text.slice(plugins.start + 1, first.start);
  return `${text.slice(0, last.end)},${gap}${entryText(entry, gap)}${text.slice(last.end)}`;
}

/** Without every plugin of that type, together with the comma and the space before it. */
export function withoutType(text: string, type: string): string {
  for (;;) {
    const { elements } = pluginsOf(text);
    const at = elements.findLastIndex(({ start, end }) => typeOf(text.slice(start, end)) === type);
    const found = elements[at];
    if (found === undefined) return text;
    const before = elements[at - 1];
    const after = elements[at + 1];
    const from = before?.end ?? found.start;
    const to = before === undefined ? (after?.start ?? found.end) : found.end;
    text = text.slice(0, from) + text.slice(to);
  }
}

interface Span {
  readonly start: number;
  /** Behind its last character. */
  readonly end: number;
}

interface Plugins extends Span {
  readonly elements: readonly Span[];
}

/** In the style of the list: over several lines where that is. */
function entryText(entry: JsonObject, gap: string): string {
  const line = gap.lastIndexOf("\n");
  if (line === -1) return JSON.stringify(entry);
  const indent = gap.slice(line + 1);
  const unit = indent.includes("\t") ? "\t" : "  ";
  return JSON.stringify(entry, undefined, unit).replaceAll("\n", `\n${indent}`);
}

function typeOf(element: string): unknown {
  const value: unknown = JSON.parse(element);
  return typeof value === "object" && value !== null && "type" in value ? value.type : undefined;
}

/** The last member of that name counts, as with every JSON parser the runtimes have. */
function pluginsOf(text: string): Plugins {
  let plugins: Span = { start: 0, end: 0 };
  const open = skipSpace(text, 0);
  for (let at = skipSpace(text, open + 1); text[at] === '"';) {
    const keyEnd = skipString(text, at);
    const start = skipSpace(text, skipSpace(text, keyEnd) + 1);
    const end = skipValue(text, start);
    if (JSON.parse(text.slice(at, keyEnd)) === "plugins") plugins = { start, end };
    at = nextItem(text, end);
  }
  return { ...plugins, elements: elementsOf(text, plugins) };
}

function elementsOf(text: string, array: Span): Span[] {
  const elements: Span[] = [];
  for (let start = skipSpace(text, array.start + 1); start < array.end - 1;) {
    const end = skipValue(text, start);
    elements.push({ start, end });
    start = nextItem(text, end);
  }
  return elements;
}

function nextItem(text: string, end: number): number {
  const at = skipSpace(text, end);
  return text[at] === "," ? skipSpace(text, at + 1) : text.length;
}

function skipValue(text: string, start: number): number {
  if (text[start] === '"') return skipString(text, start);
  if (text[start] !== "{" && text[start] !== "[") {
    let at = start;
    while (at < text.length && !",]} \t\r\n".includes(text[at] ?? "")) at++;
    return at;
  }
  let depth = 0;
  for (let at = start; at < text.length; at++) {
    const character = text[at];
    if (character === '"') at = skipString(text, at) - 1;
    else if (character === "{" || character === "[") depth++;
    else if ((character === "}" || character === "]") && --depth === 0) return at + 1;
  }
  return text.length;
}

function skipString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === '"') return at + 1;
  }
  return text.length;
}

function skipSpace(text: string, at: number): number {
  while (at < text.length && " \t\r\n".includes(text[at] ?? "")) at++;
  return at;
}
