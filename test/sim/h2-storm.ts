/**
 * Two HTTP/2 machines whose owners do anything at any time, also from within what they are being told, on a link that carries any
 * number of octets at once and may break between any two of them. Each stream checks what it is told as it is told.
 */
import assert from "node:assert/strict";
import type { Random } from "../../core/base/random.ts";
import { H2Connection } from "../../core/protocol/h2/connection.ts";
import type { ConnectionOwner } from "../../core/protocol/h2/connection-owner.ts";
import { errorCodes } from "../../core/protocol/h2/error-code.ts";
import type { AnswerHead } from "../../core/protocol/h2/message-head.ts";
import { noListener, type H2Stream, type StreamEnd, type StreamListener } from "../../core/protocol/h2/stream.ts";
import { settings } from "./h2-pair.ts";

export class Storm {
  readonly random: Random;
  readonly client: StormEnd;
  readonly server: StormEnd;
  /** Of acts within acts. */
  #depth = 0;

  constructor(random: Random) {
    this.random = random;
    this.client = new StormEnd(this, "client");
    this.server = new StormEnd(this, "server");
  }

  below(limit: number): number {
    return Math.floor(this.random() * limit);
  }

  /** So many acts, and octets carried in between. */
  rage(acts: number): void {
    for (let i = 0; i < acts; i++) {
      const end = this.random() < 0.5 ? this.client : this.server;
      if (this.random() < 0.4) this.carry(end, 1 + this.below(this.random() < 0.5 ? 30 : 60_000));
      else this.act(end);
    }
  }

  /** What an owner may do while it is told of something else. */
  perhapsAct(end: StormEnd): void {
    if (this.#depth < 3 && this.random() < 0.2) this.act(this.random() < 0.7 ? end : this.otherEnd(end));
  }

  act(end: StormEnd): void {
    this.#depth += 1;
    const acts = end.isClient ? clientActs : serverActs;
    const stream = end.streams[end.streams.length - 1 - this.below(Math.min(8, end.streams.length))];
    acts[this.below(acts.length)]!(end, stream, this);
    this.#depth -= 1;
  }

  /** Carries so many octets from that end to the other. @returns false when there was nothing to carry. */
  carry(from: StormEnd, octets: number): boolean {
    const bytes = from.take(octets);
    if (bytes.length === 0) return false;
    this.otherEnd(from).receive(bytes);
    if (from.room() > 0) from.connection.resume();
    return true;
  }

  otherEnd(end: StormEnd): StormEnd {
    return end === this.client ? this.server : this.client;
  }

  /** Everything is answered, read, sent and ended, and carried until nothing is left to carry. */
  calm(): void {
    this.#depth = 3;
    for (let round = 0; round < 3; round++) {
      for (const end of [this.client, this.server]) end.finishAll();
      while (this.carry(this.client, 20_000) || this.carry(this.server, 20_000));
    }
  }
}

export class StormEnd implements ConnectionOwner {
  readonly storm: Storm;
  readonly isClient: boolean;
  readonly connection: H2Connection;
  readonly streams: StormStream[] = [];
  #outbox: Buffer = Buffer.alloc(0);
  capacity = 100_000;
  isLost = false;

  constructor(storm: Storm, role: "client" | "server") {
    this.storm = storm;
    this.isClient = role === "client";
    const own = { ...settings, ...(role === "server" && { maxConcurrentStreams: 20 }) };
    this.connection = new H2Connection({ role, settings: own, connectionWindow: 150_000 }, this);
    this.connection.start();
  }

  write(bytes: Uint8Array): void {
    if (!this.isLost) this.#outbox = Buffer.concat([this.#outbox, bytes]);
  }

  room(): number {
    return this.isLost ? 0 : this.capacity - this.#outbox.length;
  }

  take(octets: number): Uint8Array {
    const bytes = this.#outbox.subarray(0, octets);
    this.#outbox = this.#outbox.subarray(bytes.length);
    return bytes;
  }

  receive(bytes: Uint8Array): void {
    if (this.isLost) return;
    const failed = this.connection.receive(bytes, 0);
    assert.equal(failed, undefined, "both ends keep to the rules");
  }

  lose(): void {
    this.isLost = true;
    this.#outbox = Buffer.alloc(0);
    this.connection.lose();
  }

  request(stream: H2Stream, _head: unknown, ended: boolean): void {
    this.streams.push(new StormStream(this, stream, ended));
    this.storm.perhapsAct(this);
  }

  open(): void {
    const opened = new StormStream(this);
    const fields = [
      { name: ":method", value: "CONNECT" },
      { name: ":authority", value: "a:1" },
    ];
    const stream = this.connection.open(fields, opened);
    if (stream === undefined) return;
    opened.stream = stream;
    this.streams.push(opened);
  }

  settled(): void {
    this.storm.perhapsAct(this);
  }

  leaving(): void {
    this.storm.perhapsAct(this);
  }

  pong(): void {
    this.storm.perhapsAct(this);
  }

  finishAll(): void {
    this.capacity = Infinity;
    for (const stream of this.streams) stream.finish();
    this.connection.resume();
  }
}

/** What goes in comes out in order: octet `i` of each direction is `i` modulo 251. */
export class StormStream implements StreamListener {
  readonly end: StormEnd;
  stream!: H2Stream;
  isClosed = false;
  isCut = false;
  /** We reset it. */
  isReset = false;
  hasEnded: boolean;
  isAnswered: boolean;
  received = 0;
  sent = 0;
  reads = true;
  #unread = 0;
  #unsent: Uint8Array | undefined;
  #from = 0;
  #wantsEnd = false;

