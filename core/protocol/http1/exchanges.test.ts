import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { Exchanges, mostOpen } from "./exchanges.ts";
import { mostHeadOctets } from "./message-reader.ts";

/** Octets of one side; what is said in turn was answered in turn. */
type Said = readonly [by: "client" | "server", text: string];

/** What was understood of a conversation. */
interface Heard {
  readonly statuses: number[];
  readonly durations: number[];
  /** It was given up. */
  readonly isOver: boolean;
}

suite("HTTP/1 in passing", () => {
  const rows: readonly [name: string, said: readonly Said[], statuses: readonly number[]][] = [
    ["a request without a body", [get(), answer(200, "Content-Length: 5", "hello")], [200]],
    [
      "keep-alive",
      [get(), answer(200, "content-length: 0"), get(), answer(404, "content-length: 2", "no")],
      [200, 404],
    ],
    [
      "a chunked answer",
      [get(), answer(200, "Transfer-Encoding: chunked", "5\r\nhello\r\n1;a=b\r\n!\r\n0\r\n\r\n")],
      [200],
    ],
    [
      "trailers",
      [get(), answer(500, "transfer-encoding: gzip, chunked", "0\r\nx: y\r\nz: 1\r\n\r\n"), get(), ok()],
      [500, 200],
    ],
    [
      "HEAD has no body, whatever its length",
      [request("HEAD"), answer(200, "content-length: 5000"), get(), ok()],
      [200, 200],
    ],
    ["204 and 304", [get(), answer(204), get(), answer(304, "content-length: 7"), get(), ok()], [204, 304, 200]],
    ["100 is not the answer", [post(3, ""), answer(100), ["client", "abc"], ok()], [200]],
    ["103 either", [get(), answer(103, "link: </a.css>"), ok(), get(), ok()], [200, 200]],
    [
      "a body that looks like a request",
      [post(16, "GET / HTTP/1.1\r\n"), ok(), get(), answer(503, "content-length: 0")],
      [200, 503],
    ],
    [
      "a chunked request",
      [request("POST", "transfer-encoding: chunked", "a\r\n0123456789\r\n0\r\n\r\n"), ok(), get(), ok()],
      [200, 200],
    ],
    [
      "pipelining",
      [get(), request("HEAD"), get(), ok(), answer(200, "content-length: 9"), answer(500, "content-length: 0")],
      [200, 200, 500],
    ],
    [
      "an answer before the request is over",
      [post(10, "0123"), answer(413, "content-length: 0"), ["client", "456789"], get(), ok()],
      [413, 200],
    ],
    ["empty lines before a request", [["client", "\r\n\r\n"], get(), ok()], [200]],
    [
      "HTTP/1.0 until the end",
      [
        ["client", "GET / HTTP/1.0\r\n\r\n"],
        ["server", "HTTP/1.0 200 OK\r\n\r\nall there is"],
      ],
      [200],
    ],
    ["a reason that is missing", [get(), ["server", "HTTP/1.1 200\r\nContent-Length:0\r\n\r\n"]], [200]],
    [
      "a length said twice",
      [get(), answer(200, "content-length: 1\r\ncontent-length: 1", "a"), get(), ok()],
      [200, 200],
    ],
  ];
  test("each answer counts once, with its status, however its body is framed", () => {
    for (const [name, said, statuses] of rows) {
      const { statuses: heard, isOver } = listen(said);
      assert.deepEqual(heard, statuses, name);
      assert.equal(isOver, false, name);
    }
  });

  const unknown: readonly [name: string, said: readonly Said[], statuses?: readonly number[]][] = [
    ["a greeting of the server", [["server", "220 mail.example ESMTP\r\n"]]],
    ["an answer to nobody", [get(), ok(), answer(408, "content-length: 0")], [200]],
    ["TLS", [["client", "\x16\x03\x01\x02\x00\x01\x00"]]],
    ["a word in small letters", [["client", "hello"]]],
    ["a method without end", [["client", "A".repeat(21)]]],
    ["HTTP/2 by name", [["client", "PRI * HTTP/2.0\r\n"]]],
    ["a line that is no request", [["client", "GET / RTSP/1.0\r\n"]]],
    ["CONNECT", [["client", "CONNECT a.example:443 HTTP/1.1\r\n\r\n"]]],
    [
      "an upgrade that was accepted",
      [request("GET", "upgrade: websocket\r\nconnection: upgrade"), answer(101, "upgrade: websocket")],
    ],
    ["a body that is longer than it says", [post(11, "GET / HTTP/1")]],
    ["a length beside chunks in a request", [request("POST", "content-length: 3\r\ntransfer-encoding: chunked")]],
    ["a length beside chunks in an answer", [get(), answer(200, "content-length: 3\r\ntransfer-encoding: chunked")]],
    ["two lengths", [request("POST", "content-length: 3\r\nContent-Length: 4")]],
    ["no number", [request("POST", "content-length: 3x")]],
    ["a space before the colon", [request("POST", "content-length : 3")]],
    ["a folded line", [request("POST", "x: y\r\n content-length: 3")]],
    ["a bare line feed", [["client", "GET / HTTP/1.1\nhost: a\n\n"]]],
    ["a coding of a request that nobody sees the end of", [request("POST", "transfer-encoding: chunked, gzip")]],
    ["a chunk without a size", [get(), answer(200, "transfer-encoding: chunked", "zz\r\n")]],
    ["a chunk that is longer than it says", [get(), answer(200, "transfer-encoding: chunked", "1\r\nab\r\n")]],
    ["a chunk of more than there can be", [get(), answer(200, "transfer-encoding: chunked", "10000000000000\r\n")]],
    ["a status of two digits", [get(), ["server", "HTTP/1.1 20 OK\r\n\r\n"]]],
    ["a head over the limit", [request("GET", `x: ${"y".repeat(mostHeadOctets)}`)]],
    ["a head of many lines over the limit", [request("GET", "x: y\r\n".repeat(mostHeadOctets / 6))]],
    [
      "chunk extensions without end",
      [get(), answer(200, "transfer-encoding: chunked", `1;${"x".repeat(mostHeadOctets)}`)],
    ],
    ["more requests ahead than anybody sends", Array.from({ length: mostOpen + 1 }, () => get())],
  ];
  test("what is not understood, or can be understood in two ways, is given up", () => {
    for (const [name, said, statuses = []] of unknown) {
      const heard = listen(said);
      assert.deepEqual(heard.statuses, statuses, name);
      assert.ok(heard.isOver, name);
    }
  });

  test("the time runs from a request's first octet to the last of its answer", () => {
    const durations: number[] = [];
    const exchanges = new Exchanges({ exchanged: (_status, durationMs) => durations.push(durationMs) });
    exchanges.requests(Buffer.from("G"), 100);
    exchanges.requests(Buffer.from("ET / HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n"), 110);
    exchanges.responses(Buffer.from("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n1"), 150);
    assert.deepEqual(durations, []);
    exchanges.responses(Buffer.from("2"), 175);
    exchanges.responses(Buffer.from("HTTP/1.1 200 OK\r\n\r\nuntil the end"), 200);
    exchanges.responsesEnded(260);
    assert.deepEqual(durations, [75, 150]);
  });

  test("what has no answer when the connection goes has status 0, and half an answer its own", () => {
    for (const [half, statuses] of [
      ["", [0, 0]],
      ["HTTP/1.1 503 Un", [0, 0]],
      ["HTTP/1.1 100 \r\n\r\n", [0, 0]],
      ["HTTP/1.1 503 Unavailable\r\ncontent-length: 5\r\n\r\nabc", [503, 0]],
    ] as const) {
      const heard: number[] = [];
      const exchanges = new Exchanges({ exchanged: (status) => heard.push(status) });
      exchanges.requests(Buffer.from(`${get()[1]}${get()[1]}`), 0);
      exchanges.responses(Buffer.from(half), 0);
      exchanges.over(1);
      exchanges.over(2);
      assert.deepEqual(heard, statuses);
    }
  });

  test("however it is cut, the same is understood", () => {
    fc.assert(
      fc.property(fc.array(exchange(), { minLength: 1, maxLength: 8 }), cuts(), (exchanges, lengths) => {
        const said = exchanges.flatMap(({ said }) => said);
        const { statuses, isOver } = listen(said, lengths);
        assert.deepEqual(
          statuses,
          exchanges.map(({ status }) => status),
        );
        assert.equal(isOver, false);
      }),
      { numRuns: 300 },
    );
  });

  test("octet by octet, what is given up is given up all the same, and what is understood is the same", () => {
    for (const [name, said] of [...rows, ...unknown]) assert.deepEqual(listen(said, [1]), listen(said), name);
  });

  test("no octets make it throw, or keep more than two heads", () => {
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.constantFrom(...rows.flatMap(([, said]) => said.map(([, text]) => Buffer.from(text)))),
      fc
        .constantFrom("\r\n", "GET ", "HTTP/1.1 ", "200 ", "content-length:", "transfer-encoding:", "chunked", "9", "a")
        .map((text) => Buffer.from(text)),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), piece), { maxLength: 40 }), (pieces) => {
        const exchanges = new Exchanges({
          exchanged: (status) => assert.ok(status === 0 || (status > 199 && status < 1_000)),
        });
        for (const [isRequest, bytes] of pieces) {
          if (!(isRequest ? exchanges.requests(bytes, 0) : exchanges.responses(bytes, 0))) return;
          assert.ok(exchanges.held <= 2 * mostHeadOctets);
        }
        exchanges.over(0);
      }),
      { numRuns: 3_000 },
    );
  });

  test("a copy of a line is kept while it is not whole, and nothing else", () => {
    const exchanges = new Exchanges({ exchanged: () => {} });
    exchanges.requests(Buffer.from("GET / HTTP/1.1\r\nhost: a"), 0);
    assert.equal(exchanges.held, 256);
    exchanges.requests(Buffer.from(`\r\nx: ${"y".repeat(8_000)}`), 0);
    assert.equal(exchanges.held, 8_192);
    exchanges.requests(Buffer.from(`\r\n\r\n`), 0);
    assert.equal(exchanges.held, 0);
    exchanges.responses(Buffer.from(`HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n${"z".repeat(50_000)}`), 0);
    assert.equal(exchanges.held, 0);
  });
});

