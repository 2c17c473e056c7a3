/** The names of the policies a workload lists: those that select it, and what peer authentication demands of it. */
import { labelsMatch, type Labels } from "../../sources/objects.ts";
import { isForAgents } from "./authorization.ts";
import type { Reader } from "./collections.ts";
import { keyOf, selecting, type Inputs } from "./inputs.ts";
import { peerPolicyOf } from "./peer-authentication.ts";

/** Sorted `namespace/name`. Policies without a selector are not among them: agents know those by their scope. */
export function attachedPolicies(reader: Reader, inputs: Inputs, namespace: string, labels: Labels): string[] {
  const root = inputs.config.rootNamespace;
  const namespaces = namespace === root ? [root] : [namespace, root];
  const names = namespaces.flatMap((where) =>
    selecting(reader, inputs.policies, where, labels, (policy) => labelsMatch(policy.spec.selector, labels))
      .filter(isForAgents)
      .map(keyOf),
  );
  const peerPolicy = peerPolicyOf(reader, inputs, namespace, labels);
  return [...new Set([...names, ...(peerPolicy === undefined ? [] : [peerPolicy])])].sort();
}
