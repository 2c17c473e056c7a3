/** What a pod's namespace holds of ours, read from the kernel: the only memory that survives a daemon that was killed. */
import { LinuxError } from "../../core/linux/errno.ts";
import { listRoutes, type RouteInfo } from "../../core/linux/netlink/routes.ts";
import { listRules, type MarkRule } from "../../core/linux/netlink/rules.ts";
import { drift, readBack, type ReadTable } from "../../core/linux/nftables/read-back.ts";
import type { KernelTruth } from "./enrolment.ts";
import { podRouting, podRules, type PodRuleOptions } from "./rules.ts";

/** @param ipv6 whether the namespace speaks it: then routing is whole only with both families. */
export async function readTruth(netns: number, ipv6: boolean): Promise<KernelTruth | LinuxError> {
  const rules = await listRules({ netns });
  if (rules instanceof LinuxError) return rules;
  const routes = await listRoutes({ netns, table: routingTable });
  if (routes instanceof LinuxError) return routes;
  const tables = readTables(netns);
  if (tables instanceof LinuxError) return tables;
  return { routing: routingOf(rules, routes, ipv6), capture: captureOf([...tables.values()]) };
}

/** How the namespace differs from what these options make of it, a sentence each; none: it is as it was applied. */
export async function readDrift(netns: number, options: PodRuleOptions): Promise<string[] | LinuxError> {
  const tables = readTables(netns);
  if (tables instanceof LinuxError) return tables;
  const wanted = new Map(podRules(options).map((table) => [table.name, table]));
  const found: string[] = [];
  for (const [name, actual] of tables) {
    const table = wanted.get(name);
    if (table !== undefined) found.push(...drift(table, actual));
    else if (actual !== undefined) found.push(`table ${name} does not belong`);
  }
  const truth = await readTruth(netns, options.ipv6);
  if (truth instanceof LinuxError) return truth;
  return truth.routing === "whole" ? found : [...found, `routing is ${truth.routing}`];
}

export function captureOf(tables: readonly (ReadTable | undefined)[]): KernelTruth["capture"] {
  const present = tables.filter((table) => table !== undefined);
  const redirects = present.some(({ chains }) =>
    chains.some(({ rules }) => rules.some(({ instructions }) => instructions.some(isRedirect))),
  );
  if (redirects) return "redirecting";
  return present.length > 0 ? "released" : "none";
}

/** Whole: the rule and the route of every family that the namespace speaks. */
function routingOf(rules: readonly MarkRule[], routes: readonly RouteInfo[], ipv6: boolean): KernelTruth["routing"] {
  const wanted = podRouting(ipv6);
  const present = [
    ...wanted.rules.map((rule) => rules.some((there) => sameRule(rule, there))),
    ...wanted.routes.map(({ destination }) =>
      routes.some(
        (there) => there.type === "local" && there.destination.prefix === 0 && sameFamily(destination.address, there),
      ),
    ),
  ];
  if (present.every(Boolean)) return "whole";
  return present.some(Boolean) ? "partial" : "none";
}

/** Every table that could be ours, by name; undefined where it isn't there. */
function readTables(netns: number): Map<string, ReadTable | undefined> | LinuxError {
  const tables = new Map<string, ReadTable | undefined>();
  for (const { family, name } of podRules({ dnsCapture: true, ipv6: true })) {
    const table = readBack(netns, family, name);
    if (table instanceof LinuxError) return table;
    tables.set(name, table);
  }
  return tables;
}

function isRedirect(instruction: string): boolean {
  return instruction.startsWith("redir ");
}

function sameRule(a: MarkRule, b: MarkRule): boolean {
  const { mark, mask, table, priority, family } = a;
  return mark === b.mark && mask === b.mask && table === b.table && priority === b.priority && family === b.family;
}

function sameFamily(address: string, route: RouteInfo): boolean {
  return address.includes(":") === (route.family === "ipv6");
}

const routingTable = podRouting(false).rules[0]?.table ?? 100;
