/** Tokens a node's agent shows to control: JWTs (RFC 7519, ES256) with the claims of a Kubernetes projected service-account token. */
import { sign, verify, type KeyObject } from "node:crypto";
import { TypedError } from "../../base/errors.ts";

/** The audience of tokens meant for the certificate authority and xDS. */
export const istioCaAudience = "istio-ca";

export class TokenError extends TypedError<
  | { readonly code: "token.malformed"; readonly reason: string }
  | { readonly code: "token.algorithm"; readonly algorithm: string }
  | { readonly code: "token.signature" }
  | { readonly code: "token.audience"; readonly audience: readonly string[] }
  | { readonly code: "token.expired"; readonly expiredMs: number }
  | { readonly code: "token.not-yet"; readonly validFromMs: number }
> {}

/** Times are seconds since 1970, as on the wire. */
export interface NodeTokenClaims {
  readonly iss: string;
  readonly aud: readonly string[];
  readonly iat: number;
  readonly nbf?: number;
  readonly exp: number;
  /** `system:serviceaccount:namespace:name` */
  readonly sub: string;
  readonly "kubernetes.io": {
    readonly namespace: string;
    readonly node?: ObjectRef;
    readonly pod?: ObjectRef;
    readonly serviceaccount: ObjectRef;
  };
}

export interface ObjectRef {
  readonly name: string;
  readonly uid: string;
}

const longest = 8192;

/** @param key EC P-256 private key. */
export function mintToken(claims: NodeTokenClaims, key: KeyObject): string {
  const signed = `${base64url({ alg: "ES256", typ: "JWT" })}.${base64url(claims)}`;
  return `${signed}.${sign("sha256", Buffer.from(signed), ieee(key)).toString("base64url")}`;
}

/** The claims of a token that is signed by `key`'s owner, meant for `audience` and valid now. @param key EC P-256 public key. */
export function verifyToken(
  token: string,
  key: KeyObject,
  audience: string,
  wallMs: number,
): NodeTokenClaims | TokenError {
  const parts = token.length > longest ? [] : token.split(".");
  const [header = "", body = "", signature = ""] = parts;
  if (parts.length !== 3 || !parts.every((part) => /^[A-Za-z0-9_-]+$/.test(part))) return malformed("not a JWT");
  const algorithm = recordOf(jsonOf(header))?.["alg"];
  if (algorithm !== "ES256") {
    return new TokenError({ code: "token.algorithm", algorithm: String(algorithm).slice(0, 32) });
  }
  const signed = Buffer.from(`${header}.${body}`);
  if (!verify("sha256", signed, ieee(key), Buffer.from(signature, "base64url"))) {
    return new TokenError({ code: "token.signature" });
  }
  const claims = claimsOf(jsonOf(body));
  if (claims instanceof TokenError) return claims;
  if (!claims.aud.includes(audience)) return new TokenError({ code: "token.audience", audience: claims.aud });
  const validFromMs = (claims.nbf ?? claims.iat) * 1000;
  if (wallMs < validFromMs) return new TokenError({ code: "token.not-yet", validFromMs });
  if (wallMs >= claims.exp * 1000) return new TokenError({ code: "token.expired", expiredMs: claims.exp * 1000 });
  return claims;
}

function claimsOf(value: unknown): NodeTokenClaims | TokenError {
  const claims = recordOf(value);
  const bound = recordOf(claims?.["kubernetes.io"]);
  if (claims === undefined || bound === undefined) return malformed("no kubernetes.io claims");
  const { iss, aud, iat, nbf, exp, sub } = claims;
  const audiences: unknown[] = Array.isArray(aud) ? aud : [aud];
  if (!audiences.every((one) => typeof one === "string")) return malformed("aud");
  if (typeof iss !== "string" || typeof sub !== "string") return malformed("iss or sub");
  if (!isTime(iat) || !isTime(exp) || (nbf !== undefined && !isTime(nbf))) return malformed("iat, nbf or exp");
  const { namespace } = bound;
  const serviceaccount = refOf(bound["serviceaccount"]);
  const node = refOf(bound["node"]);
  const pod = refOf(bound["pod"]);
  if (typeof namespace !== "string" || serviceaccount === undefined) return malformed("kubernetes.io");
  if (sub !== `system:serviceaccount:${namespace}:${serviceaccount.name}`) return malformed("sub");
  return {
    iss,
    aud: audiences,
    iat,
    ...(nbf !== undefined && { nbf }),
    exp,
    sub,
    "kubernetes.io": { namespace, ...(node && { node }), ...(pod && { pod }), serviceaccount },
  };
}

function refOf(value: unknown): ObjectRef | undefined {
  const ref = recordOf(value);
  const { name, uid } = ref ?? {};
  return typeof name === "string" && typeof uid === "string" ? { name, uid } : undefined;
}

function isTime(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}

function recordOf(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
}

function jsonOf(part: string): unknown {
  try {
    return JSON.parse(Buffer.from(part, "base64url").toString("utf8"));
  } catch {
    return undefined;
  }
}

function base64url(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

/** JWS signatures are r and s side by side (RFC 7518 3.4), not DER. */
function ieee(key: KeyObject): { key: KeyObject; dsaEncoding: "ieee-p1363" } {
  return { key, dsaEncoding: "ieee-p1363" };
}

function malformed(reason: string): TokenError {
  return new TokenError({ code: "token.malformed", reason });
}
