/** Whether a policy's rules fit one connection (agent-wire 7.3). */
import { inPrefix } from "../base/ip.ts";
import type { Prefix } from "../protocol/wds/fields.ts";
import type { Clause, Match, Policy, Rule, ServiceAccountMatch, StringMatch } from "../protocol/wds/authorization.ts";

/** One connection as rules see it. */
export interface RuleFacts {
  /** `trust.domain/ns/x/sa/y` of the authenticated peer; undefined for plaintext. */
  readonly principal: string | undefined;
  /** The peer's namespace; empty without an identity. */
  readonly namespace: string;
  /** The peer's service account; undefined without an identity. */
  readonly serviceAccount: string | undefined;
  /** 4 or 16 bytes of the TCP peer's address; undefined where it could not be read, which is then in no prefix. */
  readonly source: Uint8Array | undefined;
  readonly destination: Uint8Array | undefined;
  readonly destinationPort: number;
}

/** The first rule that fits, or undefined. A policy without rules never fits. */
export function matchingRule(policy: Policy, facts: RuleFacts): Rule | undefined {
  return policy.rules.find((rule) => ruleHolds(rule, facts));
}

/** Whether a rule asks for nothing but "no identity" in one of its clauses: the form a STRICT PeerAuthentication takes (agent-wire 7.6). */
export function demandsIdentity(rule: Rule): boolean {
  return rule.clauses.some((clause) => clause.matches.length > 0 && clause.matches.every(isAnonymousOnly));
}

function ruleHolds(rule: Rule, facts: RuleFacts): boolean {
  return rule.clauses.every((clause) => clauseHolds(clause, facts));
}

function clauseHolds(clause: Clause, facts: RuleFacts): boolean {
  return clause.matches.length === 0 || clause.matches.some((match) => matchHolds(match, facts));
}

function matchHolds(match: Match, facts: RuleFacts): boolean {
  return (
    !isEmpty(match) &&
    holds(match.principals, match.notPrincipals, (item) => textFits(item, facts.principal)) &&
    holds(match.namespaces, match.notNamespaces, (item) => textFits(item, facts.namespace)) &&
    holds(match.serviceAccounts, match.notServiceAccounts, (item) => accountFits(item, facts)) &&
    holds(match.sourceIps, match.notSourceIps, (item) => prefixFits(item, facts.source)) &&
    holds(match.destinationIps, match.notDestinationIps, (item) => prefixFits(item, facts.destination)) &&
    holds(match.destinationPorts, match.notDestinationPorts, (port) => port === facts.destinationPort)
  );
}

function holds<T>(wanted: readonly T[], unwanted: readonly T[], fits: (item: T) => boolean): boolean {
  return (wanted.length === 0 || wanted.some(fits)) && !unwanted.some(fits);
}

/** Without a text (no identity) nothing fits, not even presence. */
function textFits(match: StringMatch, text: string | undefined): boolean {
  if (text === undefined) return false;
  switch (match.kind) {
    case "exact":
      return text === match.value;
    case "prefix":
      return text.startsWith(match.value);
    case "suffix":
      return text.endsWith(match.value);
    case "presence":
      return text !== "";
  }
}

function accountFits(match: ServiceAccountMatch, facts: RuleFacts): boolean {
  return match.serviceAccount === facts.serviceAccount && match.namespace === facts.namespace;
}

function prefixFits({ prefix, length }: Prefix, address: Uint8Array | undefined): boolean {
  return address !== undefined && inPrefix(address, prefix, length);
}

function isEmpty(match: Match): boolean {
  return attributes.every((attribute) => match[attribute].length === 0);
}

function isAnonymousOnly(match: Match): boolean {
  return (
    match.notPrincipals.some((item) => item.kind === "presence") &&
    attributes.every((attribute) => attribute === "notPrincipals" || match[attribute].length === 0)
  );
}

const attributes = [
  "namespaces",
  "notNamespaces",
  "principals",
  "notPrincipals",
  "sourceIps",
  "notSourceIps",
  "destinationIps",
  "notDestinationIps",
  "destinationPorts",
  "notDestinationPorts",
  "serviceAccounts",
  "notServiceAccounts",
] as const satisfies readonly (keyof Match)[];
