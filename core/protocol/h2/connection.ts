/**
 * One HTTP/2 connection as a machine without I/O (RFC 9113), for either end. Octets go in by `receive`, in any pieces; octets come out
 * by the owner's `write`; what they mean is told to streams' listeners and to the owner, synchronously. It knows no time but the one
 * it is given.
 *
 * Order of calls: `start`, then anything. After an error of `receive` the GOAWAY has been written: the owner closes the transport and
 * calls `lose`. Listeners are told of octets once, and say `consumed` for each, even after their stream has closed.
 */
import { AbuseBudget } from "./abuse-budget.ts";
import type { ConnectionOwner, OwnSettings } from "./connection-owner.ts";
import { Credit } from "./credit.ts";
import { errorCodes } from "./error-code.ts";
import { clientPreface, largest31 } from "./frame.ts";
import { FrameReader } from "./frame-reader.ts";
import { goawayFrame, pingFrame, preface, settingsFrame } from "./frame-writer.ts";
import { H2Error } from "./h2-error.ts";
import type { HeaderField } from "./hpack/field.ts";
import { Incoming } from "./incoming.ts";
import { SendSide } from "./send-side.ts";
import { settingIds, type PeerSettings, type Setting } from "./settings.ts";
import type { H2Stream, StreamListener } from "./stream.ts";
import { StreamLife } from "./stream-life.ts";
import { StreamTable } from "./stream-table.ts";

export interface ConnectionOptions {
  readonly role: "client" | "server";
  readonly settings: OwnSettings;
  /** Octets that the peer may have under way in all streams together. */
  readonly connectionWindow: number;
}

export class H2Connection {
  readonly #owner: ConnectionOwner;
  readonly #options: ConnectionOptions;
  readonly #streams: StreamTable;
  readonly #send: SendSide;
  readonly #life: StreamLife;
  readonly #credit: Credit;
  readonly #incoming: Incoming;
  readonly #reader: FrameReader;
  /** Octets of the client's preface that have come. */
  #prefaceSeen = 0;

  constructor(options: ConnectionOptions, owner: ConnectionOwner) {
    const { role, settings } = options;
    this.#owner = owner;
    this.#options = options;
    const budget = new AbuseBudget();
    const streams = new StreamTable(role);
    const send = new SendSide(owner, streams, budget);
    const credit = new Credit(owner, settings.initialWindowSize, options.connectionWindow);
    const life = new StreamLife({ transport: owner, streams, send, budget }, () => credit.streamWindow);
    this.#streams = streams;
    this.#send = send;
    this.#life = life;
    this.#credit = credit;
    this.#incoming = new Incoming({ role, owner, settings, streams, send, life, credit });
    this.#reader = new FrameReader(this.#incoming);
  }

  /** Writes what a connection begins with. */
  start(): void {
    const { role, settings } = this.#options;
    const { initialWindowSize, maxFrameSize, maxHeaderListSize, maxConcurrentStreams } = settings;
    const told: Setting[] = [
      [settingIds.INITIAL_WINDOW_SIZE, initialWindowSize],
      [settingIds.MAX_FRAME_SIZE, maxFrameSize],
      [settingIds.MAX_HEADER_LIST_SIZE, maxHeaderListSize],
    ];
    if (maxConcurrentStreams !== undefined) told.unshift([settingIds.MAX_CONCURRENT_STREAMS, maxConcurrentStreams]);
    if (role === "client") {
      this.#owner.write(preface());
      told.unshift([settingIds.ENABLE_PUSH, 0]);
    }
    this.#owner.write(settingsFrame(told));
    this.#incoming.settingsDue.push(() => this.#credit.acknowledged(this.#streams));
    this.#credit.start();
  }

