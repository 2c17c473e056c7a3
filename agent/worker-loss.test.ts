/** Workers that fail in every way while connections are made: contained, counted, repaired. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterEach, test, type TestContext } from "node:test";
import { BroadcastChannel } from "node:worker_threads";
import { systemClock } from "../core/base/clock.ts";
import { silentLog } from "../core/base/log.ts";
import { setUp } from "../core/linux/netlink/links.ts";
import { closeDescriptor } from "../core/linux/sockets.ts";
import { enterNamespaces } from "../test/support/namespaced.ts";
import { copiesOf, listeningOn, podDelivery } from "../test/support/pod-delivery.ts";
import { until } from "../test/support/until.ts";
import type { Fault } from "../test/support/faulty-worker.ts";
import { workerSettings } from "../test/support/worker-settings.ts";
import { podConnectionCells } from "./pod-connections.ts";
import type { PodDelivery } from "./worker-messages.ts";
import { Workers, type WorkerLoss } from "./workers.ts";

const skip = enterNamespaces() ?? false;
/** Shared by both workers: 15001 and 15008. Of each alone: 15006 and 15007. */
const ports = [15_001, 15_006, 15_008, 15_007];
/** Connections in each worker. */
const held = 5;

let workers: Workers;
let listeners: number[];
let losses: [number, WorkerLoss][];
/** When the first worker served, each time. */
let serving: number[];
let client: Client;

async function begin(stuckAfterMs: number): Promise<void> {
  await setUp("lo");
  [losses, serving] = [[], []];
  listeners = listeningOn("127.0.0.1", ports);
  workers = new Workers({
    count: 2,
    readiness: { port: 15_021, address: "127.0.0.1" },
    // Nobody knows the pod: its connections wait for control, each in its worker, for longer than this test.
    settings: {
      ...workerSettings,
      workloadDeadlineMs: 600_000,
      podConnections: 1e6,
      memory: { heap: 64 << 20, buffers: 64 << 20 },
    },
    heapMb: 64,
    stuckAfterMs,
    entry: new URL("../test/support/faulty-worker.ts", import.meta.url),
    clock: systemClock,
    log: silentLog,
    snapshot: () => [],
    greeting: () => [{ kind: "gates", gates: [] }],
    deliveries: () => [delivery(0)],
    onMessage: ({ kind }, index) => {
      if (kind === "pod-serving" && index === 0) serving.push(performance.now());
    },
    onLost: (index, loss) => losses.push([index, loss]),
  });
  await workers.start();
  workers.broadcast({ kind: "gates", gates: [] });
  for (const index of [0, 1]) workers.serve(index, delivery(index));
  await until("both serve", 10_000, () => serving.length === 1);
  client = await Client.begin();
}

afterEach(async () => {
  if (skip !== false) return;
  client.end();
  await workers.terminate();
  listeners.forEach(closeDescriptor);
});

test(
  "H103 a worker that throws is replaced; the other one's connections and new ones notice nothing",
  { skip },
  async (t) => {
    await lose(t, "throw", "crash");
  },
);

test(
  "H103 a worker whose heap is used up at once is ended by V8, alone, and what it carried is counted",
  { skip },
  async (t) => {
    await lose(t, "heap", "heap");
  },
);

test(
  "H103 a worker whose heap fills slowly ends itself before V8 does, and tells of each connection",
  { skip },
  async (t) => {
    await lose(t, "leak", "crash");
  },
);

test(
  "H103 a worker whose loop stands still is found, ended and replaced, and readiness with it",
  { skip },
  async (t) => {
    await lose(t, "loop", "stuck");
  },
);

test(
  "H103 a worker whose buffers grow far beyond their budget ends alone, before the process does",
  { skip },
  async (t) => {
    await lose(t, "buffers", "crash");
  },
);

async function lose(t: TestContext, what: Fault["what"], cause: WorkerLoss["cause"]): Promise<void> {
  // What fills a heap keeps the loop busy, too.
  await begin(cause === "stuck" ? 1_000 : 60_000);
  assert.equal(await ready(), 200);
  const channel = new BroadcastChannel("faults of workers");
  channel.postMessage({ worker: 0, what });
  await until("it is lost", 20_000, () => losses.length === 1);
  const lostAt = performance.now();
  channel.close();
  await until("its successor serves", 10_000, () => serving.length === 2);
  t.diagnostic(`served again ${Math.round((serving[1] ?? 0) - lostAt)} ms after the loss`);
  await until("readiness is back", 5_000, async () => (await ready()) === 200);
  const [[index, loss]] = losses as [[number, WorkerLoss]];
  assert.deepEqual([index, loss.cause], [0, cause]);
  assert.equal(workers.lossesByCause[cause], 1);
  await until("connections of the lost worker are over", 5_000, () => client.closed[0] === held);
  assert.equal(client.closed[1], 0, "the other worker's go on");
  // One that could still speak has told of each; of the others we know how many there were.
  if (cause === "crash") assert.equal(loss.connections, 0);
  else assert.ok(loss.connections >= held);
  await client.more(20);
  assert.equal(client.refused, 0, "no new connection was refused");
  assert.equal(losses.length, 1);
}

/** Holds connections of each worker, and makes new ones of both all the time. */
class Client {
  /** Of those that are held, by worker. */
  readonly closed: [number, number] = [0, 0];
  refused = 0;
  #made = 0;
  #open = true;
  readonly #sockets: Socket[] = [];

  static async begin(): Promise<Client> {
    const one = new Client();
    for (const [worker, port] of [
      [0, 15_006],
      [1, 15_007],
    ] as const) {
      for (let i = 0; i < held; i++) (await one.#connect(port)).on("close", () => (one.closed[worker] += 1));
      await until("all are counted", 10_000, () => workers.signs.connections(worker) === held);
    }
    void one.#loop();
    return one;
  }

  async more(count: number): Promise<void> {
    const before = this.#made;
    await until("more connections", 10_000, () => this.#made >= before + count);
  }

  end(): void {
    this.#open = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  async #connect(port: number): Promise<Socket> {
    const socket = connect(port, "127.0.0.1").on("error", () => {});
    this.#sockets.push(socket);
    await once(socket, "connect");
    return socket.resume();
  }

  async #loop(): Promise<void> {
    while (this.#open) {
      await this.#connect(15_001).then(
        () => (this.#made += 1),
        () => (this.refused += 1),
      );
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

const connections = podConnectionCells();

/** The worker has its own 15006, and the rest together with the other one. */
function delivery(worker: number): PodDelivery {
  const [outbound = -1, first = -1, hbone = -1, second = -1] = listeners;
  return podDelivery(copiesOf([outbound, worker === 0 ? first : second, hbone]), { connections });
}

async function ready(): Promise<number> {
  try {
    return (await fetch("http://127.0.0.1:15021/healthz/ready", { headers: { connection: "close" } })).status;
  } catch {
    return 0;
  }
}
