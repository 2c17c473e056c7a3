/** A certificate as programs want it: files. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TlsIdentity } from "../../agent/tunnel/tls.ts";

export interface PemFiles {
  readonly certificate: string;
  readonly key: string;
  readonly roots: string;
  readonly remove: () => void;
}

export function pemFiles({ chain, key, roots }: TlsIdentity): PemFiles {
  const folder = mkdtempSync(join(tmpdir(), "pem-"));
  const file = (name: string, text: string): string => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  return {
    certificate: file("certificate.pem", chain),
    key: file("key.pem", key),
    roots: file("roots.pem", roots),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
