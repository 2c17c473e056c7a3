/** An L4 policy (istio.security.Authorization), parsed so that nothing in it can match more than its author wrote. */
import { messageOf } from "../../base/errors.ts";
import * as wire from "../generated/security.ts";
import { allOf, enumOf, portOf, prefixOf, required, type Prefix } from "./fields.ts";
import { WdsError } from "./wds-error.ts";

export const authorizationType = "type.googleapis.com/istio.security.Authorization";

export interface Policy {
  /** `namespace/name`, also the xDS resource name. */
  readonly key: string;
  readonly namespace: string;
  readonly scope: PolicyScope;
  readonly action: "allow" | "deny";
  /** Judged and reported, never enforced. */
  readonly dryRun: boolean;
  /** Any rule matches: the policy matches. None: it never does. */
  readonly rules: readonly Rule[];
}

export type PolicyScope = "global" | "namespace" | "selector";

/** All clauses must hold; no clause: it matches. */
export interface Rule {
  readonly clauses: readonly Clause[];
}

/** Any match must hold; no match: it holds. */
export interface Clause {
  readonly matches: readonly Match[];
}

/** Every attribute must hold: its positive list is empty or hit, and its negative list is not hit. All lists empty: it never holds. */
export interface Match {
  readonly namespaces: readonly StringMatch[];
  readonly notNamespaces: readonly StringMatch[];
  readonly principals: readonly StringMatch[];
  readonly notPrincipals: readonly StringMatch[];
  readonly sourceIps: readonly Prefix[];
  readonly notSourceIps: readonly Prefix[];
  readonly destinationIps: readonly Prefix[];
  readonly notDestinationIps: readonly Prefix[];
  readonly destinationPorts: readonly number[];
  readonly notDestinationPorts: readonly number[];
  readonly serviceAccounts: readonly ServiceAccountMatch[];
  readonly notServiceAccounts: readonly ServiceAccountMatch[];
}

/** Compared literally, byte for byte. Presence: any text but the empty one. */
export type StringMatch =
  { readonly kind: "exact" | "prefix" | "suffix"; readonly value: string } | { readonly kind: "presence" };

export interface ServiceAccountMatch {
  readonly namespace: string;
  readonly serviceAccount: string;
}

/**
 * The policy, or why it is refused. An item, a condition or an enum number that this version cannot judge refuses the whole policy:
 * left out, it would widen an ALLOW or thin out a DENY. Refused, the last good version stays; where there is none, see failClosed.
 * @param name the resource's xDS name, which must be `namespace/name`.
 */
export function decodeAuthorization(bytes: Uint8Array, name?: string): Policy | WdsError {
  const message = decode(bytes);
  if (message instanceof WdsError) return message;
  const key = required("name", message.name);
  if (key instanceof WdsError) return key;
  const scope = enumOf("scope", message.scope, scopes);
  if (scope instanceof WdsError) return scope;
  const action = enumOf("action", message.action, actions);
  if (action instanceof WdsError) return action;
  const rules = allOf(message.rules, parseRule);
  if (rules instanceof WdsError) return rules;
  const policy = { ...headOf(message), scope, action, rules };
  return name === undefined || name === policy.key
    ? policy
    : new WdsError({ code: "wds.name-mismatch", name: name.slice(0, 256), key: policy.key });
}

/**
 * What to put in force for a refused policy that never was good: a DENY (or an unknown action) denies all it selects, an ALLOW
 * matches nothing; an unknown scope is the namespace. Undefined where not even its name can be read; workloads that list it are then denied as listing an unknown policy.
 */
export function failClosed(bytes: Uint8Array): Policy | undefined {
  const message = decode(bytes);
  if (message instanceof WdsError || message.name === "") return undefined;
  const known = enumOf("scope", message.scope, scopes);
  const scope = known instanceof WdsError ? "namespace" : known;
  return message.action === wire.Action.ALLOW
    ? { ...headOf(message), scope, action: "allow", rules: [] }
    : { ...headOf(message), scope, action: "deny", rules: [{ clauses: [] }] };
}

function decode(bytes: Uint8Array): wire.Authorization | WdsError {
  try {
    return wire.Authorization.decode(bytes);
  } catch (thrown) {
    return new WdsError({ code: "wds.undecodable", reason: messageOf(thrown) });
  }
}

