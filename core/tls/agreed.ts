/** What is known of a connection once its handshake is over. */
import type { Ssl, X509 } from "./bindings.ts";
import { textAt, wideAddressOf } from "./bindings.ts";
import type { OpenSsl } from "./openssl.ts";

export interface Agreed {
  /** As OpenSSL says it: `TLSv1.3`. */
  readonly version: string;
  /** OpenSSL's name: `TLS_AES_256_GCM_SHA384`. */
  readonly cipher: string;
  /** Of the key exchange, by the name of its registry: `X25519MLKEM768`, `x25519`, `secp256r1`. undefined: none that has one. */
  readonly group: string | undefined;
  /** ALPN; undefined: none. */
  readonly protocol: string | undefined;
  /** Never with our own contexts at both ends. */
  readonly isResumed: boolean;
}

export function agreed(openssl: OpenSsl, ssl: Ssl): Agreed {
  const { calls } = openssl;
  return {
    version: calls.version(ssl),
    cipher: calls.cipherName(calls.cipher(ssl)),
    group: calls.groupName(ssl) ?? undefined,
    protocol: protocolOf(openssl, ssl),
    isResumed: calls.isReused(ssl) === 1,
  };
}

/** DER, the peer's own first. */
export function presented(openssl: OpenSsl, ssl: Ssl): Buffer[] {
  const { calls } = openssl;
  const own = calls.ownCertificate(ssl);
  if (own === 0) return [];
  const all = [derOf(openssl, own)];
  const sent = calls.sentCertificates(ssl);
  // Only a client finds the peer's own among them, and first.
  const first = calls.isServer(ssl) === 1 ? 0 : 1;
  for (let index = first; sent !== 0 && index < calls.stackSize(sent); index++) {
    all.push(derOf(openssl, calls.stackAt(sent, index)));
  }
  return all;
}

function derOf({ calls, wide, wordsAt }: OpenSsl, certificate: X509): Buffer {
  const der = Buffer.allocUnsafeSlow(Math.max(calls.certificateDer(certificate, 0), 0));
  wide[0] = wideAddressOf(der);
  calls.certificateDer(certificate, wordsAt);
  return der;
}

/** ALPN; undefined: none. */
export function protocolOf({ calls, wide, words, wordsAt }: OpenSsl, ssl: Ssl): string | undefined {
  wide.fill(0n);
  calls.chosenProtocol(ssl, wordsAt, wordsAt + 8);
  const octets = words[2]!;
  return octets === 0 ? undefined : textAt(Number(wide[0]), octets);
}
