/** Whether a pod is where its labels want it: in the mesh or out of it. Read from the API alone, as its node's daemon writes it. Pure. */
import { hasEnded, nameOf, type ApiEvent, type ApiPod } from "../clients/api-objects.ts";

/** Written by the node daemon once the pod's traffic is captured. */
export const redirectionAnnotation = "ambient.istio.io/redirection";
export const dataplaneModeLabel = "istio.io/dataplane-mode";

export type Capture =
  | { readonly state: "captured" }
  /** On its way in. `why` is what is waited for, as far as the API knows. */
  | { readonly state: "pending"; readonly why: string }
  /** Wanted by its namespace's label, and never captured. */
  | { readonly state: "cannot"; readonly why: string }
  /** Its labels don't want it. */
  | { readonly state: "not-wanted"; readonly why: string }
  | { readonly state: "ended" };

export interface CaptureFacts {
  /** Labels of the pod's namespace. */
  readonly namespaceLabels: Readonly<Record<string, string>>;
  /** Nodes with a node daemon of ours; undefined where that can't be known. */
  readonly daemonNodes: ReadonlySet<string> | undefined;
  /** Warnings about pods of this namespace, newest last. */
  readonly warnings: readonly ApiEvent[];
  /** Namespaces whose pods are never captured. */
  readonly excluded: ReadonlySet<string>;
}

export function captureOf(pod: ApiPod, facts: CaptureFacts): Capture {
  const { metadata, spec, status } = pod;
  if (hasEnded(pod)) return { state: "ended" };
  if (isCaptured(pod)) return { state: "captured" };
  const own = metadata.labels?.[dataplaneModeLabel];
  if (own === "none") return { state: "not-wanted", why: `its own label ${dataplaneModeLabel}=none keeps it out` };
  if (own !== "ambient" && facts.namespaceLabels[dataplaneModeLabel] !== "ambient") {
    return { state: "not-wanted", why: `neither it nor its namespace is labelled ${dataplaneModeLabel}=ambient` };
  }
  if (spec.hostNetwork === true) return { state: "cannot", why: "it uses its node's own network (hostNetwork)" };
  if (metadata.annotations?.["sidecar.istio.io/status"] !== undefined) {
    return { state: "cannot", why: "it has a sidecar: restart it without injection" };
  }
  if (facts.excluded.has(metadata.namespace ?? "")) {
    return { state: "cannot", why: `namespace ${metadata.namespace ?? ""} is excluded (cni.excludeNamespaces)` };
  }
  const warning = warningOf(pod, facts.warnings);
  if (spec.nodeName === undefined) return { state: "pending", why: "no node has been found for it yet" };
  if (facts.daemonNodes !== undefined && !facts.daemonNodes.has(spec.nodeName)) {
    return { state: "cannot", why: `no ready ambientd-cni runs on its node ${spec.nodeName}` };
  }
  if (warning !== undefined) return { state: "pending", why: warning };
  if ((status?.podIP ?? "") === "") return { state: "pending", why: "it has no address yet" };
  return { state: "pending", why: `its node ${spec.nodeName} hasn't said that it is captured` };
}

export function isCaptured({ metadata }: ApiPod): boolean {
  return metadata.annotations?.[redirectionAnnotation] === "enabled";
}

/** The newest warning about a pod: what its node's daemon or the kubelet said. */
function warningOf({ metadata }: ApiPod, warnings: readonly ApiEvent[]): string | undefined {
  const about = warnings.findLast(
    ({ involvedObject }) =>
      involvedObject?.name === metadata.name &&
      (involvedObject.uid === undefined || involvedObject.uid === metadata.uid),
  );
  return about === undefined ? undefined : [about.reason, about.message].filter(Boolean).join(": ");
}

/** `3 captured, 1 pending (shop/a: why)`, for one line of progress. */
export function progressOf(pods: readonly ApiPod[], facts: CaptureFacts): Progress {
  const progress: Progress = { captured: 0, pending: [], cannot: [], notWanted: 0 };
  for (const pod of pods) {
    const capture = captureOf(pod, facts);
    if (capture.state === "captured") progress.captured += 1;
    else if (capture.state === "not-wanted") progress.notWanted += 1;
    else if (capture.state !== "ended") progress[capture.state].push({ pod: nameOf(pod), why: capture.why });
  }
  return progress;
}

export interface Progress {
  captured: number;
  readonly pending: { readonly pod: string; readonly why: string }[];
  readonly cannot: { readonly pod: string; readonly why: string }[];
  notWanted: number;
}
