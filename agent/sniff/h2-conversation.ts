/** HTTP/2 and gRPC by prior knowledge: each stream is a request, from its HEADERS to the end of its answer (RFC 9113 8.1). */
import type { HeaderField } from "../../core/protocol/h2/hpack/field.ts";
import { mostHeldOctets, type Conversation, type RequestSink } from "./conversation.ts";
import { H2Direction } from "./h2-direction.ts";
import { OpenStreams } from "./open-streams.ts";

/** What the client says is given without its preface. */
export class H2Conversation implements Conversation {
  readonly #sink: RequestSink;
  readonly #streams = new OpenStreams();
  readonly #client: H2Direction;
  readonly #server: H2Direction;
  #lastId = 0;
  #nowMs = 0;

  constructor(sink: RequestSink) {
    this.#sink = sink;
    const reset = (streamId: number): void => this.#over(streamId);
    this.#client = new H2Direction(
      { fields: (id, fields) => this.#asked(id, fields), contentEnded: () => {}, reset },
      false,
    );
    this.#server = new H2Direction(
      { fields: (id, fields, end) => this.#answered(id, fields, end), contentEnded: reset, reset },
      true,
    );
  }

  client(bytes: Uint8Array, nowMs: number): boolean {
    this.#nowMs = nowMs;
    return this.#client.read(bytes) && this.held <= mostHeldOctets;
  }

  server(bytes: Uint8Array, nowMs: number): boolean {
    this.#nowMs = nowMs;
    return this.#server.read(bytes) && this.held <= mostHeldOctets;
  }

  /** A stream that was not ended before is not ended by that. */
  serverEnded(): void {}

  over(nowMs: number): void {
    this.#nowMs = nowMs;
    while (this.#streams.size > 0) this.#report(this.#streams.size - 1);
  }

  get held(): number {
    return ownOctets + this.#client.held + this.#server.held + this.#streams.held;
  }

  #asked(streamId: number, fields: readonly HeaderField[]): boolean {
    // Trailers, or a stream that a server has opened.
    if (streamId <= this.#lastId || streamId % 2 === 0) return true;
    this.#lastId = streamId;
    return this.#streams.add(streamId, this.#nowMs, fields.some(isOfGrpc));
  }

  #answered(streamId: number, fields: readonly HeaderField[], endStream: boolean): boolean {
    const slot = this.#streams.find(streamId);
    if (slot < 0) return true;
    for (const { name, value } of fields) {
      if (name === ":status") {
        const status = statusOf(value);
        // Interim answers are not what was asked for.
        if (status >= 200) this.#streams.setStatus(slot, status);
      } else if (name === "grpc-status") this.#streams.setGrpcStatus(slot, grpcStatusOf(value));
    }
    if (endStream) this.#report(slot);
    return true;
  }

  #over(streamId: number): void {
    const slot = this.#streams.find(streamId);
    if (slot >= 0) this.#report(slot);
  }

  #report(slot: number): void {
    const streams = this.#streams;
    const isGrpc = streams.isGrpc(slot);
    const [status, durationMs] = [streams.status(slot), streams.durationMs(slot, this.#nowMs)];
    const grpcStatus = isGrpc ? streams.grpcStatus(slot) : -1;
    streams.remove(slot);
    this.#sink.request(isGrpc ? "grpc" : "http2", status, grpcStatus, durationMs);
  }
}

/** `application/grpc`, with `+proto` or parameters or without; not `application/grpc-web`. */
function isOfGrpc({ name, value }: HeaderField): boolean {
  if (name !== "content-type" || !value.startsWith(grpcType)) return false;
  const next = value[grpcType.length];
  return next === undefined || next === "+" || next === ";";
}

function statusOf(value: string): number {
  const status = value.length === 3 ? Number(value) : 0;
  return Number.isInteger(status) && status >= 100 ? status : 0;
}

/** One that gRPC doesn't know is UNKNOWN, as it is to its clients. */
function grpcStatusOf(value: string): number {
  return /^(?:[0-9]|1[0-6])$/.test(value) ? Number(value) : grpcUnknown;
}

/** What it takes without anything in it. */
const ownOctets = 3_328;
const grpcType = "application/grpc";
const grpcUnknown = 2;
