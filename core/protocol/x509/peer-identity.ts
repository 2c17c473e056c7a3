/** Who a verified certificate speaks for. Reads the DER: printed forms of a SAN can be made to say what the bytes do not. */
import { X509Certificate } from "node:crypto";
import { messageOf } from "../../base/errors.ts";
import { parseIdentity, SpiffeError, type Identity } from "../spiffe/identity.ts";
import { extensionsOf } from "./certificate.ts";
import { decodeDer, type Der } from "./der.ts";
import { readUris } from "./extensions.ts";
import { X509Error } from "./x509-error.ts";

/** The one SPIFFE id of a certificate: exactly one URI SAN, and that one strict. The chain is TLS's to verify. */
export function certificateIdentity(certificate: X509Certificate | Uint8Array): Identity | X509Error {
  let uris: string[];
  try {
    const der = certificate instanceof X509Certificate ? certificate.raw : certificate;
    const tree: Der = decodeDer(der);
    uris = readUris(extensionsOf(tree));
  } catch (thrown) {
    return new X509Error({ code: "x509.undecodable", what: "certificate", reason: messageOf(thrown) });
  }
  const [uri] = uris;
  if (uri === undefined) return new X509Error({ code: "x509.no-uri-san" });
  if (uris.length > 1) return new X509Error({ code: "x509.several-uri-sans", count: uris.length });
  const identity = parseIdentity(uri);
  return identity instanceof SpiffeError
    ? new X509Error({ code: "x509.not-spiffe", reason: identity.type.code })
    : identity;
}
