/**
 * The last good spec of a policy whose newest one can't be understood, kept in the policy's own status: whoever looks sees
 * what is enforced, and a control plane that starts later, and never saw it, enforces the same. Only for kinds whose CRDs
 * let a status hold fields they don't name (istio's do), and believed only while the newest spec is broken.
 */
import { isRecord } from "../fields.ts";
import type { Kind } from "../objects.ts";
import type { RawObject } from "./raw-object.ts";

const kinds: ReadonlySet<Kind> = new Set(["AuthorizationPolicy", "PeerAuthentication"]);

/** In bytes of JSON: a status is not to make an object too large for the API server (1.5 MB with all its parts). */
const limit = 256 * 1024;

/** What to apply as part of the status. */
export function statusWith(kind: Kind, spec: unknown): Readonly<Record<string, unknown>> {
  if (!kinds.has(kind) || !isRecord(spec) || Buffer.byteLength(JSON.stringify(spec)) > limit) return {};
  return { inForce: { spec } };
}

/** What stands in the object's status; undefined where nothing does. */
export function specIn(kind: Kind, object: RawObject): unknown {
  const { status } = object;
  if (!kinds.has(kind) || !isRecord(status) || !isRecord(status["inForce"])) return undefined;
  return status["inForce"]["spec"];
}
