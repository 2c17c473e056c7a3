/**
 * Who calls. A bearer token is reviewed by whoever can: here against the key this control plane signs its nodes' tokens with;
 * a Kubernetes TokenReview answers the same interface. What is wrong with a caller goes to our log; the caller hears one
 * sentence that says nothing.
 */
import type { KeyObject } from "node:crypto";
import type { Metadata } from "@grpc/grpc-js";
import type { Clock } from "../../../core/base/clock.ts";
import { TypedError } from "../../../core/base/errors.ts";
import type { Identity } from "../../../core/protocol/spiffe/identity.ts";
import { istioCaAudience, TokenError, verifyToken } from "../../../core/protocol/token/node-token.ts";
import { notReviewed, unauthenticated, type Refusal } from "../refusal.ts";

/** An authenticated caller. */
export interface Caller {
  readonly identity: Identity;
  readonly binding: Binding;
}

/** What a token is bound to, and so which node its bearer speaks for. */
export type Binding =
  /** A node's agent, by a token of our own that names the node. */
  | { readonly kind: "node-agent"; readonly node: Named; readonly pod: Named }
  /** A pod of the cluster: its object tells the node, and a token that names one must agree. */
  | { readonly kind: "pod"; readonly pod: Named; readonly node?: Named }
  | { readonly kind: "unbound" };

export interface Named {
  readonly name: string;
  readonly uid: string;
}

/** Why somebody is refused. For the log only. */
export class CallerError extends TypedError<
  | { readonly code: "caller.no-token" }
  | { readonly code: "caller.several-tokens" }
  | { readonly code: "caller.bad-token"; readonly reason: string }
  | { readonly code: "caller.not-reviewed"; readonly reason: string } // nobody could say whose token it is
  | { readonly code: "caller.foreign-cluster"; readonly cluster: string }
  | { readonly code: "caller.untrusted-account"; readonly account: string } // impersonates, but is no node agent
  | { readonly code: "caller.unbound" } // its token names neither pod nor node
  | { readonly code: "caller.unknown-node"; readonly node: string }
  | { readonly code: "caller.node-replaced"; readonly node: string } // same name, other uid
  | { readonly code: "caller.stale-pod"; readonly pod: string } // gone, or another one of that name
  | { readonly code: "caller.foreign-node"; readonly node: string; readonly claimed: string } // speaks for another node
  | { readonly code: "caller.foreign-namespace"; readonly namespace: string; readonly claimed: string }
  | { readonly code: "caller.foreign-trust-domain"; readonly requested: string }
  | { readonly code: "caller.bad-identity"; readonly reason: string }
  | { readonly code: "caller.no-live-pod"; readonly node: string; readonly requested: string }
> {}

/** Answers whether a token is good for `audience`, and whose it is. */
export interface TokenReviewer {
  review(token: string, audience: string): Promise<Caller | CallerError>;
}

/** Verifies the tokens that node-tokens.ts minted. */
export class LocalTokenReviewer implements TokenReviewer {
  readonly #options: LocalTokenReviewerOptions;

  constructor(options: LocalTokenReviewerOptions) {
    this.#options = options;
  }

  async review(token: string, audience: string): Promise<Caller | CallerError> {
    const { key, trustDomain, clock } = this.#options;
    const claims = verifyToken(token, key, audience, clock.wallMs());
    if (claims instanceof TokenError) return badToken(claims.message);
    const { namespace, node, pod, serviceaccount } = claims["kubernetes.io"];
    if (node === undefined || pod === undefined) return badToken("it is bound to no node");
    const identity: Identity = { trustDomain, namespace, serviceAccount: serviceaccount.name };
    return { identity, binding: { kind: "node-agent", node, pod } };
  }
}

export interface LocalTokenReviewerOptions {
  /** The public half of the key that signs node tokens. */
  readonly key: KeyObject;
  readonly trustDomain: string;
  readonly clock: Clock;
}

/** What every door of control asks of a caller. */
export interface CallerCheck {
  readonly reviewer: TokenReviewer;
  /** A caller that names a cluster (metadata `clusterid`) must name this one. */
  readonly clusterId: string;
}

/** The caller behind a request's headers. */
export async function authenticate(
  metadata: Metadata,
  { reviewer, clusterId }: CallerCheck,
): Promise<Caller | CallerError> {
  const foreign = metadata.get("clusterid").find((named) => named !== clusterId);
  if (foreign !== undefined) {
    return new CallerError({ code: "caller.foreign-cluster", cluster: String(foreign).slice(0, longestInLog) });
  }
  const values = metadata.get("authorization");
  const [value] = values;
  if (values.length > 1) return new CallerError({ code: "caller.several-tokens" });
  if (typeof value !== "string" || !/^bearer /i.test(value)) return new CallerError({ code: "caller.no-token" });
  const token = value.slice("bearer ".length).trim();
  if (token === "") return new CallerError({ code: "caller.no-token" });
  if (token.length > longestToken) return badToken(`${token.length} characters are more than ${longestToken}`);
  return reviewer.review(token, istioCaAudience);
}

/** What a caller hears: that it is not authenticated, or, where that isn't known, to come back. */
export function refusalOf({ type }: CallerError): Refusal {
  return type.code === "caller.not-reviewed" ? notReviewed : unauthenticated;
}

export function badToken(reason: string): CallerError {
  return new CallerError({ code: "caller.bad-token", reason });
}

const longestToken = 16_384;
const longestInLog = 128;
