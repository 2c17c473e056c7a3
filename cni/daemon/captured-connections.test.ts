import assert from "node:assert/strict";
import { test } from "node:test";
import type { TcpSocket, TcpState } from "../../core/linux/procfs.ts";
import { countHeld } from "./captured-connections.ts";

const own = new Set(["10.0.0.2", "fd00::2"]);

function socket(local: string, port: number, state: TcpState = "established"): TcpSocket {
  return { local: { address: local, port }, remote: { address: "10.0.0.9", port: 40000 }, state };
}

test("what hangs on the rules is held: the agent's ends, and its connections in a client's name", () => {
  const held: TcpSocket[] = [
    socket("127.0.0.1", 15001),
    socket("::1", 15001, "close-wait"),
    socket("10.0.0.2", 15006, "fin-wait-2"),
    socket("10.0.0.2", 15008, "syn-received"),
    socket("10.1.0.7", 43210),
    socket("fd00:1::7", 43210, "syn-sent"),
    socket("10.1.0.7", 43210, "last-ack"),
  ];
  for (const each of held)
    assert.deepEqual(countHeld([each], own), { connections: 1, listeners: 0 }, JSON.stringify(each));
});

test("the application's own sockets, and what has ended at both ends, are not", () => {
  const free: TcpSocket[] = [
    socket("10.0.0.2", 43210),
    socket("fd00::2", 8080, "close-wait"),
    socket("127.0.0.1", 5432),
    socket("0.0.0.0", 8080, "listen"),
    socket("::", 9090, "listen"),
    socket("127.0.0.1", 15001, "time-wait"),
    socket("10.1.0.7", 43210, "time-wait"),
    socket("0.0.0.0", 0, "closed"),
  ];
  assert.deepEqual(countHeld(free, own), { connections: 0, listeners: 0 });
});

test("listeners on the agent's ports say that it hasn't let go", () => {
  const listeners = [15001, 15006, 15008, 15053].map((port) => socket("::", port, "listen"));
  assert.deepEqual(countHeld(listeners, own), { connections: 0, listeners: 4 });
});
