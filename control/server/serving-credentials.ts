/** Control's own certificate, issued by the mesh's root for the names it is reached by, and renewed at half of its life. */
import { constants } from "node:crypto";
import { ServerCredentials } from "@grpc/grpc-js";
import type { Clock } from "../../core/base/clock.ts";
import type { Log } from "../../core/base/log.ts";
import { serverCertificate, type Issuer } from "../../core/protocol/x509/certificate.ts";
import { backdateMs } from "../../core/protocol/x509/validity.ts";

export interface ServingModules {
  readonly issuer: Issuer;
  /** DNS names and addresses. */
  readonly names: readonly string[];
  readonly clock: Clock;
  readonly log: Log;
}

export class ServingCredentials extends ServerCredentials {
  readonly #modules: ServingModules;
  #cancelRenewal: () => void;

  constructor(modules: ServingModules) {
    // A peer that never finishes its handshake is let go.
    super({ ...tlsOptions, handshakeTimeout: 10_000 }, newContext(modules));
    this.#modules = modules;
    this.#cancelRenewal = this.#schedule();
  }

  /** Ends the renewals. */
  close(): void {
    this.#cancelRenewal();
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }

  #schedule(): () => void {
    return this.#modules.clock.after(lifeMs / 2, () => {
      this.updateSecureContextOptions(newContext(this.#modules));
      this.#modules.log.info("serving certificate renewed");
      this.#cancelRenewal = this.#schedule();
    });
  }
}

function newContext({ issuer, names, clock }: ServingModules): { cert: string; key: string } & typeof tlsOptions {
  const wallMs = clock.wallMs();
  const notAfterMs = Math.min(wallMs + lifeMs, issuer.notAfterMs);
  const { key, certificatePem } = serverCertificate({ issuer, names, notBeforeMs: wallMs - backdateMs, notAfterMs });
  return { ...tlsOptions, cert: certificatePem, key: key.export({ type: "pkcs8", format: "pem" }) as string };
}

/** TLS 1.3 with the two AES-GCM suites; no tickets. */
const tlsOptions = {
  minVersion: "TLSv1.3",
  ciphers: "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256",
  secureOptions: constants.SSL_OP_NO_TICKET,
} as const;

const lifeMs = 86_400_000;
