/** TLS as HBONE wants it (agent-wire 2.4): 1.3 only, both certificates, no resumption, and identities read from the DER. */
import { constants } from "node:crypto";
import { createSecureContext, type SecureContext, type SecureContextOptions, type TLSSocket } from "node:tls";
import { formatIdentity, type Identity } from "../../core/protocol/spiffe/identity.ts";
import { certificateIdentity } from "../../core/protocol/x509/peer-identity.ts";
import { X509Error } from "../../core/protocol/x509/x509-error.ts";
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
}

export const alpn = ["h2"];

/** For tls.connect and tls.createServer alike. */
export function secureOptions(identity: TlsIdentity): SecureContextOptions {
  return {
    cert: identity.chain,
    key: identity.key,
    ca: identity.roots,
    minVersion: "TLSv1.3",
    maxVersion: "TLSv1.3",
    ciphers: "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256",
    // A resumed session would skip the client certificate, and with it revocation, expiry and a removed root.
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}

export function secureContext(identity: TlsIdentity): SecureContext {
  return createSecureContext(secureOptions(identity));
}

/** SPIFFE URI of the peer if it is one of those accepted. The chain has been verified before. */
export function checkServerIdentity(der: Uint8Array, accepted: readonly string[]): string | TunnelError {
  const identity = certificateIdentity(der);
  if (identity instanceof X509Error)
    return new TunnelError({ code: "tunnel.bad-identity", detail: identity.type.code });
  const presented = formatIdentity(identity);
  return accepted.includes(presented)
    ? presented
    : new TunnelError({ code: "tunnel.san-mismatch", presented, accepted });
}

/** Why a handshake failed, from the error that a TLS socket or server emitted. */
export function handshakeError(error: Error): TunnelError {
  if (error instanceof TunnelError) return error;
  const { code = "", reason } = error as { code?: string; reason?: string };
  if (code === "CERT_HAS_EXPIRED") return new TunnelError({ code: "tunnel.certificate-expired" });
  if (code === "CERT_NOT_YET_VALID") return new TunnelError({ code: "tunnel.certificate-not-yet-valid" });
  if (unfit.has(code)) return new TunnelError({ code: "tunnel.certificate-unfit", detail: code });
  if (untrusted.has(code)) return new TunnelError({ code: "tunnel.certificate-untrusted", detail: code });
  return new TunnelError({ code: "tunnel.tls-failed", detail: reason ?? (code === "" ? error.message : code) });
}

/**
 * Whom a client proved to be, or why it is refused: a certificate that leads to our roots, in this handshake and not an earlier
 * one, with exactly one SPIFFE id of our own trust domain. To be asked once the handshake is over.
 */
export function checkClient(socket: TLSSocket, trustDomain: string): Identity | TunnelError {
  if (socket.isSessionReused()) return new TunnelError({ code: "tunnel.resumed" });
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return new TunnelError({ code: "tunnel.no-client-certificate" });
  if (!socket.authorized) {
    const code = String(socket.authorizationError);
    return handshakeError(Object.assign(new Error(code), { code }));
  }
  if (socket.alpnProtocol !== "h2")
    return new TunnelError({ code: "tunnel.not-h2", alpn: String(socket.alpnProtocol) });
  const identity = certificateIdentity(certificate);
  if (identity instanceof X509Error)
    return new TunnelError({ code: "tunnel.bad-identity", detail: identity.type.code });
  if (identity.trustDomain === trustDomain) return identity;
  return new TunnelError({ code: "tunnel.trust-domain", presented: formatIdentity(identity) });
}

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
