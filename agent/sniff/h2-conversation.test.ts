import assert from "node:assert/strict";
import { once } from "node:events";
import * as http2 from "node:http2";
import { connect, createServer, type AddressInfo } from "node:net";
import { suite, test } from "node:test";
import fc from "fast-check";
import { clientPreface, frameTypes } from "../../core/protocol/h2/frame.ts";
import { frameHeader, headersFrames, resetFrame, settingsFrame } from "../../core/protocol/h2/frame-writer.ts";
import { HpackEncoder } from "../../core/protocol/h2/hpack/encoder.ts";
import type { HeaderField } from "../../core/protocol/h2/hpack/field.ts";
import { mostHeldOctets } from "./conversation.ts";
import { mostStreams } from "./open-streams.ts";
import { UnknownConversation } from "./unknown-conversation.ts";

type Said = readonly [by: "client" | "server", bytes: Uint8Array];

interface Heard {
  /** `protocol status grpc-status milliseconds` */
  readonly requests: string[];
  readonly isOver: boolean;
}

suite("HTTP/2 in passing", () => {
  test("a stream is a request: its answer's code, its time, and nothing of what comes in between", () => {
    const peers = new Peers();
    const heard = listen([
      ...peers.begun(),
      peers.asks(1, { ":method": "POST" }),
      peers.asks(3, {}),
      peers.content("client", 1, "abc", true),
      peers.answers(3, { ":status": "103" }),
      peers.answers(3, { ":status": "404" }),
      peers.content("server", 3, "not", false),
      peers.content("server", 3, "here", true),
      peers.answers(1, { ":status": "200" }),
      peers.answers(1, { "x-trailer": "1" }, true),
    ]);
    // Each of what was said takes a millisecond.
    assert.deepEqual(heard, { requests: ["http2 404 -1 5", "http2 200 -1 8"], isOver: false });
  });

  test("gRPC is what says so, and its status comes in trailers or with the head", () => {
    const peers = new Peers();
    const types = [
      "application/grpc",
      "application/grpc+proto",
      "application/grpc;x=y",
      "application/grpc-web",
      "text/plain",
    ];
    const asked = types.map((type, i) => peers.asks(2 * i + 1, { "content-type": type }));
    const heard = listen([
      ...peers.begun(),
      ...asked,
      peers.answers(1, { ":status": "200" }),
      peers.answers(1, { "grpc-status": "0" }, true),
      peers.answers(3, { ":status": "200", "grpc-status": "16" }, true),
      peers.answers(5, { ":status": "200", "grpc-status": "4294967296" }, true),
      peers.answers(7, { ":status": "200", "grpc-status": "0" }, true),
      peers.answers(9, { ":status": "415" }, true),
    ]);
    const outcomes = heard.requests.map((request) => request.replace(/ \d+$/, ""));
    assert.deepEqual(outcomes, ["grpc 200 0", "grpc 200 16", "grpc 200 2", "http2 200 -1", "http2 415 -1"]);
  });

  test("who is reset, or left when the connection goes, counts with what there is of an answer", () => {
    const peers = new Peers();
    const said = [
      ...peers.begun(),
      ...[1, 3, 5, 7].map((id) => peers.asks(id, { "content-type": id === 7 ? "application/grpc" : "a/b" })),
      peers.answers(3, { ":status": "500" }),
      ["client", resetFrame(1, 8)] as const,
      ["server", resetFrame(3, 2)] as const,
      ["client", resetFrame(3, 2)] as const,
    ];
    const heard = listen(said, [Infinity], true);
    const outcomes = heard.requests.map((request) => request.replace(/ \d+$/, "")).sort();
    assert.deepEqual(outcomes, ["grpc 0 -1", "http2 0 -1", "http2 0 -1", "http2 500 -1"]);
  });

  test("a server may speak first, and so may nobody else", () => {
    const peers = new Peers();
    const [preface = peers.settings("client"), clientSettings = preface, serverSettings = preface] = peers.begun();
    const said = [
      serverSettings,
      preface,
      clientSettings,
      peers.asks(1, {}),
      peers.answers(1, { ":status": "200" }, true),
    ];
    assert.equal(listen(said).requests.length, 1);
    assert.ok(listen([serverSettings, ["client", Buffer.from("GET / HTTP/1.1\r\n\r\n")]]).isOver);
    for (const greeting of [
      "220 mail.example ESMTP\r\n",
      "\x4a\0\0\0\x0a8.0.36\0",
      "SSH-2.0-x\r\n",
      "\0\0\0\x04\x01\0\0\0\0",
    ]) {
      assert.ok(listen([["server", Buffer.from(greeting, "latin1")]]).isOver, greeting);
    }
  });

  test("what a table would need more room for, a push, a block in the middle of another and one without end are given up", () => {
    const faults: ((peers: Peers) => Said[])[] = [
      () => [
        ["client", Buffer.concat([frameHeader(frameTypes.HEADERS, 0x4, 1, 4), Buffer.from([0x3f, 0xe1, 0x7f, 0x82])])],
      ],
      () => [["server", frameHeader(frameTypes.PUSH_PROMISE, 0x4, 1, 4)]],
      () => [
        [
          "client",
          Buffer.concat([
            frameHeader(frameTypes.HEADERS, 0, 1, 1),
            Buffer.from([0x82]),
            frameHeader(frameTypes.DATA, 0, 1, 0),
          ]),
        ],
      ],
      () => [["client", frameHeader(frameTypes.CONTINUATION, 0x4, 1, 0)]],
      () => [["client", frameHeader(frameTypes.HEADERS, 0x4, 1, 65_537)]],
      () => [["client", Buffer.concat([frameHeader(frameTypes.HEADERS, 0x4, 1, 1), Buffer.from([0xff])])]],
      () => [["client", frameHeader(frameTypes.PING, 0, 0, 16_385)]],
      (peers) => [peers.asks(1, { "x-long": "~".repeat(70_000) })],
      (peers) => Array.from({ length: mostStreams + 1 }, (_, i) => peers.asks(2 * i + 1, {})),
    ];
    for (const fault of faults) {
      const peers = new Peers();
      assert.ok(listen([...peers.begun(), ...fault(peers)]).isOver, fault.toString());
      assert.ok(listen([...peers.begun(), ...fault(new Peers())], [1]).isOver, fault.toString());
    }
    const peers = new Peers();
    const most = Array.from({ length: mostStreams }, (_, i) => peers.asks(2 * i + 1, {}));
    assert.equal(listen([...peers.begun(), ...most], [Infinity], true).requests.length, mostStreams);
  });

  test("a block of 60 KiB is understood when it comes at once, and given up when it would have to be kept", () => {
    const peers = new Peers();
    const said = [
      ...peers.begun(),
      peers.asks(1, { "x-long": "~".repeat(50_000) }, 65_536),
      peers.answers(1, { ":status": "200" }, true),
    ];
    assert.equal(listen(said).requests.length, 1);
    assert.ok(listen(said, [30_000]).isOver);
  });

  test("however node:http2's octets are cut, the same is understood as was answered", async () => {
    const { said, statuses } = await recorded();
    const cuts = fc.array(fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 5_000 })), {
      minLength: 1,
      maxLength: 20,
    });
    fc.assert(
      fc.property(cuts, (lengths) => {
        const { requests, isOver } = listen(said, lengths);
        assert.equal(isOver, false);
        assert.deepEqual(requests.map((request) => request.split(" ")[1]).sort(), statuses);
      }),
      { numRuns: 60, examples: [[[1]], [[9]]] },
    );
  });

  test("octets of node:http2 that were changed, left out or made up never make it throw", async () => {
    const { said } = await recorded();
    const change = fc.record({ piece: fc.nat(), at: fc.nat(), octet: fc.nat({ max: 255 }), isCut: fc.boolean() });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 5 }), (changes) => {
        const changed = said.map(([by, bytes]): Said => [by, Buffer.from(bytes)]);
        for (const { piece, at, octet, isCut } of changes) {
          const index = piece % changed.length;
          const [by, bytes] = changed[index]!;
          if (isCut) changed[index] = [by, bytes.subarray(at % (bytes.length + 1))];
          else if (bytes.length > 0) bytes[at % bytes.length] = octet;
        }
        listen(changed, [Infinity], true);
      }),
      { numRuns: 1_000 },
    );
    const made = fc.array(
      fc.tuple(fc.constantFrom("client" as const, "server" as const), fc.uint8Array({ maxLength: 200 })),
      { maxLength: 20 },
    );
    const begins = new Peers().begun();
    fc.assert(
      fc.property(
        made,
        fc.boolean(),
        (pieces, hasBegun) => void listen([...(hasBegun ? begins : []), ...pieces], [Infinity], true),
      ),
      { numRuns: 2_000 },
    );
  });
});

