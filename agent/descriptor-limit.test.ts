/** Workers of a process that runs out of descriptors: what it cannot serve yet waits, and is served. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { createInterface } from "node:readline";
import { after, test } from "node:test";
import { systemClock } from "../core/base/clock.ts";
import { silentLog } from "../core/base/log.ts";
import { setUp } from "../core/linux/netlink/links.ts";
import { enterNamespaces } from "../test/support/namespaced.ts";
import { copiesOf, listeningOn, podDelivery } from "../test/support/pod-delivery.ts";
import { until } from "../test/support/until.ts";
import { workerSettings } from "../test/support/worker-settings.ts";
import { descriptorLimit, openDescriptors, watchDescriptors } from "./process-limits.ts";
import { Workers } from "./workers.ts";

const skip = enterNamespaces() ?? false;
const connections = 400;

test(
  "H101 with few descriptors accepting pauses before the last, a reserve stays, and every connection gets its answer",
  { skip },
  async (t) => {
    await setUp("lo");
    let serving = 0;
    const workers = new Workers({
      count: 2,
      readiness: { port: 15_021, address: "127.0.0.1" },
      // Nobody knows the pod: each connection is kept for a moment, and then refused by name with a reset.
      settings: { ...workerSettings, workloadDeadlineMs: 1_000 },
      clock: systemClock,
      log: silentLog,
      snapshot: () => [],
      greeting: () => [],
      deliveries: () => [],
      onMessage: ({ kind }) => (serving += kind === "pod-serving" ? 1 : 0),
      onLost: () => assert.fail("no worker is lost"),
    });
    after(() => workers.terminate());
    await workers.start();
    const listeners = listeningOn("127.0.0.1");
    for (const index of [0, 1]) workers.serve(index, podDelivery(copiesOf(listeners)));
    await until("both serve", 10_000, () => serving === 2);
    const limit = openDescriptors() + 150;
    const before = descriptorLimit();
    // The hard one stays, so that it can be taken back.
    execFileSync("prlimit", [`--pid=${process.pid}`, `--nofile=${limit}:${before}`]);
    t.after(() => execFileSync("prlimit", [`--pid=${process.pid}`, `--nofile=${before}:${before}`]));
    const stopWatching = watchDescriptors(workers.signs, systemClock);
    t.after(stopWatching);
    const client = spawn(process.execPath, ["-e", clientScript], { stdio: ["ignore", "pipe", "inherit"] });
    const ends: string[] = [];
    createInterface({ input: client.stdout }).on("line", (line) => ends.push(line));
    let most = 0;
    await until("every connection has an end", 60_000, () => {
      most = Math.max(most, openDescriptors());
      // What the reserve is for.
      closeSync(openSync("/dev/null", "r"));
      return ends.length === connections;
    });
    if (client.exitCode === null) await once(client, "exit");
    t.diagnostic(`${connections} connections with a limit of ${limit}: ${most} descriptors at most`);
    assert.deepEqual(
      new Set(ends),
      new Set(["ECONNRESET"]),
      "each was refused by us, none was dropped by the kernel's caller",
    );
    assert.ok(most < limit);
  },
);

/** Says how each connection ended. */
const clientScript = `
const { connect } = require("node:net");
for (let i = 0; i < ${connections}; i++) {
  const socket = connect(15001, "127.0.0.1").resume();
  let how = "FIN";
  socket.on("error", (error) => (how = error.code));
  socket.on("close", () => console.log(how));
}`;
