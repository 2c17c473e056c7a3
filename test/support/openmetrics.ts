/**
 * A strict reader of metrics, as OpenMetrics 1.0 or as the text format 0.0.4: what it does not understand, or what the format
 * forbids, throws with the line. It shares nothing with the writer.
 */

export interface ParsedSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface ParsedFamily {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly samples: ParsedSample[];
}

/** Families by their name. */
export function parseMetrics(text: string, format: "openmetrics" | "text"): Map<string, ParsedFamily> {
  const families = new Map<string, ParsedFamily>();
  const lines = text.split("\n");
  if (lines.pop() !== "") throw new Error("the last line does not end");
  if (format === "openmetrics" && lines.pop() !== "# EOF") throw new Error("no # EOF at the end");
  let family: { name: string; type: string; help: string; samples: ParsedSample[] } | undefined;
  let help: { name: string; text: string } | undefined;
  const seen = new Set<string>();
  for (const line of lines) {
    const fail = (why: string): never => {
      throw new Error(`${why}: ${line.slice(0, 200)}`);
    };
    const [, word, name = "", rest = ""] = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)$/.exec(line) ?? [];
    if (word === "HELP") {
      help = { name, text: rest };
      continue;
    }
    if (word === "TYPE") {
      if (families.has(name)) fail("a family twice");
      if (help?.name !== name) fail("a type without its help");
      if (!["counter", "gauge", "histogram", "summary"].includes(rest)) fail("no such type");
      if (format === "openmetrics" && rest === "counter" && name.endsWith("_total"))
        fail("a counter's family is without _total");
      if (format === "text" && rest === "counter" && !name.endsWith("_total"))
        fail("the counter is never seen under this name");
      family = { name, type: rest, help: help?.text ?? "", samples: [] };
      families.set(name, family);
      continue;
    }
    if (line.startsWith("#")) fail("a comment, or # EOF too early");
    const sample = parseSample(line);
    if (sample === undefined || family === undefined) return fail("no sample");
    const suffix = sample.name.slice(family.name.length);
    if (!sample.name.startsWith(family.name) || !suffixes(family.type, format).includes(suffix)) {
      fail(`not of the family ${family.name} (${family.type})`);
    }
    const key = `${sample.name}${JSON.stringify(Object.entries(sample.labels).sort())}`;
    if (seen.has(key)) fail("the same series twice");
    seen.add(key);
    if (family.type === "counter" && !(sample.value >= 0)) fail("a counter below nothing");
    family.samples.push(sample);
  }
  for (const { name, type, samples } of families.values()) {
    if (samples.length === 0) throw new Error(`family ${name} has no samples`);
    if (type === "histogram") checkHistogram(name, samples);
  }
  return families;
}

/** The sum of a family's samples with these labels. */
export function sumOf(families: Map<string, ParsedFamily>, name: string, labels: Record<string, string> = {}): number {
  const wanted = Object.entries(labels);
  const family = families.get(name) ?? families.get(name.replace(/_total$/, ""));
  return (family?.samples ?? [])
    .filter((sample) => wanted.every(([label, value]) => sample.labels[label] === value))
    .reduce((sum, { value }) => sum + value, 0);
}

function parseSample(line: string): ParsedSample | undefined {
  const [, name = "", rest = ""] = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(.*)$/.exec(line) ?? [];
  const labels: Record<string, string> = {};
  let at = 0;
  if (rest.startsWith("{")) {
    at = 1;
    for (;;) {
      const pair = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"([,}])/y;
      pair.lastIndex = at;
      const [all, label = "", value = "", end] = pair.exec(rest) ?? [];
      if (all === undefined || label in labels) return undefined;
      labels[label] = value.replace(/\\(.)/g, (_, character: string) => (character === "n" ? "\n" : character));
      at += all.length;
      if (end === "}") break;
    }
  }
  const number = /^ (\+Inf|-Inf|NaN|[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/.exec(rest.slice(at))?.[1];
  if (number === undefined) return undefined;
  return { name, labels, value: number === "+Inf" ? Infinity : number === "-Inf" ? -Infinity : Number(number) };
}

function suffixes(type: string, format: "openmetrics" | "text"): readonly string[] {
  switch (type) {
    case "counter":
      return format === "openmetrics" ? ["_total"] : [""];
    case "histogram":
      return ["_bucket", "_sum", "_count"];
    case "summary":
      return ["", "_sum", "_count"];
    default:
      return [""];
  }
}

function checkHistogram(name: string, samples: readonly ParsedSample[]): void {
  const series = Map.groupBy(samples, ({ labels: { le: _, ...labels } }) => JSON.stringify(labels));
  for (const [labels, all] of series) {
    const buckets = all.filter((sample) => sample.name === `${name}_bucket`);
    const bounds = buckets.map((bucket) => (bucket.labels["le"] === "+Inf" ? Infinity : Number(bucket.labels["le"])));
    const rising = (numbers: readonly number[]): boolean =>
      numbers.every((one, at) => at === 0 || one >= numbers[at - 1]!);
    const count = all.find((sample) => sample.name === `${name}_count`)?.value;
    const last = buckets.at(-1);
    if (!rising(bounds) || !rising(buckets.map(({ value }) => value))) throw new Error(`${name} ${labels}: not rising`);
    if (last?.labels["le"] !== "+Inf" || last.value !== count)
      throw new Error(`${name} ${labels}: +Inf is not the count`);
  }
}
