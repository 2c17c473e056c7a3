import assert from "node:assert/strict";
import { test } from "node:test";
import { iperf3Arguments, parseIperf3 } from "./iperf3.ts";

test("a transfer is what was received, of all streams", () => {
  const end = {
    streams: [{ sender: { bytes: 9 }, receiver: { bytes: 8 } }],
    sum_sent: { bytes: 9e9, bits_per_second: 18e9 },
    sum_received: { start: 0, end: 4, bytes: 8e9, bits_per_second: 16e9 },
  };
  assert.deepEqual(parseIperf3(JSON.stringify({ start: {}, intervals: [], end })), { bytes: 8e9, bitsPerSecond: 16e9 });
});

test("what iperf3 complains of is passed on in its words", () => {
  const text = '{"start":{},"intervals":[],"end":{},"error":"unable to connect to server: Connection refused"}';
  assert.equal(parseIperf3(text), "iperf3: unable to connect to server: Connection refused");
});

test("a report that tells of no bytes, or no report, is no measurement", () => {
  assert.equal(parseIperf3('{"end":{}}'), "iperf3 did not say what was received");
  assert.equal(parseIperf3('{"end":{"sum_received":{"bytes":0,"bits_per_second":0}}}'), "iperf3 transferred nothing");
  assert.equal(parseIperf3("Killed"), "iperf3 printed no JSON: Killed");
});

test("streams, seconds and direction are told to iperf3", () => {
  const options = { address: "10.0.0.1", port: 5201, seconds: 3, streams: 8 };
  const text = iperf3Arguments({ ...options, reverse: false }).join(" ");
  assert.match(text, /^-c 10\.0\.0\.1 -p 5201 -t 3 -P 8 -J/);
  assert(!text.includes("-R"));
  assert(iperf3Arguments({ ...options, reverse: true }).includes("-R"));
});
