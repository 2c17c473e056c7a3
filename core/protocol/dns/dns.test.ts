/** Queries read strictly, answers written to the byte. Whether others understand them is shown beside a real BIND (test/e2e/dns.test.ts). */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { dnsMessage, optRecord, rootRecord, withCounts } from "../../../test/support/dns-messages.ts";
import { addressAnswer, extendedErrors, refusal, udpLimit } from "./answer.ts";
import { isAnswerTo, viewQuery, withId, type DnsQuery, type Unusual } from "./message-view.ts";
import { frame, FrameReader } from "./tcp-frames.ts";

/** `cart.shop` A IN, id 0x1234, RD. */
const plain = dnsMessage({ name: "Cart.shop", type: 1 });
const withEdns = dnsMessage({
  name: "Cart.shop",
  type: 28,
  additional: [optRecord({ payload: 1232, dnssecOk: true })],
});

describe("a query", () => {
  test("is its id, its flags, its question in lower case, and its EDNS", () => {
    assert.deepEqual(viewQuery(plain), {
      kind: "query",
      id: 0x1234,
      recursionDesired: true,
      checkingDisabled: false,
      question: { name: "cart.shop", type: 1, class: 1, end: 27 },
      edns: undefined,
      isPlain: true,
    } satisfies DnsQuery);
    const view = viewQuery(withEdns);
    assert.ok(view.kind === "query");
    assert.deepEqual(view.edns, { payload: 1232, version: 0, dnssecOk: true });
    assert.ok(view.isPlain);
  });

  test("of another class, signed, with records or truncated is not plain: only its addressee can answer it", () => {
    const signature = rootRecord(250, Buffer.alloc(20));
    for (const bytes of [
      dnsMessage({ name: "cart", type: 1, class: 3 }),
      dnsMessage({ name: "cart", type: 1, class: 255 }),
      dnsMessage({ name: "cart", type: 1, additional: [signature] }),
      dnsMessage({ name: "cart", type: 1, additional: [optRecord(), signature] }),
      dnsMessage({ name: "cart", type: 1, authority: [rootRecord(6, Buffer.alloc(22))] }),
      dnsMessage({ name: "cart", type: 1, flags: 0x0300 }),
    ]) {
      const view = viewQuery(bytes);
      assert.ok(view.kind === "query" && !view.isPlain);
    }
  });

  test("has no name where no host could be called so", () => {
    for (const name of ["", "a\\.b.c", "caf\u00e9.example", "with space.example", "nul\u0000.example"]) {
      const view = viewQuery(dnsMessage({ labels: name === "" ? [] : [name.replace("\\.", "."), "x"], type: 1 }));
      assert.ok(view.kind === "query");
      assert.equal(view.question.name, undefined);
    }
  });

  test("may have anything behind its records: that is for its addressee to judge", () => {
    const view = viewQuery(Buffer.concat([withEdns, Buffer.from("garbage")]));
    assert.ok(view.kind === "query" && view.isPlain);
  });
});

