/** The conversations of test/vectors/ztunnel, and a peer that says its part of one, frame by frame as it was recorded. */
import { readFileSync } from "node:fs";
import type { TLSSocket } from "node:tls";
import { HpackDecoder } from "../../core/protocol/h2/hpack/decoder.ts";
import { addRoute } from "../../core/linux/netlink/routes.ts";
import { HpackError } from "../../core/protocol/h2/hpack/hpack-error.ts";
import { until } from "../support/until.ts";

export interface Recorded {
  readonly case: string;
  /** Of as-client: what its scripted server did. */
  readonly server?: string;
  /** Of as-server: what was asked for. */
  readonly authority?: string;
  readonly conversation: readonly Step[];
}

/** A frame, the client's preface, or a note of the scripted side. */
export interface Step {
  readonly dir?: "client" | "server";
  readonly note?: string;
  readonly preface?: string;
  readonly type?: keyof typeof frameTypes;
  readonly flags?: number;
  readonly stream?: number;
  /** Hexadecimal. */
  readonly payload?: string;
}

export function recordings(name: "as-client" | "as-server"): readonly Recorded[] {
  const file = new URL(`../vectors/ztunnel/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(file, "utf8")) as Recorded[];
}

/** What the notes say of the headers that came. */
export function noted(recorded: Recorded, prefix: string): Record<string, string | number> | undefined {
  const note = recorded.conversation.find((step) => step.note?.startsWith(`${prefix} {`))?.note;
  return note === undefined ? undefined : (JSON.parse(note.slice(prefix.length)) as Record<string, string | number>);
}

/** A second stream of a tunnel was noted, not recorded. */
export function isRecorded({ conversation }: Recorded): boolean {
  return conversation.some(({ preface }) => preface !== undefined);
}

/** The library that was recorded ends a stream's half before it resets it: no peer means both. */
export function isArtefact(step: Step, next: Step | undefined): boolean {
  return isEnd(step) && next?.type === "RST_STREAM" && next.dir === step.dir;
}

export function isEnd(step: Step): boolean {
  return step.type === "DATA" && step.payload === "" && ((step.flags ?? 0) & endStream) !== 0;
}

/** Makes the addresses of the recordings this host's own. Inside enterNamespaces() only. */
export async function ownRecordedAddresses(): Promise<void> {
  const destination = { address: "10.77.0.0", prefix: 16 };
  const failed = await addRoute({ destination, interface: "lo", type: "local", table: 255 });
  if (failed !== undefined) throw failed;
}

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** One end of a tunnel that knows nothing of HTTP/2 but how frames are cut. */
export class FramePeer {
  readonly frames: Frame[] = [];
  isEnded = false;
  readonly #tls: TLSSocket;
  readonly #hpack = new HpackDecoder({ tableSize: 4_096, listSize: 65_536 });
  /** By stream: the fields of each header block. */
  readonly #heads = new Map<number, ReadonlyMap<string, string>[]>();
  #unread: Buffer = Buffer.alloc(0);

  /** @param sendsPreface whether the other end begins with the client's preface. */
  constructor(tls: TLSSocket, sendsPreface: boolean) {
    this.#tls = tls;
    let preface = sendsPreface ? prefaceLength : 0;
    tls.on("data", (chunk: Buffer) => {
      this.#unread = Buffer.concat([this.#unread, chunk]);
      if (this.#unread.length < preface) return;
      this.#unread = this.#unread.subarray(preface);
      preface = 0;
      this.#cut();
    });
    tls.on("end", () => (this.isEnded = true));
    tls.on("close", () => (this.isEnded = true));
    tls.on("error", () => {});
  }

  /** As it was recorded, but on another stream if that is given. */
  say(step: Step, stream = step.stream): void {
    if (this.#tls.destroyed) return;
    if (step.preface !== undefined) return void this.#tls.write(step.preface, "latin1");
    const payload = Buffer.from(step.payload ?? "", "hex");
    const header = Buffer.alloc(9);
    header.writeUIntBE(payload.length, 0, 3);
    header.writeUInt8(frameTypes[step.type ?? "DATA"], 3);
    header.writeUInt8(step.flags ?? 0, 4);
    header.writeUInt32BE(stream ?? 0, 5);
    this.#tls.write(Buffer.concat([header, payload]));
  }

  /** The fields of a stream's first header block. */
  head(stream: number): ReadonlyMap<string, string> | undefined {
    return this.#heads.get(stream)?.[0];
  }

  /** Streams that have a head, oldest first. */
  get streams(): readonly number[] {
    return [...this.#heads.keys()];
  }

  of(type: keyof typeof frameTypes, stream?: number): readonly Frame[] {
    const code = frameTypes[type];
    return this.frames.filter((frame) => frame.type === code && (stream === undefined || frame.stream === stream));
  }

  /** All of a stream's data so far. */
  data(stream: number): string {
    return Buffer.concat(this.of("DATA", stream).map((frame) => frame.payload)).toString("latin1");
  }

  hasEnded(stream: number): boolean {
    return this.frames.some((frame) => frame.stream === stream && frame.type <= 1 && (frame.flags & endStream) !== 0);
  }

  /** The code of its RST_STREAM. */
  resetCode(stream: number): number | undefined {
    return this.of("RST_STREAM", stream)[0]?.payload.readUInt32BE(0);
  }

  /** Says PING, and waits for its answer: everything before it has been dealt with. */
  async ping(payload: string): Promise<void> {
    this.say({ type: "PING", flags: 0, stream: 0, payload });
    await this.pong(payload);
  }

  async pong(payload: string): Promise<void> {
    await until("the answer to a PING", 5_000, () =>
      this.of("PING").some((frame) => frame.flags === ack && frame.payload.toString("hex") === payload),
    );
  }

  close(): void {
    this.#tls.destroy();
  }

  #cut(): void {
    for (;;) {
      if (this.#unread.length < 9) return;
      const end = 9 + this.#unread.readUIntBE(0, 3);
      if (this.#unread.length < end) return;
      const [type, flags] = [this.#unread.readUInt8(3), this.#unread.readUInt8(4)];
      const stream = this.#unread.readUInt32BE(5);
      const payload = Buffer.from(this.#unread.subarray(9, end));
      this.#unread = this.#unread.subarray(end);
      if (type === frameTypes.HEADERS) this.#decode(stream, payload);
      this.frames.push({ type, flags, stream, payload });
    }
  }

  #decode(stream: number, payload: Buffer): void {
    const block = this.#hpack.decode(payload);
    if (block instanceof HpackError) throw block;
    const fields = new Map(block.fields.map(({ name, value }) => [name, value]));
    this.#heads.set(stream, [...(this.#heads.get(stream) ?? []), fields]);
  }
}

/** RFC 9113 6. */
export const frameTypes = {
  DATA: 0,
  HEADERS: 1,
  RST_STREAM: 3,
  SETTINGS: 4,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
} as const;

const endStream = 0x1;
const ack = 0x1;
const prefaceLength = 24;
