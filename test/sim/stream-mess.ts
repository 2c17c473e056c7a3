/** Streams of our engine in tunnels without sockets, and who reads and writes them: they do anything at any time. */
import assert from "node:assert/strict";
import { pauseReasons, type ByteEnd, type EndListener } from "../../agent/relay/byte-end.ts";
import { HeldMemory } from "../../agent/tunnel/held-memory.ts";
import { OwnStream, type StreamHost } from "../../agent/tunnel/own/own-stream.ts";
import { TunnelError } from "../../agent/tunnel/tunnel.ts";
import type { Random } from "../../core/base/random.ts";
import { H2Connection } from "../../core/protocol/h2/connection.ts";
import type { ConnectionOwner } from "../../core/protocol/h2/connection-owner.ts";
import { errorCodes } from "../../core/protocol/h2/error-code.ts";
import { noListener, type H2Stream } from "../../core/protocol/h2/stream.ts";
import { settings } from "./h2-pair.ts";

/** Two ends of a tunnel without a socket, and who reads and writes its streams. */
export class Mess {
  readonly random: Random;
  readonly memory = new HeldMemory(150_000);
  readonly sides: readonly [Side, Side];
  /** Readers pause no more. */
  #isCalm = false;

  constructor(random: Random) {
    this.random = random;
    this.sides = [new Side(this, "client"), new Side(this, "server")];
  }

  below(limit: number): number {
    return Math.floor(this.random() * limit);
  }

  play(acts: number): void {
    for (let i = 0; i < acts; i++) {
      const side = this.sides[this.below(2)]!;
      if (this.random() < 0.4) this.carry(side, 1 + this.below(this.random() < 0.3 ? 40 : 40_000));
      else side.act();
    }
  }

  carry(from: Side, octets: number): boolean {
    const bytes = from.take(octets);
    this.sides[from === this.sides[0] ? 1 : 0].receive(bytes);
    if (bytes.length > 0) from.connection.resume();
    return bytes.length > 0;
  }

  get isCalm(): boolean {
    return this.#isCalm;
  }

  /** All are joined, read and ended; what that leads to is still to be carried. */
  calm(): void {
    this.#isCalm = true;
    for (const { readers } of this.sides) for (const reader of readers) reader.finish();
  }

  /** @returns false when there was nothing to carry. */
  carryAll(): boolean {
    const carried = [this.carry(this.sides[0], 30_000), this.carry(this.sides[1], 30_000)];
    return carried.includes(true);
  }

  lose(): void {
    for (const side of this.sides) side.lose();
  }

  expectNothingLeft(seed: number): void {
    for (const { readers, connection } of this.sides) {
      for (const reader of readers) {
        // Who was never there to read may not have been told; then it is taken back, as a connection does that came to nothing.
        reader.join();
        if (!reader.isClosed) reader.end.reset();
        assert.ok(reader.isClosed, `seed ${seed}: stream ${reader.end.id} is not closed`);
      }
      assert.equal(connection.held, 0, `seed ${seed}`);
      assert.equal(connection.streams, 0);
    }
    assert.equal(this.memory.octets, 0, `seed ${seed}`);
  }
}

export class Side implements ConnectionOwner, StreamHost {
  readonly mess: Mess;
  readonly #isClient: boolean;
  readonly connection: H2Connection;
  readonly readers: Reader[] = [];
  /** Whoever wants its streams instead of readers. */
  takes: ((end: OwnStream) => void) | undefined;
  problem: TunnelError | undefined;
  #outbox: Buffer = Buffer.alloc(0);
  readonly #toFlush: OwnStream[] = [];

  constructor(mess: Mess, role: "client" | "server") {
    this.mess = mess;
    this.#isClient = role === "client";
    this.connection = new H2Connection({ role, settings, connectionWindow: 1 << 20 }, this);
    this.connection.start();
  }

  send(stream: H2Stream, chunk: Uint8Array): number {
    return this.connection.send(stream, chunk);
  }

  act(): void {
    const { mess, readers } = this;
    const reader = readers[readers.length - 1 - mess.below(Math.min(6, readers.length))];
    const acts = [
      () => this.#isClient && this.takes === undefined && this.open(),
      () => reader?.join(),
      () => reader?.write(mess.below(mess.random() < 0.5 ? 300 : 40_000)),
      () => reader?.write(mess.below(300)),
      () => reader?.pause(),
      () => reader?.resume(),
      () => mess.random() < 0.3 && reader?.finishWriting(),
      () => mess.random() < 0.1 && reader?.end.reset(),
      () => mess.random() < 0.1 && reader?.end.abandon(errorCodes.NO_ERROR),
      () => mess.random() < 0.1 && this.connection.resizeWindows(1 + mess.below(100_000)),
    ];
    acts[mess.below(acts.length)]!();
  }

