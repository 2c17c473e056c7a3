/** What a certificate is called by in a revocation list: who issued it, and its serial number. */
import { derTags, DerError, DerReader } from "./der-reader.ts";
import { nameKey } from "./name.ts";

export interface CertificateId {
  /** {@link nameKey} of the issuer. */
  readonly issuer: string;
  /** Content of the INTEGER, as DER has it. */
  readonly serial: Uint8Array;
}

/** @param der a certificate that TLS has accepted. @returns undefined where it is none all the same. */
export function certificateId(der: Uint8Array): CertificateId | undefined {
  try {
    const outer = new DerReader(der);
    outer.expect(derTags.sequence);
    const certificate = outer.inside();
    certificate.expect(derTags.sequence);
    const fields = certificate.inside();
    if (fields.ahead === explicitVersion) fields.next();
    fields.expect(derTags.integer);
    // Kept for as long as a tunnel stands: not a view of all of the certificate.
    const serial = Uint8Array.from(fields.content());
    fields.expect(derTags.sequence); // signature
    fields.expect(derTags.sequence);
    return { issuer: nameKey(fields.whole()), serial };
  } catch (thrown) {
    if (thrown instanceof DerError) return undefined;
    throw thrown;
  }
}

const explicitVersion = 0xa0;
