/** Flags as typed: `--flag value` and `--flag=value`, each known, each once unless it says otherwise. */
import { isIP } from "node:net";
import { parseIp, type Endpoint } from "../../core/base/ip.ts";
import { FlagError } from "../../core/base/flag-error.ts";

export interface FlagRule {
  /** What it takes, for the usage. */
  readonly value: string;
  readonly required?: true;
  readonly repeatable?: true;
}

export type FlagRules = Readonly<Record<string, FlagRule>>;

/** What was given, in order. */
export type Given = ReadonlyMap<string, readonly string[]>;

export function readFlags(argv: readonly string[], rules: FlagRules): Given | FlagError {
  const given = new Map<string, string[]>();
  for (let index = 0; index < argv.length; index++) {
    const word = argv[index] ?? "";
    const [flag = "", ...rest] = word.split("=");
    const name = flag.slice(2);
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined;
    if (!flag.startsWith("--") || rule === undefined) {
      const known = Object.keys(rules).map((one) => `--${one}`);
      return badFlag(word, "is not a flag of it", `the flags are ${known.join(", ")}`);
    }
    const value = rest.length > 0 ? rest.join("=") : argv[++index];
    if (value === undefined || value === "" || (rest.length === 0 && value.startsWith("--"))) {
      return badFlag(flag, "has no value", `write ${flag} ${rule.value}`);
    }
    const values = given.get(name);
    if (values === undefined) given.set(name, [value]);
    else if (rule.repeatable === true) values.push(value);
    else return badFlag(flag, "is given twice", "give it once");
  }
  const missing = Object.entries(rules).find(([name, rule]) => rule.required === true && !given.has(name));
  if (missing === undefined) return given;
  const [name, { value }] = missing;
  return badFlag(`--${name}`, "is missing", `add --${name} ${value}`);
}

/** One flag as the usage shows it. */
export function flagUsage([name, { value, required, repeatable }]: readonly [string, FlagRule]): string {
  const text = `--${name} ${value}`;
  return required === true ? text : `[${text}]${repeatable === true ? "…" : ""}`;
}

/** `10.0.0.1:8080`, `[::]:8080`, or `:8080` for every address there is. */
export function parseListen(flag: string, text: string): Endpoint | FlagError {
  const [, address = "", port = ""] = /^(.*):(\d{1,5})$/.exec(text) ?? [];
  const bare = address.replace(/^\[(.*)\]$/, "$1");
  const isBracketed = bare !== address;
  if (port !== "" && address === "" && Number(port) <= 65_535) return { address: "::", port: Number(port) };
  const isGood = parseIp(bare) !== undefined && isBracketed === bare.includes(":") && Number(port) <= 65_535;
  if (isGood) return { address: bare, port: Number(port) };
  return badFlag(flag, `is "${text}"`, "give an address and a port, like 0.0.0.0:15012 or [::]:15012");
}

/** Whole seconds of a certificate's life. */
export function parseSeconds(flag: string, text: string, most: number): number | FlagError {
  const seconds = Number(text);
  if (Number.isInteger(seconds) && seconds >= 1 && seconds <= most) return seconds;
  return badFlag(flag, `is "${text}"`, `give whole seconds from 1 to ${most}`);
}

export function parseNames(flag: string, text: string): string[] | FlagError {
  const names = text.split(",").filter((name) => name !== "");
  const strange = names.find((name) => isIP(name) === 0 && !hostShape.test(name));
  if (strange === undefined) return names;
  return badFlag(flag, `holds "${strange}"`, "give host names and addresses, with commas between");
}

export function badFlag(flag: string, problem: string, fix: string): FlagError {
  return new FlagError({
    code: "config.bad-flag",
    command: "ambientd control",
    flag,
    problem: `${flag} ${problem}`,
    fix,
  });
}

const hostShape = /^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/;