  take(octets: number): Uint8Array {
    const bytes = this.#outbox.subarray(0, octets);
    this.#outbox = this.#outbox.subarray(bytes.length);
    return bytes;
  }

  receive(bytes: Uint8Array): void {
    assert.equal(this.connection.receive(bytes, 0), undefined);
    for (const stream of this.#toFlush.splice(0)) stream.flush();
  }

  lose(): void {
    this.problem ??= new TunnelError({ code: "tunnel.lost", detail: "the test is over" });
    this.connection.lose();
  }

  write(bytes: Uint8Array): void {
    this.#outbox = Buffer.concat([this.#outbox, bytes]);
  }

  room(): number {
    return 100_000 - this.#outbox.length;
  }

  request(stream: H2Stream, _head: unknown, ended: boolean): void {
    this.connection.answer(stream, 200);
    this.#take(new OwnStream(this, stream, ended));
  }

  settled(): void {}

  leaving(): void {}

  pong(): void {}

  flushSoon(stream: OwnStream): void {
    this.#toFlush.push(stream);
  }

  mayHold(octets: number): boolean {
    return this.mess.memory.hold(octets);
  }

  holdsNoMore(octets: number): void {
    this.mess.memory.release(octets);
  }

  open(): void {
    const fields = [
      { name: ":method", value: "CONNECT" },
      { name: ":authority", value: "a:1" },
    ];
    const answered = (stream: H2Stream): void => this.#take(new OwnStream(this, stream, false));
    this.connection.open(fields, { ...noListener, answered });
  }

  #take(end: OwnStream): void {
    if (this.takes === undefined) this.readers.push(new Reader(this, end));
    else this.takes(end);
  }
}

/** What goes in comes out in order: octet `i` of each direction is `i` modulo 251. */
export class Reader implements EndListener {
  readonly end: OwnStream;
  readonly #side: Side;
  received = 0;
  isClosed = false;
  #sent = 0;
  #hasEnded = false;
  #isReset = false;
  #isFinished = false;
  #isFull = false;

  constructor(side: Side, end: OwnStream) {
    this.#side = side;
    this.end = end;
  }

  join(): void {
    if (this.end.listener === this) return;
    this.end.listener = this;
    this.end.resume(pauseReasons.unjoined);
  }

  write(octets: number): void {
    if (this.#isFinished || this.#isFull) return;
    const chunk = Uint8Array.from({ length: octets }, (_, i) => (this.#sent + i) % 251);
    this.#sent += octets;
    this.#isFull = !this.end.write(chunk);
  }

  finishWriting(): void {
    if (this.#isFinished) return;
    this.#isFinished = true;
    this.end.end();
  }

  pause(): void {
    this.end.pause(pauseReasons.full);
  }

  resume(): void {
    this.end.resume(pauseReasons.full);
  }

  finish(): void {
    this.join();
    this.resume();
    this.finishWriting();
  }

  data(from: ByteEnd, chunk: Uint8Array): void {
    this.#expectOpen(from);
    assert.ok(!this.#hasEnded, "no data behind the end");
    for (const octet of chunk) assert.equal(octet, this.received++ % 251);
    const { mess } = this.#side;
    if (!mess.isCalm && mess.random() < 0.3) this.pause();
    if (mess.random() < 0.02) this.end.reset();
    if (mess.random() < 0.02) this.#side.lose();
  }

  ended(from: ByteEnd): void {
    this.#expectOpen(from);
    assert.ok(!this.#hasEnded, "ended once");
    this.#hasEnded = true;
    const { mess } = this.#side;
    if (mess.random() < 0.3) this.finishWriting();
    if (mess.random() < 0.05) this.end.reset();
  }

  drained(from: ByteEnd): void {
    this.#expectOpen(from);
    this.#isFull = false;
    if (this.#side.mess.random() < 0.5) this.write(this.#side.mess.below(30_000));
  }

  reset(from: ByteEnd): void {
    this.#expectOpen(from);
    assert.ok(!this.#isReset, "reset once");
    this.#isReset = true;
    if (this.#side.mess.random() < 0.3) this.end.reset();
  }

  closed(from: ByteEnd): void {
    this.#expectOpen(from);
    this.isClosed = true;
  }

  #expectOpen(from: ByteEnd): void {
    assert.equal(from, this.end);
    assert.ok(!this.isClosed, "nothing is told after the close");
  }
}
