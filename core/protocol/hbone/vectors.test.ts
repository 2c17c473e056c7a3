/** Our HBONE headers against those a real ztunnel was recorded sending. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { performServerHandshake, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { duplexPair } from "node:stream";
import { suite, test } from "node:test";
import { HboneError } from "./hbone-error.ts";
import { connectHeaders, parseConnect } from "./request.ts";
import { parseConnectResponse } from "./response.ts";

interface Recorded {
  readonly case: string;
  readonly authority?: string;
  readonly headers?: Record<string, string>;
  readonly conversation: readonly Frame[];
}

interface Frame {
  readonly dir?: "client" | "server";
  readonly note?: string;
  readonly preface?: string;
  readonly type?: keyof typeof frameTypes;
  readonly flags?: number;
  readonly stream?: number;
  readonly length?: number;
  readonly payload?: string;
}

const frameTypes = { DATA: 0, HEADERS: 1, RST_STREAM: 3, SETTINGS: 4, PING: 6, GOAWAY: 7, WINDOW_UPDATE: 8 } as const;

function read(name: string): Recorded[] {
  const file = new URL(`../../../test/vectors/ztunnel/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(file, "utf8")) as Recorded[];
}

const asClient = read("as-client");
const asServer = read("as-server");

/** The JSON object behind `prefix` in the notes of a case. */
function noted(recorded: Recorded, prefix: string): Record<string, string>[] {
  return recorded.conversation.flatMap(({ note }) =>
    note?.startsWith(`${prefix} {`) ? [JSON.parse(note.slice(prefix.length)) as Record<string, string>] : [],
  );
}

/** The octets of a frame as they were on the wire. */
function wire(frame: Frame): Buffer {
  if (frame.preface !== undefined) return Buffer.from(frame.preface, "latin1");
  const payload = Buffer.from(frame.payload ?? "", "hex");
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header.writeUInt8(frameTypes[frame.type ?? "DATA"], 3);
  header.writeUInt8(frame.flags ?? 0, 4);
  header.writeUInt32BE(frame.stream ?? 0, 5);
  return Buffer.concat([header, payload]);
}

suite("ztunnel's requests", () => {
  const requests = asClient.flatMap((recorded) => noted(recorded, "request headers"));

  test("are all here", () => assert.equal(requests.length, 24));

  test("are understood, and written by us they are the same headers in the same order", () => {
    for (const headers of requests) {
      const request = parseConnect(headers);
      assert.ok(!(request instanceof HboneError));
      const { address, port } = request.forwarded.for!;
      const ours = connectHeaders({
        authority: request.authority,
        baggage: request.baggage,
        client: { address, port: port! },
        trace: request.trace!,
      });
      assert.deepEqual(Object.entries(ours), Object.entries(headers));
    }
  });

  test("replayed octet by octet into an HTTP/2 server arrive as those headers", async () => {
    const [first] = asClient;
    const [ours, theirs] = duplexPair();
    const session = performServerHandshake(ours);
    theirs.resume();
    try {
      const arrived = once(session, "stream") as Promise<[ServerHttp2Stream, IncomingHttpHeaders]>;
      for (const frame of first!.conversation) if (frame.dir === "client") theirs.write(wire(frame));
      const [stream, headers] = await arrived;
      stream.on("error", () => undefined);
      assert.ok(!stream.readableEnded);
      const request = parseConnect(headers);
      assert.ok(!(request instanceof HboneError));
      assert.deepEqual(request, parseConnect(noted(first!, "request headers")[0]!));
    } finally {
      session.destroy();
    }
  });
});

suite("ztunnel's answers", () => {
  for (const recorded of asServer) {
    const [answer] = noted(recorded, "response");
    if (answer === undefined) continue;
    test(`${recorded.case}: ${String(answer[":status"])}`, () => {
      const response = parseConnectResponse(answer, answer[":status"] !== "200" && Number(answer[":status"]) !== 200);
      if (Number(answer[":status"]) === 200) {
        assert.deepEqual(response, { baggage: { namespace: "default" } });
      } else {
        assert.ok(response instanceof HboneError && response.type.code === "hbone.refused");
        assert.equal(response.type.status, Number(answer[":status"]));
      }
    });
  }

  test("of 400 are the ones where we find the request malformed, or leave to the one who knows the address", () => {
    const malformed = asServer.flatMap((recorded) => {
      if (recorded.authority === undefined) return [];
      const request = parseConnect({ ":method": "CONNECT", ":authority": recorded.authority, ...recorded.headers });
      return request instanceof HboneError ? [recorded.case] : [];
    });
    assert.deepEqual(malformed, ["authority without port"]);
  });
});