/** @param lengths of the pieces in which each side's octets come, over and over. */
function listen(said: readonly Said[], lengths: readonly number[] = [Infinity]): Heard {
  const [statuses, durations]: [number[], number[]] = [[], []];
  const exchanges = new Exchanges({
    exchanged(status, durationMs) {
      statuses.push(status);
      durations.push(durationMs);
    },
  });
  let piece = 0;
  for (const [by, text] of said) {
    const bytes = Buffer.from(text, "latin1");
    for (let at = 0; at < bytes.length;) {
      const length = lengths[piece++ % lengths.length] ?? 1;
      const part = bytes.subarray(at, at + length);
      const goesOn = by === "client" ? exchanges.requests(part, 0) : exchanges.responses(part, 0);
      if (!goesOn) return { statuses, durations, isOver: true };
      at += part.length;
    }
  }
  exchanges.responsesEnded(0);
  return { statuses, durations, isOver: false };
}

/** A well-formed exchange of any kind that does not end its connection. */
function exchange(): fc.Arbitrary<{ readonly said: Said[]; readonly status: number }> {
  const body = fc.string({ maxLength: 40 }).map((text) => Buffer.from(text).toString("latin1"));
  const sent = fc
    .tuple(body, fc.boolean(), fc.boolean())
    .map(([text, isChunked, isHead]): [Said, boolean] =>
      isHead
        ? [request("HEAD"), true]
        : [isChunked ? request("PUT", chunkedField, chunked(text)) : post(text.length, text), false],
    );
  const interim = fc.array(
    fc.constantFrom(100, 102, 103).map((status) => answer(status)),
    { maxLength: 2 },
  );
  return fc
    .tuple(sent, interim, fc.constantFrom(200, 204, 304, 404, 500, 599), body, fc.boolean())
    .map(([[asked, isHead], before, status, text, isChunked]) => {
      const isEmpty = isHead || status === 204 || status === 304;
      const framed = isChunked
        ? answer(status, chunkedField, isEmpty ? "" : chunked(text))
        : answer(status, `content-length: ${text.length}`, isEmpty ? "" : text);
      return { said: [asked, ...before, framed], status };
    });
}

function cuts(): fc.Arbitrary<number[]> {
  return fc.array(fc.oneof(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 200 })), {
    minLength: 1,
    maxLength: 30,
  });
}

function chunked(text: string): string {
  const half = Math.floor(text.length / 2);
  const chunks = [text.slice(0, half), text.slice(half)].filter((part) => part !== "");
  return `${chunks.map((part) => `${part.length.toString(16)}\r\n${part}\r\n`).join("")}0\r\nx-trailer: 1\r\n\r\n`;
}

function request(method: string, fields = "accept: */*", body = ""): Said {
  return ["client", `${method} /a/path?q=1 HTTP/1.1\r\nHost: a.example\r\n${fields}\r\n\r\n${body}`];
}

function get(): Said {
  return request("GET");
}

function post(length: number, body: string): Said {
  return request("POST", `Content-Length: ${length}`, body);
}

function answer(status: number, fields = "server: x", body = ""): Said {
  return ["server", `HTTP/1.1 ${status} So It Is\r\ndate: today\r\n${fields}\r\n\r\n${body}`];
}

function ok(): Said {
  return answer(200, "content-length: 2", "ok");
}

const chunkedField = "Transfer-Encoding: chunked";
