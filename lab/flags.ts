/** The flags of `npm start -- …`. A bad one names itself and what it takes. */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { isFamilies } from "./addresses.ts";
import { isPart, parts, type Part } from "./check/parts.ts";
import { components, type Component } from "./config.ts";
import { checkoutRoot } from "./programs.ts";
import { Refused } from "./refusals.ts";
import type { LabOptions } from "./start.ts";

export interface Flags {
  readonly lab: LabOptions;
  /** Absent: the lab stays up until it is told to end. */
  readonly check?: { readonly json: boolean; readonly broken?: Part };
}

/** @throws Refused with the flag and what it takes. */
export function readFlags(argv: readonly string[]): Flags {
  const { name, nodes = "2", families = "46", workers = "2", manifests, ...rest } = parsed(argv);
  if (!/^[1-9]\d{0,2}$/.test(nodes)) throw new Refused(`--nodes takes a number from 1 to 254, not "${nodes}".`);
  if (!isFamilies(families)) throw new Refused(`--families takes 4, 6 or 46, not "${families}".`);
  if (!/^[1-9]\d?$/.test(workers)) throw new Refused(`--workers takes a number from 1 to 99, not "${workers}".`);
  const lab: LabOptions = {
    nodes: Number(nodes),
    families,
    workers: Number(workers),
    manifests: manifests ?? join(checkoutRoot, "lab/manifests"),
    watch: true,
    ...(name === undefined ? {} : { name }),
    ...(rest.components === undefined ? {} : { components: componentsOf(rest.components) }),
  };
  const check = checkOf(rest.check === true, rest.json === true, rest.break);
  return check === undefined ? { lab } : { lab: checked(lab, argv), check };
}

/** The check is about the demo: flags that would make another mesh of it are refused rather than judged. */
function checked(lab: LabOptions, argv: readonly string[]): LabOptions {
  for (const flag of ["--manifests", "--nodes", "--families", "--workers", "--components"]) {
    if (argv.some((word) => word === flag || word.startsWith(`${flag}=`)))
      throw new Refused(`--check judges the demo as it is: leave ${flag} out.`);
  }
  return { ...lab, watch: false };
}

function checkOf(check: boolean, json: boolean, broken: string | undefined): Flags["check"] {
  if (broken !== undefined && !isPart(broken))
    throw new Refused(`--break takes one of ${parts.join(", ")}, not "${broken}".`);
  if (!check) {
    if (json || broken !== undefined) throw new Refused("--json and --break go with --check.");
    return undefined;
  }
  return { json, ...(broken === undefined ? {} : { broken }) };
}

function parsed(argv: readonly string[]) {
  const text = { type: "string" } as const;
  const flag = { type: "boolean" } as const;
  const lab = { name: text, nodes: text, families: text, workers: text, manifests: text, components: text };
  try {
    return parseArgs({ args: [...argv], options: { ...lab, check: flag, json: flag, break: text } }).values;
  } catch (error) {
    throw new Refused(`${error instanceof Error ? error.message : String(error)}.`);
  }
}

/** `cni,agent`; empty for a lab of plain pods. */
function componentsOf(list: string): Component[] {
  return list
    .split(",")
    .filter((word) => word !== "")
    .map((word) => {
      const found = components.find((component) => component === word);
      if (found === undefined) throw new Refused(`--components takes some of ${components.join(",")}, not "${word}".`);
      return found;
    });
}
