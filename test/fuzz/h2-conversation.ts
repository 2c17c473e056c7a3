/** One connection under a fuzzer: the machine, an owner who does what the input says, and all that either was told. */
import assert from "node:assert/strict";
import { seededRandom } from "../../core/base/random.ts";
import { H2Connection } from "../../core/protocol/h2/connection.ts";
import type { ConnectionOwner } from "../../core/protocol/h2/connection-owner.ts";
import { errorCodes } from "../../core/protocol/h2/error-code.ts";
import type { H2Error } from "../../core/protocol/h2/h2-error.ts";
import type { HeaderField } from "../../core/protocol/h2/hpack/field.ts";
import type { AnswerHead, RequestHead } from "../../core/protocol/h2/message-head.ts";
import type { H2Stream, StreamEnd, StreamListener } from "../../core/protocol/h2/stream.ts";
import { WireLaw } from "../oracles/h2-wire.ts";

/** Something the owner does of its own accord. */
export interface Action {
  readonly what: number;
  /** Which of the streams that are open; taken modulo their number. */
  readonly stream: number;
  readonly amount: number;
}

export class Conversation implements ConnectionOwner, StreamListener {
  /** What the owner was told, in order, the octets of one stream that follow each other joined. */
  readonly told: string[] = [];
  readonly #connection: H2Connection;
  readonly #law: WireLaw;
  readonly #cut: (() => number) | undefined;
  readonly #role: "client" | "server";
  readonly #open = new Map<number, { held: number; ended: boolean; cut: boolean; answered: boolean }>();
  readonly #byId = new Map<number, H2Stream>();
  readonly #written: Buffer[] = [];
  /** Octets of data that were told, by stream. */
  readonly #heard = new Map<number, number>();
  #data: { readonly id: number; readonly parts: Buffer[] } | undefined;
  #room = 1_000_000;
  #error: H2Error | undefined;

  /** @param cutSeed where what is received is cut; undefined: nowhere. */
  constructor(role: "client" | "server", cutSeed: number | undefined) {
    const settings = {
      initialWindowSize: 65_535,
      maxFrameSize: 16_384,
      maxHeaderListSize: 2_048,
      maxConcurrentStreams: 4,
    };
    const { maxConcurrentStreams: _, ...ofClient } = settings;
    this.#role = role;
    this.#cut = cutSeed === undefined ? undefined : seededRandom(cutSeed);
    this.#law = new WireLaw(role, settings.initialWindowSize, 100_000);
    const options = { role, settings: role === "server" ? settings : ofClient, connectionWindow: 100_000 };
    this.#connection = new H2Connection(options, this);
    this.#connection.start();
  }

  get error(): H2Error | undefined {
    return this.#error;
  }

