/** What the agent's main thread does, or fails to do, is nothing to the traffic. */
import assert from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import { after, test } from "node:test";
import { Worker } from "node:worker_threads";
import { systemClock } from "../core/base/clock.ts";
import { silentLog } from "../core/base/log.ts";
import { alice, bob } from "../test/support/hbone-pair.ts";
import { ownAddresses } from "../test/support/loopback-mesh.ts";
import { pod } from "../test/support/mesh.ts";
import { enterNamespaces } from "../test/support/namespaced.ts";
import type { TunnelThreadData } from "../test/support/tunnel-thread.ts";
import { listeningOn, podDelivery } from "../test/support/pod-delivery.ts";
import { until } from "../test/support/until.ts";
import { workerSettings } from "../test/support/worker-settings.ts";
import { Workers } from "./workers.ts";

const skip = enterNamespaces() ?? false;
const address = "10.99.0.3";
let isServing = false;
const workers = new Workers({
  count: 1,
  readiness: { port: 15_021, address },
  settings: workerSettings,
  clock: systemClock,
  log: silentLog,
  snapshot: () => [],
  greeting: () => [],
  deliveries: () => [],
  onMessage: ({ kind }) => {
    if (kind === "pod-serving") isServing = true;
  },
  onLost: () => assert.fail("no worker is lost"),
});
after(() => workers.terminate());

test(
  "F-005 while the main thread stands still, tunnels are made, bytes flow and readiness is answered",
  { skip },
  async () => {
    await ownAddresses();
    await workers.start();
    await workers.apply([{ workloads: [pod("default/bob", address)], policiesComplete: true }]);
    workers.broadcast({ kind: "gates", gates: [{ name: "proxy" }] });
    const { identity, chain, key, roots, notAfter } = bob;
    const delivery = { identity, key: createPrivateKey(key), chainPem: [chain], rootsPem: roots, notAfter };
    workers.broadcast({ kind: "certificate", delivery });
    const info = { namespace: "default", name: "bob", serviceAccount: "bob" };
    const [outbound = -1, plaintext = -1, hbone = -1] = listeningOn(address);
    workers.serve(0, podDelivery({ outbound, plaintext, hbone }, { uid: "uid-bob", info }));
    await until("the pod is served", 10_000, () => isServing);

    const [tunnels, roundTripsEach] = [5, 100];
    const cell = new SharedArrayBuffer(4);
    const workerData: TunnelThreadData = {
      identity: alice,
      address,
      hbonePort: 15_008,
      readinessPort: 15_021,
      tunnels,
      roundTripsEach,
      cell,
    };
    const thread = new Worker(new URL("../test/support/tunnel-thread.ts", import.meta.url), { workerData });
    const done = new Int32Array(cell);
    await until("the first round trip", 10_000, () => Atomics.load(done, 0) > 0);
    // From here on nothing of this thread runs, until all is done.
    const all = tunnels * roundTripsEach + 1;
    const end = performance.now() + 30_000;
    for (let seen = Atomics.load(done, 0); seen < all && performance.now() < end; seen = Atomics.load(done, 0))
      Atomics.wait(done, 0, seen, 1_000);
    assert.equal(Atomics.load(done, 0), all);
    await thread.terminate();
  },
);
