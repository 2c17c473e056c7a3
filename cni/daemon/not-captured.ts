/** Why a pod that asked for capture isn't captured, in words for those who look at the pod: what is, and what to do. Pure. */
import { describe, type ErrorData } from "../../core/base/errors.ts";
import { dataplaneModeLabel, sidecarStatusAnnotation } from "./selectors.ts";
import type { PodStatus } from "./pod-status.ts";

/** To be said on the pod. */
export interface PodNotice {
  /** As events have it: one word in capitals and smalls. Permanent. */
  readonly reason: "AmbientNotCaptured" | "AmbientNotServed" | "AmbientNotAnnounced";
  readonly message: string;
  /** It stays so until somebody changes the pod: need not be waited for, nor repeated. */
  readonly lasting: boolean;
}

/** Undefined for pods that are as they should be, that ask for nothing, and that are on their way. */
export function noticeOf(row: PodStatus): PodNotice | undefined {
  if (row.because === "gone" || row.because === "ended") return undefined;
  if (row.want === "leave") {
    const refusal = refusals[row.because];
    return refusal === undefined ? undefined : { reason: "AmbientNotCaptured", message: refusal, lasting: true };
  }
  if (row.want !== "enrol") return undefined;
  if (row.phase === "enrolled")
    return row.served ? undefined : { reason: "AmbientNotServed", message: notServed, lasting: false };
  // Without an address it does not run yet, and whoever holds it up has words of their own.
  if (row.reason === undefined || row.reason.code === "cni.no-address") return undefined;
  const message = sentenceOf(row.reason);
  if (row.phase === "redirected") return { reason: "AmbientNotAnnounced", message, lasting: false };
  return { reason: "AmbientNotCaptured", message: `Traffic is not captured yet: ${message}`, lasting: false };
}

function sentenceOf(reason: ErrorData): string {
  const { code } = reason;
  const known = (sentences as Readonly<Record<string, string>>)[code];
  const detail = describe(reason).slice(0, 300);
  return known === undefined ? `${detail}. It is tried again.` : `${known} (${detail})`;
}

/** By what the selection said of a pod whose labels ask for capture. */
const refusals: Readonly<Record<string, string>> = {
  "host-network":
    "Traffic is not captured: the pod uses the node's network (hostNetwork), which belongs to all. " +
    `Label it ${dataplaneModeLabel}=none, or take hostNetwork away.`,
  sidecar:
    `Traffic is not captured: the pod has a sidecar (annotation ${sidecarStatusAnnotation}), which does the same work. ` +
    "Remove the injection label and make the pod anew.",
  "excluded-namespace":
    "Traffic is not captured: pods of this namespace are excluded (value cni.excludeNamespaces). " +
    "Move the pod, or change the value.",
};

const notServed =
  "Traffic is captured but no ambientd-agent on this node serves the pod: its connections wait. " +
  "See that the pod of DaemonSet ambientd-agent on this node runs.";

const sentences = {
  "cni.no-agent":
    "no ambientd-agent on this node is connected. See that the pod of DaemonSet ambientd-agent on this node runs.",
  "cni.agent-refused": "the agent on this node could not take the pod. Its log says more. It is offered again.",
  "cni.agent-lost": "the agent went away while it was asked. It is offered again.",
  "cni.netns-missing":
    "its network namespace is not found on the node. Make the pod anew if this stays; check that ambientd-cni mounts the node's /proc.",
  "cni.netns-invalid": "what was found as its network namespace is not its own. Make the pod anew if this stays.",
  "cni.kernel":
    "the kernel refused the rules. The node needs nf_tables with NAT (modules nf_tables, nft_redir, nft_ct, nft_nat). It is tried again.",
  "cni.annotation-not-written":
    "the pod's annotation could not be written, so peers do not use mTLS to it yet. It is tried again.",
} as const;
