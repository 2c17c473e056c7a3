/** Both of control's services on one TLS port: delta discovery and certificates. Requests of the CA stay bytes until its own door. */
import { Server, type sendUnaryData, type ServerUnaryCall, type ServiceDefinition } from "@grpc/grpc-js";
import { formatEndpoint, type Endpoint } from "../../core/base/ip.ts";
import { TypedError } from "../../core/base/errors.ts";
import { createCertificatePath } from "../../core/protocol/ca/create-certificate.ts";
import { DeltaDiscoveryRequest, DeltaDiscoveryResponse } from "../../core/protocol/generated/discovery.ts";
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
}

export class GrpcServer {
  readonly #server = new Server(options);
  readonly #credentials: ServingCredentials;

  constructor({ xds, ca, credentials }: ControlServices) {
    this.#credentials = credentials;
    this.#server.addService(discovery, { deltaAggregatedResources: (call: DeltaCall) => void xds.serve(call) });
    this.#server.addService(certificates, {
      createCertificate: (call: ServerUnaryCall<Buffer, Buffer>, answer: sendUnaryData<Buffer>) => {
        void ca.create(call.request, call.metadata).then((result) => {
          if (result instanceof Uint8Array) answer(null, Buffer.from(result));
          else answer(result);
        });
      },
    });
  }

  /** @returns the port, which differs from the one asked for only where that was 0. */
  listen({ address, port }: Endpoint): Promise<number | ListenError> {
    const name = formatEndpoint({ address, port });
    return new Promise((resolve) => {
      this.#server.bindAsync(name, this.#credentials, (error, bound) => {
        resolve(
          error ? new ListenError({ code: "control.cannot-listen", address: name, problem: error.message }) : bound,
        );
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

const raw = (bytes: Buffer): Buffer => bytes;

const discovery: ServiceDefinition = {
  deltaAggregatedResources: {
    path: "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
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

/** A request of an agent that holds 50,000 resources names them all when it comes back: about 4 MiB. */
const options = {
  "grpc.max_receive_message_length": 16 * 1024 * 1024,
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.http2.min_ping_interval_without_data_ms": 5_000,
} as const;