function headOf(message: wire.Authorization): Pick<Policy, "key" | "namespace" | "dryRun"> {
  const { name, namespace, dryRun } = message;
  return { key: `${namespace}/${name}`, namespace, dryRun };
}

function parseRule(rule: wire.Rule): Rule | WdsError {
  if (hasUnknownFields(rule)) return notUnderstood("rules");
  const clauses = allOf(rule.clauses, (clause) => {
    if (hasUnknownFields(clause)) return notUnderstood("rules.clauses");
    const matches = allOf(clause.matches, parseMatch);
    return matches instanceof WdsError ? matches : { matches };
  });
  return clauses instanceof WdsError ? clauses : { clauses };
}

function parseMatch(match: wire.Match): Match | WdsError {
  if (hasUnknownFields(match)) return notUnderstood("match");
  if (match.extensions.length > 0) return notUnderstood("match.extensions");
  const namespaces = allOf(match.namespaces, (item) => stringMatch("namespaces", item));
  if (namespaces instanceof WdsError) return namespaces;
  const notNamespaces = allOf(match.notNamespaces, (item) => stringMatch("not_namespaces", item));
  if (notNamespaces instanceof WdsError) return notNamespaces;
  const principals = allOf(match.principals, (item) => stringMatch("principals", item));
  if (principals instanceof WdsError) return principals;
  const notPrincipals = allOf(match.notPrincipals, (item) => stringMatch("not_principals", item));
  if (notPrincipals instanceof WdsError) return notPrincipals;
  const sourceIps = allOf(match.sourceIps, (item) => cidr("source_ips", item));
  if (sourceIps instanceof WdsError) return sourceIps;
  const notSourceIps = allOf(match.notSourceIps, (item) => cidr("not_source_ips", item));
  if (notSourceIps instanceof WdsError) return notSourceIps;
  const destinationIps = allOf(match.destinationIps, (item) => cidr("destination_ips", item));
  if (destinationIps instanceof WdsError) return destinationIps;
  const notDestinationIps = allOf(match.notDestinationIps, (item) => cidr("not_destination_ips", item));
  if (notDestinationIps instanceof WdsError) return notDestinationIps;
  const destinationPorts = allOf(match.destinationPorts, (port) => portOf("destination_ports", port));
  if (destinationPorts instanceof WdsError) return destinationPorts;
  const notDestinationPorts = allOf(match.notDestinationPorts, (port) => portOf("not_destination_ports", port));
  if (notDestinationPorts instanceof WdsError) return notDestinationPorts;
  const serviceAccounts = allOf(match.serviceAccounts, (item) => serviceAccount("service_accounts", item));
  if (serviceAccounts instanceof WdsError) return serviceAccounts;
  const notServiceAccounts = allOf(match.notServiceAccounts, (item) => serviceAccount("not_service_accounts", item));
  if (notServiceAccounts instanceof WdsError) return notServiceAccounts;
  return {
    namespaces,
    notNamespaces,
    principals,
    notPrincipals,
    sourceIps,
    notSourceIps,
    destinationIps,
    notDestinationIps,
    destinationPorts,
    notDestinationPorts,
    serviceAccounts,
    notServiceAccounts,
  };
}

function stringMatch(field: string, item: wire.StringMatch): StringMatch | WdsError {
  const type = item.matchType;
  if (type === undefined || hasUnknownFields(item)) return notUnderstood(field);
  return type.$case === "presence" ? { kind: "presence" } : { kind: type.$case, value: type.value };
}

function cidr(field: string, item: wire.Address): Prefix | WdsError {
  return hasUnknownFields(item) ? notUnderstood(field) : prefixOf(field, item.address, item.length);
}

function serviceAccount(field: string, item: wire.ServiceAccountMatch): ServiceAccountMatch | WdsError {
  if (hasUnknownFields(item)) return notUnderstood(field);
  return { namespace: item.namespace, serviceAccount: item.serviceAccount };
}

function hasUnknownFields(message: {
  readonly _unknownFields?: Readonly<Record<number, unknown>> | undefined;
}): boolean {
  return message._unknownFields !== undefined && Object.keys(message._unknownFields).length > 0;
}

function notUnderstood(field: string): WdsError {
  return new WdsError({ code: "wds.condition-not-understood", field });
}

// Indexed by enum number.
const scopes = ["global", "namespace", "selector"] as const;
const actions = ["allow", "deny"] as const;
