/** Whether a connection may reach a workload (agent-wire 7). Asked when it begins and again whenever an answer may have changed. */
import { specimens } from "../base/specimens.ts";
import { parseIp, type Endpoint } from "../base/ip.ts";
import { principalOf, type Identity } from "../protocol/spiffe/identity.ts";
import type { Policy } from "../protocol/wds/authorization.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import type { CloseCode } from "./close-reasons.ts";
import type { MeshState } from "./mesh-state.ts";
import { demandsIdentity, matchingRule, type RuleFacts } from "./policy-match.ts";
import type { PolicySet } from "./policy-set.ts";
import type { TraceStep } from "./trace.ts";

export interface AuthorizationFacts {
  /** The workload that is connected to. What the state knows of it by now counts; this copy only where it knows nothing. */
  readonly local: MeshWorkload;
  /** From the peer's certificate, never from a header; undefined for plaintext. */
  readonly peerIdentity?: Identity;
  /** Canonical text of the TCP peer's address. */
  readonly peerAddress: string;
  /** Where the application will be connected to: the pod's own address, the port after every mapping. */
  readonly destination: Endpoint;
}

export type DenialCode = Extract<
  CloseCode,
  "POLICY_DENIED" | "POLICY_NOT_ALLOWED" | "POLICY_MTLS_REQUIRED" | "POLICY_UNKNOWN" | "NO_POLICIES"
>;

export type Authorization =
  | {
      readonly allowed: true;
      /** `namespace/name` of the ALLOW policy that admitted it; undefined where none applies. */
      readonly policy?: string;
      readonly trace: readonly TraceStep[];
    }
  | {
      readonly allowed: false;
      readonly reason: DenialCode;
      /** The DENY policy that fits, or the listed one that is unknown. */
      readonly policy?: string;
      readonly trace: readonly TraceStep[];
    };

/**
 * DENY first, then ALLOW; no ALLOW policy at all admits everybody. A workload that lists a policy nobody knows is refused:
 * skipping it would fail open (upstream does). So is everybody while policies are still to come. Dry-run policies only leave a step in
 * the trace.
 */
export function authorize(state: MeshState, facts: AuthorizationFacts): Authorization {
  if (state.awaitsPolicies) return { allowed: false, reason: "NO_POLICIES", trace: [] };
  const local = state.workload(facts.local.uid) ?? facts.local;
  const listed = state.policiesListedBy(local);
  if (listed.unknown !== undefined) {
    const policy = listed.unknown;
    return { allowed: false, reason: "POLICY_UNKNOWN", policy, trace: [{ code: "policy-unknown", policy }] };
  }
  const ofNamespace = state.policiesOfNamespace(local.namespace);
  const sets = ofNamespace ? [listed.set, ofNamespace, state.globalPolicies] : [listed.set, state.globalPolicies];
  return judge(sets, new AskedFacts(facts));
}

function judge(sets: readonly PolicySet[], facts: RuleFacts): Authorization {
  const tally = { judged: 0 };
  const trace: TraceStep[] = [];
  for (const set of sets) {
    for (const { key, action } of set.fittingDryRuns(facts, tally)) {
      trace.push({ code: "dry-run", policy: key, verdict: action });
    }
  }
  let allowPolicies = 0;
  for (const set of sets) allowPolicies += set.allowCount;

  const deny = firstOf(sets, (set) => set.findDeny(facts, tally));
  if (deny) {
    trace.push({ code: "policies-judged", judged: tally.judged, allowPolicies });
    trace.push({ code: "policy-decided", policy: deny.key, verdict: "deny" });
    return { allowed: false, reason: denialOf(deny, facts), policy: deny.key, trace };
  }
  const allow = allowPolicies === 0 ? undefined : firstOf(sets, (set) => set.findAllow(facts, tally));
  trace.push({ code: "policies-judged", judged: tally.judged, allowPolicies });
  if (allow) {
    trace.push({ code: "policy-decided", policy: allow.key, verdict: "allow" });
    return { allowed: true, policy: allow.key, trace };
  }
  return allowPolicies === 0 ? { allowed: true, trace } : { allowed: false, reason: "POLICY_NOT_ALLOWED", trace };
}

/** A DENY whose rule fits because nobody proved who they are is a demand for mutual TLS, whoever wrote it. */
function denialOf(policy: Policy, facts: RuleFacts): DenialCode {
  const rule = matchingRule(policy, facts);
  return facts.principal === undefined && rule !== undefined && demandsIdentity(rule)
    ? "POLICY_MTLS_REQUIRED"
    : "POLICY_DENIED";
}

/** Addresses are parsed when a rule asks for them: few do. */
class AskedFacts implements RuleFacts {
  readonly principal: string | undefined;
  readonly namespace: string;
  readonly serviceAccount: string | undefined;
  readonly destinationPort: number;
  readonly #facts: AuthorizationFacts;
  #source: Uint8Array | undefined;
  #destination: Uint8Array | undefined;

  constructor(facts: AuthorizationFacts) {
    const { peerIdentity, destination } = facts;
    this.principal = peerIdentity && principalOf(peerIdentity);
    this.namespace = peerIdentity?.namespace ?? "";
    this.serviceAccount = peerIdentity?.serviceAccount;
    this.destinationPort = destination.port;
    this.#facts = facts;
    specimens.authorization = this;
  }

  get source(): Uint8Array | undefined {
    return (this.#source ??= parseIp(this.#facts.peerAddress));
  }

  get destination(): Uint8Array | undefined {
    return (this.#destination ??= parseIp(this.#facts.destination.address));
  }
}

function firstOf(sets: readonly PolicySet[], find: (set: PolicySet) => Policy | undefined): Policy | undefined {
  for (const set of sets) {
    const policy = find(set);
    if (policy) return policy;
  }
  return undefined;
}
