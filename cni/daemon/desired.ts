/** What this node's pods should be, derived from the cluster's objects alone: one row a pod, keyed by pod UID. Pure. */
import type { ObjectRef, Snapshot } from "../../control/sources/source.ts";
import type { Pod } from "../../control/sources/objects.ts";
import { parseCapture, type AnnotationProblem, type CaptureOptions } from "./capture-annotations.ts";
import type { Want } from "./enrolment.ts";
import { select, type SelectionRules } from "./selectors.ts";

/** Status, not intent: written by the node daemon only, read by control, which then has peers tunnel to the pod. */
export const redirectionAnnotation = "ambient.istio.io/redirection";

export interface DesiredPod {
  readonly uid: string;
  readonly ref: ObjectRef;
  readonly serviceAccount: string;
  /** Canonical text. */
  readonly addresses: readonly string[];
  readonly want: Want;
  readonly because: WantReason;
  readonly capture: CaptureOptions;
  readonly problems: readonly AnnotationProblem[];
  /** What the object says at the moment. */
  readonly redirection: string | undefined;
}

export type WantReason = "selected" | "host-network" | "sidecar" | "excluded-namespace" | "not-selected" | "ended";

export interface NodeSettings {
  readonly node: string;
  readonly dnsCapture: boolean;
  readonly selection: SelectionRules;
}

/** Pods that are not in the result are gone. */
export function desiredPods(objects: Snapshot, settings: NodeSettings): Map<string, DesiredPod> {
  const rows = new Map<string, DesiredPod>();
  for (const pod of objects.all("Pod")) {
    if (pod.spec.nodeName !== settings.node) continue;
    const namespace = objects.get("Namespace", "", pod.metadata.namespace);
    const row = desiredPod(pod, namespace?.metadata.labels, settings);
    rows.set(row.uid, row);
  }
  return rows;
}

function desiredPod(
  pod: Pod,
  namespaceLabels: Pod["metadata"]["labels"] | undefined,
  settings: NodeSettings,
): DesiredPod {
  const { metadata, spec, status } = pod;
  const subject = { ...metadata, hostNetwork: spec.hostNetwork };
  const selection = select(subject, namespaceLabels, settings.selection);
  const { options, problems } = parseCapture(metadata.annotations, settings.dnsCapture);
  const row = {
    uid: metadata.uid,
    ref: { kind: "Pod", namespace: metadata.namespace, name: metadata.name },
    serviceAccount: spec.serviceAccountName,
    addresses: status.podIPs,
    capture: options,
    problems,
    redirection: metadata.annotations[redirectionAnnotation],
  } as const;
  // Capture stays through a graceful end: only a pod whose processes have ended is dropped.
  if (endedPhases.has(status.phase)) return { ...row, want: "forget", because: "ended" };
  if (selection.selected) return { ...row, want: "enrol", because: "selected" };
  return { ...row, want: "leave", because: selection.reason };
}

const endedPhases: ReadonlySet<string> = new Set(["Succeeded", "Failed"]);