describe("H086 what is no query", () => {
  const rows: [string, Uint8Array, Partial<Unusual>][] = [
    ["an empty packet", new Uint8Array(0), { kind: "dropped", because: "too short" }],
    ["eleven bytes", plain.subarray(0, 11), { kind: "dropped", because: "too short" }],
    ["a response", dnsMessage({ name: "a", type: 1, flags: 0x8180 }), { kind: "dropped", because: "a response" }],
    ["a status request", dnsMessage({ name: "a", type: 1, flags: 2 << 11 }), { kind: "refused", rcode: 4 }],
    ["an inverse query", dnsMessage({ name: "a", type: 1, flags: 1 << 11 }), { kind: "refused", rcode: 4 }],
    [
      "an opcode that nobody has given out",
      dnsMessage({ name: "a", type: 1, flags: 15 << 11 }),
      { kind: "refused", rcode: 4 },
    ],
    ["no question", withCounts(plain, 0, 0, 0, 0), { kind: "refused", rcode: 1, because: "question count" }],
    ["two questions", withCounts(plain, 2, 0, 0, 0), { kind: "refused", rcode: 1, because: "question count" }],
    ["65,535 questions", withCounts(plain, 0xffff, 0, 0, 0), { kind: "refused", rcode: 1, because: "question count" }],
    ["65,535 answers", withCounts(plain, 1, 0xffff, 0, 0), { kind: "refused", rcode: 1, because: "records" }],
    [
      "65,535 records of every kind",
      withCounts(plain, 1, 0xffff, 0xffff, 0xffff),
      { kind: "refused", rcode: 1, because: "records" },
    ],
    ["a question cut short", plain.subarray(0, 25), { kind: "refused", rcode: 1, because: "question" }],
    [
      "a name without an end",
      dnsMessage({ raw: Buffer.from([63]), type: 1 }).subarray(0, 14),
      { kind: "refused", rcode: 1, because: "question" },
    ],
    [
      "a name that points at itself",
      dnsMessage({ raw: Buffer.from([0xc0, 12]), type: 1 }),
      { kind: "refused", rcode: 1, because: "question" },
    ],
    [
      "a name that points at its beginning",
      dnsMessage({ raw: Buffer.from([1, 97, 0xc0, 12]), type: 1 }),
      { kind: "refused", rcode: 1, because: "question" },
    ],
    [
      "a label of a reserved kind",
      dnsMessage({ raw: Buffer.from([0x41, 97, 0]), type: 1 }),
      { kind: "refused", rcode: 1, because: "question" },
    ],
    [
      "a name of 256 bytes",
      dnsMessage({ labels: [63, 63, 63, 62].map((length) => "x".repeat(length)), type: 1 }),
      { kind: "refused", rcode: 1, because: "question" },
    ],
    [
      "two OPT records",
      dnsMessage({ name: "a", type: 1, additional: [optRecord(), optRecord()] }),
      { kind: "refused", rcode: 1, because: "second OPT" },
    ],
    [
      "an OPT record with a name",
      dnsMessage({ name: "a", type: 1, additional: [Buffer.concat([Buffer.from([1, 97]), optRecord()])] }),
      { kind: "refused", rcode: 1 },
    ],
    [
      "a record longer than the message",
      dnsMessage({ name: "a", type: 1, additional: [optRecord({ length: 9 })] }),
      { kind: "refused", rcode: 1, because: "records" },
    ],
    ["64 KB", Buffer.concat([plain, Buffer.alloc(65_000)]), { kind: "refused", rcode: 1, because: "too long" }],
  ];
  for (const [what, bytes, expected] of rows) {
    test(`H086 ${what} is refused or dropped, never read on`, () => {
      const view = viewQuery(bytes);
      for (const [field, value] of Object.entries(expected)) assert.equal(view[field as keyof Unusual], value);
    });
  }

  test("H086 a name of 255 bytes is still a name", () => {
    const view = viewQuery(dnsMessage({ labels: [63, 63, 63, 61].map((length) => "x".repeat(length)), type: 1 }));
    assert.ok(view.kind === "query");
  });

  test("an update or a notification passes as it is, if it is one", () => {
    for (const opcode of [4, 5]) {
      const bytes = dnsMessage({
        name: "zone.example",
        type: 6,
        flags: opcode << 11,
        authority: [rootRecord(1, Buffer.alloc(4))],
      });
      assert.deepEqual(viewQuery(bytes), { kind: "opaque", id: 0x1234 });
      assert.equal(viewQuery(withCounts(bytes, 0, 0, 0, 0)).kind, "refused");
    }
  });

  test("H086 any bytes are read within bounds, and in time that their length bounds", () => {
    const hostile = fc.oneof(
      fc.uint8Array({ maxLength: 600 }),
      fc
        .tuple(fc.constantFrom(plain, withEdns), fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { maxLength: 6 }))
        .map(([base, edits]) => {
          const bytes = Uint8Array.from(base);
          for (const [at, value] of edits) if (at < bytes.length) bytes[at] = value;
          return bytes;
        }),
    );
    fc.assert(
      fc.property(hostile, (bytes) => {
        const view = viewQuery(bytes);
        if (view.kind === "query") {
          assert.ok(view.question.end <= bytes.length && view.question.end >= 17);
          const reply = addressAnswer({ bytes, query: view, addresses: ["10.0.0.1"], ttlSeconds: 30, limit: 512 });
          assert.ok(isAnswerTo(bytes, reply), "an answer is one to its own query");
        }
        if (view.kind === "refused") {
          const reply = refusal(bytes, view.rcode);
          assert.equal((reply[3] ?? 0) & 0xf, view.rcode);
          assert.ok(reply.length <= bytes.length + 11, "no answer amplifies");
        }
      }),
      { numRuns: 20_000 },
    );
  });

  test("H086 the longest query that is read, full of the shortest records, is read to its end", () => {
    // Names of one pointer, which is not followed, and no data.
    const shortest = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]);
    const additional = Array.from({ length: 339 }, () => shortest);
    const view = viewQuery(dnsMessage({ name: "a", type: 1, additional }));
    assert.ok(view.kind === "query" && !view.isPlain);
  });
});