/** Both peers' octets, made by our own encoder. */
class Peers {
  readonly #encoders = { client: new HpackEncoder(), server: new HpackEncoder() };

  /** The client's preface and SETTINGS, and the server's. */
  begun(): Said[] {
    return [["client", clientPreface], this.settings("client"), this.settings("server")];
  }

  settings(by: Said[0]): Said {
    return [by, settingsFrame([[0x3, 100]])];
  }

  asks(id: number, fields: Readonly<Record<string, string>>, frameSize = 16_384): Said {
    const head = { ":method": "GET", ":scheme": "http", ":path": `/${id}`, ":authority": "web", ...fields };
    return ["client", headersFrames(id, this.#encoders.client.encode(listed(head)), false, frameSize)];
  }

  answers(id: number, fields: Readonly<Record<string, string>>, endStream = false): Said {
    return ["server", headersFrames(id, this.#encoders.server.encode(listed(fields)), endStream, 16_384)];
  }

  content(by: Said[0], id: number, text: string, endStream: boolean): Said {
    const header = frameHeader(frameTypes.DATA, endStream ? 1 : 0, id, text.length);
    return [by, Buffer.concat([header, Buffer.from(text)])];
  }
}

/** @param lengths of the pieces in which octets come, over and over. @param isCut whether the connection ends behind them. */
function listen(said: readonly Said[], lengths: readonly number[] = [Infinity], isCut = false): Heard {
  const requests: string[] = [];
  const conversation = new UnknownConversation({
    request: (...outcome) => requests.push(outcome.join(" ")),
  });
  let piece = 0;
  let nowMs = 1_000;
  for (const [by, bytes] of said) {
    for (let at = 0; at < bytes.length;) {
      const part = bytes.subarray(at, at + (lengths[piece++ % lengths.length] ?? 1));
      at += part.length;
      if (!conversation[by](part, nowMs)) return { requests, isOver: true };
      assert.ok(conversation.held <= mostHeldOctets);
    }
    nowMs += 1;
  }
  if (isCut) conversation.over(nowMs);
  return { requests, isOver: false };
}

/** What a client and a server of node:http2 say to each other, in the order in which it passed in the middle. */
async function recorded(): Promise<{ said: Said[]; statuses: string[] }> {
  const server = http2.createServer((request, response) => {
    request.resume().on("end", () => {
      response.statusCode = Number(request.url.split("/")[1]);
      response.setHeader(
        "x-many",
        Array.from({ length: 20 }, (_, i) => `value ${i}`),
      );
      if (response.statusCode === 204) response.end();
      else response.end("y".repeat(response.statusCode * 20));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const said: Said[] = [];
  const middle = createServer((client) => {
    const onward = connect((server.address() as AddressInfo).port, "127.0.0.1");
    client.on("data", (bytes: Buffer) => {
      said.push(["client", Buffer.from(bytes)]);
      onward.write(bytes);
    });
    onward.on("data", (bytes: Buffer) => {
      said.push(["server", Buffer.from(bytes)]);
      client.write(bytes);
    });
    client.on("close", () => onward.destroy()).on("error", () => {});
  });
  await new Promise<void>((resolve) => middle.listen(0, "127.0.0.1", resolve));
  const session = http2.connect(`http://127.0.0.1:${(middle.address() as AddressInfo).port}`);
  const codes = Array.from({ length: 40 }, (_, i) => [200, 204, 404, 503][i % 4]!);
  await Promise.all(
    codes.map(async (code, i) => {
      const stream = session.request({
        ":path": `/${code}/${i}`,
        ":method": i % 3 === 0 ? "POST" : "GET",
        cookie: "c".repeat(i * 50),
      });
      stream.end(i % 3 === 0 ? "x".repeat(i * 300) : undefined);
      await once(stream.resume(), "close");
    }),
  );
  session.destroy();
  middle.close();
  server.close();
  return { said, statuses: codes.map(String).sort() };
}

function listed(fields: Readonly<Record<string, string>>): HeaderField[] {
  return Object.entries(fields).map(([name, value]) => ({ name, value }));
}
