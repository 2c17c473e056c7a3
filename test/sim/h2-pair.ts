/** Two HTTP/2 machines on a link that only carries octets when it is told to, cut wherever the test wants. */
import { H2Connection, type ConnectionOptions } from "../../core/protocol/h2/connection.ts";
import type { ConnectionOwner } from "../../core/protocol/h2/connection-owner.ts";
import type { H2Error } from "../../core/protocol/h2/h2-error.ts";
import type { HeaderField } from "../../core/protocol/h2/hpack/field.ts";
import type { AnswerHead, RequestHead } from "../../core/protocol/h2/message-head.ts";
import type { H2Stream, StreamEnd, StreamListener } from "../../core/protocol/h2/stream.ts";

export const settings = { initialWindowSize: 65_535, maxFrameSize: 16_384, maxHeaderListSize: 65_536 };

/** One end, and what it was told. */
export class SimEnd implements ConnectionOwner {
  readonly connection: H2Connection;
  readonly streams: SimStream[] = [];
  /** Octets on their way to the other end. */
  outbox: Uint8Array[] = [];
  /** What the transport would take; the test lowers it. */
  capacity = Infinity;
  nowMs = 0;
  error: H2Error | undefined;
  readonly leavings: { lastStreamId: number; errorCode: number }[] = [];
  pongs = 0;

  constructor(options: Partial<ConnectionOptions> & Pick<ConnectionOptions, "role">) {
    this.connection = new H2Connection({ settings, connectionWindow: 1 << 20, ...options }, this);
    this.connection.start();
  }

  /** Nothing has ended it. */
  get isWell(): boolean {
    return this.error === undefined;
  }

  write(bytes: Uint8Array): void {
    this.outbox.push(bytes);
  }

  room(): number {
    return this.capacity - this.outbox.reduce((sum, { length }) => sum + length, 0);
  }

  request(stream: H2Stream, head: RequestHead, ended: boolean): void {
    this.streams.push(new SimStream(this.connection, stream, { head, ended }));
  }

  settled(): void {}

  leaving(lastStreamId: number, errorCode: number): void {
    this.leavings.push({ lastStreamId, errorCode });
  }

  pong(): void {
    this.pongs += 1;
  }

  receive(bytes: Uint8Array): void {
    this.error ??= this.connection.receive(bytes, this.nowMs);
    if (this.error !== undefined) this.connection.lose();
  }

  /** @throws if there is no stream to be had. */
  connect(authority = "10.0.0.1:80"): SimStream {
    const listener = new SimStream(this.connection);
    const stream = this.connection.open(connectFields(authority), listener);
    if (stream === undefined) throw new Error("no stream");
    listener.stream = stream;
    this.streams.push(listener);
    return listener;
  }
}

export class SimStream implements StreamListener {
  readonly connection: H2Connection;
  stream!: H2Stream;
  readonly request: RequestHead | undefined;
  answer: AnswerHead | undefined;
  /** Consumed as it comes, unless the test says otherwise. */
  reads = true;
  readonly received: Uint8Array[] = [];
  readonly events: string[] = [];
  end: StreamEnd | undefined;
  unread = 0;

  constructor(
    connection: H2Connection,
    stream?: H2Stream,
    { head, ended = false }: { head?: RequestHead; ended?: boolean } = {},
  ) {
    this.connection = connection;
    this.request = head;
    if (ended) this.events.push("ended");
    if (stream === undefined) return;
    this.stream = stream;
    stream.listener = this;
  }

  get octets(): number {
    return this.received.reduce((sum, { length }) => sum + length, 0);
  }

  answered(_stream: H2Stream, head: AnswerHead, ended: boolean): void {
    this.answer = head;
    this.events.push(`answered ${head.status}${ended ? " ended" : ""}`);
  }

  data(stream: H2Stream, piece: Uint8Array): void {
    this.received.push(Uint8Array.from(piece));
    if (this.reads) this.connection.consumed(stream, piece.length);
    else this.unread += piece.length;
  }

  read(): void {
    this.reads = true;
    this.connection.consumed(this.stream, this.unread);
    this.unread = 0;
  }

  ended(): void {
    this.events.push("ended");
  }

  writable(): void {
    this.events.push("writable");
  }

  cut(_stream: H2Stream, end: StreamEnd): void {
    this.end = end;
    this.events.push(`cut by ${end.by}`);
  }

  closed(): void {
    this.events.push("closed");
  }
}

export class SimPair {
  readonly client: SimEnd;
  readonly server: SimEnd;
  readonly #pieceOf: (left: number) => number;

  /** @param pieceOf how many of the octets that are left the link carries at once. */
  constructor(
    options: { client?: Partial<ConnectionOptions>; server?: Partial<ConnectionOptions> } = {},
    pieceOf: (left: number) => number = (left) => left,
  ) {
    this.client = new SimEnd({ role: "client", ...options.client });
    this.server = new SimEnd({ role: "server", ...options.server });
    this.#pieceOf = pieceOf;
  }

  /** Carries everything both ways until nothing is left to carry. */
  settle(): void {
    while (this.carry(this.client, this.server) || this.carry(this.server, this.client));
  }

  /** @returns false when there was nothing to carry. */
  carry(from: SimEnd, to: SimEnd): boolean {
    if (from.outbox.length === 0) return false;
    let bytes: Uint8Array = Buffer.concat(from.outbox);
    from.outbox = [];
    while (bytes.length > 0) {
      const piece = Math.max(1, Math.min(bytes.length, this.#pieceOf(bytes.length)));
      to.receive(bytes.subarray(0, piece));
      bytes = bytes.subarray(piece);
    }
    from.connection.resume();
    return true;
  }

  /** A stream that the server has answered with 200, as both ends have it. */
  open(): { near: SimStream; far: SimStream } {
    const near = this.client.connect();
    this.settle();
    const far = this.server.streams.at(-1);
    if (far === undefined) throw new Error("the request has not come");
    this.server.connection.answer(far.stream, 200);
    this.settle();
    return { near, far };
  }
}

function connectFields(authority: string): HeaderField[] {
  return [
    { name: ":method", value: "CONNECT" },
    { name: ":authority", value: authority },
  ];
}