  /** @param nowMs monotonic milliseconds. @returns why the connection is over, the moment it is. */
  receive(chunk: Uint8Array, nowMs: number): H2Error | undefined {
    if (this.#isOver) return undefined;
    this.#life.nowMs = nowMs;
    const seen = this.#options.role === "server" ? this.#receivePreface(chunk) : 0;
    const failed = typeof seen === "number" ? this.#reader.read(seen === 0 ? chunk : chunk.subarray(seen)) : seen;
    if (failed === undefined) return undefined;
    this.#incoming.phase = "over";
    const lastLooked = Math.min(this.#incoming.lastAccepted, this.#streams.lastOfPeer);
    this.#owner.write(goawayFrame(lastLooked, failed.errorCode, failed.message.slice(0, 200)));
    return failed;
  }

  /** What the peer's SETTINGS have said so far. */
  get peer(): Readonly<PeerSettings> {
    return this.#send.peer;
  }

  /** Whether any of them have come. */
  get isSettled(): boolean {
    return this.#incoming.phase === "running";
  }

  /** Streams that are open in at least one direction. */
  get streams(): number {
    return this.#streams.size;
  }

  /** Octets that listeners were told of and have not consumed. */
  get held(): number {
    return this.#credit.held;
  }

  /** Client: a request. undefined when all stream ids have been used, the peer takes no more, or the connection is over. */
  open(fields: readonly HeaderField[], listener: StreamListener, endStream = false): H2Stream | undefined {
    const id = this.#isOver ? undefined : this.#streams.nextId();
    if (id === undefined) return undefined;
    const isConnect = fields.some(({ name, value }) => name === ":method" && value === "CONNECT");
    // Before there is a stream: it may throw, for a bug of ours.
    const block = this.#send.encoder.encode(fields);
    const stream = this.#life.begin(id, listener, isConnect);
    this.#life.writeBlock(stream, block, endStream);
    return stream;
  }

  /** Server: the answer. With `endStream` it is all of it. */
  answer(stream: H2Stream, status: number, fields: readonly HeaderField[] = [], endStream = false): void {
    if (!stream.maySend) return;
    stream.isAnswered = true;
    this.#life.writeHead(stream, [{ name: ":status", value: String(status) }, ...fields], endStream);
  }

  /**
   * Sends octets of `chunk` from `from` on. The chunk must not change until the transport has sent it.
   * @returns where the octets begin that were not taken; if there are some, the listener's `writable` is called later.
   */
  send(stream: H2Stream, chunk: Uint8Array, from = 0): number {
    return stream.maySend ? this.#send.data(stream, chunk, from) : chunk.length;
  }

  /** END_STREAM: we send no more. To be called after everything has been taken by `send`. */
  end(stream: H2Stream): void {
    if (!stream.maySend) return;
    this.#send.end(stream);
    this.#life.endLocally(stream);
  }

  /** RST_STREAM; its listener hears `closed` alone. */
  reset(stream: H2Stream, errorCode: number): void {
    if (stream.state !== "closed") this.#life.reset(stream, errorCode);
  }

  /** Octets that the listener was told of are held no longer: the peer may send as many more. */
  consumed(stream: H2Stream, octets: number): void {
    this.#credit.giveBack(stream, octets, true);
  }

  /**
   * Gives streams another window: a larger one holds at once, a smaller one when the peer says that it has heard.
   * @returns false if it cannot be told now: the connection is over, or the peer leaves our SETTINGS unanswered.
   */
  resizeWindows(octets: number): boolean {
    const { settingsDue } = this.#incoming;
    if (this.#isOver || settingsDue.length >= mostSettingsDue) return false;
    this.#owner.write(settingsFrame([[settingIds.INITIAL_WINDOW_SIZE, octets]]));
    this.#credit.tell(octets, this.#streams);
    settingsDue.push(() => this.#credit.acknowledged(this.#streams));
    return true;
  }

  /** The transport has room again. */
  resume(): void {
    this.#send.resume();
  }

  /** @param payload eight octets. */
  ping(payload: Uint8Array): void {
    if (this.#isOver) return;
    this.#incoming.pongsDue += 1;
    this.#owner.write(pingFrame(payload, false));
  }

  /** Says that we are about to leave; streams that come meanwhile are still taken (RFC 9113 6.8). */
  announceGoaway(): void {
    // Behind `goaway` it would take that back.
    if (this.#isOver || this.#incoming.lastAccepted !== Infinity) return;
    this.#owner.write(goawayFrame(largest31, errorCodes.NO_ERROR));
  }

  /** Takes no more streams of the peer; those that come are refused, so that they can go elsewhere. */
  goaway(errorCode: number = errorCodes.NO_ERROR): void {
    if (this.#isOver) return;
    // Never more than was said before (RFC 9113 6.8): those that were refused since have been seen, but not taken.
    const last = Math.min(this.#incoming.lastAccepted, this.#streams.lastOfPeer);
    this.#incoming.lastAccepted = last;
    this.#owner.write(goawayFrame(last, errorCode));
  }

  /** The transport is gone: every stream hears it. */
  lose(): void {
    this.#incoming.phase = "over";
    for (const stream of [...this.#streams]) this.#life.cut(stream, { by: "connection" });
  }

  get #isOver(): boolean {
    return this.#incoming.phase === "over";
  }

  /** @returns how much of the chunk belonged to the preface. */
  #receivePreface(chunk: Uint8Array): number | H2Error {
    const octets = Math.min(clientPreface.length - this.#prefaceSeen, chunk.length);
    for (let i = 0; i < octets; i++) {
      if (chunk[i] === clientPreface[this.#prefaceSeen + i]) continue;
      const began = Buffer.from(chunk.subarray(0, clientPreface.length)).toString("latin1");
      return new H2Error({ code: "h2.no-preface", began: began.replace(/[^ -~]/g, ".") });
    }
    this.#prefaceSeen += octets;
    return octets;
  }
}

/** SETTINGS of ours that may be on their way at once. */
const mostSettingsDue = 8;
