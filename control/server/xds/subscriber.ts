/** Who subscribes, as its token says, and whether what its first request says about itself agrees. */
import type { Node } from "../../../core/protocol/generated/discovery.ts";

export interface Subscriber {
  readonly namespace: string;
  readonly serviceAccount: string;
  /** The node it acts for. */
  readonly node: string;
}

export type NodeProblem =
  { readonly kind: "malformed"; readonly sentence: string } | { readonly kind: "not-yours"; readonly sentence: string };

/**
 * What is wrong with a Node, or undefined. Its id is `role~ip~pod.namespace~namespace.svc.domain`; what it leaves empty claims
 * nothing.
 */
export function nodeProblem(node: Node, subscriber: Subscriber): NodeProblem | undefined {
  const parts = node.id.split("~");
  if (parts.length !== 4 || node.id.length > longestId) {
    return { kind: "malformed", sentence: "a node id has four parts: role~ip~pod.namespace~domain" };
  }
  const [, , pod = "", domain = ""] = parts;
  const { metadata } = node;
  const claims: readonly (readonly [name: string, claimed: unknown, actual: string])[] = [
    ["namespace", pod.split(".")[1], subscriber.namespace],
    ["namespace", domain.split(".")[0], subscriber.namespace],
    ["NAMESPACE", metadata?.["NAMESPACE"], subscriber.namespace],
    ["SERVICE_ACCOUNT", metadata?.["SERVICE_ACCOUNT"], subscriber.serviceAccount],
    ["NODE_NAME", metadata?.["NODE_NAME"], subscriber.node],
  ];
  const foreign = claims.find(([, claimed, actual]) => isClaim(claimed) && claimed !== actual);
  return foreign && { kind: "not-yours", sentence: `the ${foreign[0]} of the node is not the token's` };
}

function isClaim(claimed: unknown): boolean {
  return claimed !== undefined && claimed !== null && claimed !== "";
}

const longestId = 1_024;
