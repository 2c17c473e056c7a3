/** DeltaAggregatedResources over gRPC: a channel, its roots and its token of its own for each stream. */
import { connectivityState, type Client, type ClientDuplexStream } from "@grpc/grpc-js";
import type { Clock } from "../../core/base/clock.ts";
import { DeltaDiscoveryRequest, type DeltaDiscoveryResponse } from "../../core/protocol/generated/discovery.ts";
import type { DeltaUpdate } from "../../core/protocol/xds/delta-client.ts";
import { deltaPath } from "../../core/protocol/xds/delta-path.ts";
import { readDeltaResponse } from "../../core/protocol/xds/response-reader.ts";
import { openChannel, requestMetadata, type ControlEndpoint } from "./grpc-channel.ts";
import { controlError, ControlError } from "./grpc-errors.ts";

/** One stream, from the first request to its end. */
export interface DeltaStream {
  send(request: DeltaDiscoveryRequest): void;
  /** The next response or what is in it, or why there is none. Called again only after it has settled. */
  receive(): Promise<DeltaDiscoveryResponse | DeltaUpdate | ControlError>;
  /** Ends it; a pending `receive` settles. */
  close(): void;
}

/** A function that opens one stream after another to `endpoint`. */
export function deltaStreams(endpoint: ControlEndpoint, clock: Clock): () => DeltaStream | ControlError {
  return () => {
    const metadata = requestMetadata(endpoint);
    if (metadata instanceof ControlError) return metadata;
    const channel = openChannel(endpoint);
    if (channel instanceof ControlError) return channel;
    const call = channel.makeBidiStreamRequest<DeltaDiscoveryRequest, DeltaUpdate>(
      deltaPath,
      (request) => Buffer.from(DeltaDiscoveryRequest.encode(request).finish()),
      readDeltaResponse,
      metadata,
    );
    return new GrpcDeltaStream(endpoint.address, channel, call, clock);
  };
}

class GrpcDeltaStream implements DeltaStream {
  readonly #address: string;
  readonly #channel: Client;
  readonly #call: ClientDuplexStream<DeltaDiscoveryRequest, DeltaUpdate>;
  readonly #responses: AsyncIterator<DeltaUpdate>;
  readonly #cancelDeadline: () => void;
  #failure: ControlError | undefined;

  constructor(
    address: string,
    channel: Client,
    call: ClientDuplexStream<DeltaDiscoveryRequest, DeltaUpdate>,
    clock: Clock,
  ) {
    this.#address = address;
    this.#channel = channel;
    this.#call = call;
    this.#responses = call[Symbol.asyncIterator]() as AsyncIterator<DeltaUpdate>;
    // The iterator reports the error; without a listener of its own one that comes before or after it would end the process.
    call.on("error", () => undefined);
    this.#cancelDeadline = clock.after(connectTimeoutMs, () => this.#checkConnected());
  }

  send(request: DeltaDiscoveryRequest): void {
    this.#call.write(request);
  }

  async receive(): Promise<DeltaUpdate | ControlError> {
    try {
      const next = await this.#responses.next();
      return next.done === true
        ? new ControlError({ code: "control.stream-ended", address: this.#address })
        : next.value;
    } catch (thrown) {
      return this.#failure ?? controlError(thrown, this.#address);
    }
  }

  close(): void {
    this.#cancelDeadline();
    this.#call.cancel();
    this.#channel.close();
  }

  #checkConnected(): void {
    if (this.#channel.getChannel().getConnectivityState(false) === connectivityState.READY) return;
    this.#failure = new ControlError({
      code: "control.connect-timeout",
      address: this.#address,
      afterMs: connectTimeoutMs,
    });
    this.#call.cancel();
  }
}

const connectTimeoutMs = 5_000;
