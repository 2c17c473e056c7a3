import assert from "node:assert/strict";
import { test } from "node:test";
import { parseWrk, wrkArguments } from "./wrk.ts";

const report = (
  lines: string,
  done = "178801 requests in 4.00s, 219.14MB read",
): string => `Running 4s test @ http://10.0.0.1:8080/1k
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.42ms  210.00us   9.00ms   91.00%
    Req/Sec    44.91k     1.10k   46.32k    75.00%
  ${done}
${lines}Requests/sec:  44700.01
Transfer/sec:     54.78MB
`;

test("requests a second are all that were answered over the time they took", () => {
  const expected = { requests: 178_801, seconds: 4, perSecond: 178_801 / 4 };
  assert.deepEqual(parseWrk(report("")), expected);
  const minute = parseWrk(report("", "600 requests in 1.00m, 1.00MB read"));
  assert.deepEqual(minute, { requests: 600, seconds: 60, perSecond: 10 });
  const short = parseWrk(report("", "600 requests in 500.00ms, 1.00MB read"));
  assert.deepEqual(short, { requests: 600, seconds: 0.5, perSecond: 1200 });
});

test("an answer that is no success makes it no measurement", () => {
  assert.equal(parseWrk(report("  Non-2xx or 3xx responses: 3\n")), "wrk got 3 answers that are no success");
});

test("a few connections may be lost, more than one in a thousand may not", () => {
  const lost = (timeouts: number): string =>
    report(`  Socket errors: connect 0, read 10, write 0, timeout ${timeouts}\n`);
  assert.equal(typeof parseWrk(lost(0)), "object");
  assert.equal(
    parseWrk(lost(500)),
    "wrk lost 510 of 178801 requests (Socket errors: connect 0, read 10, write 0, timeout 500)",
  );
});

test("no answer at all, or no report, is no measurement", () => {
  assert.equal(parseWrk(report("", "0 requests in 4.00s, 0.00B read")), "wrk got no answer");
  assert.equal(parseWrk("unable to connect"), "wrk did not say what it did: unable to connect");
});

test("a connection for each request is asked of the server", () => {
  const options = { url: "http://x/", seconds: 1, connections: 16 };
  assert(wrkArguments({ ...options, close: true }).includes("Connection: close"));
  assert(!wrkArguments({ ...options, close: false }).includes("Connection: close"));
});