  constructor(end: StormEnd, stream?: H2Stream, ended = false) {
    this.end = end;
    this.hasEnded = ended;
    this.isAnswered = false;
    if (stream === undefined) return;
    this.stream = stream;
    stream.listener = this;
  }

  send(octets: number): void {
    if (this.#unsent !== undefined || this.#wantsEnd || !this.#mayTalk) return;
    const chunk = Uint8Array.from({ length: octets }, (_, i) => (this.sent + i) % 251);
    this.sent += octets;
    this.#unsent = chunk;
    this.#push();
  }

  finishSending(): void {
    if (this.#wantsEnd || !this.#mayTalk) return;
    this.#wantsEnd = true;
    if (this.#unsent === undefined) this.end.connection.end(this.stream);
  }

  /** What comes after it is nobody's any more. */
  reset(code: number): void {
    if (this.isClosed) return;
    this.isReset = true;
    this.end.connection.reset(this.stream, code);
    this.#expectClosed();
  }

  answer(status: number, isAll: boolean): void {
    if (this.end.isClient || this.isAnswered) return;
    this.isAnswered = true;
    this.end.connection.answer(this.stream, status, [], isAll);
    if (isAll) this.#wantsEnd = true;
  }

  /** @param octets that were held. */
  read(octets = this.#unread): void {
    const most = Math.min(octets, this.#unread);
    this.#unread -= most;
    if (most > 0) this.end.connection.consumed(this.stream, most);
  }

  finish(): void {
    this.reads = true;
    this.read();
    this.answer(200, false);
    this.finishSending();
  }

  answered(_stream: H2Stream, _head: AnswerHead, ended: boolean): void {
    this.#expectOpen();
    assert.ok(this.end.isClient && !this.isAnswered, "answered once");
    this.isAnswered = true;
    this.hasEnded = ended;
    this.end.storm.perhapsAct(this.end);
  }

  data(stream: H2Stream, piece: Uint8Array): void {
    this.#expectOpen();
    assert.ok(!this.hasEnded && !this.isCut, "no data behind the end");
    for (const octet of piece) assert.equal(octet, this.received++ % 251);
    this.#unread += piece.length;
    assert.equal(stream, this.stream);
    if (this.reads) this.read();
    this.end.storm.perhapsAct(this.end);
  }

  ended(): void {
    this.#expectOpen();
    assert.ok(!this.hasEnded && !this.isCut, "ended once");
    this.hasEnded = true;
    this.end.storm.perhapsAct(this.end);
  }

  writable(): void {
    this.#expectOpen();
    this.#push();
    this.end.storm.perhapsAct(this.end);
  }

  cut(_stream: H2Stream, _end: StreamEnd): void {
    this.#expectOpen();
    assert.ok(!this.isCut && !this.isReset, "cut once, and not by itself");
    this.isCut = true;
    this.end.storm.perhapsAct(this.end);
  }

  closed(): void {
    this.#expectOpen();
    this.isClosed = true;
    this.end.storm.perhapsAct(this.end);
  }

  get #mayTalk(): boolean {
    return !this.isClosed && (this.end.isClient || this.isAnswered);
  }

  #push(): void {
    const chunk = this.#unsent;
    if (chunk === undefined) return;
    this.#from = this.end.connection.send(this.stream, chunk, this.#from);
    if (this.#from < chunk.length) return;
    this.#unsent = undefined;
    this.#from = 0;
    if (this.#wantsEnd) this.end.connection.end(this.stream);
  }

  #expectOpen(): void {
    assert.ok(!this.isClosed, "nothing is told after the close");
  }

  #expectClosed(): void {
    assert.ok(this.isClosed || this.isCut, "a reset closes at once");
    if (this.isClosed) assert.equal(this.stream.listener, noListener);
  }
}

type Act = (end: StormEnd, stream: StormStream | undefined, storm: Storm) => void;

const anyActs: readonly Act[] = [
  (_end, stream, storm) => stream?.send(storm.below(storm.random() < 0.5 ? 200 : 50_000)),
  (_end, stream, storm) => stream?.send(storm.below(3_000)),
  (_end, stream) => stream?.finishSending(),
  (_end, stream, storm) => stream?.reset(resetCodes[storm.below(resetCodes.length)]!),
  (_end, stream, storm) => {
    if (stream !== undefined) stream.reads = storm.random() < 0.5;
  },
  (_end, stream, storm) => stream?.read(storm.random() < 0.5 ? undefined : storm.below(9_000)),
  (end, _stream, storm) => void end.connection.resizeWindows(storm.below(120_000)),
  (end, _stream, storm) => {
    end.capacity = storm.below(3) * 30_000;
    end.connection.resume();
  },
  (end) => end.connection.ping(new Uint8Array(8)),
  (end, _stream, storm) => {
    if (storm.random() < 0.05) end.connection.announceGoaway();
    if (storm.random() < 0.03) end.connection.goaway();
    if (storm.random() < 0.02) end.lose();
  },
];

const clientActs: readonly Act[] = [...anyActs, (end) => end.open(), (end) => end.open()];

const serverActs: readonly Act[] = [
  ...anyActs,
  (_end, stream) => stream?.answer(200, false),
  (_end, stream) => stream?.answer(200, false),
  (_end, stream) => {
    stream?.answer(503, true);
    stream?.reset(errorCodes.NO_ERROR);
  },
];

const resetCodes = [errorCodes.NO_ERROR, errorCodes.CANCEL, errorCodes.CONNECT_ERROR] as const;
