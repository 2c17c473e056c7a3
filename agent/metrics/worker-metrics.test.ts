/** What a worker's counting looks at: connections that carry something, not those that are open. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../../core/base/clock.ts";
import { Connection } from "../connection/connection.ts";
import { nobody, type ByteEnd } from "../relay/byte-end.ts";
import type { FromWorker } from "../worker-messages.ts";
import { perSeries } from "./rows.ts";
import { WorkerMetrics } from "./worker-metrics.ts";

test("a tick looks at the connections that have carried something since the last one, and at no other", async () => {
  const { metrics, open, looks } = counting();
  const connections = Array.from({ length: 500 }, open);
  metrics.tick(1_000);
  assert.equal(looks.count, 0);
  connections[7]?.carry(100);
  connections[7]?.carry(100);
  connections[9]?.carry(1);
  metrics.tick(2_000);
  assert.equal(looks.count, 2);
  metrics.tick(3_000);
  assert.equal(looks.count, 2);
  metrics.close();
});

test("what passes between two ticks, or between a tick and the end, is counted once", async () => {
  const { metrics, open, received } = counting();
  const [one, other] = [open(), open()];
  one.carry(100);
  metrics.tick(1_000);
  one.carry(10);
  other.carry(1_000);
  assert.equal(await received(), 1_110);
  one.carry(5);
  one.connection.close("POD_REMOVED");
  assert.equal(await received(), 5);
  other.carry(7);
  metrics.tick(2_000);
  assert.equal(await received(), 7);
  assert.equal(await received(), 0);
  metrics.close();
});

test("a thread is at rest once nothing has passed between two questions", () => {
  const { metrics, open } = counting();
  const one = open();
  assert.ok(metrics.takeMoved());
  metrics.tick(1_000);
  assert.ok(!metrics.takeMoved());
  one.carry(1);
  assert.ok(metrics.takeMoved());
  metrics.tick(2_000);
  one.carry(1);
  assert.ok(metrics.takeMoved());
  metrics.close();
});

interface Carrying {
  readonly connection: Connection;
  /** So many bytes, from client to server. */
  carry(count: number): void;
}

function counting() {
  const sent: FromWorker[] = [];
  const looks = { count: 0 };
  const metrics = new WorkerMetrics({ clock: systemClock, worker: 0, send: (message) => sent.push(message) });
  /** Counts who asks how it stands. */
  class Watched extends Connection {
    override get state(): Connection["state"] {
      looks.count += 1;
      return super.state;
    }
  }
  const open = (): Carrying => {
    const facts = {
      direction: "inbound",
      protocol: "tcp",
      trace: "",
      source: { address: "10.0.0.9", port: 1 },
    } as const;
    const connection = new Watched(facts, {
      nowMs: () => 0,
      opened: (opened) => metrics.opened(opened),
      moved: (moved) => metrics.moved(moved),
      closed: (closed, record) => metrics.closed(closed, record),
    });
    const [client, server] = [new End(), new End()];
    connection.open(client, server);
    return { connection, carry: (count) => client.listener.data(client, new Uint8Array(count)) };
  };
  const received = async (): Promise<number> => {
    sent.length = 0;
    await metrics.report(1, false);
    let bytes = 0;
    for (const message of sent) {
      if (message.kind !== "metrics") continue;
      const { traffic } = message.rows;
      for (let row = 0; row < traffic.length; row += perSeries) bytes += traffic[row + 4] ?? 0;
    }
    return bytes;
  };
  return { metrics, open, looks, received };
}

/** Takes everything, and goes when it is told to. */
class End implements ByteEnd {
  listener = nobody;
  write(): boolean {
    return true;
  }
  end(): void {}
  reset(): void {
    this.listener.closed(this);
  }
  pause(): void {}
  resume(): void {}
}
