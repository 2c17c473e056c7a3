/** What a connection keeps while nothing happens in it, at both of its ends together: counted, on a heap without garbage. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { getHeapStatistics } from "node:v8";
import { collectGarbage } from "../../agent/garbage.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { TwoPods } from "./two-pods.ts";

const skip = enterNamespaces() ?? false;
let pods: TwoPods | undefined;

before(async () => {
  if (skip !== false) return;
  pods = await TwoPods.start();
  // What is made once is made.
  await pods.exchange("keep", 300);
});
after(() => pods?.close());

test("an idle connection keeps 8 KB of heap at both ends together, no buffer and no timer", { skip }, async () => {
  const first = await weigh();
  const connections = 1_500;
  await pods?.exchange("keep", connections);
  const second = await weigh();
  const heap = (second.heap - first.heap) / connections;
  // Seen: 6,000 bytes, of which a third is Node's own sockets.
  assert.ok(heap < 8_000, `${Math.round(heap)} bytes of heap`);
  assert.ok(heap > 2_000, `${Math.round(heap)} bytes of heap: were there any connections?`);
  const buffers = (second.buffers - first.buffers) / connections;
  assert.ok(buffers < 100, `${Math.round(buffers)} bytes of buffers`);
  assert.equal(second.timers, first.timers);
  const sockets = second.sockets - first.sockets;
  const tunnels = sockets - 2 * connections;
  assert.ok(tunnels >= 0 && tunnels <= connections / 20, `${sockets} sockets for ${connections} connections`);
});

interface Weight {
  readonly heap: number;
  readonly buffers: number;
  readonly timers: number;
  readonly sockets: number;
}

async function weigh(): Promise<Weight> {
  // What the first collection finds nobody refers to may be what refers to more.
  for (let round = 0; round < 3; round++) {
    collectGarbage();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const active = process.getActiveResourcesInfo();
  return {
    heap: getHeapStatistics().used_heap_size,
    buffers: process.memoryUsage().arrayBuffers,
    timers: active.filter((one) => one === "Timeout").length,
    sockets: active.filter((one) => one === "TCPSocketWrap").length,
  };
}
