/** Names of authorities (RFC 5280 4.1.2.4), as something to look up by. */
import { derTags, DerReader } from "./der-reader.ts";

/**
 * The same text for names that are the same: kinds of strings, the case of letters and the number of spaces make no difference (RFC 5280
 * 7.1), as TLS compares them too. A CRL whose issuer is spelt otherwise than in certificates would silently revoke nothing.
 * @param der a Name. @throws DerError
 */
export function nameKey(der: Uint8Array): string {
  const outer = new DerReader(der);
  outer.expect(derTags.sequence);
  let key = "";
  for (const relative = outer.inside(); relative.next(); key += ";") {
    for (const attributes = relative.inside(); attributes.next(); key += ",") {
      const attribute = attributes.inside();
      attribute.expect(derTags.oid);
      key += `${Buffer.from(attribute.content()).toString("hex")}=`;
      if (!attribute.next()) continue;
      const value = Buffer.from(attribute.content());
      key += texts.has(attribute.tag) ? canonical(value) : `#${attribute.tag}:${value.toString("hex")}`;
    }
  }
  return key;
}

function canonical(value: Buffer): string {
  const lower = value.toString("latin1").replace(/[A-Z]/g, (letter) => letter.toLowerCase());
  // Text can hold no line feed then, and what separates is escaped.
  return lower
    .trim()
    .replace(/[ \t\n\v\f\r]+/g, " ")
    .replace(/[\\,;]/g, (mark) => `\\${mark}`);
}

const texts: ReadonlySet<number> = new Set([derTags.utf8, derTags.printable, derTags.teletex, derTags.ia5]);
