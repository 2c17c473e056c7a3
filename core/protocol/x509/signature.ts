/** Signature algorithms of certificates and CSRs, and the keys that may make them. */
import { sign, verify, type KeyObject } from "node:crypto";
import { nothing, oid, sequence, type Der } from "./der.ts";
import { X509Error } from "./x509-error.ts";

interface Algorithm {
  readonly oid: string;
  readonly hash: "sha256" | "sha384" | "sha512";
  readonly keyType: "ec" | "rsa";
}

const algorithms: readonly Algorithm[] = [
  { oid: "1.2.840.10045.4.3.2", hash: "sha256", keyType: "ec" },
  { oid: "1.2.840.10045.4.3.3", hash: "sha384", keyType: "ec" },
  { oid: "1.2.840.10045.4.3.4", hash: "sha512", keyType: "ec" },
  { oid: "1.2.840.113549.1.1.11", hash: "sha256", keyType: "rsa" },
  { oid: "1.2.840.113549.1.1.12", hash: "sha384", keyType: "rsa" },
  { oid: "1.2.840.113549.1.1.13", hash: "sha512", keyType: "rsa" },
];

const curves = ["prime256v1", "secp384r1"];
const rsaBits = { fewest: 2048, most: 4096 };
/** A larger exponent only makes verifying slow. */
const largestExponent = 2n ** 32n;

/** EC on P-256 or P-384, or RSA of 2048 to 4096 bits; undefined is good. */
export function refuseKey(key: KeyObject): X509Error | undefined {
  const { namedCurve, modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === "ec" && curves.includes(namedCurve ?? "")) return undefined;
  const goodSize = modulusLength >= rsaBits.fewest && modulusLength <= rsaBits.most;
  if (key.asymmetricKeyType === "rsa" && goodSize && publicExponent <= largestExponent) return undefined;
  const described = namedCurve ?? (modulusLength > 0 ? `${modulusLength} bits` : "");
  return new X509Error({ code: "x509.key-not-allowed", key: `${key.asymmetricKeyType ?? "unknown"} ${described}` });
}

/** The AlgorithmIdentifier and signature a private key makes over `data`. */
export function signWith(key: KeyObject): { readonly algorithm: Der; readonly sign: (data: Uint8Array) => Buffer } {
  const keyType = key.asymmetricKeyType;
  const hash = key.asymmetricKeyDetails?.namedCurve === "secp384r1" ? "sha384" : "sha256";
  const found = algorithms.find((one) => one.keyType === keyType && one.hash === hash);
  if (found === undefined) throw new Error(`cannot sign with a key of type ${String(keyType)}`);
  const identifier = keyType === "rsa" ? sequence(oid(found.oid), nothing()) : sequence(oid(found.oid));
  return { algorithm: identifier, sign: (data) => sign(hash, data, key) };
}

/** Whether `signature` over `data` is `key`'s, by the algorithm of that OID. */
export function verifyWith(
  algorithmOid: string,
  key: KeyObject,
  data: Uint8Array,
  signature: Uint8Array,
): boolean | X509Error {
  const found = algorithms.find((one) => one.oid === algorithmOid && one.keyType === key.asymmetricKeyType);
  if (found === undefined) {
    return new X509Error({ code: "x509.signature-not-allowed", algorithm: algorithmOid.slice(0, 64) });
  }
  return verify(found.hash, data, key, signature);
}
