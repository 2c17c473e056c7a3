/** Who may say how much: `info,access=debug`, as RUST_LOG and `POST /logging` spell it. */

export type LogLevel = (typeof logLevels)[number];

export const logLevels = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;

export interface LogFilter {
  /** Of every scope that is not named. */
  readonly base: LogLevel;
  /** By scope: `access`, `dns`, `policy`, `xds`, … */
  readonly scopes: ReadonlyMap<string, LogLevel>;
}

export const defaultLogFilter: LogFilter = { base: "info", scopes: new Map() };

/**
 * The filter with what `text` says added: a list of `level` and `scope=level`. A scope may be written with the module path of other
 * agents before it (`ztunnel::access`), and with `:` for `=`. A word alone is a level: one that is misspelt is not taken for a scope.
 * @returns the part that is not understood, where there is one; then nothing of the text counts.
 */
export function extendLogFilter(filter: LogFilter, text: string): LogFilter | { readonly unknown: string } {
  let { base } = filter;
  const scopes = new Map(filter.scopes);
  for (const item of text.split(",")) {
    const part = item.trim();
    if (part === "") continue;
    const alone = levelNamed(part);
    if (alone !== undefined) {
      base = alone;
      continue;
    }
    const [, target = "", word] = /^([\w:.-]*?)(?:\[[^\]]*\])?[=:](\w+)$/.exec(part) ?? [];
    const level = word === undefined ? undefined : levelNamed(word);
    if (target === "" || level === undefined) return { unknown: part.slice(0, 100) };
    const scope = target.replace(/^ztunnel(?:::|$)/, "");
    if (scope === "") base = level;
    else scopes.set(scope, level);
  }
  return { base, scopes };
}

/** What a scope may say: what is said of itself, or of the module that it is in. */
export function levelOf({ base, scopes }: LogFilter, scope: string): LogLevel {
  return scopes.get(scope) ?? base;
}

export function formatLogFilter({ base, scopes }: LogFilter): string {
  return [...[...scopes].map(([scope, level]) => `${scope}=${level}`), base].join(",");
}

/** Whether a line of this level is written where `threshold` is in force. */
export function isLoud(level: LogLevel, threshold: LogLevel): boolean {
  return logLevels.indexOf(level) >= logLevels.indexOf(threshold);
}

function levelNamed(word: string): LogLevel | undefined {
  const lower = word.toLowerCase();
  return logLevels.find((level) => level === lower) ?? aliases[lower];
}

/** What others call them. */
const aliases: Readonly<Record<string, LogLevel>> = { off: "silent", warning: "warn", critical: "error" };
