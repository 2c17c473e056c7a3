/** Policy routing: which packets look into which routing table. */
import type { LinuxError } from "../errno.ts";
import {
  AF_INET,
  AF_INET6,
  changeWithRtnetlink,
  createOnly,
  withRtnetlink,
  type In,
  type Rtnetlink,
} from "./session.ts";

export interface MarkRule {
  /** Packets whose mark, under `mask`, is this … */
  readonly mark: number;
  readonly mask: number;
  /** … look into this table … */
  readonly table: number;
  /** … when their turn comes; smaller goes first. */
  readonly priority: number;
  readonly family: "ipv4" | "ipv6";
}

export type RuleOptions = MarkRule & In;

/** One that is already there is no error. */
export async function addRule(options: RuleOptions): Promise<LinuxError | undefined> {
  const failure = await changeWithRtnetlink(options, "add-rule", detail(options), (socket) =>
    socket.newRule(...request(options), createOnly),
  );
  return failure?.errno === "EEXIST" ? undefined : failure;
}

/** ENOENT if there is no such rule. */
export function deleteRule(options: RuleOptions): Promise<LinuxError | undefined> {
  return changeWithRtnetlink(options, "delete-rule", detail(options), (socket) => socket.delRule(...request(options)));
}

/** The rules that look at a packet's mark, in both families. */
export async function listRules(where: In = {}): Promise<MarkRule[] | LinuxError> {
  return withRtnetlink(where, "list-rules", "", async (socket) => {
    const rules = await socket.getRules();
    return rules.flatMap(({ data, attrs }) => {
      if (attrs.fwmark === undefined) return [];
      const family = data.family === AF_INET6 ? "ipv6" : "ipv4";
      const table = attrs.table ?? data.table ?? 0;
      return [{ mark: attrs.fwmark, mask: attrs.fwmask ?? 0xffff_ffff, table, priority: attrs.priority ?? 0, family }];
    });
  });
}

function request(options: RuleOptions): [Parameters<Rtnetlink["newRule"]>[0], Parameters<Rtnetlink["newRule"]>[1]] {
  const { mark, mask, table, priority, family } = options;
  return [
    { family: family === "ipv6" ? AF_INET6 : AF_INET, table: table < 256 ? table : 0, action: "toTbl" },
    { fwmark: mark, fwmask: mask, table, priority },
  ];
}

function detail(options: RuleOptions): string {
  return `${options.family} fwmark 0x${options.mark.toString(16)}/0x${options.mask.toString(16)} table ${options.table}`;
}