describe("an answer", () => {
  test("F-180 repeats id and question as they came, and is authoritative", () => {
    const bytes = answer(plain, ["10.96.0.1", "10.96.0.2"]);
    assert.equal(
      bytes.toString("hex"),
      "1234" +
        "8580" +
        "0001" +
        "0002" +
        "0000" +
        "0000" +
        "04436172740473686f7000" +
        "00010001" +
        "c00c" +
        "0001" +
        "0001" +
        "0000001e" +
        "0004" +
        "0a600001" + //
        "c00c" +
        "0001" +
        "0001" +
        "0000001e" +
        "0004" +
        "0a600002",
    );
  });

  test("F-188 has EDNS where the query had: the client's size, its DO bit, version 0", () => {
    const bytes = answer(withEdns, ["fd00::1"]);
    assert.equal(bytes.subarray(-11).toString("hex"), "00" + "0029" + "04d0" + "0000" + "8000" + "0000");
    assert.equal(bytes.readUInt16BE(10), 1);
    const small = dnsMessage({ name: "a", type: 1, additional: [optRecord({ payload: 100 })] });
    assert.equal(answer(small, []).readUInt16BE(answer(small, []).length - 8), 512, "never below what everybody takes");
  });

  test("F-188 to a version of EDNS that is not there yet says which there is", () => {
    const bytes = answer(dnsMessage({ name: "a", type: 1, additional: [optRecord({ version: 1 })] }), ["10.0.0.1"]);
    assert.equal(bytes.readUInt16BE(6), 0);
    assert.equal((bytes[3] ?? 0) & 0xf, 0, "lower four bits of BADVERS");
    assert.equal(bytes[bytes.length - 6], 1, "upper eight bits of BADVERS");
    assert.equal(bytes[bytes.length - 5], 0, "version");
  });

  test("F-184 names the addresses after what is left when a search domain is cut off", () => {
    const asked = dnsMessage({ name: "api.example.com.shop.svc.cluster.local", type: 1 });
    const query = viewQuery(asked) as DnsQuery;
    const bytes = Buffer.from(
      addressAnswer({ bytes: asked, query, addresses: ["10.0.0.1"], canonicalLabels: 3, ttlSeconds: 30, limit: 512 }),
    );
    const records = bytes.subarray(query.question.end);
    const name = Buffer.from("\u0003api\u0007example\u0003com\u0000");
    assert.equal(
      records.toString("hex"),
      "c00c" +
        "0005" +
        "0001" +
        "0000001e" +
        "0011" +
        name.toString("hex") + //
        (0xc000 | (query.question.end + 12)).toString(16) +
        "0001" +
        "0001" +
        "0000001e" +
        "0004" +
        "0a000001",
    );
    assert.equal(bytes.readUInt16BE(6), 2);
  });

  test("F-188 that has no room keeps what fits, and says that there is more", () => {
    const many = Array.from({ length: 100 }, (_, i) => `10.0.0.${i}`);
    const cut = answer(plain, many, 512);
    assert.ok(cut.length <= 512 && cut.length > 490);
    assert.equal(cut.readUInt16BE(2) & 0x0200, 0x0200);
    assert.equal(cut.readUInt16BE(6), Math.floor((512 - 27) / 16));
    assert.equal(answer(plain, many, 65_535).readUInt16BE(6), 100);
    assert.equal(answer(plain, many, 65_535).readUInt16BE(2) & 0x0200, 0);
    const edns = answer(dnsMessage({ name: "a", type: 1, additional: [optRecord({ payload: 700 })] }), many, 700);
    assert.ok(edns.length <= 700 && edns.readUInt16BE(2) & 0x0200 && edns.readUInt16BE(10) === 1);
    const endless = Array.from({ length: 5_000 }, (_, i) => `fd00::${i.toString(16)}`);
    assert.ok(answer(withEdns, endless, 65_535).length <= 65_535, "over TCP as many as a message takes");
  });

  test("F-188 over UDP is as long as the client takes, within reason", () => {
    assert.equal(udpLimit(undefined), 512);
    assert.equal(udpLimit({ payload: 0, version: 0, dnssecOk: false }), 512);
    assert.equal(udpLimit({ payload: 1232, version: 0, dnssecOk: false }), 1232);
    assert.equal(udpLimit({ payload: 65_535, version: 0, dnssecOk: false }), 4_096);
  });

  test("F-185 without records is a name without records, not an error", () => {
    const bytes = answer(plain, []);
    assert.equal(bytes.readUInt16BE(2), 0x8580);
    assert.equal(bytes.readUInt16BE(6), 0);
    assert.equal(bytes.length, plain.length);
  });
});

