/** Why a pod is held back, in words for its events: what is missing, and what to do about it. */
import { cniErrorCode, type ErrorReport } from "../../core/protocol/cni/errors.ts";
import type { DaemonAnswer } from "./ask-daemon.ts";

/** The answers that let nothing pass. */
export type Refusal = Exclude<DaemonAnswer, { readonly kind: "yes" | "not-asked-here" }>;

/** @param subject what is held back, e.g. `pod shop/cart`. */
export function refusalReport(subject: string, refusal: Refusal): ErrorReport {
  const { tryAgainLater, internal } = cniErrorCode;
  const held = `${subject} is held back`;
  switch (refusal.kind) {
    case "no":
      return refusal.status === 400
        ? {
            code: internal,
            msg: `${held}: the node daemon can't read our question: ${refusal.reason}`,
            details: sameRelease,
          }
        : { code: tryAgainLater, msg: `${held}: ${reasonOf(refusal)}`, details: itsLog };
    case "absent":
      return { code: tryAgainLater, msg: `${held}: ${absent(refusal)}`, details: lookAtDaemon };
    case "silent":
      return {
        code: tryAgainLater,
        msg: `${held}: the node daemon of ambientd gave no answer on ${refusal.socket} within ${refusal.waitedMs / 1000} s`,
        details: itsLog,
      };
    case "cut":
      return {
        code: tryAgainLater,
        msg: `${held}: the node daemon of ambientd ended while it was asked on ${refusal.socket}`,
        details: lookAtDaemon,
      };
    case "garbage":
      return {
        code: internal,
        msg: `${held}: what answers on ${refusal.socket} doesn't speak HTTP (${refusal.problem})`,
        details: `find out which program listens there ("ss -xlp" on the node), end it, and restart the node daemon`,
      };
    case "stranger":
      return {
        code: internal,
        msg: `${held}: ${refusal.socket} ${refusal.problem}, so its answer can't be trusted`,
        details: "find out who made it, remove it, and restart the node daemon (it makes both anew)",
      };
  }
}

/** STATUS says the same about the node as a whole: CNI spec, "STATUS", code 50. */
export function statusReport(refusal: Refusal): ErrorReport {
  const { msg, details = "" } = refusalReport("every new pod", refusal);
  return { code: cniErrorCode.notAvailable, msg, details };
}

function reasonOf({ status, reason }: Refusal & { kind: "no" }): string {
  return reason === "" ? `the node daemon answered ${status} without a reason` : reason;
}

function absent({ socket, errno }: Refusal & { kind: "absent" }): string {
  return `the node daemon of ambientd isn't running on this node (${socket}: ${errno})`;
}

const selector = "app.kubernetes.io/name=ambientd,app.kubernetes.io/component=cni";
const lookAtDaemon = `it is tried again until the daemon is there; see why it isn't: kubectl get pods -A -o wide -l ${selector}`;
const itsLog = `it is tried again; the log of the daemon says more: kubectl get pods -A -o wide -l ${selector}, then kubectl logs`;
const sameRelease = "plugin and daemon are of different releases: restart the node daemon, it installs its own plugin";
