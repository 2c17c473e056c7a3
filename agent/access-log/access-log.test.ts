import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../core/base/clock.ts";
import { pod } from "../../test/support/mesh.ts";
import type { CloseRecord } from "../connection/close-record.ts";
import { AccessLog, type AccessLogOptions } from "./access-log.ts";

const record: CloseRecord = {
  facts: {
    direction: "outbound",
    protocol: "hbone",
    trace: "0123456789abcdef0123456789abcdef",
    source: { address: "fd00::1", port: 4711 },
    sourceWorkload: pod("shop/cart", "fd00::1"),
    sourceIdentity: "spiffe://cluster.local/ns/shop/sa/cart",
    destination: { address: "10.0.0.2", port: 15_008 },
    authority: "10.0.0.2:80",
  },
  reason: "PEER_DENIED",
  detail: "status 401",
  bytesSent: 3,
  bytesReceived: 0,
  durationMs: 12.6,
};

function logged(
  write: (text: string) => boolean,
  more: Partial<AccessLogOptions> = {},
): { log: AccessLog; clock: ManualClock } {
  const clock = new ManualClock(Date.UTC(2030, 0, 1));
  return {
    clock,
    log: new AccessLog({ clock, worker: 1, node: "node1", write, format: "json", level: "info", ...more }),
  };
}

test("F-214 F-215 a line of JSON says what is known and leaves out what isn't", () => {
  const written: string[] = [];
  const { log } = logged((text) => written.push(text) > 0);
  log.add(record);
  log.flush();
  assert.equal(written.length, 1);
  assert.deepEqual(JSON.parse(written[0] ?? ""), {
    level: "warn",
    time: "2030-01-01T00:00:00.000Z",
    scope: "access",
    message: "connection complete",
    direction: "outbound",
    protocol: "hbone",
    reason: "PEER_DENIED",
    detail: "status 401",
    "src.addr": "[fd00::1]:4711",
    "src.workload": "cart",
    "src.namespace": "shop",
    "src.identity": "spiffe://cluster.local/ns/shop/sa/cart",
    "src.cluster": "Kubernetes",
    "dst.addr": "10.0.0.2:15008",
    "dst.hbone_addr": "10.0.0.2:80",
    bytes_sent: 3,
    bytes_recv: 0,
    duration: "13ms",
    error: "The destination's agent refused the connection by policy (401): status 401",
    trace: "0123456789abcdef0123456789abcdef",
    worker: 1,
    node: "node1",
  });
});

test("lines are written together: after 50 ms, or as soon as there are 64", () => {
  const written: string[] = [];
  const { log, clock } = logged((text) => written.push(text) > 0);
  for (let i = 0; i < 10; i++) log.add(record);
  clock.advance(49);
  assert.equal(written.length, 0);
  clock.advance(1);
  assert.deepEqual(written.map(lines), [10]);
  for (let i = 0; i < 64; i++) log.add(record);
  assert.deepEqual(written.map(lines), [10, 64]);
  clock.advance(1_000);
  assert.equal(written.length, 2);
});

test("H110 a reader that does not read makes lines wait, and only too many of them are dropped", () => {
  const written: string[] = [];
  let reading = false;
  const { log, clock } = logged((text) => reading && written.push(text) > 0);
  for (let i = 0; i < 100; i++) log.add(record);
  clock.advance(1_000);
  reading = true;
  clock.advance(50);
  assert.deepEqual(written.map(lines), [100]);
  assert.equal(log.dropped, 0);
  reading = false;
  for (let i = 0; i < 10_100; i++) log.add(record);
  reading = true;
  log.flush();
  assert.deepEqual([lines(written[1] ?? ""), log.dropped], [10_000, 100]);
});

test("F-215 a line of text has its parts between tabs, addresses as they are and names in quotes", () => {
  const written: string[] = [];
  const { log } = logged((text) => written.push(text) > 0, { format: "plain" });
  log.add({ ...record, reason: "OK", detail: undefined });
  log.flush();
  assert.equal(
    written[0],
    '2030-01-01T00:00:00.000Z\tinfo\taccess\tconnection complete\tdirection="outbound" protocol="hbone" reason="OK" ' +
      'src.addr=[fd00::1]:4711 src.workload="cart" src.namespace="shop" src.identity="spiffe://cluster.local/ns/shop/sa/cart" ' +
      'src.cluster="Kubernetes" dst.addr=10.0.0.2:15008 dst.hbone_addr=10.0.0.2:80 bytes_sent=3 bytes_recv=0 ' +
      'duration="13ms" trace="0123456789abcdef0123456789abcdef" worker=1 node="node1"\n',
  );
});

test("F-214 a beginning is told at debug only, and a connection without a destination has failed, at warn or worse", () => {
  const written: string[] = [];
  const { log } = logged((text) => written.push(text) > 0);
  log.opened(record.facts);
  log.add({ ...record, reason: "NO_HEALTHY_UPSTREAM", detail: undefined });
  log.level = "debug";
  log.opened(record.facts);
  log.level = "error";
  log.add({ ...record, reason: "OK" });
  log.flush();
  const said = (written[0] ?? "")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, string>);
  assert.deepEqual(
    said.map(({ level, message }) => [level, message]),
    [
      ["warn", "connection failed"],
      ["debug", "connection opened"],
    ],
  );
  assert.deepEqual([said[0]?.["src.addr"], said[0]?.["direction"]], ["[fd00::1]:4711", "outbound"]);
  assert.match(said[0]?.["error"] ?? "", /no endpoint/);
  assert.equal(said[1]?.["bytes_sent"], undefined);
});

test("H093 what a stranger wrote cannot end a line, colour a terminal or fill a disk", () => {
  for (const format of ["json", "plain"] as const) {
    const written: string[] = [];
    const { log } = logged((text) => written.push(text) > 0, { format });
    log.add({
      ...record,
      facts: { ...record.facts, authority: "a\r\nFAKE\tline\u001b[31m\u009b" },
      detail: "\n".repeat(1_000_000),
    });
    log.flush();
    const text = written[0] ?? "";
    assert.equal(lines(text), 1);
    assert.doesNotMatch(text.replace(/\t|\n$/g, ""), /[\u0000-\u001f\u007f-\u009f]/);
    assert.equal(text.includes("FAKE\tline"), false);
    assert.ok(text.length < 4_000);
  }
});

function lines(text: string): number {
  return text.split("\n").length - 1;
}
