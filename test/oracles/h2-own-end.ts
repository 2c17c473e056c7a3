/** The HTTP/2 machine as one end of a run: a pipe below, plans above, and what it was told written down. */
import type { Duplex } from "node:stream";
import type { Random } from "../../core/base/random.ts";
import { H2Connection, type ConnectionOptions } from "../../core/protocol/h2/connection.ts";
import type { ConnectionOwner } from "../../core/protocol/h2/connection-owner.ts";
import type { HeaderField } from "../../core/protocol/h2/hpack/field.ts";
import type { RequestHead } from "../../core/protocol/h2/message-head.ts";
import type { H2Stream, StreamEnd, StreamListener } from "../../core/protocol/h2/stream.ts";
import { below, contentOf, hear, nothingHeard, otherRole, type Heard, type Role, type StreamPlan } from "./h2-plan.ts";

export class OwnEnd implements ConnectionOwner {
  readonly connection: H2Connection;
  readonly heard = new Map<number, Heard>();
  readonly pongs: string[] = [];
  readonly goaways: { readonly lastStreamId: number; readonly errorCode: number }[] = [];
  readonly streams: OwnStream[] = [];
  /** Milliseconds; the run moves it, so that nothing that is rare in time looks frequent. */
  nowMs = 0;
  readonly #pipe: Duplex;
  readonly #options: ConnectionOptions;
  readonly #random: Random;
  readonly #plans: readonly StreamPlan[];
  /** Octets that may wait in the pipe. */
  readonly #room: number;
  #gathered: Uint8Array[] = [];
  #gatheredOctets = 0;

