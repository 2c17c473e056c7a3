/**
 * Certificates from the mesh's authority: istio.v1.auth.IstioCertificateService/CreateCertificate, asked by a node's agent in
 * the name of a workload on that node. Key and CSR are made here; the key stays in this process.
 */
import { X509Certificate } from "node:crypto";
import type { Client, ClientUnaryCall, Metadata } from "@grpc/grpc-js";
import type { Clock } from "../../../core/base/clock.ts";
import type { Log } from "../../../core/base/log.ts";
import {
  CaError,
  createCertificatePath,
  createCertificateRequest,
  parseCertificateResponse,
} from "../../../core/protocol/ca/create-certificate.ts";
import { IstioCertificateRequest, IstioCertificateResponse } from "../../../core/protocol/generated/ca.ts";
import { formatIdentity, type Identity } from "../../../core/protocol/spiffe/identity.ts";
import { createKeyAndCsr } from "../../../core/protocol/x509/csr.ts";
import { CertificateError, type CertificateProvider, type WorkloadCertificate } from "../certificates/certificate.ts";
import { chainProblem, parseTrustBundle } from "../certificates/trust-bundle.ts";
import { openChannel, readRoots, requestMetadata, type ControlEndpoint } from "../grpc-channel.ts";
import { controlError, ControlError } from "../grpc-errors.ts";

export interface MeshCaOptions extends ControlEndpoint {
  /** Seconds a certificate should live (SECRET_TTL); the authority may give less. */
  readonly validitySeconds: number;
  /** False: the caller asks for its own identity, and not in a workload's name. Default true. */
  readonly impersonates?: boolean;
  readonly clock: Clock;
  readonly log: Log;
}

export class MeshCaProvider implements CertificateProvider {
  readonly #options: MeshCaOptions;
  /** The open channel, and the roots it was opened with. */
  #channel: { readonly client: Client; readonly roots: string | undefined } | undefined;

  constructor(options: MeshCaOptions) {
    this.#options = options;
  }

  async fetch(identity: Identity, signal: AbortSignal): Promise<WorkloadCertificate | CertificateError> {
    const uri = formatIdentity(identity);
    const metadata = requestMetadata(this.#options);
    if (metadata instanceof ControlError) return unavailable(uri, metadata);
    const client = this.#client();
    if (client instanceof ControlError) return unavailable(uri, client);
    const { key, csrPem } = createKeyAndCsr(identity);
    const validitySeconds = BigInt(Math.round(this.#options.validitySeconds));
    const { impersonates = true } = this.#options;
    const request = createCertificateRequest({
      csrPem,
      validitySeconds,
      ...(impersonates && { impersonated: identity }),
    });
    const response = await call(client, request, metadata, signal, this.#options.address);
    if (response instanceof ControlError) {
      if (response.type.code === "control.unreachable") this.#drop(client);
      return unavailable(uri, response);
    }
    const issued = parseCertificateResponse(response, { identity, key });
    if (issued instanceof CaError) return badAnswer(uri, issued.message);
    const bundle = parseTrustBundle(issued.rootsPem);
    if (bundle instanceof CertificateError) return badAnswer(uri, bundle.message);
    const chain = issued.chainPem.map((pem) => new X509Certificate(pem));
    const problem = chainProblem(chain, bundle, this.#options.clock.wallMs());
    if (problem !== undefined) return badAnswer(uri, problem);
    return {
      identity,
      key,
      chainPem: issued.chainPem,
      rootsPem: issued.rootsPem,
      serialNumber: chain[0]?.serialNumber ?? "",
      notBefore: issued.notBeforeMs,
      notAfter: issued.notAfterMs,
    };
  }

  close(): void {
    this.#channel?.client.close();
    this.#channel = undefined;
  }

  /** A channel that has failed waits for up to two minutes before it connects again: the next fetch gets a new one instead. */
  #drop(client: Client): void {
    if (this.#channel?.client === client) this.close();
  }

  /** The channel under the roots as they are now; when those can't be used, the one there is goes on. */
  #client(): Client | ControlError {
    const roots = readRoots(this.#options.rootCa);
    if (this.#channel !== undefined && (roots instanceof ControlError || roots === this.#channel.roots)) {
      return this.#channel.client;
    }
    const client = roots instanceof ControlError ? roots : openChannel(this.#options);
    if (client instanceof ControlError || roots instanceof ControlError) {
      if (this.#channel === undefined) return client;
      this.#options.log.warn(
        { error: client instanceof ControlError ? client.type : undefined },
        "new roots can't be used; the old ones stay",
      );
      return this.#channel.client;
    }
    this.#channel?.client.close();
    this.#channel = { client, roots };
    return client;
  }
}

function call(
  client: Client,
  request: IstioCertificateRequest,
  metadata: Metadata,
  signal: AbortSignal,
  address: string,
): Promise<IstioCertificateResponse | ControlError> {
  return new Promise((resolve) => {
    const pending: ClientUnaryCall = client.makeUnaryRequest(
      createCertificatePath,
      (message: IstioCertificateRequest) => Buffer.from(IstioCertificateRequest.encode(message).finish()),
      (bytes) => IstioCertificateResponse.decode(bytes),
      request,
      metadata,
      (error, response) => {
        signal.removeEventListener("abort", cancel);
        resolve(response ?? controlError(error, address));
      },
    );
    const cancel = (): void => pending.cancel();
    signal.addEventListener("abort", cancel);
  });
}

function unavailable(identity: string, error: ControlError): CertificateError {
  const code = error.type.code === "control.refused" ? "certificate.refused" : "certificate.unavailable";
  return new CertificateError({ code, identity, detail: error.message });
}

function badAnswer(identity: string, problem: string): CertificateError {
  return new CertificateError({ code: "certificate.bad-answer", identity, problem });
}
