/** Where parts of ours are tried with one right less: namespaces without a mesh, an administrator, and the audit log. */
import assert from "node:assert/strict";
import { until } from "../../support/until.ts";
import { connectAs, type Administrator } from "./accounts.ts";
import type { AuditLog } from "./audit-log.ts";
import { describeGrant, type Grant } from "./grants.ts";
import { KubernetesClient } from "../../../control/sources/kubernetes/client.ts";
import { silentLog } from "../../../core/base/log.ts";

export interface Bench {
  readonly admin: Administrator;
  readonly audit: AuditLog;
  readonly namespace: string;
}

/** Of an account of the bench: a client that is it. */
export async function clientOf({ admin, namespace }: Bench, account: string): Promise<KubernetesClient> {
  const connection = await connectAs(admin, namespace, account);
  return new KubernetesClient({ connection, log: silentLog, userAgent: account });
}

/** Everything an account was forbidden, each once. */
export function forbidden({ audit, namespace }: Bench, account: string): string[] {
  const refused = audit.of(`${namespace}:${account}`).filter(({ isForbidden }) => isForbidden);
  return [...new Set(refused.map((asked) => describeAsked(asked)))];
}

/** Settles when the account has been refused what it lacks, and nothing else. */
export async function refusedFor(bench: Bench, account: string, lacking: Grant): Promise<void> {
  const { verb, group, resource } = lacking;
  const lost = describeGrant({ verb, group, resource });
  const refused = await until(`${account} to be refused ${describeGrant(lacking)}`, 15_000, () => {
    const all = forbidden(bench, account);
    return all.length > 0 && all;
  });
  const others = refused.filter((text) => text.replace(/\[.*\]$/, "") !== lost);
  assert.deepEqual(others, [], `what was refused to ${account} beside ${lost}`);
}

/** What was asked, as a right would be written that allows it: with the object's name. */
export function describeAsked({ verb, group, resource, name }: Omit<Grant, "isHome">): string {
  return describeGrant({ verb, group, resource, ...(name === "" || name === undefined ? {} : { name }) });
}

/** Lines of a log, parsed. */
export class Lines {
  readonly all: Record<string, unknown>[] = [];

  write(line: string): void {
    this.all.push(JSON.parse(line) as Record<string, unknown>);
  }

  /** Of a kind of object: the log says that its news no longer come. */
  cannotFollow(resource: string): boolean {
    return this.all.some((line) => line["resource"] === resource && /cannot be followed/.test(String(line["message"])));
  }
}
