/** TLS as HBONE wants it (agent-wire 2.4): 1.3 only, both certificates, no resumption, and identities read from the DER. */
import type { X509Certificate } from "node:crypto";
import { createSecureContext, type SecureContext, type SecureContextOptions } from "node:tls";
import { formatIdentity, type Identity } from "../../core/protocol/spiffe/identity.ts";
import { certificateIdentity } from "../../core/protocol/x509/peer-identity.ts";
import { X509Error } from "../../core/protocol/x509/x509-error.ts";
import type { ChainIds } from "../revocation/revocations.ts";
import { judgeChain, revokedError, type ChainTrust, type Presented } from "./peer-chain.ts";
import { policyOptions, tlsPolicy, type TlsPolicy } from "./tls-policy.ts";
import type { TlsError } from "../../core/tls/tls-error.ts";
import type { PresentedClient, Secured } from "./tls-engine.ts";
import { TunnelError } from "./tunnel.ts";

/** One identity's key, chain and roots, ready for both directions. */
export interface TlsIdentity {
  readonly identity: Identity;
  /** PEM, leaf first. */
  readonly chain: string;
  /** PEM. */
  readonly key: string;
  /** PEM. */
  readonly roots: string;
  /** Milliseconds since 1970. */
  readonly notAfter: number;
  /** Default: 1.3, and hybrid key exchange where both ends can. */
  readonly policy?: TlsPolicy;
}

/** Who a peer is, and by which certificates. */
export interface ProvenPeer {
  readonly identity: Identity;
  /** The same, as SPIFFE URI. */
  readonly uri: string;
  /** Empty where nobody says what is revoked. */
  readonly chain: ChainIds;
}

export const alpn = ["h2"];

/** For tls.connect and tls.createServer alike. */
export function secureOptions({ chain, key, roots, policy = tlsPolicy }: TlsIdentity): SecureContextOptions {
  return { cert: chain, key, ca: roots, ...policyOptions(policy) };
}

export function secureContext(identity: TlsIdentity): SecureContext {
  return createSecureContext(secureOptions(identity));
}

/** Whom a server proved to be, or why it is refused: it must be one of those accepted. TLS has verified the chain before. */
export function checkServer(
  presented: Presented,
  accepted: readonly string[],
  trust: ChainTrust,
): ProvenPeer | TunnelError {
  const peer = proven(presented, trust);
  if (peer instanceof TunnelError) return peer;
  const { uri } = peer;
  return accepted.includes(uri) ? peer : new TunnelError({ code: "tunnel.san-mismatch", presented: uri, accepted });
}

/** Why a handshake failed, from the error that a TLS socket or server emitted. */
export function handshakeError(error: Error): TunnelError {
  if (error instanceof TunnelError) return error;
  const { code = "", reason } = error as { code?: string; reason?: string };
  return knownDistrust(code) ?? failed(reason ?? (code === "" ? error.message : code));
}

/** Why a chain does not hold. @param code OpenSSL's X509_V_ERR_ name as Node gives it. */
export function distrustOf(code: string): TunnelError {
  return knownDistrust(code) ?? failed(code);
}

function knownDistrust(code: string): TunnelError | undefined {
  if (code === "CERT_HAS_EXPIRED") return new TunnelError({ code: "tunnel.certificate-expired" });
  if (code === "CERT_NOT_YET_VALID") return new TunnelError({ code: "tunnel.certificate-not-yet-valid" });
  if (unfit.has(code)) return new TunnelError({ code: "tunnel.certificate-unfit", detail: code });
  if (untrusted.has(code)) return new TunnelError({ code: "tunnel.certificate-untrusted", detail: code });
  return undefined;
}

/**
 * Whom a client proved to be, or why it is refused: a certificate that leads to our roots, in this handshake and not an earlier
 * one, with exactly one SPIFFE id of our own trust domain. To be asked once the handshake is over.
 */
export function checkClient(
  { presented, distrust }: PresentedClient,
  { isResumed, protocol }: Pick<Secured, "isResumed" | "protocol">,
  trustDomain: string,
  trust: ChainTrust,
): ProvenPeer | TunnelError {
  if (isResumed) return new TunnelError({ code: "tunnel.resumed" });
  if (distrust !== undefined) return distrust;
  if (presented.count === 0) return new TunnelError({ code: "tunnel.no-client-certificate" });
  if (protocol !== "h2") return notH2(protocol);
  const peer = proven(presented, trust);
  if (peer instanceof TunnelError || peer.identity.trustDomain === trustDomain) return peer;
  return new TunnelError({ code: "tunnel.trust-domain", presented: peer.uri });
}

/** A tunnel speaks nothing but HTTP/2. */
export function notH2(protocol: string | undefined): TunnelError {
  return new TunnelError({ code: "tunnel.not-h2", alpn: protocol ?? "none" });
}

/** The same as a {@link handshakeError}, from the machine of core/tls. */
export function tlsFailure({ type }: TlsError): TunnelError {
  switch (type.code) {
    case "tls.certificate":
      return distrustOf(type.verify);
    case "tls.no-client-certificate":
      return new TunnelError({ code: "tunnel.no-client-certificate" });
    case "tls.truncated":
      return failed("closed");
    case "tls.alert":
    case "tls.protocol":
    case "tls.bad-setting":
      return failed(type.reason);
    case "tls.unusable":
      return failed(type.detail);
  }
}

function failed(detail: string): TunnelError {
  return new TunnelError({ code: "tunnel.tls-failed", detail });
}

/** What certificates say is read once; whether one of them has been revoked is asked every time. */
function proven({ certificates, token }: Presented, trust: ChainTrust): ProvenPeer | TunnelError {
  const { revocations, roots } = trust;
  const known = token && readBefore.get(token);
  let peer: ProvenPeer | TunnelError;
  if (known !== undefined && known.roots === roots && known.isWatched === (revocations !== undefined)) {
    ({ peer } = known);
  } else {
    peer = read(certificates(), trust);
    if (peer instanceof TunnelError) return peer;
    if (token) readBefore.set(token, { peer, roots, isWatched: revocations !== undefined });
  }
  const revoked = revocations?.revoked(peer.chain);
  return revoked === undefined ? peer : revokedError(revoked);
}

function read(presented: readonly X509Certificate[], trust: ChainTrust): ProvenPeer | TunnelError {
  const [own] = presented;
  if (own === undefined) return new TunnelError({ code: "tunnel.bad-identity", detail: "no certificate" });
  const chain = judgeChain(presented, trust);
  if (chain instanceof TunnelError) return chain;
  const identity = certificateIdentity(own);
  return identity instanceof X509Error
    ? new TunnelError({ code: "tunnel.bad-identity", detail: identity.type.code })
    : { identity, uri: formatIdentity(identity), chain };
}

interface ReadBefore {
  readonly peer: ProvenPeer;
  /** What `peer.chain` depends on beside the certificates. */
  readonly roots: string;
  readonly isWatched: boolean;
}

/** By {@link Presented.token}. */
const readBefore = new WeakMap<object, ReadBefore>();

/** OpenSSL's verification results that mean: this chain leads to no root of ours (X509_V_ERR_ names as Node gives them). */
const untrusted = new Set([
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "CERT_SIGNATURE_FAILURE",
  "CERT_UNTRUSTED",
  "CERT_REJECTED",
]);

/** Those that mean: one certificate of the chain must not be used as it is. Node has no name for a weak key or digest, or a key usage. */
const unfit = new Set(["INVALID_CA", "INVALID_PURPOSE", "CERT_CHAIN_TOO_LONG", "PATH_LENGTH_EXCEEDED", "UNSPECIFIED"]);
