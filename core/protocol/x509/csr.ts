/** Certificate signing requests (PKCS#10, RFC 2986): made for a workload's identity, and taken apart with suspicion. */
import { createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { messageOf } from "../../base/errors.ts";
import { formatIdentity, type Identity } from "../spiffe/identity.ts";
import {
  bits,
  childrenOf,
  decodeDer,
  encodeDer,
  explicit,
  isBits,
  isSequence,
  isTagged,
  octetsOf,
  oid,
} from "./der.ts";
import { oidOf, sequence, set, unsigned, type Der } from "./der.ts";
import { readUris, uriAltName } from "./extensions.ts";
import { formatPem, parsePem } from "./pem.ts";
import { refuseKey, signWith, verifyWith } from "./signature.ts";
import { X509Error } from "./x509-error.ts";

/** A key that its owner has shown to hold. */
export interface SigningRequest {
  readonly publicKey: KeyObject;
  /** URI names it asks for. For the audit only: what a certificate says comes from authentication. */
  readonly uris: readonly string[];
}

const extensionRequest = "1.2.840.113549.1.9.14";
const longestPem = 16 * 1024;
const labels = ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"];

/** A new P-256 key and the request for a leaf of `identity`: empty subject, one critical URI SAN (agent-wire 5). */
export function createKeyAndCsr(identity: Identity): { readonly key: KeyObject; readonly csrPem: string } {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { key: privateKey, csrPem: createCsr(privateKey, publicKey, formatIdentity(identity)) };
}

/** The request of one key for one URI. @returns PEM. */
export function createCsr(privateKey: KeyObject, publicKey: KeyObject, uri: string): string {
  const signer = signWith(privateKey);
  const info = sequence(
    unsigned(Uint8Array.of(0)),
    sequence(),
    decodeDer(publicKey.export({ type: "spki", format: "der" })),
    explicit(0, sequence(oid(extensionRequest), set(sequence(uriAltName(uri))))),
  );
  const signature = signer.sign(encodeDer(info));
  return formatPem(labels[0] ?? "", encodeDer(sequence(info, signer.algorithm, bits(signature))));
}

/** At most 16 KiB, one request, an allowed key, and a signature by that key. Sizes and kinds are checked before anything is computed. */
export function parseCsr(pem: string): SigningRequest | X509Error {
  if (pem.length > longestPem) return new X509Error({ code: "x509.csr-too-large", bytes: pem.length });
  const blocks = parsePem(pem);
  if (blocks instanceof X509Error) return blocks;
  const [block] = blocks;
  if (blocks.length !== 1 || block === undefined || !labels.includes(block.label)) return undecodable("not one CSR");
  try {
    return parseRequest(decodeDer(block.der));
  } catch (thrown) {
    return undecodable(messageOf(thrown));
  }
}

/** CertificationRequest ::= SEQUENCE { info, signatureAlgorithm, signature BIT STRING } */
function parseRequest(tree: Der): SigningRequest | X509Error {
  const [info, algorithm, signature, ...rest] = childrenOf(tree);
  const wellFormed = isSequence(tree) && isSequence(info) && isSequence(algorithm) && isBits(signature);
  if (!wellFormed || !info || rest.length > 0) return undecodable("not a CSR");
  const [unusedBits, ...signed] = octetsOf(signature);
  if (unusedBits !== 0) return undecodable("not a whole signature");
  const [, , keyInfo, ...attributes] = childrenOf(info);
  if (!keyInfo || !isSequence(keyInfo)) return undecodable("no public key");
  const publicKey = createPublicKey({ key: encodeDer(keyInfo), format: "der", type: "spki" });
  const refused = refuseKey(publicKey);
  if (refused) return refused;
  const proven = verifyWith(oidOf(childrenOf(algorithm)[0]), publicKey, encodeDer(info), Uint8Array.from(signed));
  if (proven instanceof X509Error) return proven;
  if (!proven) return new X509Error({ code: "x509.proof-of-possession" });
  return { publicKey, uris: readUris(requestedExtensions(attributes)) };
}

/** Attributes ::= [0] SET OF SEQUENCE { type, values SET }; extensionRequest's only value is a SEQUENCE of extensions. */
function requestedExtensions(attributes: readonly Der[]): readonly Der[] {
  return attributes
    .filter((field) => isTagged(field, 0))
    .flatMap((field) => childrenOf(field))
    .filter((attribute) => oidOf(childrenOf(attribute)[0]) === extensionRequest)
    .flatMap((attribute) => childrenOf(childrenOf(attribute)[1]))
    .flatMap((extensions) => childrenOf(extensions));
}

function undecodable(reason: string): X509Error {
  return new X509Error({ code: "x509.undecodable", what: "csr", reason });
}
