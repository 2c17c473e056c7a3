/**
 * AuthorizationPolicy as an L4 agent enforces it. What only HTTP can tell is beyond it, and then it may only refuse more,
 * never less: an ALLOW loses the rules that speak of HTTP, a DENY loses the conditions and keeps the denial.
 *
 * Shape of what is sent: rules OR, clauses of a rule AND, matches of a clause OR, fields of a match AND. A match without
 * fields never matches; a rule without clauses always does. (istio.security.Authorization)
 */
import {
  Action,
  Scope,
  type Authorization,
  type Clause,
  type Match,
  type Rule,
  type ServiceAccountMatch,
  type StringMatch,
} from "../../../core/protocol/generated/security.ts";
import type {
  AuthorizationCondition,
  AuthorizationOperation,
  AuthorizationPolicy,
  AuthorizationRule,
  AuthorizationSource,
  IpBlock,
} from "../../sources/objects.ts";
import { isEmpty } from "./inputs.ts";
import { addressBytes } from "./resources.ts";

/** Why a policy is not, or not as written, enforced by agents. */
export type Reservation =
  | { readonly kind: "action"; readonly action: string }
  | { readonly kind: "dry-run" }
  /** Sorted names of HTTP attributes; `rules` of them were left out (ALLOW) or widened (DENY). */
  | { readonly kind: "http"; readonly action: "ALLOW" | "DENY"; readonly attributes: readonly string[] };

export interface ConvertedPolicy {
  readonly authorization: Authorization | undefined;
  readonly reservation: Reservation | undefined;
}

/** Whether agents get the policy at all. With targetRefs it is a waypoint's; a dry run must not deny. */
export function isForAgents(policy: AuthorizationPolicy): boolean {
  const { action, targetRefs } = policy.spec;
  return targetRefs.length === 0 && (action === "ALLOW" || action === "DENY") && !isDryRun(policy);
}

export function convertPolicy(policy: AuthorizationPolicy, rootNamespace: string): ConvertedPolicy {
  const { action, targetRefs, selector, rules } = policy.spec;
  if (targetRefs.length > 0) return { authorization: undefined, reservation: undefined };
  if (action !== "ALLOW" && action !== "DENY")
    return { authorization: undefined, reservation: { kind: "action", action } };
  if (isDryRun(policy)) return { authorization: undefined, reservation: { kind: "dry-run" } };

  const { name, namespace } = policy.metadata;
  const attributes = new Set<string>();
  const authorization: Authorization = {
    name,
    namespace,
    scope: !isEmpty(selector) ? Scope.WORKLOAD_SELECTOR : namespace === rootNamespace ? Scope.GLOBAL : Scope.NAMESPACE,
    action: action === "DENY" ? Action.DENY : Action.ALLOW,
    rules: rules === "unusable" ? refusal(action) : convertRules(rules, action, namespace, attributes),
    dryRun: false,
    extensions: [],
  };
  if (attributes.size === 0) return { authorization, reservation: undefined };
  return { authorization, reservation: { kind: "http", action, attributes: [...attributes].sort() } };
}

/** A match that never matches until a field is set. */
export function blankMatch(): Match {
  return {
    namespaces: [],
    notNamespaces: [],
    principals: [],
    notPrincipals: [],
    sourceIps: [],
    notSourceIps: [],
    destinationIps: [],
    notDestinationIps: [],
    destinationPorts: [],
    notDestinationPorts: [],
    serviceAccounts: [],
    notServiceAccounts: [],
    extensions: [],
  };
}

/** What stands in for rules that were never understood: a DENY matches everybody, an ALLOW nobody. */
function refusal(action: "ALLOW" | "DENY"): Rule[] {
  return action === "DENY" ? [{ clauses: [] }] : [];
}

function convertRules(
  rules: readonly AuthorizationRule[],
  action: "ALLOW" | "DENY",
  namespace: string,
  attributes: Set<string>,
): Rule[] {
  return rules.flatMap((rule) => {
    const entries = [
      rule.to.map(convertOperation),
      rule.from.map((source) => convertSource(source, namespace)),
      // Conditions are ANDed, so each is a clause of its own.
      ...rule.when.map((condition) => [convertCondition(condition)]),
    ].filter((clause) => clause.length > 0);
    const found = entries.flat().flatMap((entry) => entry.http);
    for (const attribute of found) attributes.add(attribute);
    if (action === "ALLOW" && found.length > 0) return [];
    return [{ clauses: entries.flatMap(convertClause) }];
  });
}

