/** A log line for people: time, level, scope and message between tabs, then `key=value`. */
import { printable } from "./printable.ts";

/** How every line begins. */
export interface LineHead {
  /** RFC 3339, UTC. */
  readonly time: string;
  readonly level: string;
  readonly scope: string;
  readonly message: string;
}

export function plainLine(head: LineHead, fields: Readonly<Record<string, unknown>>): string {
  const pairs = Object.entries(fields).map(([name, value]) => `${name}=${valueText(name, value)}`);
  return [
    head.time,
    head.level,
    head.scope,
    printable(head.message),
    ...(pairs.length > 0 ? [pairs.join(" ")] : []),
  ].join("\t");
}

/** Addresses and numbers stand for themselves; text is quoted. */
function valueText(name: string, value: unknown): string {
  if (typeof value === "string") return bare.has(name) ? printable(value) : JSON.stringify(printable(value));
  if (typeof value === "number" || typeof value === "boolean" || value === null) return String(value);
  return printable(JSON.stringify(value) ?? "");
}

const bare: ReadonlySet<string> = new Set(["src.addr", "dst.addr", "dst.hbone_addr", "app.local"]);
