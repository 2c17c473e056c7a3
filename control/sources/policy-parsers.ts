/**
 * AuthorizationPolicy and PeerAuthentication. Here a misspelt field is a fault, because a rule that lost a condition
 * says something else; and each comes with the view that refuses, for when no good version was ever seen.
 */
import { type Fields, parseIpBlock } from "./fields.ts";
import type {
  AuthorizationCondition,
  AuthorizationOperation,
  AuthorizationPolicy,
  AuthorizationRule,
  AuthorizationSource,
  Fault,
  Labels,
  MutualTlsMode,
  PeerAuthentication,
  TargetRef,
} from "./objects.ts";

interface WithRefusal<Spec> {
  readonly spec: Spec;
  readonly refusing: Spec;
}

/** @param faults the list that `root` reports to: what it holds afterwards decides which of the two is used. */
export function parseAuthorizationPolicy(
  root: Fields,
  namespace: string,
  faults: readonly Fault[],
): WithRefusal<AuthorizationPolicy["spec"]> {
  const spec = root.child("spec");
  spec.only("selector", "targetRef", "targetRefs", "action", "rules", "provider");
  const before = faults.length;
  const action = spec.oneOf("action", ["ALLOW", "DENY", "AUDIT", "CUSTOM"], "ALLOW");
  const actionIsKnown = faults.length === before;
  const selector = parseSelector(spec);
  const targetRefs = [...(spec.has("targetRef") ? [spec.child("targetRef")] : []), ...spec.children("targetRefs")].map(
    (ref) => parseTargetRef(ref, namespace),
  );
  const rules = spec.children("rules").map(parseRule);
  const common = { selector, targetRefs };
  return {
    spec: { ...common, action, rules },
    refusing: { ...common, action: actionIsKnown ? action : "DENY", rules: "unusable" },
  };
}

export function parsePeerAuthentication(
  root: Fields,
  faults: readonly Fault[],
): WithRefusal<PeerAuthentication["spec"]> {
  const spec = root.child("spec");
  spec.only("selector", "mtls", "portLevelMtls");
  const selector = parseSelector(spec);
  const mode = parseMode(spec, "mtls");
  const ports = spec.child("portLevelMtls");
  const portLevelMtls = Object.keys(spec.record("portLevelMtls")).flatMap((text) => {
    const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : 0;
    if (port < 1 || port > 65535) ports.fault(text, "must be a port from 1 to 65535");
    return { port, mode: parseMode(ports, text) };
  });
  portLevelMtls.sort((a, b) => a.port - b.port);
  if (portLevelMtls.length > 0 && Object.keys(selector).length === 0 && faults.length === 0)
    spec.fault("portLevelMtls", "needs a selector");
  return { spec: { selector, mode, portLevelMtls }, refusing: { selector, mode: "STRICT", portLevelMtls: [] } };
}

function parseMode(parent: Fields, name: string): MutualTlsMode {
  const mtls = parent.child(name);
  mtls.only("mode");
  return mtls.oneOf("mode", ["UNSET", "DISABLE", "PERMISSIVE", "STRICT"], "UNSET");
}

function parseSelector(spec: Fields): Labels {
  const selector = spec.child("selector");
  selector.only("matchLabels");
  return selector.labels("matchLabels");
}

function parseTargetRef(ref: Fields, namespace: string): TargetRef {
  ref.only("group", "kind", "name", "namespace");
  for (const name of ["kind", "name"]) if (!ref.has(name)) ref.fault(name, "is required");
  return {
    group: ref.text("group"),
    kind: ref.text("kind"),
    namespace: ref.text("namespace", namespace),
    name: ref.text("name"),
  };
}

function parseRule(rule: Fields): AuthorizationRule {
  rule.only("from", "to", "when");
  return {
    from: rule.children("from").map((entry) => {
      entry.only("source");
      if (!entry.has("source")) entry.fault("source", "is required");
      return parseSource(entry.child("source"));
    }),
    to: rule.children("to").map((entry) => {
      entry.only("operation");
      if (!entry.has("operation")) entry.fault("operation", "is required");
      return parseOperation(entry.child("operation"));
    }),
    when: rule.children("when").map(parseCondition),
  };
}

