/** Certificates and a key as Secrets hold them, read into what control signs with: whole, fitting, leading to its root, or a sentence. */
import { createPrivateKey, hash, X509Certificate, type KeyObject } from "node:crypto";
import { messageOf } from "../../../core/base/errors.ts";
import { openIssuer } from "../../../core/protocol/x509/certificate.ts";
import { certificatesOf } from "../../../core/protocol/x509/pem.ts";
import { X509Error } from "../../../core/protocol/x509/x509-error.ts";
import type { SigningChain } from "./mesh-authority.ts";

export interface SigningMaterial {
  /** PEM: the certificate that signs leaves. */
  readonly certificate: string;
  /** PEM: its private key. */
  readonly key: Buffer;
  /** PEM: from that certificate towards its root; may be empty, may repeat either end. */
  readonly chain: string;
  /** PEM: what peers trust. */
  readonly roots: string;
}

/** @param wallMs milliseconds since 1970 @returns what is wrong, in words that show nothing of the key. */
export function readSigningMaterial(material: SigningMaterial, wallMs: number): SigningChain | string {
  const own = readCertificates(material.certificate);
  const between = material.chain.trim() === "" ? [] : readCertificates(material.chain);
  const roots = readCertificates(material.roots);
  if (typeof own === "string") return `its certificate ${own}`;
  if (typeof between === "string") return `its chain ${between}`;
  if (typeof roots === "string") return `its root ${roots}`;
  const [signing, ...behind] = own;
  if (signing === undefined || roots.length === 0) return "a certificate is missing";
  let key: KeyObject;
  try {
    key = createPrivateKey(material.key);
  } catch (thrown) {
    return `its key can't be read (${messageOf(thrown)})`;
  }
  const issuer = openIssuer(signing.toString(), key);
  if (issuer instanceof X509Error) return problemOf(issuer);
  if (wallMs >= issuer.notAfterMs) return `its certificate ended at ${new Date(issuer.notAfterMs).toISOString()}`;
  const path = pathToRoot(signing, [...behind, ...between], roots);
  if (path === undefined) return "its certificates do not lead to its root";
  return {
    issuer,
    intermediates: path.map((certificate) => certificate.toString()),
    rootsPem: roots.map((root) => root.toString()).join(""),
  };
}

/** Whether peers that trust the one set of roots can be led to trust the other: one holds all keys of the other. */
export function isRelated(rootsPem: string, otherRootsPem: string): boolean {
  const [keys, others] = [rootKeys(rootsPem), rootKeys(otherRootsPem)];
  return isSubset(keys, others) || isSubset(others, keys);
}

function isSubset(keys: ReadonlySet<string>, of: ReadonlySet<string>): boolean {
  return [...keys].every((key) => of.has(key));
}

function rootKeys(rootsPem: string): Set<string> {
  const roots = readCertificates(rootsPem);
  if (typeof roots === "string") return new Set();
  return new Set(roots.map(({ publicKey }) => hash("sha256", publicKey.export({ type: "spki", format: "der" }))));
}

/** From the signing certificate to just below a root; empty when it is a root itself. */
function pathToRoot(
  signing: X509Certificate,
  between: readonly X509Certificate[],
  roots: readonly X509Certificate[],
): X509Certificate[] | undefined {
  const path: X509Certificate[] = [];
  let current = signing;
  while (path.length < longestPath) {
    const { fingerprint256 } = current;
    if (roots.some((root) => root.fingerprint256 === fingerprint256)) return path;
    path.push(current);
    if (roots.some((root) => isIssuedBy(current, root))) return path;
    const next = between.find((one) => !path.includes(one) && isIssuedBy(current, one));
    if (next === undefined) return undefined;
    current = next;
  }
  return undefined;
}

function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

function readCertificates(pem: string): X509Certificate[] | string {
  const texts = certificatesOf(pem);
  if (texts instanceof X509Error) return "is not whole PEM";
  try {
    return texts.map((text) => new X509Certificate(text));
  } catch (thrown) {
    return `can't be read (${messageOf(thrown)})`;
  }
}

function problemOf({ type }: X509Error): string {
  if (type.code !== "x509.not-an-issuer") return "its certificate can't be read";
  switch (type.reason) {
    case "not-a-ca":
      return "its certificate may not sign others (it is no CA)";
    case "key-mismatch":
      return "its key does not belong to its certificate";
    case "key-not-allowed":
      return "its key is neither EC on P-256 or P-384 nor RSA of 2048 to 4096 bits";
  }
}

const longestPath = 8;
