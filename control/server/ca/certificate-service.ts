/** CreateCertificate from request bytes to response bytes: who asks, in whose name, for which key; every answer is audited. */
import type { Metadata } from "@grpc/grpc-js";
import type { Clock } from "../../../core/base/clock.ts";
import { messageOf } from "../../../core/base/errors.ts";
import type { Log } from "../../../core/base/log.ts";
import {
  CaError,
  createCertificateResponse,
  parseCertificateRequest,
  type CertificateOrder,
} from "../../../core/protocol/ca/create-certificate.ts";
import { IstioCertificateRequest, IstioCertificateResponse } from "../../../core/protocol/generated/ca.ts";
import { formatIdentity } from "../../../core/protocol/spiffe/identity.ts";
import { X509Error } from "../../../core/protocol/x509/x509-error.ts";
import { invalid, notReady, overloaded, unauthenticated, type Refusal } from "../refusal.ts";
import { authenticate, CallerError, refusalOf, type Caller, type CallerCheck } from "./authenticate.ts";
import { FairQueue } from "./fair-queue.ts";
import { identityFor, type ImpersonationRules } from "./impersonate.ts";
import { issueLeaf, type IssuePolicy } from "./issue.ts";
import type { MeshAuthority } from "./mesh-authority.ts";

export interface CertificateServiceModules extends CallerCheck {
  readonly authority: MeshAuthority;
  readonly policy: IssuePolicy;
  readonly rules: ImpersonationRules;
  /** Whether all pods are known: before that a refusal would be a guess. */
  readonly isReady: () => boolean;
  readonly clock: Clock;
  readonly log: Log;
}

export class CertificateService {
  readonly #modules: CertificateServiceModules;
  readonly #queue = new FairQueue(mostWaitingPerCaller);

  constructor(modules: CertificateServiceModules) {
    this.#modules = modules;
  }

  /** @param request a serialized IstioCertificateRequest @returns a serialized IstioCertificateResponse */
  async create(request: Uint8Array, metadata: Metadata): Promise<Uint8Array | Refusal> {
    const { isReady, log } = this.#modules;
    const caller = await authenticate(metadata, this.#modules);
    if (caller instanceof CallerError) {
      log.warn({ error: caller.type }, "certificate refused");
      return refusalOf(caller);
    }
    if (!isReady()) return notReady;
    const order = decode(request);
    if (typeof order === "string") return this.#refuse(caller, order, invalid(order));
    if (order instanceof CaError) return this.#refuse(caller, order.message, unauthenticated);
    const answer = this.#queue.run(describeCaller(caller), () => this.#issue(caller, order));
    return answer ?? this.#refuse(caller, "too many requests wait", overloaded);
  }

  #issue(caller: Caller, order: CertificateOrder): Uint8Array | Refusal {
    const { authority, policy, rules, clock, log } = this.#modules;
    const { issuer, intermediates, rootsPem } = authority.chain;
    const identity = identityFor(caller, order.impersonated, rules);
    if (identity instanceof CallerError) return this.#refuse(caller, identity.message, refusalOf(identity));
    const { csrPem, validitySeconds } = order;
    const leaf = issueLeaf(issuer, { identity, csrPem, validitySeconds, wallMs: clock.wallMs() }, policy);
    if (leaf instanceof X509Error) return this.#refuse(caller, leaf.message, invalid(leaf.message));
    const { serialNumber, notAfterMs, pem } = leaf;
    const notAfter = new Date(notAfterMs).toISOString();
    log.info({ ...audit(caller), identity: formatIdentity(identity), serialNumber, notAfter }, "certificate issued");
    return IstioCertificateResponse.encode(createCertificateResponse(pem, intermediates, rootsPem)).finish();
  }

  #refuse(caller: Caller, reason: string, refusal: Refusal): Refusal {
    this.#modules.log.warn({ ...audit(caller), reason }, "certificate refused");
    return refusal;
  }
}

/** The order, an error in it, or a sentence about bytes that are none. */
function decode(request: Uint8Array): CertificateOrder | CaError | string {
  // The largest CSR that is read is 16 KiB; what is much longer isn't even looked into.
  if (request.length > longestRequest) return `a request of ${request.length} bytes is longer than ${longestRequest}`;
  try {
    return parseCertificateRequest(IstioCertificateRequest.decode(request));
  } catch (thrown) {
    return `not an IstioCertificateRequest: ${messageOf(thrown)}`;
  }
}

/** Who asked, for the log: no token, no key. */
function audit({ identity, binding }: Caller): object {
  const caller = formatIdentity(identity);
  switch (binding.kind) {
    case "node-agent":
      return { caller, node: binding.node.name, pod: binding.pod.name, podUid: binding.pod.uid };
    case "pod":
      return { caller, pod: binding.pod.name, podUid: binding.pod.uid };
    case "unbound":
      return { caller };
  }
}

/** The same for all that one agent asks: what turns, caps and counts go by. */
function describeCaller({ identity, binding }: Caller): string {
  return `${formatIdentity(identity)} ${binding.kind === "unbound" ? "" : binding.pod.uid}`;
}

const mostWaitingPerCaller = 256;
const longestRequest = 65_536;