  constructor(pipe: Duplex, options: ConnectionOptions, random: Random, plans: readonly StreamPlan[]) {
    this.#pipe = pipe;
    this.#options = options;
    this.#random = random;
    this.#plans = plans;
    this.#room = random() < 0.5 ? 20_000 : 1_000_000;
    this.connection = new H2Connection(options, this);
    pipe.on("data", (chunk: Buffer) => this.#receive(chunk));
    pipe.on("drain", () => this.connection.resume());
    for (const event of ["end", "close"]) pipe.on(event, () => this.connection.lose());
    this.connection.start();
  }

  /** Client: opens the plan's stream. */
  open(plan: StreamPlan): void {
    const own = this.#adopt(plan);
    const fields: HeaderField[] = plan.isConnect
      ? [
          { name: ":method", value: "CONNECT" },
          { name: ":authority", value: "10.0.0.1:80" },
        ]
      : [
          { name: ":method", value: "POST" },
          { name: ":scheme", value: "http" },
          { name: ":authority", value: "10.0.0.1:80" },
          { name: ":path", value: "/" },
        ];
    const stream = this.connection.open([...fields, { name: "x-plan", value: String(plan.number) }], own);
    if (stream === undefined) throw new Error("no stream was opened");
    own.stream = stream;
  }

  /** Later: the pipe calls the other end, and that one us, before a write returns; no socket does. */
  write(bytes: Uint8Array): void {
    if (this.#gathered.length === 0) setImmediate(() => this.#flush());
    this.#gathered.push(bytes);
    this.#gatheredOctets += bytes.length;
  }

  room(): number {
    return this.#room - this.#pipe.writableLength - this.#gatheredOctets;
  }

  request(stream: H2Stream, head: RequestHead, ended: boolean): void {
    const number = Number(head.fields.find(({ name }) => name === "x-plan")?.value);
    const plan = this.#plans.find((each) => each.number === number);
    if (plan === undefined) throw new Error(`a request that nobody planned: ${JSON.stringify(head)}`);
    const own = this.#adopt(plan);
    own.stream = stream;
    stream.listener = own;
    if (ended) own.heard.ended += 1;
  }

  settled(): void {}

  leaving(lastStreamId: number, errorCode: number): void {
    this.goaways.push({ lastStreamId, errorCode });
  }

  pong(payload: Uint8Array): void {
    this.pongs.push(Buffer.from(payload).toString("hex"));
  }

  #adopt(plan: StreamPlan): OwnStream {
    const own = new OwnStream(this.connection, plan, this.#options);
    this.streams.push(own);
    this.heard.set(plan.number, own.heard);
    return own;
  }

  #flush(): void {
    const bytes = Buffer.concat(this.#gathered);
    this.#gathered = [];
    this.#gatheredOctets = 0;
    if (this.#pipe.write(bytes)) this.connection.resume();
  }

  /** In pieces, because a socket cuts where it likes. */
  #receive(chunk: Buffer): void {
    for (let at = 0; at < chunk.length;) {
      const size = this.#random() < 0.5 ? chunk.length : 1 + below(this.#random, this.#random() < 0.5 ? 12 : 5_000);
      const failed = this.connection.receive(chunk.subarray(at, at + size), this.nowMs);
      if (failed !== undefined) throw failed;
      at += size;
    }
  }
}

class OwnStream implements StreamListener {
  readonly heard = nothingHeard();
  stream: H2Stream | undefined;
  readonly #connection: H2Connection;
  readonly #plan: StreamPlan;
  readonly #role: Role;
  readonly #content: Buffer;
  readonly #expected: Buffer;
  /** Octets that the other end may have sent without their being consumed. */
  readonly #window: number;
  /** Chunks that were begun, and where the next octet and the end of the chunk lie. */
  #chunk = 0;
  #sent = 0;
  #until = 0;
  #isWaiting = false;
  #isAnswered = false;
  #isFinished = false;
  #held = 0;

  constructor(connection: H2Connection, plan: StreamPlan, options: ConnectionOptions) {
    const { role, settings } = options;
    this.#window = settings.initialWindowSize;
    this.#connection = connection;
    this.#plan = plan;
    this.#role = role;
    this.#content = contentOf(plan, role);
    this.#expected = contentOf(plan, otherRole(role));
  }

  /** Does something that is due, if anything is. */
  step(random: Random): void {
    const { stream } = this;
    if (stream === undefined) return;
    if (this.#held > 0 && random() < 0.5) {
      const octets = random() < 0.5 ? this.#held : 1 + below(random, this.#held);
      this.#held -= octets;
      return this.#connection.consumed(stream, octets);
    }
    if (this.heard.closed > 0 || this.#isFinished || this.#isWaiting) return;
    if (this.#role === "server" && !this.#isAnswered) return this.#answer(stream);
    this.#send(stream);
  }

  /** Once it is over: nobody reads on. */
  consumeAll(): void {
    if (this.stream !== undefined) this.#connection.consumed(this.stream, this.#held);
    this.#held = 0;
  }

  answered(_stream: H2Stream, _head: unknown, ended: boolean): void {
    this.heard.isAnswered = true;
    if (ended) this.heard.ended += 1;
  }

  data(_stream: H2Stream, piece: Uint8Array): void {
    this.#held += piece.length;
    hear(this.heard, this.#expected, piece);
  }

  ended({ receiveWindow, owed }: H2Stream): void {
    this.heard.ended += 1;
    const window = receiveWindow + owed + this.#held;
    if (window !== this.#window) throw new Error(`of a window of ${this.#window} octets ${window} are left`);
  }

  writable(stream: H2Stream): void {
    if (!this.#isWaiting) throw new Error("writable, although nobody waited");
    this.#isWaiting = false;
    this.#send(stream);
  }

  cut(_stream: H2Stream, end: StreamEnd): void {
    this.heard.resetWith = end.by === "peer" ? end.errorCode : JSON.stringify(end);
  }

  closed(): void {
    this.heard.closed += 1;
  }

  #answer(stream: H2Stream): void {
    this.#isAnswered = true;
    const isAll = this.#plan.reset === undefined && this.#content.length === 0;
    if (isAll) this.#isFinished = true;
    this.#connection.answer(stream, 200, [{ name: "x-answer", value: String(this.#plan.number) }], isAll);
  }

  #send(stream: H2Stream): void {
    const { reset } = this.#plan;
    if (this.#sent < this.#until) {
      const chunk = this.#content.subarray(0, this.#until);
      this.#sent = this.#connection.send(stream, chunk, this.#sent);
      this.#isWaiting = this.#sent < this.#until;
    } else if (reset?.by === this.#role && this.#chunk === reset.afterChunks) {
      this.#isFinished = true;
      this.#connection.reset(stream, reset.errorCode);
    } else if (this.#chunk < this.#plan.chunks[this.#role].length) {
      this.#until += this.#plan.chunks[this.#role][this.#chunk++] ?? 0;
      this.#send(stream);
    } else {
      this.#isFinished = true;
      this.#connection.end(stream);
    }
  }
}
