/** The X.509 extensions a mesh uses (RFC 5280 4.2), to build and to read. */
import { createHash, type KeyObject } from "node:crypto";
import { parseIp } from "../../base/ip.ts";
import {
  bits,
  boolean,
  childrenOf,
  decodeDer,
  encodeDer,
  implicit,
  isOctets,
  isSequence,
  isTagged,
  octets,
  octetsOf,
  oid,
  oidOf,
  sequence,
  type Der,
} from "./der.ts";

const oids = {
  subjectKeyIdentifier: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  authorityKeyIdentifier: "2.5.29.35",
  extendedKeyUsage: "2.5.29.37",
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
} as const;

/** GeneralName tags (RFC 5280 4.2.1.6). */
const tags = { dns: 2, uri: 6, ip: 7 } as const;

/** Critical: the subject of such a certificate is empty. */
export function uriAltName(uri: string): Der {
  return extension(oids.subjectAltName, true, sequence(implicit(tags.uri, Buffer.from(uri, "ascii"))));
}

/** Names of a server: each an address or a DNS name. Critical, as above. */
export function serverAltNames(names: readonly string[]): Der {
  const general = names.map((name) => {
    const address = parseIp(name);
    return address ? implicit(tags.ip, address) : implicit(tags.dns, Buffer.from(name, "ascii"));
  });
  return extension(oids.subjectAltName, true, sequence(...general));
}

export function basicConstraints(ca: boolean): Der {
  return extension(oids.basicConstraints, true, ca ? sequence(boolean(true)) : sequence());
}

/** digitalSignature for a leaf; keyCertSign and cRLSign for an authority (RFC 5280 4.2.1.3: bits 0, 5 and 6). */
export function keyUsage(use: "leaf" | "authority"): Der {
  const value = use === "leaf" ? bits(Uint8Array.of(0x80), 7) : bits(Uint8Array.of(0x06), 1);
  return extension(oids.keyUsage, true, value);
}

export function extendedKeyUsage(...uses: ("serverAuth" | "clientAuth")[]): Der {
  return extension(oids.extendedKeyUsage, false, sequence(...uses.map((use) => oid(oids[use]))));
}

export function subjectKeyIdentifier(identifier: Uint8Array): Der {
  return extension(oids.subjectKeyIdentifier, false, octets(identifier));
}

export function authorityKeyIdentifier(identifier: Uint8Array): Der {
  return extension(oids.authorityKeyIdentifier, false, sequence(implicit(0, identifier)));
}

/** RFC 5280 4.2.1.2 (1): SHA-1 of the key's bits. A name for a key, not a proof. */
export function keyIdentifier(key: KeyObject): Buffer {
  const info = decodeDer(key.export({ type: "spki", format: "der" }));
  const keyBits = octetsOf(childrenOf(info)[1]).subarray(1);
  return createHash("sha1").update(keyBits).digest();
}

/** The subject key identifier an issuer carries, or undefined. */
export function readSubjectKeyIdentifier(extensions: readonly Der[]): Buffer | undefined {
  const [value] = valuesOf(extensions, oids.subjectKeyIdentifier);
  return value && isOctets(value) ? octetsOf(value) : undefined;
}

/** Every URI of every subjectAltName, as bytes say it: one character per octet, so that nothing is read into it. */
export function readUris(extensions: readonly Der[]): string[] {
  return valuesOf(extensions, oids.subjectAltName).flatMap((names) =>
    childrenOf(names)
      .filter((name) => isTagged(name, tags.uri))
      .map((name) => octetsOf(name).toString("latin1")),
  );
}

/** SEQUENCE { extnID, critical DEFAULT FALSE, extnValue OCTET STRING }; a value that is no DER throws. */
function valuesOf(extensions: readonly Der[], id: string): Der[] {
  return extensions
    .filter((one) => isSequence(one) && oidOf(childrenOf(one)[0]) === id)
    .map((one) => decodeDer(octetsOf(childrenOf(one).at(-1))));
}

function extension(id: string, critical: boolean, value: Der): Der {
  const wrapped = octets(encodeDer(value));
  return critical ? sequence(oid(id), boolean(true), wrapped) : sequence(oid(id), wrapped);
}
