/** Both of control's services on one TLS port: delta discovery and certificates. Requests of the CA stay bytes until its own door. */
import { Server, status, type sendUnaryData, type ServerUnaryCall, type ServiceDefinition } from "@grpc/grpc-js";
import { formatEndpoint, type Endpoint } from "../../core/base/ip.ts";
import { messageOf, TypedError } from "../../core/base/errors.ts";
import type { Log } from "../../core/base/log.ts";
import { createCertificatePath } from "../../core/protocol/ca/create-certificate.ts";
import { DeltaDiscoveryRequest, DeltaDiscoveryResponse } from "../../core/protocol/generated/discovery.ts";
import { deltaPath } from "../../core/protocol/xds/delta-path.ts";
import type { CertificateService } from "./ca/certificate-service.ts";
import type { ServingCredentials } from "./serving-credentials.ts";
import type { DeltaCall } from "./xds/stream.ts";
import type { XdsServer } from "./xds/server.ts";

export class ListenError extends TypedError<{
  readonly code: "control.cannot-listen";
  readonly address: string;
  readonly problem: string;
}> {}

export interface ControlServices {
  readonly xds: XdsServer;
  readonly ca: CertificateService;
  readonly credentials: ServingCredentials;
  readonly log: Log;
}

export class GrpcServer {
  readonly #server = new Server(options);
  readonly #credentials: ServingCredentials;

  constructor({ xds, ca, credentials, log }: ControlServices) {
    this.#credentials = credentials;
    const failed = (thrown: unknown): typeof internal => {
      log.error({ error: { code: "internal-bug", problem: messageOf(thrown) } }, "a call failed");
      return internal;
    };
    this.#server.addService(discovery, {
      deltaAggregatedResources: (call: DeltaCall) => {
        xds.serve(call).catch((thrown: unknown) => call.emit("error", failed(thrown)));
      },
    });
    this.#server.addService(certificates, {
      createCertificate: (call: ServerUnaryCall<Buffer, Buffer>, answer: sendUnaryData<Buffer>) => {
        ca.create(call.request, call.metadata).then(
          (result) => (result instanceof Uint8Array ? answer(null, Buffer.from(result)) : answer(result)),
          (thrown: unknown) => answer(failed(thrown)),
        );
      },
    });
  }

  /** @returns the port, which differs from the one asked for only where that was 0. */
  async listen({ address, port }: Endpoint): Promise<number | ListenError> {
    const bound = await this.#bind({ address, port });
    // Every address there is, on a machine without IPv6.
    if (typeof bound === "string" && address === "::") return this.listen({ address: "0.0.0.0", port });
    if (typeof bound === "number") return bound;
    const where = formatEndpoint({ address, port });
    return new ListenError({ code: "control.cannot-listen", address: where, problem: bound });
  }

  #bind(where: Endpoint): Promise<number | string> {
    return new Promise((resolve) => {
      this.#server.bindAsync(formatEndpoint(where), this.#credentials, (error, bound) => {
        resolve(error === null ? bound : error.message);
      });
    });
  }

  /** Takes no more calls, gives open ones a moment, then cuts them. */
  close(graceMs: number): Promise<void> {
    this.#credentials.close();
    return new Promise((resolve) => {
      const force = setTimeout(() => this.#server.forceShutdown(), graceMs);
      this.#server.tryShutdown(() => {
        clearTimeout(force);
        resolve();
      });
    });
  }
}

const internal = { code: status.INTERNAL, details: "internal error" };

const raw = (bytes: Buffer): Buffer => bytes;

/** Requests and responses as they are decoded. */
export const discovery: ServiceDefinition = {
  deltaAggregatedResources: {
    path: deltaPath,
    requestStream: true,
    responseStream: true,
    requestDeserialize: (bytes: Buffer) => DeltaDiscoveryRequest.decode(bytes),
    requestSerialize: (message: DeltaDiscoveryRequest) => Buffer.from(DeltaDiscoveryRequest.encode(message).finish()),
    responseSerialize: (message: DeltaDiscoveryResponse) =>
      Buffer.from(DeltaDiscoveryResponse.encode(message).finish()),
    responseDeserialize: (bytes: Buffer) => DeltaDiscoveryResponse.decode(bytes),
  },
};

const certificates: ServiceDefinition = {
  createCertificate: {
    path: createCertificatePath,
    requestStream: false,
    responseStream: false,
    requestDeserialize: raw,
    requestSerialize: raw,
    responseSerialize: raw,
    responseDeserialize: raw,
  },
};

const options = {
  // An agent that holds 50,000 resources names them all when it comes back: about 5 MiB.
  "grpc.max_receive_message_length": 32 * 1024 * 1024,
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.max_concurrent_streams": 1_024,
} as const;
