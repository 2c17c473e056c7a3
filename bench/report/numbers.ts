/** Numbers for people: three digits that count, and the unit. */
import type { Unit } from "../figures.ts";

export function quantity(value: number, unit: Unit): string {
  return `${numeral(value)}${unit.startsWith("/") ? "" : " "}${unit}`;
}

/** Three significant digits; from a thousand on whole, with separators. */
export function numeral(value: number): string {
  const size = Math.abs(value);
  if (size >= 1_000) return Math.round(value).toLocaleString("en");
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : 2;
  // -0.001 is no "-0.00".
  return (Math.abs(value) < 0.005 ? 0 : value).toFixed(digits);
}

/** `0.87 ×`; small ones are told more exactly: targets are. */
export function ratio(value: number): string {
  return `${value.toFixed(value >= 10 ? 1 : value < 0.2 ? 3 : 2)} ×`;
}

/** @param iso ISO 8601, to the minute, of UTC. */
export function atMinute(iso: string): string {
  return `${iso.replace("T", " ")} UTC`;
}
