/** SPIFFE ids of workloads: `spiffe://trust-domain/ns/namespace/sa/service-account`, compared byte for byte (SPIFFE-ID 2.1, 2.2). */
import { TypedError } from "../../base/errors.ts";

export interface Identity {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

export class SpiffeError extends TypedError<
  | { readonly code: "spiffe.too-long"; readonly length: number }
  | { readonly code: "spiffe.scheme" } // not spiffe://, in lower case
  | { readonly code: "spiffe.trust-domain" }
  | { readonly code: "spiffe.path" } // not /ns/x/sa/y with plain segments
> {}

const scheme = "spiffe://";
/** SPIFFE-ID 2.3: implementations must support ids of this many bytes. */
const longest = 2048;
const trustDomainShape = /^[a-z0-9._-]{1,255}$/;
const segmentShape = /^[A-Za-z0-9._-]+$/;

/** Strict: no percent encoding, no `.` or `..`, no empty or further segment, no port, query, fragment or upper-case trust domain. */
export function parseIdentity(uri: string): Identity | SpiffeError {
  if (uri.length > longest) return new SpiffeError({ code: "spiffe.too-long", length: uri.length });
  if (!uri.startsWith(scheme)) return new SpiffeError({ code: "spiffe.scheme" });
  const [trustDomain = "", ...path] = uri.slice(scheme.length).split("/");
  if (!trustDomainShape.test(trustDomain)) return new SpiffeError({ code: "spiffe.trust-domain" });
  const [ns, namespace = "", sa, serviceAccount = ""] = path;
  if (path.length !== 4 || ns !== "ns" || sa !== "sa" || !isSegment(namespace) || !isSegment(serviceAccount)) {
    return new SpiffeError({ code: "spiffe.path" });
  }
  return { trustDomain, namespace, serviceAccount };
}

/** The URI. What does not come from parseIdentity may yield one that no certificate can carry and that equals none. */
export function formatIdentity(identity: Identity): string {
  return scheme + principalOf(identity);
}

/** The id as policies write it: without the scheme. */
export function principalOf(identity: Identity): string {
  return `${identity.trustDomain}/ns/${identity.namespace}/sa/${identity.serviceAccount}`;
}

function isSegment(segment: string): boolean {
  return segmentShape.test(segment) && segment !== "." && segment !== "..";
}