/** One alternative of a clause: what L4 can judge of it, and the names of what it cannot. */
interface Entry {
  readonly match: Match;
  readonly http: readonly string[];
}

/**
 * An alternative of which nothing is left may match anybody, and with it the whole clause: it is dropped from the rule.
 * (Kept as an empty match it would match nobody, and the denial would be gone.)
 */
function convertClause(entries: readonly Entry[]): Clause[] {
  const opaque = entries.some(({ match, http }) => http.length > 0 && isBlank(match));
  return opaque ? [] : [{ matches: entries.map(({ match }) => match) }];
}

function convertSource(source: AuthorizationSource, namespace: string): Entry {
  const accounts = (names: readonly string[]): ServiceAccountMatch[] =>
    names.map((name) => convertServiceAccount(name, namespace));
  return {
    match: {
      ...blankMatch(),
      principals: source.principals.map(stringMatch),
      notPrincipals: source.notPrincipals.map(stringMatch),
      namespaces: source.namespaces.map(stringMatch),
      notNamespaces: source.notNamespaces.map(stringMatch),
      sourceIps: source.ipBlocks.map(ipMatch),
      notSourceIps: source.notIpBlocks.map(ipMatch),
      serviceAccounts: accounts(source.serviceAccounts),
      notServiceAccounts: accounts(source.notServiceAccounts),
    },
    http: given({
      requestPrincipals: source.requestPrincipals,
      notRequestPrincipals: source.notRequestPrincipals,
      remoteIpBlocks: source.remoteIpBlocks,
      notRemoteIpBlocks: source.notRemoteIpBlocks,
    }),
  };
}

function convertOperation(operation: AuthorizationOperation): Entry {
  const { hosts, notHosts, methods, notMethods, paths, notPaths } = operation;
  return {
    match: {
      ...blankMatch(),
      destinationPorts: [...operation.ports],
      notDestinationPorts: [...operation.notPorts],
    },
    http: given({ hosts, notHosts, methods, notMethods, paths, notPaths }),
  };
}

function convertCondition(condition: AuthorizationCondition): Entry {
  const match = blankMatch();
  switch (condition.key) {
    case "source.ip":
      match.sourceIps = condition.values.map(ipMatch);
      match.notSourceIps = condition.notValues.map(ipMatch);
      return { match, http: [] };
    case "destination.ip":
      match.destinationIps = condition.values.map(ipMatch);
      match.notDestinationIps = condition.notValues.map(ipMatch);
      return { match, http: [] };
    case "source.namespace":
      match.namespaces = condition.values.map(stringMatch);
      match.notNamespaces = condition.notValues.map(stringMatch);
      return { match, http: [] };
    case "source.principal":
      match.principals = condition.values.map(stringMatch);
      match.notPrincipals = condition.notValues.map(stringMatch);
      return { match, http: [] };
    case "destination.port":
      match.destinationPorts = [...condition.values];
      match.notDestinationPorts = [...condition.notValues];
      return { match, http: [] };
    case "http":
      return { match, http: [condition.attribute] };
  }
}

function stringMatch(pattern: string): StringMatch {
  if (pattern === "*") return { matchType: { $case: "presence", value: {} } };
  if (pattern.endsWith("*")) return { matchType: { $case: "prefix", value: pattern.slice(0, -1) } };
  if (pattern.startsWith("*")) return { matchType: { $case: "suffix", value: pattern.slice(1) } };
  return { matchType: { $case: "exact", value: pattern } };
}

function ipMatch(block: IpBlock): { address: Buffer; length: number } {
  return { address: addressBytes(block.address), length: block.length };
}

/** `namespace/account`, or `account` in the policy's own namespace. */
function convertServiceAccount(name: string, namespace: string): ServiceAccountMatch {
  const slash = name.indexOf("/");
  return { namespace: slash < 0 ? namespace : name.slice(0, slash), serviceAccount: name.slice(slash + 1) };
}

function given(fields: Readonly<Record<string, readonly unknown[]>>): string[] {
  return Object.keys(fields).filter((name) => (fields[name] ?? []).length > 0);
}

function isBlank(match: Match): boolean {
  return Object.values(match).every((values) => !Array.isArray(values) || values.length === 0);
}

function isDryRun(policy: AuthorizationPolicy): boolean {
  return policy.metadata.annotations["istio.io/dry-run"] === "true";
}
