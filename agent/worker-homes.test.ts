/** A pod's connections are its home's while that suffices: real threads on one pod's sockets. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { systemClock } from "../core/base/clock.ts";
import { silentLog } from "../core/base/log.ts";
import { setUp } from "../core/linux/netlink/links.ts";
import { closeDescriptor } from "../core/linux/sockets.ts";
import { enterNamespaces } from "../test/support/namespaced.ts";
import { copiesOf, listeningOn, podDelivery } from "../test/support/pod-delivery.ts";
import { until } from "../test/support/until.ts";
import { workerSettings } from "../test/support/worker-settings.ts";
import { podConnectionCells } from "./pod-connections.ts";
import { crowd } from "./worker/pod-home.ts";
import { Workers } from "./workers.ts";

const skip = enterNamespaces() ?? false;
const home = 1;
const other = 0;

test("a pod's connections are accepted at its home, and by others too when that holds a crowd", { skip }, async (t) => {
  await setUp("lo");
  const listeners = listeningOn("127.0.0.1");
  let serving = 0;
  const connections = podConnectionCells();
  const workers = new Workers({
    count: 2,
    readiness: { port: 15_021, address: "127.0.0.1" },
    // Nobody knows the pod: its connections wait for control, each in its worker, for longer than this test.
    settings: { ...workerSettings, workloadDeadlineMs: 600_000 },
    clock: systemClock,
    log: silentLog,
    snapshot: () => [],
    greeting: () => [],
    deliveries: () => [],
    onMessage: ({ kind }) => (serving += Number(kind === "pod-serving")),
    onLost: () => undefined,
  });
  const sockets: Socket[] = [];
  t.after(async () => {
    for (const socket of sockets) socket.destroy();
    await workers.terminate();
    listeners.forEach(closeDescriptor);
  });
  await workers.start();
  for (const index of [other, home]) workers.serve(index, podDelivery(copiesOf(listeners), { home, connections }));
  await until("both serve", 10_000, () => serving === 2);

  const held = (worker: number): number => workers.signs.connections(worker);
  const more = async (count: number): Promise<void> => {
    for (let left = count; left > 0; left--) {
      const socket = connect(15_001, "127.0.0.1").on("error", () => undefined);
      sockets.push(socket);
      await once(socket, "connect");
      socket.resume();
    }
    await until("all are accepted", 10_000, () => held(home) + held(other) === sockets.length);
  };
  // It begins to accept a moment after it has said that it serves: until it has been seen to, another one may help.
  while (held(home) === 0) await more(1);
  const early = held(other);
  await more(10);
  assert.equal(held(other), early, "only at home");
  await more(crowd - held(home));
  await until("others help", 20_000, async () => {
    await more(4);
    return held(other) > early;
  });
});
