import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FakeEnd } from "../../test/support/fake-end.ts";
import type { ResetCause } from "../relay/byte-end.ts";
import type { CloseRecord } from "./close-record.ts";
import { Connection, endingOf } from "./connection.ts";
import { TunnelError } from "../tunnel/tunnel.ts";

function opened(): { connection: Connection; first: FakeEnd; second: FakeEnd; records: CloseRecord[] } {
  const records: CloseRecord[] = [];
  const connection = new Connection(
    { direction: "inbound", protocol: "hbone", trace: "", source: { address: "10.0.0.1", port: 1 } },
    { nowMs: () => 0, closed: (_connection, record) => records.push(record) },
  );
  return { connection, first: new FakeEnd(), second: new FakeEnd(), records };
}

test("bytes are counted from the reporter's side", () => {
  const { connection, first, second, records } = opened();
  connection.open(first, second);
  first.listener.data(first, Buffer.alloc(5));
  second.listener.data(second, Buffer.alloc(7));
  first.listener.closed(first);
  second.listener.closed(second);
  assert.deepEqual([records[0]?.bytesSent, records[0]?.bytesReceived, records[0]?.reason], [7, 5, "OK"]);
});

test("a connection that we cut keeps our reason, though resets follow from it", () => {
  const { connection, first, second, records } = opened();
  connection.open(first, second);
  connection.close("POLICY_DENIED", { policy: "ns/deny" });
  assert.ok(first.wasReset && second.wasReset);
  connection.close("DRAINED");
  first.listener.reset(first, { kind: "tcp", errno: "ECONNRESET" });
  first.listener.closed(first);
  assert.equal(records.length, 0);
  second.listener.closed(second);
  assert.deepEqual([records.length, records[0]?.reason, records[0]?.policy], [1, "POLICY_DENIED", "ns/deny"]);
});

test("a connection that was ended while it was being set up is never opened", () => {
  const { connection, first, second, records } = opened();
  connection.close("CLIENT_RESET");
  connection.open(first, second);
  assert.ok(first.wasReset && second.wasReset);
  first.listener.closed(first);
  second.listener.closed(second);
  assert.deepEqual(
    records.map(({ reason }) => reason),
    ["CLIENT_RESET"],
  );
});

test("H031 who reset is told from the end and the cause", () => {
  const abused = new TunnelError({ code: "tunnel.abuse", account: "abandoned-streams" });
  const rows: ["first" | "second", ResetCause, string][] = [
    ["first", { kind: "tcp", errno: "ECONNRESET" }, "CLIENT_RESET"],
    ["second", { kind: "tcp", errno: "EPIPE" }, "UPSTREAM_RESET"],
    ["first", { kind: "stream", code: 10 }, "CLIENT_RESET"],
    ["second", { kind: "stream", code: 10 }, "UPSTREAM_RESET"],
    ["second", { kind: "stream", code: 0 }, "PEER_RESET"],
    ["first", { kind: "stream", code: 8 }, "PEER_RESET"],
    ["second", { kind: "tunnel", error: new TunnelError({ code: "tunnel.lost", detail: "closed" }) }, "TUNNEL_LOST"],
    ["first", { kind: "tunnel", error: new TunnelError({ code: "tunnel.unresponsive" }) }, "PEER_UNREACHABLE"],
    ["first", { kind: "tunnel", error: abused }, "H2_RESET_FLOOD"],
    ["second", { kind: "memory" }, "MEM_PRESSURE"],
  ];
  for (const [by, cause, reason] of rows) assert.equal(endingOf({ kind: "reset", by, cause }).reason, reason);
});

test("whatever happens in whatever order, a connection has exactly one record, and the first cause is its reason", () => {
  const event = fc.constantFrom("policy", "drain", "client", "server", "close-first", "close-second" as const);
  fc.assert(
    fc.property(fc.array(event, { maxLength: 12 }), fc.boolean(), (events, isOpen) => {
      const { connection, first, second, records } = opened();
      if (isOpen) connection.open(first, second);
      let expected: string | undefined;
      const closed = { first: false, second: false };
      for (const one of [...events, "close-first", "close-second", "drain"] as const) {
        const over = closed.first && closed.second;
        if (one === "policy") {
          if (!over) expected ??= "POLICY_DENIED";
          connection.close("POLICY_DENIED");
        } else if (one === "drain") {
          if (!over || !isOpen) expected ??= "DRAINED";
          connection.close("DRAINED");
        } else if (isOpen && one === "client" && !closed.first) {
          expected ??= "CLIENT_RESET";
          first.listener.reset(first, { kind: "tcp", errno: "ECONNRESET" });
        } else if (isOpen && one === "server" && !closed.second) {
          expected ??= "UPSTREAM_RESET";
          second.listener.reset(second, { kind: "tcp", errno: "ECONNRESET" });
        } else if (isOpen && one === "close-first" && !closed.first) {
          closed.first = true;
          first.listener.closed(first);
        } else if (isOpen && one === "close-second" && !closed.second) {
          closed.second = true;
          second.listener.closed(second);
        }
        if (closed.first && closed.second) expected ??= "OK";
      }
      assert.deepEqual(
        records.map(({ reason }) => reason),
        [expected],
      );
    }),
  );
});
