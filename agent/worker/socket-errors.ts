/** The one door by which strangers' errors become close reasons: errnos of sockets, errors of tunnels. */
import { errnoOf } from "../../core/linux/errno.ts";
import type { CloseCode } from "../../core/decision/close-reasons.ts";
import type { CloseDetails } from "../connection/close-record.ts";
import type { TunnelError } from "../tunnel/tunnel.ts";

export interface Failure {
  readonly reason: CloseCode;
  readonly details: CloseDetails;
  /** Nobody has looked at the request, and in a moment the same place may have somebody who does: its agent is being restarted. */
  readonly again?: boolean;
  /** Behind the gateway to another network, which was reached: it may choose somebody else the next time. */
  readonly beyondGateway?: boolean;
}

/** Why an application, or a plain destination, could not be connected to. */
export function connectFailure(error: unknown): Failure {
  const errno = errnoOf(error) ?? "unknown";
  return { reason: connectReasons[errno] ?? "CONNECT_FAILED", details: { detail: errno } };
}

/** Why there is no tunnel, or no stream in it. */
export function tunnelFailure({ type }: TunnelError): Failure {
  const { reason, details } = tunnelReason(type);
  return { reason, details, again: mayBeBack(type) };
}

/** What an agent that ends, or begins, looks like from here. */
function mayBeBack(type: TunnelError["type"]): boolean {
  switch (type.code) {
    case "tunnel.connect-failed":
      return passing.has(type.errno);
    case "tunnel.tls-failed":
      return type.detail === "closed" || passing.has(type.detail);
    case "tunnel.lost":
    case "tunnel.stream-refused":
    case "tunnel.unresponsive":
    case "tunnel.protocol-error":
      return true;
    default:
      return false;
  }
}

function tunnelReason(type: TunnelError["type"]): Failure {
  const say = (reason: CloseCode, detail?: string): Failure => ({ reason, details: { detail } });
  switch (type.code) {
    case "tunnel.connect-failed":
      return say(connectReasons[type.errno] ?? "CONNECT_FAILED", type.errno);
    case "tunnel.connect-timeout":
    case "tunnel.answer-timeout":
      return say("CONNECT_TIMEOUT", `${type.afterMs} ms`);
    case "tunnel.tls-timeout":
      return say("TLS_HANDSHAKE_TIMEOUT", `${type.afterMs} ms`);
    case "tunnel.tls-failed":
      return say("TLS_HANDSHAKE_FAILED", type.detail);
    case "tunnel.resumed":
      return say("TLS_HANDSHAKE_FAILED", "resumed");
    case "tunnel.certificate-expired":
      return say("PEER_CERT_EXPIRED");
    case "tunnel.certificate-not-yet-valid":
      return say("PEER_CERT_NOT_YET_VALID");
    case "tunnel.certificate-untrusted":
      return say("PEER_CERT_UNTRUSTED", type.detail);
    case "tunnel.certificate-unfit":
      return say("PEER_CERT_UNFIT", type.detail);
    case "tunnel.certificate-revoked":
      return say("PEER_CERT_REVOKED", `serial ${type.serial}`);
    case "tunnel.bad-identity":
      return say("BAD_IDENTITY", type.detail);
    case "tunnel.san-mismatch":
      return say("SAN_MISMATCH", `${type.presented} instead of ${type.accepted.join(" or ")}`);
    case "tunnel.trust-domain":
      return say("TRUST_DOMAIN_MISMATCH", type.presented);
    case "tunnel.no-client-certificate":
      return say("NO_CLIENT_CERTIFICATE");
    case "tunnel.not-h2":
      return say("ALPN_NOT_H2", type.alpn);
    case "tunnel.no-preface":
      return say("H2_NO_PREFACE", `${type.afterMs} ms`);
    case "tunnel.bad-preface":
      return say("H2_NO_PREFACE", type.began);
    case "tunnel.abuse":
      return say(resetFloods.has(type.account) ? "H2_RESET_FLOOD" : "H2_FLOOD", type.account);
    case "tunnel.no-certificate":
      return say("NO_CERTIFICATE", type.detail);
    case "tunnel.unresponsive":
      return say("PEER_UNREACHABLE");
    case "tunnel.lost":
      return say("TUNNEL_LOST", type.detail);
    case "tunnel.no-room":
      return say("NO_STREAM_CAPACITY");
    case "tunnel.protocol-error":
      return say("H2_ERROR", type.detail);
    case "tunnel.stream-refused":
      return say("STREAM_REFUSED");
    case "tunnel.stream-reset":
      return say("PEER_RESET", `h2 error ${type.h2}, before the answer`);
    case "tunnel.refused":
      if (type.gone === true) return say("WORKLOAD_GONE");
      return say(statusReasons[type.status] ?? "BAD_CONNECT_REPLY", `status ${type.status}`);
    case "tunnel.bad-answer":
      return say("BAD_CONNECT_REPLY", type.detail);
  }
}

/** Accounts of core/protocol/h2/abuse-budget.ts. */
const resetFloods: ReadonlySet<string> = new Set(["abandoned-streams", "stream-errors"]);

const passing: ReadonlySet<string> = new Set(["ECONNREFUSED", "ECONNRESET", "EPIPE"]);

const connectReasons: Readonly<Record<string, CloseCode>> = {
  ECONNREFUSED: "CONNECT_REFUSED",
  ETIMEDOUT: "CONNECT_TIMEOUT",
  EADDRNOTAVAIL: "EPHEMERAL_EXHAUSTED",
  EMFILE: "FD_LIMIT",
  ENFILE: "FD_LIMIT",
};

const statusReasons: Readonly<Record<number, CloseCode>> = {
  400: "PEER_BAD_REQUEST",
  401: "PEER_DENIED",
  503: "PEER_UNAVAILABLE",
};
