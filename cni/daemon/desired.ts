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
  /** The UID that the pod's cgroups bear: for a static pod not that of its object. */
  readonly sandboxUid: string;
  /** Canonical text: as the CNI plugin said, from when status says anything new, as status says. */
  readonly addresses: readonly string[];
  readonly want: Want;
  readonly because: WantReason;
  readonly capture: CaptureOptions;
  readonly problems: readonly AnnotationProblem[];
  /** What the object says at the moment. */
  readonly redirection: string | undefined;
}

export type WantReason =
  "selected" | "host-network" | "sidecar" | "excluded-namespace" | "not-selected" | "ended" | "released";

export interface NodeSettings {
  readonly node: string;
  readonly dnsCapture: boolean;
  readonly selection: SelectionRules;
  /** ambientd is being taken off this node: every pod shall leave, alive. */
  readonly released?: boolean;
}

/** What the plugin told of pods whose status doesn't say it yet, by pod UID. */
export type ToldAddresses = ReadonlyMap<string, ToldAddress>;

export interface ToldAddress {
  readonly addresses: readonly string[];
  /** What status said then: of a sandbox that the node has lost since, e.g. by a reboot. */
  readonly statusThen: readonly string[];
}

/** Pods that are not in the result are gone. */
export function desiredPods(
  objects: Snapshot,
  settings: NodeSettings,
  told: ToldAddresses = new Map(),
): Map<string, DesiredPod> {
  const rows = new Map<string, DesiredPod>();
  for (const pod of objects.all("Pod")) {
    if (pod.spec.nodeName !== settings.node) continue;
    const namespace = objects.get("Namespace", "", pod.metadata.namespace);
    const row = desiredPod(pod, namespace?.metadata.labels, settings, told);
    rows.set(row.uid, row);
  }
  return rows;
}

function desiredPod(
  pod: Pod,
  namespaceLabels: Pod["metadata"]["labels"] | undefined,
  settings: NodeSettings,
  told: ToldAddresses,
): DesiredPod {
  const { metadata, spec, status } = pod;
  const subject = { ...metadata, hostNetwork: spec.hostNetwork };
  const selection = select(subject, namespaceLabels, settings.selection);
  const { options, problems } = parseCapture(metadata.annotations, settings.dnsCapture);
  const row = {
    uid: metadata.uid,
    ref: { kind: "Pod", namespace: metadata.namespace, name: metadata.name },
    serviceAccount: spec.serviceAccountName,
    sandboxUid: metadata.annotations[mirrorAnnotation] ?? metadata.uid,
    addresses: addressesOf(status.podIPs, told.get(metadata.uid)),
    capture: options,
    problems,
    redirection: metadata.annotations[redirectionAnnotation],
  } as const;
  // Capture stays through a graceful end: only a pod whose processes have ended is dropped.
  if (endedPhases.has(status.phase)) return { ...row, want: "forget", because: "ended" };
  if (settings.released === true) return { ...row, want: "leave", because: "released" };
  if (selection.selected) return { ...row, want: "enrol", because: "selected" };
  return { ...row, want: "leave", because: selection.reason };
}

function addressesOf(podIps: readonly string[], told: ToldAddress | undefined): readonly string[] {
  if (told === undefined) return podIps;
  return podIps.length === 0 || podIps.join() === told.statusThen.join() ? told.addresses : podIps;
}

/** On the object that stands for a static pod: the UID that the kubelet gave the pod itself. */
const mirrorAnnotation = "kubernetes.io/config.mirror";
const endedPhases: ReadonlySet<string> = new Set(["Succeeded", "Failed"]);