  /** All that was written. */
  get written(): Buffer {
    return Buffer.concat(this.#written);
  }

  receive(bytes: Uint8Array): void {
    if (this.#error !== undefined) return;
    this.#law.received(bytes);
    const mostAtOnce = bytes.length > 1_000 ? 4_000 : 40;
    for (let at = 0; at < bytes.length && this.#error === undefined;) {
      const size = this.#cut === undefined ? bytes.length : 1 + Math.floor(this.#cut() ** 3 * mostAtOnce);
      const piece = Buffer.from(bytes.subarray(at, at + size));
      this.#error = this.#connection.receive(piece, 0);
      // Nothing may have been kept as a view.
      if (this.#cut !== undefined) piece.fill(0xee);
      at += size;
    }
    this.#flushData();
    if (this.#error === undefined) return;
    const { type, errorCode, message } = this.#error;
    // How much of a wrong preface is quoted depends on how much of it came at once.
    this.told.push(`error ${type.code === "h2.no-preface" ? type.code : message} ${errorCode}`);
    this.lose();
  }

  act({ what, stream: which, amount }: Action): void {
    const streams = [...this.#byId.values()];
    const stream = streams[which % Math.max(1, streams.length)];
    const speaking = this.#maySpeak(stream) ? stream : undefined;
    switch (what % 9) {
      case 0:
        return speaking && void this.#connection.send(speaking, Buffer.alloc(amount, 0x61));
      case 1:
        return speaking && this.#connection.end(speaking);
      case 2:
        return stream && this.#connection.reset(stream, errorCodes.CANCEL);
      case 3:
        return this.#consume(stream, amount);
      case 4:
        if (this.#role === "client") return this.#request(amount);
        return stream?.isAnswered === false
          ? this.#connection.answer(stream, 200, answerFields, amount % 2 === 1)
          : undefined;
      case 5:
        return this.#connection.ping(Buffer.alloc(8, amount));
      case 6:
        if (amount % 3 === 0) this.#connection.announceGoaway();
        else this.#connection.goaway();
        return;
      case 7:
        this.#room = amount;
        return this.#connection.resume();
      case 8:
        return amount % 16 === 0 ? this.lose() : undefined;
    }
  }

  /** The transport is gone; then nothing must be left. */
  lose(): void {
    this.#connection.lose();
    this.#flushData();
    assert.equal(this.#connection.streams, 0);
    assert.equal(this.#byId.size, 0, "a stream was never closed");
    let held = 0;
    for (const each of this.#open.values()) held += each.held;
    assert.equal(this.#connection.held, held, "octets are held that nobody has been told of");
  }

  write(bytes: Uint8Array): void {
    this.#law.wrote(bytes);
    this.#written.push(Buffer.from(bytes));
  }

  room(): number {
    return this.#room;
  }

  request(stream: H2Stream, head: RequestHead, ended: boolean): void {
    this.#tell(`request ${stream.id} ${JSON.stringify(head)} ${ended}`);
    assert.ok(!this.#open.has(stream.id));
    this.#adopt(stream);
    stream.listener = this;
    if (ended) this.#record(stream).ended = true;
    if (head.path === "/refuse") this.#connection.reset(stream, errorCodes.REFUSED_STREAM);
    if (head.path === "/answer") this.#connection.answer(stream, 204, [], true);
  }

  settled(): void {
    this.#tell("settled");
  }

  leaving(lastStreamId: number, errorCode: number): void {
    this.#tell(`leaving ${lastStreamId} ${errorCode}`);
  }

  pong(payload: Uint8Array): void {
    this.#tell(`pong ${Buffer.from(payload).toString("hex")}`);
  }

  answered(stream: H2Stream, head: AnswerHead, ended: boolean): void {
    this.#tell(`answered ${stream.id} ${JSON.stringify(head)} ${ended}`);
    const record = this.#record(stream);
    assert.ok(!record.answered && !record.ended);
    record.answered = true;
    record.ended = ended;
  }

  data(stream: H2Stream, piece: Uint8Array): void {
    const record = this.#record(stream);
    assert.ok(!record.ended, "data behind the end");
    assert.ok(piece.length > 0, "a piece of nothing");
    record.held += piece.length;
    assert.ok(record.held <= 65_535, "more is held than was granted");
    if (stream.id % 8 === 7) return this.#connection.reset(stream, errorCodes.CANCEL);
    if (this.#data?.id !== stream.id) this.#flushData();
    this.#data ??= { id: stream.id, parts: [] };
    this.#data.parts.push(Buffer.from(piece));
  }

  ended(stream: H2Stream): void {
    this.#tell(`ended ${stream.id}`);
    const record = this.#record(stream);
    assert.ok(!record.ended, "ended twice");
    record.ended = true;
    if (stream.id % 4 === 1 && this.#maySpeak(stream)) this.#connection.end(stream);
  }

  writable(stream: H2Stream): void {
    this.#tell(`writable ${stream.id}`);
    this.#connection.send(stream, Buffer.alloc(100, 0x62));
  }

  cut(stream: H2Stream, end: StreamEnd): void {
    this.#tell(`cut ${stream.id} ${JSON.stringify(end)}`);
    const record = this.#record(stream);
    assert.ok(!record.cut, "cut twice");
    record.cut = true;
  }

  closed(stream: H2Stream): void {
    this.#tell(`closed ${stream.id}`);
    this.#record(stream);
    this.#byId.delete(stream.id);
  }

  /** A server speaks when it has answered. */
  #maySpeak(stream: H2Stream | undefined): boolean {
    return this.#role === "client" || stream?.isAnswered === true;
  }

  #request(amount: number): void {
    const fields = amount % 2 === 0 ? connectFields : postFields;
    // The listener is told nothing before `open` has returned.
    const stream = this.#connection.open(fields, this, amount % 5 === 4);
    if (stream !== undefined) this.#adopt(stream);
  }

  #adopt(stream: H2Stream): void {
    this.#byId.set(stream.id, stream);
    this.#open.set(stream.id, { held: 0, ended: false, cut: false, answered: false });
  }

  #consume(stream: H2Stream | undefined, amount: number): void {
    if (stream === undefined) return;
    const record = this.#record(stream);
    const octets = Math.min(amount * 16, record.held);
    record.held -= octets;
    this.#connection.consumed(stream, octets);
  }

  /** Of a stream that is not closed. */
  #record(stream: H2Stream): { held: number; ended: boolean; cut: boolean; answered: boolean } {
    const record = this.#open.get(stream.id);
    assert.ok(record !== undefined && this.#byId.get(stream.id) === stream, "told of a stream that is closed");
    return record;
  }

  #tell(what: string): void {
    this.#flushData();
    this.told.push(what);
  }

  #flushData(): void {
    if (this.#data === undefined) return;
    const { id, parts } = this.#data;
    this.#data = undefined;
    const octets = Buffer.concat(parts);
    this.told.push(`data ${id} ${octets.toString("latin1")}`);
    const before = this.#heard.get(id) ?? 0;
    this.#heard.set(id, before + octets.length);
    const content = this.#law.contentReceived(id).subarray(before, before + octets.length);
    assert.ok(content.equals(octets), "other octets than were received");
  }
}

const connectFields: readonly HeaderField[] = [
  { name: ":method", value: "CONNECT" },
  { name: ":authority", value: "10.0.0.1:80" },
];
const postFields: readonly HeaderField[] = [
  { name: ":method", value: "POST" },
  { name: ":scheme", value: "http" },
  { name: ":path", value: "/" },
  { name: "x-long", value: "long ".repeat(4_000) },
];
const answerFields: readonly HeaderField[] = [{ name: "x-answer", value: "yes" }];
