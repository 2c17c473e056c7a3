/** What the chart and the programs call things that a release looks for. */

/** The DaemonSet of the node daemon, which watches the object of this name, and its label's value. */
export const cniName = "ambientd-cni";
export const controlName = "ambientd-control";

/** On the DaemonSet `true`: every daemon takes its pods out of the mesh and itself off its node. */
export const releaseAnnotation = "ambientd.io/release";
/** On a daemon's own pod `true`: its node is as it was before. */
export const releasedAnnotation = "ambientd.io/released";
/** On a pod whose traffic is captured: `enabled` (istio cni/pkg/util/podutil.go). */
export const redirectionAnnotation = "ambient.istio.io/redirection";

/** Pods of a component, as the chart labels them. */
export function selectorOf(component: "cni" | "control"): string {
  return `app.kubernetes.io/name=ambientd,app.kubernetes.io/component=${component}`;
}
