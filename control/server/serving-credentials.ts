/** Control's own certificate, issued by the mesh's authority for the names it is reached by; renewed at half of its life, and with that authority. */
import { constants } from "node:crypto";
import { ServerCredentials } from "@grpc/grpc-js";
import type { Clock } from "../../core/base/clock.ts";
import type { Log } from "../../core/base/log.ts";
import { serverCertificate } from "../../core/protocol/x509/certificate.ts";
import { backdateMs } from "../../core/protocol/x509/validity.ts";
import type { MeshAuthority } from "./ca/mesh-authority.ts";

export interface ServingModules {
  readonly authority: MeshAuthority;
  /** DNS names and addresses. */
  readonly names: readonly string[];
  readonly clock: Clock;
  readonly log: Log;
}

export class ServingCredentials extends ServerCredentials {
  readonly #modules: ServingModules;
  readonly #unfollow: () => void;
  #cancelRenewal: () => void;

  constructor(modules: ServingModules) {
    // A peer that never finishes its handshake is let go.
    super({ ...tlsOptions, handshakeTimeout: 10_000 }, newContext(modules));
    this.#modules = modules;
    this.#cancelRenewal = this.#schedule();
    this.#unfollow = modules.authority.onChange(() => {
      this.#cancelRenewal();
      this.#renew();
    });
  }

  /** Ends the renewals. */
  close(): void {
    this.#unfollow();
    this.#cancelRenewal();
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }

  #schedule(): () => void {
    return this.#modules.clock.after(lifeMs / 2, () => this.#renew());
  }

  #renew(): void {
    this.updateSecureContextOptions(newContext(this.#modules));
    this.#modules.log.info("serving certificate renewed");
    this.#cancelRenewal = this.#schedule();
  }
}

function newContext({ authority, names, clock }: ServingModules): { cert: string; key: string } & typeof tlsOptions {
  const { issuer, intermediates } = authority.chain;
  const wallMs = clock.wallMs();
  const notAfterMs = Math.min(wallMs + lifeMs, issuer.notAfterMs);
  const { key, certificatePem } = serverCertificate({ issuer, names, notBeforeMs: wallMs - backdateMs, notAfterMs });
  const cert = [certificatePem, ...intermediates].join("");
  return { ...tlsOptions, cert, key: key.export({ type: "pkcs8", format: "pem" }) as string };
}

/** TLS 1.3 with the two AES-GCM suites; no tickets. */
const tlsOptions = {
  minVersion: "TLSv1.3",
  ciphers: "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256",
  secureOptions: constants.SSL_OP_NO_TICKET,
} as const;

const lifeMs = 86_400_000;
