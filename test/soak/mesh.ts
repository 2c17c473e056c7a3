/** The mesh that a soak runs in. */
import { idlePod, namespace, pod, service, authorizationPolicy, type Manifest } from "../support/manifests.ts";

export const nodes = ["node1", "node2"] as const;

/** `shop` stays in the mesh; `other` is labelled and unlabelled all the time; `plain` never is. */
export const meshManifests: readonly Manifest[] = [
  namespace("shop", { ambient: true }),
  namespace("other", { ambient: true }),
  namespace("plain"),
  idlePod("shop/alice", { node: "node1" }),
  idlePod("shop/bob", { node: "node2" }),
  pod("shop/far", { node: "node2" }),
  pod("shop/near", { node: "node1" }),
  service("shop/far"),
  service("shop/near"),
  idlePod("other/carol", { node: "node1" }),
  pod("other/dave", { node: "node2" }),
  service("other/dave"),
  idlePod("plain/probe", { node: "node1" }),
];

/** Policies that come and go, and change nothing for those who talk. */
export function passingPolicy(round: number): Manifest {
  const principals = [`cluster.local/ns/shop/sa/nobody-${round}`];
  return authorizationPolicy("shop/passing", { action: "DENY", rules: [{ from: [{ source: { principals } }] }] });
}

/** A pod that comes, is asked, and goes. */
export function passingPod(round: number): readonly Manifest[] {
  const name = `passing-${round}`;
  return [pod(`shop/${name}`, { node: nodes[round % 2] ?? "node1", account: "passing" }), service(`shop/${name}`)];
}

export function otherNamespace(ambient: boolean): Manifest {
  return namespace("other", { ambient });
}
