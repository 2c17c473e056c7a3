/** A policy of the file: rules → clauses → matches, as on the wire. */
import { parseIp } from "../../core/base/ip.ts";
import {
  Action,
  Authorization,
  Scope,
  type Address,
  type Match,
  type ServiceAccountMatch,
  type StringMatch,
} from "../../core/protocol/generated/security.ts";
import type { DeltaResource } from "../../core/protocol/xds/delta-client.ts";
import { done, Fields, mistake, text, wholeNumber } from "./fields.ts";

export function localPolicy(fields: Fields): DeltaResource {
  const name = fields.text("name");
  const namespace = fields.text("namespace");
  const authorization: Authorization = {
    name,
    namespace,
    scope: fields.choice("scope", scopes, "Namespace"),
    action: fields.choice("action", { Allow: Action.ALLOW, Deny: Action.DENY }, "Allow"),
    dryRun: fields.flag("dryRun"),
    rules: fields.list("rules", (rule, path) => ({
      clauses: listOf(rule, path, (clause, at) => ({
        matches: listOf(clause, at, (one, where) => done(new Fields(one, where), match)),
      })),
    })),
    extensions: [],
  };
  return { name: `${namespace}/${name}`, version: "", bytes: Authorization.encode(authorization).finish() };
}

function match(fields: Fields): Match {
  return {
    namespaces: fields.list("namespaces", stringMatch),
    notNamespaces: fields.list("notNamespaces", stringMatch),
    principals: fields.list("principals", stringMatch),
    notPrincipals: fields.list("notPrincipals", stringMatch),
    sourceIps: fields.list("sourceIps", prefix),
    notSourceIps: fields.list("notSourceIps", prefix),
    destinationIps: fields.list("destinationIps", prefix),
    notDestinationIps: fields.list("notDestinationIps", prefix),
    destinationPorts: fields.list("destinationPorts", port),
    notDestinationPorts: fields.list("notDestinationPorts", port),
    serviceAccounts: fields.list("serviceAccounts", account),
    notServiceAccounts: fields.list("notServiceAccounts", account),
    extensions: [],
  };
}

/** `{Exact: …}`, `{Prefix: …}`, `{Suffix: …}`, or Presence. */
function stringMatch(value: unknown, path: string): StringMatch {
  if (value === "Presence") return { matchType: { $case: "presence", value: {} } };
  const entries = Object.entries(new Fields(value, path).values);
  const [kind = "", wanted] = entries[0] ?? [];
  if (entries.length !== 1) throw mistake(path, "is not one of Exact, Prefix, Suffix and Presence");
  switch (kind) {
    case "Exact":
      return { matchType: { $case: "exact", value: text(wanted, path) } };
    case "Prefix":
      return { matchType: { $case: "prefix", value: text(wanted, path) } };
    case "Suffix":
      return { matchType: { $case: "suffix", value: text(wanted, path) } };
    case "Presence":
      return { matchType: { $case: "presence", value: {} } };
    default:
      throw mistake(path, "is not one of Exact, Prefix, Suffix and Presence");
  }
}

function prefix(value: unknown, path: string): Address {
  const [address = "", length] = text(value, path).split("/");
  const bytes = parseIp(address);
  if (bytes === undefined) throw mistake(path, "is no IP address or prefix");
  const bits = bytes.length * 8;
  return { address: Buffer.from(bytes), length: length === undefined ? bits : wholeNumber(length, path, bits) };
}

function port(value: unknown, path: string): number {
  return wholeNumber(value, path, 65_535);
}

/** `namespace/account`. */
function account(value: unknown, path: string): ServiceAccountMatch {
  const [namespace = "", serviceAccount = "", ...rest] = text(value, path).split("/");
  if (serviceAccount === "" || rest.length > 0) throw mistake(path, "is no namespace/account");
  return { namespace, serviceAccount };
}

function listOf<T>(value: unknown, path: string, read: (value: unknown, path: string) => T): T[] {
  if (!Array.isArray(value)) throw mistake(path, "is no list");
  return value.map((one, index) => read(one, `${path}[${index}]`));
}

const scopes = { Global: Scope.GLOBAL, Namespace: Scope.NAMESPACE, WorkloadSelector: Scope.WORKLOAD_SELECTOR };
