/**
 * PeerAuthentication as agents enforce it: permissive is what they do anyway, so only the wish for mutual TLS is sent, as
 * policies that deny callers without an identity. An exemption must live inside such a policy, for no other policy can
 * undo a denial. (istio architecture/ambient/peer-authentication.md)
 */
import { Action, Scope, type Authorization, type Rule } from "../../../core/protocol/generated/security.ts";
import { labelsMatch, type Labels, type PeerAuthentication } from "../../sources/objects.ts";
import { blankMatch } from "./authorization.ts";
import type { Reader } from "./collections.ts";
import { byAge, isEmpty, selecting, type Inputs } from "./inputs.ts";

/** Name of the policy that denies every caller without an identity. It lives in the root namespace. */
const strictPolicyName = "istio_converted_static_strict";

/** The policy a workload must list for its PeerAuthentications' sake, as `namespace/name`. */
export function peerPolicyOf(reader: Reader, inputs: Inputs, namespace: string, labels: Labels): string | undefined {
  const inherited = inheritedStrict(reader, inputs, namespace);
  const strict = `${inputs.config.rootNamespace}/${strictPolicyName}`;
  // In the root namespace a selector has no meaning here: what is there is for the whole mesh.
  const own =
    namespace === inputs.config.rootNamespace
      ? undefined
      : selecting(reader, inputs.peerAuthentications, namespace, labels, (peer) =>
          labelsMatch(peer.spec.selector, labels),
        ).sort(byAge)[0];
  if (own === undefined) return inherited ? strict : undefined;
  switch (demandOf(own, inherited).kind) {
    case "nothing":
      return undefined;
    case "strict":
      return strict;
    case "by-port":
      return `${namespace}/${convertedName(own)}`;
  }
}

/** The policy of a PeerAuthentication whose ports differ from the rest, or undefined. */
export function portPolicy(reader: Reader, inputs: Inputs, peer: PeerAuthentication): Authorization | undefined {
  const { namespace } = peer.metadata;
  if (isEmpty(peer.spec.selector) || namespace === inputs.config.rootNamespace) return undefined;
  const demand = demandOf(peer, inheritedStrict(reader, inputs, namespace));
  return demand.kind === "by-port" ? denial(convertedName(peer), namespace, demand.rules) : undefined;
}

/** Published as soon as there is any PeerAuthentication: a workload that lists it must find it. */
export function strictPolicy(reader: Reader, inputs: Inputs): Authorization | undefined {
  const wanted = inputs.peerAuthentications.lookup(reader, "peer-any", "").length > 0;
  if (!wanted) return undefined;
  return denial(strictPolicyName, inputs.config.rootNamespace, [{ clauses: [unauthenticated()] }]);
}

type Demand = { kind: "nothing" } | { kind: "strict" } | { kind: "by-port"; rules: Rule[] };

/** @param inherited whether mesh and namespace demand mutual TLS where this one is silent. DISABLE is PERMISSIVE here. */
function demandOf(peer: PeerAuthentication, inherited: boolean): Demand {
  const { mode, portLevelMtls } = peer.spec;
  const strict = mode === "STRICT" || (mode === "UNSET" && inherited);
  const portsWith = (wanted: readonly string[]): number[] =>
    portLevelMtls.filter((entry) => wanted.includes(entry.mode)).map(({ port }) => port);
  if (strict) {
    const exempt = portsWith(["PERMISSIVE", "DISABLE"]);
    if (exempt.length === 0) return { kind: "strict" };
    const elsewhere = exempt.map((port) => ({ matches: [{ ...blankMatch(), notDestinationPorts: [port] }] }));
    return { kind: "by-port", rules: [{ clauses: [unauthenticated(), ...elsewhere] }] };
  }
  const guarded = portsWith(["STRICT"]);
  if (guarded.length === 0) return { kind: "nothing" };
  const rules = guarded.map((port) => ({
    clauses: [{ matches: [{ ...blankMatch(), notPrincipals: [anyone], destinationPorts: [port] }] }],
  }));
  return { kind: "by-port", rules };
}

/** The oldest PeerAuthentication of the namespace decides for all of it, unless it leaves that to the mesh's oldest. */
function inheritedStrict(reader: Reader, inputs: Inputs, namespace: string): boolean {
  const root = inputs.config.rootNamespace;
  const modes = [namespace, root].map(
    (where) => inputs.peerAuthentications.lookup(reader, "peer-default", where).sort(byAge)[0]?.spec.mode ?? "UNSET",
  );
  return modes.find((mode) => mode !== "UNSET") === "STRICT";
}

function convertedName(peer: PeerAuthentication): string {
  return `converted_peer_authentication_${peer.metadata.name}`;
}

function unauthenticated(): Rule["clauses"][number] {
  return { matches: [{ ...blankMatch(), notPrincipals: [anyone] }] };
}

function denial(name: string, namespace: string, rules: Rule[]): Authorization {
  return {
    name,
    namespace,
    scope: Scope.WORKLOAD_SELECTOR,
    action: Action.DENY,
    rules,
    dryRun: false,
    extensions: [],
  };
}

const anyone = { matchType: { $case: "presence" as const, value: {} } };
