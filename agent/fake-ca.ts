/**
 * An authority in this process, for tests alone (agent-wire 5.1): several agents of one test share a root by its folder. No key is part
 * of the code; who starts an agent with this says three times that it is a test (agent/run-mode.ts).
 */
import { createPrivateKey, createPublicKey, randomUUID, X509Certificate } from "node:crypto";
import { existsSync, linkSync, mkdirSync, readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../core/base/clock.ts";
import { messageOf } from "../core/base/errors.ts";
import { formatIdentity, type Identity } from "../core/protocol/spiffe/identity.ts";
import { issueCertificate, openIssuer, selfSignedRoot, type Issuer } from "../core/protocol/x509/certificate.ts";
import { X509Error } from "../core/protocol/x509/x509-error.ts";
import { createKeyAndCsr } from "../core/protocol/x509/csr.ts";
import {
  CertificateError,
  type CertificateProvider,
  type WorkloadCertificate,
} from "../control/client/certificates/certificate.ts";

export interface FakeCaOptions {
  readonly folder: string;
  readonly validitySeconds: number;
  readonly clock: Clock;
}

export class FakeCa implements CertificateProvider {
  readonly #options: FakeCaOptions;
  #issuer: Issuer | undefined;

  constructor(options: FakeCaOptions) {
    this.#options = options;
  }

  fetch(identity: Identity): Promise<WorkloadCertificate | CertificateError> {
    return Promise.resolve(this.#issue(identity));
  }

  close(): void {
    this.#issuer = undefined;
  }

  #issue(identity: Identity): WorkloadCertificate | CertificateError {
    const { clock, validitySeconds, folder } = this.#options;
    try {
      const issuer = (this.#issuer ??= rootIn(folder, clock.wallMs()));
      const { key } = createKeyAndCsr(identity);
      const notBefore = clock.wallMs() - hourMs;
      const notAfter = clock.wallMs() + validitySeconds * 1_000;
      const validity = { notBeforeMs: notBefore, notAfterMs: notAfter };
      const chain = issueCertificate({ issuer, publicKey: createPublicKey(key), identity, ...validity });
      const { serialNumber } = new X509Certificate(chain);
      return { identity, key, chainPem: [chain], rootsPem: issuer.certificatePem, serialNumber, notBefore, notAfter };
    } catch (thrown) {
      const detail = messageOf(thrown);
      return new CertificateError({ code: "certificate.unavailable", identity: formatIdentity(identity), detail });
    }
  }
}

/** The folder's root; whoever comes first makes it. */
function rootIn(folder: string, nowMs: number): Issuer {
  const path = join(folder, "root.pem");
  if (!existsSync(path)) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const root = selfSignedRoot({ organisation: "test", notBeforeMs: nowMs - hourMs, notAfterMs: nowMs + yearMs });
    const own = `${path}.${randomUUID()}`;
    const key = root.key.export({ type: "pkcs8", format: "pem" }) as string;
    writeFileSync(own, root.certificatePem + key, { mode: 0o600, flag: "wx" });
    try {
      // Another agent may have been first: its root it is then.
      linkSync(own, path);
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== "EEXIST") throw thrown;
    } finally {
      unlinkSync(own);
    }
  }
  const pem = readFileSync(path, "utf8");
  const [certificate = ""] = /-----BEGIN CERTIFICATE-----[^]*?-----END CERTIFICATE-----\n?/.exec(pem) ?? [];
  const issuer = openIssuer(certificate, createPrivateKey(pem));
  if (issuer instanceof X509Error) throw issuer;
  return issuer;
}

const hourMs = 3_600_000;
const yearMs = 365 * 24 * hourMs;
