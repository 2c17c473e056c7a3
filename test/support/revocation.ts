/** Revocation lists for tests, as an authority signs them. */
import { X509Certificate } from "node:crypto";
import type { Issuer } from "../../core/protocol/x509/certificate.ts";
import { bits, boolean, decodeDer, encodeDer, explicit, octets, oid, sequence } from "../../core/protocol/x509/der.ts";
import { time, unsigned, type Der } from "../../core/protocol/x509/der.ts";
import { authorityKeyIdentifier } from "../../core/protocol/x509/extensions.ts";
import { formatPem } from "../../core/protocol/x509/pem.ts";
import { signWith } from "../../core/protocol/x509/signature.ts";

export interface TestCrl {
  readonly thisUpdateMs?: number;
  readonly nextUpdateMs?: number | undefined;
  /** Instead of one that says whose key signed it. */
  readonly extensions?: readonly Der[];
  /** Of every entry. */
  readonly entryExtensions?: readonly Der[];
  /** Signs in the issuer's place. */
  readonly signer?: Issuer;
  /** DER of the issuer's name, if it is to be spelt otherwise. */
  readonly name?: Buffer;
}

/** DER of a list. @param serials octets, or certificates in PEM whose own serials are meant. */
export function crlDer(issuer: Issuer, serials: readonly (Uint8Array | string)[], odd: TestCrl = {}): Buffer {
  const { thisUpdateMs = Date.now() - 60_000, nextUpdateMs = Date.now() + 3_600_000 } = odd;
  const { entryExtensions, extensions = [authorityKeyIdentifier(issuer.keyIdentifier)] } = odd;
  const signer = signWith((odd.signer ?? issuer).key);
  const entries = serials.map((serial) =>
    sequence(
      unsigned(typeof serial === "string" ? serialOf(serial) : serial),
      time(thisUpdateMs),
      ...(entryExtensions ? [sequence(...entryExtensions)] : []),
    ),
  );
  const hasNext = !("nextUpdateMs" in odd) || odd.nextUpdateMs !== undefined;
  const body = sequence(
    unsigned(Uint8Array.of(1)),
    signer.algorithm,
    decodeDer(odd.name ?? issuer.subject),
    time(thisUpdateMs),
    ...(hasNext ? [time(nextUpdateMs)] : []),
    ...(entries.length > 0 ? [sequence(...entries)] : []),
    ...(extensions.length > 0 ? [explicit(0, sequence(...extensions))] : []),
  );
  return encodeDer(sequence(body, signer.algorithm, bits(signer.sign(encodeDer(body)))));
}

/** The same as PEM. */
export function crlPem(...list: Parameters<typeof crlDer>): string {
  return formatPem("X509 CRL", crlDer(...list));
}

/** Any extension. */
export function anyExtension(id: string, critical: boolean, value: Der): Der {
  return critical
    ? sequence(oid(id), boolean(true), octets(encodeDer(value)))
    : sequence(oid(id), octets(encodeDer(value)));
}

/** A list that is too long to be built as a tree. @param serials each of the same length, below 0x80 in its first octet. */
export function largeCrlDer(issuer: Issuer, serials: readonly Uint8Array[]): Buffer {
  const signer = signWith(issuer.key);
  const at = encodeDer(time(Date.now()));
  const entries = serials.map((serial) => tlv(0x30, Buffer.concat([tlv(0x02, serial), at])));
  const body = tlv(
    0x30,
    Buffer.concat([
      encodeDer(unsigned(Uint8Array.of(1))),
      encodeDer(signer.algorithm),
      issuer.subject,
      at,
      encodeDer(time(Date.now() + 3_600_000)),
      tlv(0x30, Buffer.concat(entries)),
      encodeDer(explicit(0, sequence(authorityKeyIdentifier(issuer.keyIdentifier)))),
    ]),
  );
  return tlv(0x30, Buffer.concat([body, encodeDer(signer.algorithm), encodeDer(bits(signer.sign(body)))]));
}

function tlv(tag: number, content: Uint8Array): Buffer {
  const { length } = content;
  const octets = length < 0x80 ? [] : [length >>> 24, length >>> 16, length >>> 8, length].map((one) => one & 0xff);
  while (octets[0] === 0) octets.shift();
  return Buffer.concat([Buffer.of(tag, ...(length < 0x80 ? [length] : [0x80 | octets.length, ...octets])), content]);
}

/** Serial number of the first certificate. */
export function serialOf(pem: string): Buffer {
  return Buffer.from(new X509Certificate(pem).serialNumber, "hex");
}
