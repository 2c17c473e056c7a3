/** The authorisation rules once more, as slowly and plainly as their text (agent-wire 7.1-7.3): every policy looked at, nothing indexed, nothing shared with core/decision. */
import { BlockList, isIPv6 } from "node:net";
import { formatIp } from "../../core/base/ip.ts";
import type { Prefix } from "../../core/protocol/wds/fields.ts";
import type { Clause, Match, Policy, Rule, StringMatch } from "../../core/protocol/wds/authorization.ts";

export interface Question {
  readonly workload: { readonly namespace: string; readonly policies: readonly string[] };
  readonly peer: { trustDomain: string; namespace: string; serviceAccount: string } | undefined;
  readonly peerAddress: string;
  readonly destination: { readonly address: string; readonly port: number };
}

export type Answer =
  | { readonly verdict: "unknown-policy"; readonly policies: readonly string[] }
  | { readonly verdict: "denied"; readonly policies: readonly string[] }
  | { readonly verdict: "not-allowed" }
  | { readonly verdict: "allowed"; readonly policies: readonly string[] };

/** `policies` names every policy that could be given as the reason. */
export function judge(policies: readonly Policy[], question: Question): Answer {
  const { workload } = question;
  const unknown = workload.policies.filter((key) => !policies.some((policy) => policy.key === key));
  if (unknown.length > 0) return { verdict: "unknown-policy", policies: unknown };
  const applying = policies.filter(
    (policy) =>
      !policy.dryRun &&
      (policy.scope === "global" ||
        (policy.scope === "namespace" && policy.namespace === workload.namespace) ||
        workload.policies.includes(policy.key)),
  );
  const fitting = applying.filter((policy) => policy.rules.some((rule) => fitsRule(rule, question)));
  const denying = fitting.filter((policy) => policy.action === "deny").map((policy) => policy.key);
  if (denying.length > 0) return { verdict: "denied", policies: denying };
  if (!applying.some((policy) => policy.action === "allow")) return { verdict: "allowed", policies: [] };
  const allowing = fitting.filter((policy) => policy.action === "allow").map((policy) => policy.key);
  return allowing.length > 0 ? { verdict: "allowed", policies: allowing } : { verdict: "not-allowed" };
}

function fitsRule(rule: Rule, question: Question): boolean {
  for (const clause of rule.clauses) if (!fitsClause(clause, question)) return false;
  return true;
}

function fitsClause(clause: Clause, question: Question): boolean {
  if (clause.matches.length === 0) return true;
  for (const match of clause.matches) if (fitsMatch(match, question)) return true;
  return false;
}

function fitsMatch(match: Match, { peer, peerAddress, destination }: Question): boolean {
  if (Object.values(match).every((list: readonly unknown[]) => list.length === 0)) return false;
  const principal = peer && `${peer.trustDomain}/ns/${peer.namespace}/sa/${peer.serviceAccount}`;
  const namespace = peer ? peer.namespace : "";
  const isPrincipal = (item: StringMatch): boolean => principal !== undefined && fitsText(item, principal);
  const isNamespace = (item: StringMatch): boolean => fitsText(item, namespace);
  const isAccount = (item: { namespace: string; serviceAccount: string }): boolean =>
    peer !== undefined && item.namespace === peer.namespace && item.serviceAccount === peer.serviceAccount;
  const isSource = (item: Prefix): boolean => isInside(item, peerAddress);
  const isDestination = (item: Prefix): boolean => isInside(item, destination.address);
  if (match.principals.length > 0 && !match.principals.some(isPrincipal)) return false;
  if (match.notPrincipals.some(isPrincipal)) return false;
  if (match.namespaces.length > 0 && !match.namespaces.some(isNamespace)) return false;
  if (match.notNamespaces.some(isNamespace)) return false;
  if (match.serviceAccounts.length > 0 && !match.serviceAccounts.some(isAccount)) return false;
  if (match.notServiceAccounts.some(isAccount)) return false;
  if (match.sourceIps.length > 0 && !match.sourceIps.some(isSource)) return false;
  if (match.notSourceIps.some(isSource)) return false;
  if (match.destinationIps.length > 0 && !match.destinationIps.some(isDestination)) return false;
  if (match.notDestinationIps.some(isDestination)) return false;
  if (match.destinationPorts.length > 0 && !match.destinationPorts.includes(destination.port)) return false;
  return !match.notDestinationPorts.includes(destination.port);
}

function fitsText(match: StringMatch, text: string): boolean {
  if (match.kind === "presence") return text.length > 0;
  if (match.kind === "exact") return text === match.value;
  if (match.kind === "prefix") return text.slice(0, match.value.length) === match.value;
  return match.value === "" || text.slice(-match.value.length) === match.value;
}

function isInside({ prefix, length }: Prefix, address: string): boolean {
  const network = formatIp(prefix);
  if (network === undefined || isIPv6(network) !== isIPv6(address)) return false;
  const list = new BlockList();
  list.addSubnet(network, length, isIPv6(network) ? "ipv6" : "ipv4");
  return list.check(address, isIPv6(address) ? "ipv6" : "ipv4");
}
