/**
 * HPACK held against nghttp2's, as Node carries it: what its sessions encode is decoded here, what is encoded here is read by them,
 * while both ends change the size of the other's table.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import http2 from "node:http2";
import { duplexPair, type Duplex } from "node:stream";
import { suite, test, type TestContext } from "node:test";
import { FrameSplitter, settingsOf, type WireFrame } from "../../../../test/oracles/h2-wire.ts";
import { seededRandom, type Random } from "../../../base/random.ts";
import { errorCodes } from "../error-code.ts";
import { clientPreface, flags, frameTypes } from "../frame.ts";
import { headersFrames, resetFrame, settingsAnswer, settingsFrame } from "../frame-writer.ts";
import { settingIds } from "../settings.ts";
import { HpackDecoder } from "./decoder.ts";
import { HpackEncoder } from "./encoder.ts";
import { HpackError } from "./hpack-error.ts";

suite("HPACK against nghttp2", () => {
  for (const seed of [1, 2, 3]) {
    test(`400 requests of nghttp2 are read as it was given them, while its table is resized (seed ${seed})`, async (t) => {
      const random = seededRandom(seed);
      const [theirs, ours] = duplexPair();
      const peer = new RawPeer(t, ours);
      const client = http2.connect("http://nghttp2.test", { createConnection: () => theirs });
      t.after(() => client.destroy());
      const decoder = new HpackDecoder({ tableSize: tableSizes[0] ?? 0, listSize: Infinity });
      peer.send(settingsFrame([[settingIds.HEADER_TABLE_SIZE, tableSizes[0] ?? 0]]));
      await peer.next(({ type }) => type === frameTypes.SETTINGS);
      peer.send(settingsAnswer());
      await peer.next(isAck);
      for (let i = 0; i < 400; i++) {
        if (random() < 0.1) await resize();
        const sent = randomFields(random);
        const request = client.request(toHeaders(sent), { endStream: true });
        request.on("error", () => undefined);
        const { stream, block } = await peer.nextBlock();
        const answer = decoder.decode(block);
        if (answer instanceof HpackError) throw answer;
        assert.deepEqual(
          answer.fields.map(({ name, value }) => [name, value]),
          sent,
        );
        peer.send(resetFrame(stream, errorCodes.CANCEL));
        await once(request, "close");
      }

      async function resize(): Promise<void> {
        const sizes = Array.from({ length: 1 + Math.floor(random() * 2) }, () => pick(random, tableSizes));
        for (const size of sizes) peer.send(settingsFrame([[settingIds.HEADER_TABLE_SIZE, size]]));
        for (const size of sizes) {
          await peer.next(isAck);
          decoder.limitTable(size);
        }
      }
    });

    test(`400 blocks of ours are read by nghttp2 as we were given them, while our table is resized (seed ${seed})`, async (t) => {
      const random = seededRandom(seed);
      const [theirs, ours] = duplexPair();
      const peer = new RawPeer(t, ours);
      const encoder = new HpackEncoder();
      peer.onSettings = (frame) => {
        for (const [id, value] of settingsOf(frame.payload)) {
          if (id === settingIds.HEADER_TABLE_SIZE) encoder.limitTable(value);
        }
        peer.send(settingsAnswer());
      };
      const session = http2.performServerHandshake(theirs, { settings: { headerTableSize: pick(random, tableSizes) } });
      t.after(() => session.destroy());
      const broken = once(session, "error").then(([error]) => Promise.reject(error as Error));
      peer.send(Buffer.concat([clientPreface, settingsFrame([])]));
      await peer.next(isAck);
      for (let i = 0; i < 400; i++) {
        if (random() < 0.1) {
          const sizes = Array.from({ length: 1 + Math.floor(random() * 2) }, () => pick(random, tableSizes));
          const inForce = sizes.map((headerTableSize) => {
            const { promise, resolve } = Promise.withResolvers<void>();
            session.settings({ headerTableSize }, () => resolve());
            return promise;
          });
          await Promise.race([Promise.all(inForce), broken]);
        }
        const sent = randomFields(random);
        const block = encoder.encode(sent.map(([name, value]) => ({ name, value })));
        const heard = once(session, "stream") as Promise<[http2.ServerHttp2Stream, unknown, number, string[]]>;
        peer.send(headersFrames(1 + 2 * i, block, true, 16_384));
        const [stream, , , raw] = await Promise.race([heard, broken]);
        assert.deepEqual(inPairs(raw), sent);
        stream.on("error", () => undefined);
        stream.close();
        await once(stream, "close");
      }
    });
  }
});

/** The other end of the pipe, frame by frame. */
class RawPeer {
  onSettings: (frame: WireFrame) => void = () => undefined;
  readonly #pipe: Duplex;
  readonly #reader = new FrameSplitter();
  readonly #seen: WireFrame[] = [];
  #wake: () => void = () => undefined;

