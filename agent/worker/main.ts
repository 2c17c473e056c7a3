/** The entry of a data-plane thread: gives a DataPlaneWorker its port, its clock, and a last word if it fails. */
import { parentPort, workerData } from "node:worker_threads";
import { systemClock } from "../../core/base/clock.ts";
import { createLog } from "../../core/base/log.ts";
import { bareSocketFault } from "../../core/linux/bare-socket-check.ts";
import { preferTurnsOf } from "../../core/linux/scheduling.ts";
import { AccessLog } from "../access-log/access-log.ts";
import { IdleMemory, restOfThread } from "../idle-memory.ts";
import type { ToWorker, WorkerStart } from "../worker-messages.ts";
import { DataPlaneWorker } from "./worker.ts";

const start = workerData as WorkerStart;
const port = parentPort;
if (port === null) throw new Error("worker/main.ts is the entry of a worker thread");

const log = createLog("worker", { worker: start.index });
// A request is microseconds of work. What the rest of this process does (a push, the collectors' helpers) runs on for milliseconds where
// it may, on processors that a node's applications want, too.
const unheard = preferTurnsOf(100_000);
if (unheard !== undefined) log.debug({ error: unheard.type }, "the kernel takes no wish for short turns");
// What is posted meanwhile waits for its listener.
const fault = await bareSocketFault();
if (fault !== undefined)
  log.warn({ fault }, "applications' sockets are net.Sockets, which cost more: Node's own handles are not as expected");
const accessLog = new AccessLog({ clock: systemClock, worker: start.index, node: start.settings.node });
const worker = new DataPlaneWorker(start, {
  clock: systemClock,
  log,
  policyLog: createLog("policy", { worker: start.index }),
  dnsLog: createLog("dns", { worker: start.index }),
  accessLog,
  plainSockets: fault !== undefined,
  send: (message) => port.postMessage(message),
  onPushOver: () => memory.muchIsOver(),
});

port.on("message", (message: ToWorker) => worker.receive(message));
// One coarse timer for everything that is measured in seconds. It keeps nothing alive: the port does.
const isWaiting = restOfThread();
/** Connections that there had been when none of the code that serves them was left. */
let coldAt = 0;
const memory = new IdleMemory({
  atShortRest() {
    const { open, total } = worker.connections;
    if (total - coldAt > fewConnections) return open > 0 ? "old" : "young";
    coldAt = total;
    return "all";
  },
  isAtRest() {
    const carriesNothing = worker.isAtRest();
    return isWaiting() && carriesNothing;
  },
});
setInterval(() => {
  worker.tick(systemClock.nowMs());
  memory.look();
}, 1_000).unref();
// The main thread, and nobody else, sees that it does not come any more.
setInterval(() => worker.beat(), 250).unref();
// A bug of ours ends this thread, not the process: the main thread starts another one.
process.on("uncaughtException", (error) => {
  log.fatal({ err: error }, "the worker failed; its connections are lost and a new one takes over");
  worker.lost();
  process.exit(1);
});
process.on("exit", () => accessLog.flush());
port.postMessage({ kind: "started" });

/** After which there is no code yet that would be lost. */
const fewConnections = 1_000;
