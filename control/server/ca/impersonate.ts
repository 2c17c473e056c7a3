/**
 * In whose name a caller may have a certificate: its own; or, for a node's agent, that of any service account with a live pod
 * on the same node. Names come from the caller's token and its request's metadata, never from the CSR.
 * (istio security/pkg/server/ca/node_auth.go, which does not compare trust domains; we do.)
 */
import { formatIdentity, type Identity } from "../../../core/protocol/spiffe/identity.ts";
import { CallerError, type Caller, type Named } from "./authenticate.ts";
import { isLive, type LivePods } from "./live-pods.ts";

export interface ImpersonationRules {
  readonly trustDomain: string;
  /** `namespace/service account` of those that act for a node. */
  readonly trustedNodeAccounts: ReadonlySet<string>;
  readonly pods: Pick<LivePods, "lives" | "pod" | "node">;
}

/**
 * The identity to issue.
 * @param requested `ImpersonatedIdentity` of the request's metadata; undefined: the caller's own
 */
export function identityFor(
  caller: Caller,
  requested: Identity | undefined,
  rules: ImpersonationRules,
): Identity | CallerError {
  if (requested === undefined) return caller.identity;
  const node = nodeOf(caller, rules);
  if (node instanceof CallerError) return node;
  const { trustDomain, namespace, serviceAccount } = requested;
  if (trustDomain !== rules.trustDomain) {
    return new CallerError({ code: "caller.foreign-trust-domain", requested: formatIdentity(requested) });
  }
  if (!rules.pods.lives(node, namespace, serviceAccount)) {
    return new CallerError({ code: "caller.no-live-pod", node, requested: formatIdentity(requested) });
  }
  return requested;
}

/** The node a caller acts for. */
export function nodeOf(caller: Caller, rules: ImpersonationRules): string | CallerError {
  const { namespace, serviceAccount } = caller.identity;
  const account = `${namespace}/${serviceAccount}`;
  if (!rules.trustedNodeAccounts.has(account)) return new CallerError({ code: "caller.untrusted-account", account });
  const { binding } = caller;
  switch (binding.kind) {
    case "node-agent":
      return knownNode(binding.node, rules);
    case "pod": {
      const pod = rules.pods.pod(namespace, binding.pod.name);
      const same = pod?.metadata.uid === binding.pod.uid && pod.spec.serviceAccountName === serviceAccount;
      if (!same || !isLive(pod)) {
        return new CallerError({ code: "caller.stale-pod", pod: `${namespace}/${binding.pod.name}` });
      }
      const { nodeName } = pod.spec;
      const claimed = binding.node;
      if (claimed === undefined) return nodeName;
      if (claimed.name !== nodeName) {
        return new CallerError({ code: "caller.foreign-node", node: nodeName, claimed: claimed.name });
      }
      // The Node's own watch may lag behind: only one that is known can differ.
      const node = rules.pods.node(nodeName);
      const replaced = claimed.uid !== "" && node !== undefined && node.metadata.uid !== claimed.uid;
      return replaced ? new CallerError({ code: "caller.node-replaced", node: nodeName }) : nodeName;
    }
    case "unbound":
      return new CallerError({ code: "caller.unbound" });
  }
}

function knownNode({ name, uid }: Named, { pods }: ImpersonationRules): string | CallerError {
  const node = pods.node(name);
  if (node === undefined) return new CallerError({ code: "caller.unknown-node", node: name });
  return node.metadata.uid === uid ? name : new CallerError({ code: "caller.node-replaced", node: name });
}