  constructor(t: TestContext, pipe: Duplex) {
    this.#pipe = pipe;
    pipe.on("data", (chunk: Buffer) => this.#read(chunk));
    t.after(() => pipe.destroy());
  }

  send(bytes: Uint8Array): void {
    this.#pipe.write(bytes);
  }

  /** The next frame that is wanted; those before it are forgotten. */
  async next(wanted: (frame: WireFrame) => boolean): Promise<WireFrame> {
    for (;;) {
      for (let frame = this.#seen.shift(); frame !== undefined; frame = this.#seen.shift()) {
        if (wanted(frame)) return frame;
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
  }

  async nextBlock(): Promise<{ stream: number; block: Buffer }> {
    const first = await this.next(({ type }) => type === frameTypes.HEADERS);
    const priority = (first.flags & flags.PRIORITY) !== 0 ? 5 : 0;
    const parts = [first.payload.subarray(priority)];
    let last = first;
    while ((last.flags & flags.END_HEADERS) === 0) {
      last = await this.next(() => true);
      assert.equal(last.type, frameTypes.CONTINUATION);
      parts.push(last.payload);
    }
    return { stream: first.stream, block: Buffer.concat(parts) };
  }

  #read(chunk: Buffer): void {
    const isPreface = chunk.subarray(0, 3).toString("latin1") === "PRI";
    for (const frame of this.#reader.take(isPreface ? chunk.subarray(clientPreface.length) : chunk)) {
      if (frame.type === frameTypes.SETTINGS && !isAck(frame)) this.onSettings(frame);
      if (frame.type === frameTypes.GOAWAY) assert.equal(frame.payload.readUInt32BE(4), 0, "GOAWAY");
      this.#seen.push(frame);
    }
    this.#wake();
  }
}

type Pair = [name: string, value: string];

/** A request that Node and nghttp2 let pass: no name twice, no white space at the ends of a value, any octet from 0x80 on. */
function randomFields(random: Random): Pair[] {
  const pseudo: Pair[] = [
    [":method", pick(random, ["GET", "POST", "PUT"])],
    [":scheme", pick(random, ["http", "https"])],
    [":authority", `10.0.0.${Math.floor(random() * 5)}:80`],
    [":path", pick(random, ["/", "/index.html", `/${randomValue(random, 20)}`.replace(/[^!-~]/g, "x")])],
  ];
  const names = new Set(Array.from({ length: Math.floor(random() * 8) }, () => pick(random, regularNames)));
  return [...pseudo, ...[...names].map((name): Pair => [name, randomText(random)])];
}

function randomText(random: Random): string {
  if (random() < 0.4) return pick(random, ["1", "no-cache", "gzip, deflate", "k8s.namespace.name=default"]);
  return randomValue(random, random() < 0.05 ? 5_000 : 40);
}

function randomValue(random: Random, longest: number): string {
  const length = 1 + Math.floor(random() * longest);
  const alphabet = random() < 0.5 ? 0x7f : 0x100;
  const octets = Array.from({ length }, () => 0x21 + Math.floor(random() * (alphabet - 0x21)));
  return Buffer.from(octets.map((octet) => (octet === 0x7f ? 0x7e : octet))).toString("latin1");
}

/** As node:http2 takes them; secrets become literals that are never indexed. */
function toHeaders(fields: readonly Pair[]): http2.OutgoingHttpHeaders {
  return { ...Object.fromEntries(fields), [http2.sensitiveHeaders]: ["x-secret"] };
}

function inPairs(raw: readonly string[]): Pair[] {
  return raw.flatMap((name, index): Pair[] => (index % 2 === 0 ? [[name, raw[index + 1] ?? ""]] : []));
}

function isAck(frame: WireFrame): boolean {
  return frame.type === frameTypes.SETTINGS && (frame.flags & flags.ACK) !== 0;
}

function pick<T>(random: Random, from: readonly T[]): T {
  return from[Math.floor(random() * from.length)]!;
}

const tableSizes = [4_096, 0, 33, 64, 200, 1_000, 4_096, 65_536];
const regularNames = [
  ...["accept", "accept-encoding", "authorization", "baggage", "cache-control", "content-type", "cookie", "forwarded"],
  ...["traceparent", "user-agent", "x-a", "x-b", "x-c", "x-long-name-that-is-in-no-table-of-anybody", "x-secret"],
];
