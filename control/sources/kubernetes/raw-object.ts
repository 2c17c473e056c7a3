/** Objects as the API server sends them, looked at only as far as bookkeeping needs. */
import { isRecord } from "../fields.ts";

export type RawObject = Readonly<Record<string, unknown>>;

/** Which object, and which version of it. */
export interface Stamp {
  readonly uid: string;
  /** Empty where the object had none: then no two versions are known to be the same. */
  readonly resourceVersion: string;
}

export interface RawIdentity extends Stamp {
  /** Empty for cluster-scoped kinds. */
  readonly namespace: string;
  readonly name: string;
}

/** Undefined for what is not an object with a name. */
export function identityOf(object: unknown): RawIdentity | undefined {
  if (!isRecord(object) || !isRecord(object["metadata"])) return undefined;
  const { name, namespace, uid, resourceVersion } = object["metadata"];
  if (typeof name !== "string" || name === "") return undefined;
  return { name, namespace: textOf(namespace), uid: textOf(uid), resourceVersion: textOf(resourceVersion) };
}

/** `shop/cart-1`, `/node1` */
export function keyOf({ namespace, name }: Pick<RawIdentity, "namespace" | "name">): string {
  return `${namespace}/${name}`;
}

/**
 * Whether `a` is older (< 0), the same (0) or newer (> 0) than `b`; undefined where that cannot be said. Versions of one
 * resource are decimal numbers that grow, too large for a double (Kubernetes 1.35, API concepts: resource versions).
 */
export function compareVersions(a: string, b: string): number | undefined {
  if (!decimal.test(a) || !decimal.test(b)) return undefined;
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : a > b ? 1 : 0;
}

const decimal = /^[1-9][0-9]*$/;

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