function parseSource(source: Fields): AuthorizationSource {
  source.only(...sourceFields);
  requireOneOf(source, sourceFields);
  return {
    principals: parsePatterns(source, "principals"),
    notPrincipals: parsePatterns(source, "notPrincipals"),
    namespaces: parsePatterns(source, "namespaces"),
    notNamespaces: parsePatterns(source, "notNamespaces"),
    serviceAccounts: parseServiceAccounts(source, "serviceAccounts"),
    notServiceAccounts: parseServiceAccounts(source, "notServiceAccounts"),
    ipBlocks: source.ipBlocks("ipBlocks"),
    notIpBlocks: source.ipBlocks("notIpBlocks"),
    requestPrincipals: source.texts("requestPrincipals"),
    notRequestPrincipals: source.texts("notRequestPrincipals"),
    remoteIpBlocks: source.ipBlocks("remoteIpBlocks"),
    notRemoteIpBlocks: source.ipBlocks("notRemoteIpBlocks"),
  };
}

function parseOperation(operation: Fields): AuthorizationOperation {
  operation.only(...operationFields);
  requireOneOf(operation, operationFields);
  return {
    ports: operation.ports("ports"),
    notPorts: operation.ports("notPorts"),
    hosts: operation.texts("hosts"),
    notHosts: operation.texts("notHosts"),
    methods: operation.texts("methods"),
    notMethods: operation.texts("notMethods"),
    paths: operation.texts("paths"),
    notPaths: operation.texts("notPaths"),
  };
}

function parseCondition(condition: Fields): AuthorizationCondition {
  condition.only("key", "values", "notValues");
  requireOneOf(condition, ["values", "notValues"]);
  const key = condition.text("key");
  if (!condition.has("key")) condition.fault("key", "is required");
  switch (key) {
    case "source.ip":
    case "destination.ip":
      return { key, values: condition.ipBlocks("values"), notValues: condition.ipBlocks("notValues") };
    case "source.namespace":
    case "source.principal":
      return { key, values: parsePatterns(condition, "values"), notValues: parsePatterns(condition, "notValues") };
    case "destination.port":
      return { key, values: condition.ports("values"), notValues: condition.ports("notValues") };
    default: {
      const values = condition.texts("values");
      const notValues = condition.texts("notValues");
      if (key === "remote.ip") {
        for (const text of [...values, ...notValues])
          if (parseIpBlock(text) === undefined)
            condition.fault("values", `must be IP addresses or ranges, not "${text}"`);
      } else if (!httpKeys.some((known) => key === known || key.startsWith(`${known}[`))) {
        condition.fault("key", `must be an attribute a policy can judge, not "${key}"`);
      }
      return { key: "http", attribute: key, values, notValues };
    }
  }
}

/** `x`, `x*`, `*x` or `*`. What could never match is refused: in a DENY it would deny nothing. */
function parsePatterns(fields: Fields, name: string): string[] {
  const patterns = fields.texts(name);
  for (const pattern of patterns) {
    if (pattern === "") fields.fault(name, "must not hold an empty string");
    if (/.\*./.test(pattern) || /^\*.*\*$/.test(pattern))
      fields.fault(name, `may have one "*", at the start or at the end, not "${pattern}"`);
    if (pattern.startsWith("spiffe://")) fields.fault(name, `must be written without spiffe://, not "${pattern}"`);
  }
  return patterns;
}

/** `namespace/account`, or `account` in the policy's own namespace. */
function parseServiceAccounts(fields: Fields, name: string): string[] {
  const accounts = fields.texts(name);
  for (const account of accounts)
    if (!/^([-a-z0-9]+\/)?[-.a-z0-9]+$/.test(account))
      fields.fault(name, `must be a service account or namespace/account, not "${account}"`);
  return accounts;
}

/** An entry that names nothing would match everything or nothing, depending on whom one asks: it is refused. */
function requireOneOf(fields: Fields, names: readonly string[]): void {
  if (!names.some((name) => fields.has(name))) fields.fault(names[0] ?? "", `or another of its kind is required`);
}

const sourceFields = [
  "principals",
  "notPrincipals",
  "namespaces",
  "notNamespaces",
  "serviceAccounts",
  "notServiceAccounts",
  "ipBlocks",
  "notIpBlocks",
  "requestPrincipals",
  "notRequestPrincipals",
  "remoteIpBlocks",
  "notRemoteIpBlocks",
] as const;

const operationFields = [
  "ports",
  "notPorts",
  "hosts",
  "notHosts",
  "methods",
  "notMethods",
  "paths",
  "notPaths",
] as const;

/** Attributes only a waypoint sees. */
const httpKeys = [
  "request.headers",
  "request.auth.principal",
  "request.auth.audiences",
  "request.auth.presenter",
  "request.auth.claims",
  "connection.sni",
  "experimental.envoy.filters",
  "experimental.envoy.filters.network",
] as const;
