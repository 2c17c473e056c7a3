/** One end of a TLS connection that speaks HTTP/2 by hand: what came, what is to go out, and how it ended. */
import type { TLSSocket } from "node:tls";
import { FrameReader, flags, frameTypes, ping, settingsAck, statusOf, type Frame } from "./frames.ts";

/** How the connection ended: FIN after everything, or a reset or alert, which has a code. */
export type Ending = { readonly kind: "end" } | { readonly kind: "error"; readonly code: string };

export class PeerEnd {
  readonly tls: TLSSocket;
  /** Everything that was received, in order. */
  readonly frames: Frame[] = [];
  readonly closed: Promise<Ending>;
  /** SETTINGS and PING are answered as they come, as an honest peer does that has begun to speak HTTP/2. */
  isPolite = false;
  /** Called with each frame, after what politeness demands. */
  onFrame: ((frame: Frame) => void) | undefined;
  #ending: Ending | undefined;
  #ended = false;
  /** Called with each frame, and with nothing when the connection is over. */
  readonly #waiters = new Set<(frame: Frame | undefined) => void>();

  /** @param skip bytes to skip before the first frame: a client's preface. */
  constructor(tls: TLSSocket, skip = 0) {
    this.tls = tls;
    const reader = new FrameReader();
    let toSkip = skip;
    tls.on("data", (chunk: Buffer) => {
      const from = Math.min(toSkip, chunk.length);
      toSkip -= from;
      for (const frame of reader.read(chunk.subarray(from))) this.#received(frame);
    });
    this.closed = new Promise((resolve) => {
      const settle = (ending: Ending): void => resolve((this.#ending ??= ending));
      tls.on("error", (error: NodeJS.ErrnoException) => settle({ kind: "error", code: error.code ?? error.message }));
      tls.once("end", () => (this.#ended = true));
      tls.once("close", () => {
        settle({ kind: "end" });
        for (const look of this.#waiters) look(undefined);
      });
    });
  }

  /** Undefined while it stands. */
  get ending(): Ending | undefined {
    return this.#ending ?? (this.#ended ? { kind: "end" } : undefined);
  }

  /** @returns false when the other side takes no more for now. */
  send(...frames: readonly Uint8Array[]): boolean {
    if (this.ending !== undefined || this.tls.destroyed) return false;
    return this.tls.write(frames.length === 1 ? frames[0]! : Buffer.concat(frames));
  }

  /**
   * So many frames, or groups of them, as fast as they are taken; ends early when the connection does, or stands still for five seconds.
   * @returns how many were handed to the socket.
   */
  async flood(count: number, make: (index: number) => Uint8Array): Promise<number> {
    let sent = 0;
    while (sent < count && this.ending === undefined && !this.tls.destroyed) {
      const batch: Uint8Array[] = [];
      for (let size = 0; size < batchBytes && sent < count; sent++) {
        const next = make(sent);
        batch.push(next);
        size += next.length;
      }
      if (!this.send(...batch) && !(await this.#drained())) break;
    }
    return sent;
  }

  /** The same bytes so many times over. */
  repeat(count: number, frame: Uint8Array): Promise<number> {
    const per = Math.max(1, Math.floor(batchBytes / frame.length));
    const batch = Buffer.concat(Array.from({ length: Math.min(per, count) }, () => frame));
    const batches = Math.ceil(count / per);
    return this.flood(batches, (index) =>
      index < batches - 1 ? batch : batch.subarray(0, (count - per * (batches - 1)) * frame.length),
    ).then((sent) => Math.min(count, sent * per));
  }

  /** Takes nothing from the socket until `readOn`. */
  stopReading(): void {
    this.tls.pause();
  }

  readOn(): void {
    this.tls.resume();
  }

  /** The first frame that matches, now or later. */
  frame(what: string, match: (frame: Frame) => boolean): Promise<Frame> {
    const found = this.frames.find(match);
    if (found !== undefined) return Promise.resolve(found);
    return new Promise((resolve, reject) => {
      const settle = (frame: Frame | undefined, problem?: string): void => {
        clearTimeout(watchdog);
        this.#waiters.delete(look);
        if (frame !== undefined) resolve(frame);
        else reject(new Error(`${what}: ${problem ?? "the connection has ended"}`));
      };
      const look = (frame: Frame | undefined): void => {
        if (frame === undefined || match(frame)) settle(frame);
      };
      const watchdog = setTimeout(() => settle(undefined, `not within ${waitMs} ms`), waitMs);
      this.#waiters.add(look);
      if (this.ending !== undefined) settle(undefined);
    });
  }

  /** `:status` of the answer on a stream, or the code that it was reset with, negated and less one. */
  async answer(stream: number): Promise<number> {
    const { headers, rstStream } = frameTypes;
    const isAnswer = (one: Frame): boolean => one.stream === stream && (one.type === headers || one.type === rstStream);
    const found = await this.frame(`an answer on stream ${stream}`, isAnswer);
    return found.type === headers ? statusOf(found) : -1 - found.payload.readUInt32BE(0);
  }

  /** How often a type has come. */
  count(type: number, match: (frame: Frame) => boolean = () => true): number {
    return this.frames.filter((one) => one.type === type && match(one)).length;
  }

  goaway(): Frame | undefined {
    return this.frames.find(({ type }) => type === frameTypes.goaway);
  }

  /** Payload that came on a stream. */
  received(stream: number): Buffer {
    const chunks = this.frames.filter((one) => one.type === frameTypes.data && one.stream === stream);
    return Buffer.concat(chunks.map(({ payload }) => payload));
  }

  /** Gone without a word: RST. */
  destroy(): void {
    this.tls.destroy();
  }

  #received(frame: Frame): void {
    this.frames.push(frame);
    for (const look of this.#waiters) look(frame);
    if (this.isPolite && frame.flags !== flags.ack) this.#answer(frame);
    this.onFrame?.(frame);
  }

  #answer({ type, payload }: Frame): void {
    if (type === frameTypes.settings) this.send(settingsAck());
    if (type === frameTypes.ping) this.send(ping(flags.ack, payload));
  }

  #drained(): Promise<boolean> {
    return new Promise((resolve) => {
      const settle = (isDrained: boolean): void => {
        clearTimeout(watchdog);
        this.tls.removeListener("drain", drained);
        this.tls.removeListener("close", closed);
        resolve(isDrained);
      };
      const drained = (): void => settle(true);
      const closed = (): void => settle(false);
      const watchdog = setTimeout(closed, standstillMs);
      this.tls.once("drain", drained);
      this.tls.once("close", closed);
    });
  }
}

const batchBytes = 64 << 10;
const waitMs = 10_000;
const standstillMs = 5_000;
