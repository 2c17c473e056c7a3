/** What the daemon's own DaemonSet says of its end: an upgrade leaves everything in place, only a removal takes the node back. Pure. */
import { isRecord } from "../../control/sources/fields.ts";

/** Set on the DaemonSet by the job that runs before the chart is uninstalled. */
export const releaseAnnotation = "ambientd.io/release";
/** The daemon's answer, on its own pod. */
export const releasedAnnotation = "ambientd.io/released";

/** `release`: nodes shall be given up while daemons still run. `gone`: the object is deleted, or about to be. */
export type Standing = "stays" | "release" | "gone";

/** @param object as the API server has it; undefined: there is none. */
export function standingOf(object: Readonly<Record<string, unknown>> | undefined): Standing {
  const metadata = object?.["metadata"];
  if (!isRecord(metadata) || typeof metadata["deletionTimestamp"] === "string") return "gone";
  const annotations = metadata["annotations"];
  return isRecord(annotations) && annotations[releaseAnnotation] === "true" ? "release" : "stays";
}
