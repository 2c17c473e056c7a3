/** Metrics as text: OpenMetrics 1.0, and the older text format 0.0.4, which names a counter with its `_total`. */
import { metricFamily, type MetricName } from "./catalogue.ts";

export type Format = "openmetrics" | "text";

export const contentTypes: Readonly<Record<Format, string>> = {
  openmetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
  text: "text/plain; version=0.0.4; charset=utf-8",
};

/** One line: what follows the family's name, the labels with their braces, and the value. */
export type Sample = readonly [suffix: string, labels: string, value: number];

/** `# TYPE` and `# HELP`. */
export function heading(name: MetricName, format: Format): string {
  const { type, help } = metricFamily(name);
  const called = format === "text" && type === "counter" ? `${name}_total` : name;
  const text = help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
  return `# HELP ${called} ${format === "openmetrics" ? text.replaceAll('"', '\\"') : text}\n# TYPE ${called} ${type}\n`;
}

export function sampleLine(name: MetricName, [suffix, labels, value]: Sample): string {
  return `${name}${suffix}${labels} ${numberText(value)}\n`;
}

/** `{a="b",c="d"}`, or nothing without labels. @param values may be fewer than the names: the rest is left out. */
export function labelText(names: readonly string[], values: readonly string[]): string {
  if (values.length === 0) return "";
  return `{${values.map((value, at) => `${names[at] ?? ""}="${escapeLabel(value)}"`).join(",")}}`;
}

/** Cumulative buckets, sum and count. @param bounds ascending, without +Inf. @param buckets one more than bounds. */
export function* histogramSamples(
  bounds: readonly number[],
  names: readonly string[],
  { labels, buckets, sum }: { labels: readonly string[]; buckets: readonly number[]; sum: number },
): Generator<Sample> {
  let count = 0;
  for (let at = 0; at <= bounds.length; at++) {
    count += buckets[at] ?? 0;
    const bound = bounds[at];
    const le = bound === undefined ? "+Inf" : boundText(bound);
    yield ["_bucket", labelText([...names, "le"], [...labels, le]), count];
  }
  const text = labelText(names, labels);
  yield ["_sum", text, sum];
  yield ["_count", text, count];
}

export const endOfFile: Readonly<Record<Format, string>> = { openmetrics: "# EOF\n", text: "" };

function escapeLabel(value: string): string {
  return /["\\\n]/.test(value) ? value.replace(/["\\]/g, "\\$&").replaceAll("\n", "\\n") : value;
}

/** OpenMetrics wants a bucket's bound as a float: `1.0`. */
function boundText(bound: number): string {
  return Number.isInteger(bound) ? `${bound}.0` : String(bound);
}

function numberText(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  return String(value);
}
