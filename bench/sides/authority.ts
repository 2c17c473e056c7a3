/** Certificates for the proxies of one run, from an authority that is made for it: P-256, SPIFFE names, a day. */
import { createPublicKey } from "node:crypto";
import { chownSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatIdentity, type Identity } from "../../core/protocol/spiffe/identity.ts";
import { issueCertificate, selfSignedRoot, type Issuer } from "../../core/protocol/x509/certificate.ts";
import { createKeyAndCsr } from "../../core/protocol/x509/csr.ts";

export interface CertificateFiles {
  /** The SPIFFE URI in it. */
  readonly uri: string;
  /** PEM: a leaf, without its root. */
  readonly chain: string;
  /** PKCS#8, PEM. */
  readonly key: string;
  readonly roots: string;
  /** Chain and key in one, as haproxy has it. */
  readonly bundle: string;
}

export interface PairOfCertificates {
  readonly client: CertificateFiles;
  readonly server: CertificateFiles;
  /** The root with its key, as an agent's own authority for tests has it (`root.pem` of a folder). */
  readonly authorityFolder: string;
}

/**
 * Writes everything into `folder`, which is made.
 * @param side names the two identities: `…/ns/bench-SIDE/sa/client` and `…/server`. @param owner who may read the keys; root where absent.
 */
export function certificatesFor(side: string, folder: string, nowMs: number, owner?: number): PairOfCertificates {
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const validity = { notBeforeMs: nowMs - hourMs, notAfterMs: nowMs + 24 * hourMs };
  const issuer = selfSignedRoot({ organisation: "bench", ...validity });
  const write = (name: string, text: string): string => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    if (owner !== undefined) chownSync(path, owner, owner);
    return path;
  };
  const roots = write("roots.pem", issuer.certificatePem);
  const end = (serviceAccount: string): CertificateFiles => {
    const identity = { trustDomain: "cluster.local", namespace: `bench-${side}`, serviceAccount };
    const { chain, key } = issued(issuer, identity, validity);
    return {
      uri: formatIdentity(identity),
      chain: write(`${serviceAccount}.pem`, chain),
      key: write(`${serviceAccount}-key.pem`, key),
      roots,
      bundle: write(`${serviceAccount}-bundle.pem`, chain + key),
    };
  };
  const authorityFolder = join(folder, "authority");
  mkdirSync(authorityFolder, { recursive: true, mode: 0o700 });
  write("authority/root.pem", issuer.certificatePem + pemOf(issuer.key));
  return { client: end("client"), server: end("server"), authorityFolder };
}

function issued(
  issuer: Issuer,
  identity: Identity,
  validity: { readonly notBeforeMs: number; readonly notAfterMs: number },
): { readonly chain: string; readonly key: string } {
  const { key } = createKeyAndCsr(identity);
  return {
    chain: issueCertificate({ issuer, publicKey: createPublicKey(key), identity, ...validity }),
    key: pemOf(key),
  };
}

function pemOf(key: Issuer["key"]): string {
  return key.export({ type: "pkcs8", format: "pem" }) as string;
}

const hourMs = 3_600_000;
