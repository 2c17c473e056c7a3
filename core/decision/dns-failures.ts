/** Why a query of a captured pod is answered with SERVFAIL: one table for logs, for what the client is told (RFC 8914), and for docs/dns.md. */
import { extendedErrors } from "../protocol/dns/answer.ts";

interface DnsFailureReason {
  readonly sentence: string;
  readonly nextStep: string;
  /** INFO-CODE of the extended error. */
  readonly infoCode: number;
}

export type DnsFailure = keyof typeof dnsFailures;

export const dnsFailures = {
  DNS_LOOP: {
    sentence: "The resolver that the query was for sends it back to this agent.",
    nextStep:
      "Find what forwards to it: a resolver inside the pod whose own server is itself, or rules that redirect the agent's marked packets.",
    infoCode: extendedErrors.noReachableAuthority,
  },
  DNS_BUSY: {
    sentence: "As many of the pod's queries wait for an answer as may.",
    nextStep: "See why its resolver does not answer, and why the pod asks so much.",
    infoCode: extendedErrors.other,
  },
  DNS_NO_SERVER: {
    sentence: "The kernel does not say whom the query was for, and the agent knows no resolver that a pod could reach.",
    nextStep: "Give the agent CAP_NET_ADMIN, or name resolvers in AMBIENTD_DNS_SERVERS.",
    infoCode: extendedErrors.notReady,
  },
  DNS_UNREACHABLE: {
    sentence: "The resolver that the query was for can't be reached, or closed the connection.",
    nextStep: "Look at that resolver, and at network policies between the pod and it.",
    infoCode: extendedErrors.networkError,
  },
  DNS_TIMEOUT: {
    sentence: "The resolver that the query was for has not answered in time.",
    nextStep: "Look at that resolver, and at network policies between the pod and it.",
    infoCode: extendedErrors.noReachableAuthority,
  },
  POD_UNKNOWN: {
    sentence: "Control has not described the pod yet, so that nobody can say which names are its own.",
    nextStep: "See whether the agent is connected to control, and whether control knows the pod.",
    infoCode: extendedErrors.notReady,
  },
} as const satisfies Readonly<Record<string, DnsFailureReason>>;