describe("a refusal", () => {
  test("repeats what there was of a question, and tells a client with EDNS why", () => {
    const query = viewQuery(withEdns) as DnsQuery;
    const text = "DNS_LOOP";
    const bytes = Buffer.from(refusal(withEdns, 2, query, { infoCode: extendedErrors.noReachableAuthority, text }));
    assert.equal(bytes.readUInt16BE(2), 0x8182);
    assert.equal(bytes.subarray(-text.length).toString(), text);
    assert.equal(bytes.subarray(-text.length - 6, -text.length).toString("hex"), "000f" + "000a" + "0016");
    assert.equal(refusal(plain, 2, viewQuery(plain) as DnsQuery).length, plain.length, "nothing is added without EDNS");
  });

  test("of something unreadable is a header", () => {
    assert.equal(
      Buffer.from(refusal(withCounts(plain, 9, 0, 0, 0), 1)).toString("hex"),
      "1234" + "8101" + "0000".repeat(4),
    );
  });
});

describe("H089 a reply", () => {
  const query = dnsMessage({ name: "cart.shop", type: 16 });
  const good = dnsMessage({ name: "CART.shop", type: 16, flags: 0x8180 });
  const rows: [string, Uint8Array, boolean][] = [
    ["to the question, in any case", good, true],
    ["with another id", withId(good, 7), false],
    ["to another name", dnsMessage({ name: "cart.shoq", type: 16, flags: 0x8180 }), false],
    ["to another type", dnsMessage({ name: "cart.shop", type: 1, flags: 0x8180 }), false],
    ["to another class", dnsMessage({ name: "cart.shop", type: 16, class: 3, flags: 0x8180 }), false],
    ["to a longer name", dnsMessage({ name: "cart.shop.example", type: 16, flags: 0x8180 }), false],
    ["that is a query", dnsMessage({ name: "cart.shop", type: 16 }), false],
    ["of another opcode", dnsMessage({ name: "cart.shop", type: 16, flags: 0xa180 }), false],
    ["without a question, that says no", Buffer.from("123481050000000000000000", "hex"), true],
    ["without a question, that says yes", Buffer.from("123481000000000000000000", "hex"), false],
    ["that is cut short", good.subarray(0, good.length - 1), false],
    ["of no bytes", new Uint8Array(0), false],
  ];
  for (const [what, reply, expected] of rows) {
    test(`H089 ${what} is ${expected ? "the answer" : "none"}`, () => assert.equal(isAnswerTo(query, reply), expected));
  }
});

test("messages over TCP come out as they went in, however the stream is cut", () => {
  const messages = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 });
  fc.assert(
    fc.property(messages, fc.array(fc.integer({ min: 1, max: 90 }), { maxLength: 60 }), (all, cuts) => {
      const reader = new FrameReader();
      let rest = Buffer.concat(all.map((bytes) => frame(bytes)));
      const found: string[] = [];
      for (const cut of [...cuts, 1e6]) {
        const chunk = rest.subarray(0, cut);
        rest = rest.subarray(cut);
        if (chunk.length > 0) reader.push(chunk);
        for (let next = reader.next(); next !== undefined; next = reader.next())
          found.push(Buffer.from(next).toString("hex"));
      }
      assert.deepEqual(
        found,
        all.map((bytes) => Buffer.from(bytes).toString("hex")),
      );
      assert.equal(reader.waiting, 0);
    }),
  );
});

test("H088 64 KB that come byte by byte are copied a few times, not 65,535 times", (t) => {
  const reader = new FrameReader();
  const bytes = frame(new Uint8Array(65_535));
  const copies = t.mock.method(Uint8Array.prototype, "set");
  for (const byte of bytes) reader.push(Uint8Array.of(byte));
  const copied = copies.mock.calls.reduce((sum, call) => sum + call.arguments[0].length, 0);
  t.mock.restoreAll();
  assert.equal(reader.next()?.length, 65_535);
  assert.ok(copied < 5 * 65_537, `${copied} bytes were copied`);
});

function answer(bytes: Uint8Array, addresses: readonly string[], limit = 4_096): Buffer {
  const query = viewQuery(bytes);
  assert.ok(query.kind === "query");
  return Buffer.from(addressAnswer({ bytes, query, addresses, ttlSeconds: 30, limit }));
}
