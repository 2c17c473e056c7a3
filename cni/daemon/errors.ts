/** What can go wrong while pods are moved into and out of the mesh. Codes are permanent; operators see them in the daemon's rows. */
import { TypedError } from "../../core/base/errors.ts";

export type CniFailure =
  /** Nothing at the place where the pod's network namespace should be: it isn't there yet, or not any more. */
  | { readonly code: "cni.netns-missing"; readonly path: string }
  /** The pod has no address yet: none of the node's namespaces can be told to be its own. */
  | { readonly code: "cni.no-address" }
  /** Something is there that must not be served: no network namespace, or the node's own. */
  | { readonly code: "cni.netns-invalid"; readonly path: string; readonly reason: string }
  /** The runtime made the pod anew: the namespace that is held is its last one. */
  | { readonly code: "cni.netns-replaced" }
  /** The API server has no such pod, or no such namespace. */
  | { readonly code: "cni.pod-unknown"; readonly missing: string }
  /** The API server could not be asked about a pod that the watch doesn't show yet. */
  | { readonly code: "cni.api-unreachable"; readonly reason: string }
  /** A kernel change failed; `cause` is the kernel's word. */
  | { readonly code: "cni.kernel"; readonly step: string; readonly cause: string }
  /** No agent is connected: the pod waits, unredirected. */
  | { readonly code: "cni.no-agent" }
  /** The agent said no; `reason` is its own text, cut to 256 characters. */
  | { readonly code: "cni.agent-refused"; readonly reason: string }
  /** The link to the agent broke before its answer came. */
  | { readonly code: "cni.agent-lost" }
  /** The annotation could not be written; it is tried again. */
  | { readonly code: "cni.annotation-not-written"; readonly reason: string };

export class CniError extends TypedError<CniFailure> {}
