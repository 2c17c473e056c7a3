/** The examples of RFC 7541 appendix C: octets and fields as the RFC prints them. */
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { HpackDecoder } from "./decoder.ts";
import { HpackEncoder } from "./encoder.ts";
import type { HeaderField } from "./field.ts";

type Example = readonly [hex: string, ...fields: readonly string[]];

suite("RFC 7541 appendix C", () => {
  test("C.2 each representation of a field", () => {
    for (const example of [
      ["400a637573746f6d2d6b65790d637573746f6d2d686561646572", "custom-key: custom-header"],
      ["040c2f73616d706c652f70617468", ":path: /sample/path"],
      ["100870617373776f726406736563726574", "password: secret"],
      ["82", ":method: GET"],
    ] as const) {
      decodes(new HpackDecoder(limits), example);
    }
  });

  test("C.3 requests without Huffman code, and the table they leave", () => {
    const decoder = new HpackDecoder(limits);
    for (const example of [
      ["828684410f7777772e6578616d706c652e636f6d", ...firstRequest],
      ["828684be58086e6f2d6361636865", ...secondRequest],
      ["828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565", ...thirdRequest],
    ] as const) {
      decodes(decoder, example);
    }
    decodes(decoder, ["bebfc0", "custom-key: custom-value", "cache-control: no-cache", ":authority: www.example.com"]);
  });

  test("C.4 requests with Huffman code, read and written octet by octet", () => {
    const decoder = new HpackDecoder(limits);
    const encoder = new HpackEncoder();
    for (const example of [
      ["828684418cf1e3c2e5f23a6ba0ab90f4ff", ...firstRequest],
      ["828684be5886a8eb10649cbf", ...secondRequest],
      ["828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", ...thirdRequest],
    ] as const) {
      decodes(decoder, example);
      const [hex, ...lines] = example;
      assert.equal(Buffer.from(encoder.encode(lines.map(fieldOf))).toString("hex"), hex);
    }
  });

  // The RFC sets the table to 256 octets out of band; on a connection an update says so: 3fe101.
  test("C.5 answers without Huffman code, which evict from a table of 256 octets", () => {
    const decoder = new HpackDecoder(limits);
    for (const example of [
      [
        "3fe1014803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54" +
          "6e1768747470733a2f2f7777772e6578616d706c652e636f6d",
        ...firstAnswer,
      ],
      ["4803333037c1c0bf", ...secondAnswer],
      [
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153" +
          "444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
        ...thirdAnswer,
      ],
    ] as const) {
      decodes(decoder, example);
    }
    assert.equal(decoder.decode(Buffer.of(0x80 | (61 + 4))).constructor.name, "HpackError");
  });

  test("C.6 answers with Huffman code, which evict from a table of 256 octets", () => {
    const decoder = new HpackDecoder(limits);
    const encoder = new HpackEncoder();
    encoder.limitTable(256);
    for (const example of [
      [firstAnswerHex, ...firstAnswer],
      ["4883640effc1c0bf", ...secondAnswer],
      [
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b" +
          "3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        ...thirdAnswer,
      ],
    ] as const) {
      decodes(decoder, example);
    }
    assert.equal(Buffer.from(encoder.encode(firstAnswer.map(fieldOf))).toString("hex"), firstAnswerHex);
  });
});

function decodes(decoder: HpackDecoder, [hex, ...lines]: Example): void {
  const fields = lines.map(fieldOf);
  const size = fields.reduce((sum, { name, value }) => sum + name.length + value.length + 32, 0);
  assert.deepEqual(decoder.decode(Buffer.from(hex, "hex")), { fields, size, tooLarge: false });
}

function fieldOf(line: string): HeaderField {
  const colon = line.indexOf(": ", 1);
  return { name: line.slice(0, colon), value: line.slice(colon + 2) };
}

const limits = { tableSize: 4096, listSize: 65_536 };

const firstRequest = [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"];
const secondRequest = [...firstRequest, "cache-control: no-cache"];
const thirdRequest = [
  ...[":method: GET", ":scheme: https", ":path: /index.html", ":authority: www.example.com"],
  "custom-key: custom-value",
];
const firstAnswer = [
  ...[":status: 302", "cache-control: private", "date: Mon, 21 Oct 2013 20:13:21 GMT"],
  "location: https://www.example.com",
];
const firstAnswerHex =
  "3fe101488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3";
const secondAnswer = [":status: 307", ...firstAnswer.slice(1)];
const thirdAnswer = [
  ...[":status: 200", "cache-control: private", "date: Mon, 21 Oct 2013 20:13:22 GMT"],
  ...["location: https://www.example.com", "content-encoding: gzip"],
  "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
];
