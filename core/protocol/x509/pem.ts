/** PEM (RFC 7468), strictly: whole blocks and white space, base64 that says what it means. Text outside blocks is skipped in bundles. */
import { X509Error } from "./x509-error.ts";

export interface PemBlock {
  readonly label: string;
  readonly der: Buffer;
}

const block = /-----BEGIN ([A-Z0-9 ]{1,64})-----\r?\n([A-Za-z0-9+/=\r\n]*)-----END \1-----/g;

export function formatPem(label: string, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

/** Every block in order; an error where a block is begun and not well ended, or there is none. */
export function parsePem(text: string): PemBlock[] | X509Error {
  const blocks: PemBlock[] = [];
  for (const [, label = "", body = ""] of text.matchAll(block)) {
    const base64 = body.replace(/[\r\n]/g, "");
    const der = Buffer.from(base64, "base64");
    if (der.length === 0 || der.toString("base64") !== base64) return malformed(`base64 of ${label}`);
    blocks.push({ label, der });
  }
  const begun = text.split("-----BEGIN ").length - 1;
  if (begun !== blocks.length) return malformed("a block is not well-formed");
  return blocks.length === 0 ? malformed("no block") : blocks;
}

/** The certificates of a bundle, each as its own PEM text with a trailing newline. */
export function certificatesOf(bundle: string): string[] | X509Error {
  const blocks = parsePem(bundle);
  if (blocks instanceof X509Error) return blocks;
  return blocks.filter(({ label }) => label === "CERTIFICATE").map(({ label, der }) => formatPem(label, der));
}

function malformed(reason: string): X509Error {
  return new X509Error({ code: "x509.undecodable", what: "pem", reason });
}
