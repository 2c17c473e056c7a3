/** The certificates that a peer has shown, and what is asked of them beyond what TLS asks. */
import type { KeyObject, X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import type { ChainIds, Revocations } from "../revocation/revocations.ts";
import { TunnelError } from "./tunnel.ts";

/** What a peer has shown. */
export interface Presented {
  /** How many certificates. */
  readonly count: number;
  /** Its own first. They cost something to make: only who has to look asks for them. */
  readonly certificates: () => readonly X509Certificate[];
  /** The same object for the same certificates only: what they were found to be can be kept by it. undefined: nobody remembers. */
  readonly token?: object | undefined;
}

/** By what a peer's certificates are judged beyond TLS. */
export interface ChainTrust {
  /** PEM. */
  readonly roots: string;
  /** undefined: nobody says what is revoked. */
  readonly revocations: Revocations | undefined;
}

/**
 * What the peer presented, its own first. To be asked once, when the handshake is over and before anybody else asks: Node takes the
 * others away from OpenSSL as it hands them out (tried on Node 24.21; it asks itself, on a server, when it emits `secureConnection`).
 */
export function presentedBy(socket: TLSSocket): X509Certificate[] {
  const presented: X509Certificate[] = [];
  for (let one = socket.getPeerX509Certificate(); one !== undefined; one = one.issuerCertificate) presented.push(one);
  return presented;
}

/**
 * Keeps what a server's peer presents, from within the handshake: Node's own listener comes later. @see presentedBy
 * @returns asks for it, once the handshake is over.
 */
export function keepPresented(socket: TLSSocket): void {
  socket.prependOnceListener("secure", () => kept.set(socket, presentedBy(socket)));
}

/**
 * Before it calls `checkServerIdentity` Node makes old-fashioned objects of a server's certificates, which ends the whole process where
 * one has a key on a curve that NIST has no name for, secp256k1 say (tried on Node 24.21; EC_curve_nid2nist gives NULL). Whoever has any
 * certificate of the mesh could send such a one along. We read certificates otherwise, so none are made.
 */
export function forgetLegacyCertificates(socket: TLSSocket): void {
  Object.defineProperty(socket, "getPeerCertificate", { value: () => ({}) });
}

/** Empty where the peer has shown none, or the handshake is not over. */
export function keptOf(socket: TLSSocket): readonly X509Certificate[] {
  return kept.get(socket) ?? [];
}

export function presentedAs(certificates: readonly X509Certificate[]): Presented {
  return { count: certificates.length, certificates: () => certificates };
}

/**
 * What TLS lets pass and we do not: long chains, authorities in place of workloads, weak keys. It is the same whenever it is asked.
 * @returns what may be revoked of it.
 */
export function judgeChain(presented: readonly X509Certificate[], trust: ChainTrust): ChainIds | TunnelError {
  if (presented.length > mostCertificates) return unfit(`${presented.length} certificates`);
  if (presented[0]?.ca === true) return unfit("an authority's own certificate");
  for (const certificate of presented) {
    const weakness = weaknessOf(certificate);
    if (weakness !== undefined) return unfit(`weak key: ${weakness}`);
  }
  const { revocations, roots } = trust;
  if (revocations === undefined) return [];
  return revocations.idsOf(presented, roots) ?? unfit("unreadable");
}

export function revokedError({ serial }: ChainIds[number]): TunnelError {
  return new TunnelError({ code: "tunnel.certificate-revoked", serial: Buffer.from(serial).toString("hex") });
}

function weaknessOf(certificate: X509Certificate): string | undefined {
  let key: KeyObject;
  try {
    key = certificate.publicKey;
  } catch {
    return "of no kind that we know";
  }
  const { asymmetricKeyType: type, asymmetricKeyDetails: { namedCurve = "", modulusLength = 0 } = {} } = key;
  if (type === "ec") return curves.has(namedCurve) ? undefined : namedCurve;
  if (type === "rsa" || type === "rsa-pss") return modulusLength >= fewestRsaBits ? undefined : `${modulusLength} bits`;
  return type === "ed25519" || type === "ed448" ? undefined : String(type);
}

function unfit(detail: string): TunnelError {
  return new TunnelError({ code: "tunnel.certificate-unfit", detail });
}

const kept = new WeakMap<TLSSocket, readonly X509Certificate[]>();
const curves: ReadonlySet<string> = new Set(["prime256v1", "secp384r1", "secp521r1"]);
const fewestRsaBits = 2048;
/** A workload's own and its authorities': nobody needs more, and each costs. */
export const mostCertificates = 16;
