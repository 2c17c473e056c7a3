/** Allow becomes deny under thousands of connections in real workers, one of which is far behind. */
import assert from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import type { Socket } from "node:net";
import { test, type TestContext } from "node:test";
import type { FromWorker, PodDelivery } from "../../agent/worker-messages.ts";
import { Workers } from "../../agent/workers.ts";
import { systemClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import { closeDescriptor } from "../../core/linux/sockets.ts";
import { bob } from "../support/hbone-pair.ts";
import { application, ownAddresses } from "../support/loopback-mesh.ts";
import { pod, policy, ruleOf } from "../support/mesh.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { capturedPorts, copiesOf, listeningOn, podDelivery } from "../support/pod-delivery.ts";
import { until } from "../support/until.ts";
import { workerSettings } from "../support/worker-settings.ts";
import { dialPeer, type FramePeer } from "./frame-peer.ts";
import { connect } from "./frames.ts";

const skip = enterNamespaces() ?? false;

/** Of connections, 100 in each tunnel. */
const tunnels = Number(process.env["DENY_TUNNELS"] ?? 20);
const perTunnel = 100;
const [aliceAddress, bobAddress] = ["10.99.0.2", "10.99.0.3"];

test(
  `H071 under ${tunnels * perTunnel} connections a deny is in force when the slowest worker has it, then nobody gets in and nobody stays`,
  { skip },
  async (t) => {
    await ownAddresses();
    const scene = new Scene();
    t.after(() => scene.end());
    await scene.begin();
    const { accepted, port } = await scene.application(t);
    const peers = await Promise.all(Array.from({ length: tunnels }, () => dial(t)));
    const opened = async (): Promise<number[]> =>
      (await scene.workers.dump()).map(({ tunnels: { inbound } }) => inbound.open);
    // Whoever is quicker accepts: it may have been the same one each time.
    while ((await opened()).includes(0)) peers.push(await dial(t));
    const to = `${bobAddress}:${port}`;
    await Promise.all(peers.map((peer) => openAll(peer, to)));
    await until("the application has accepted all", 5_000, () => accepted.length === peers.length * perTunnel);
    const shares = (await scene.workers.dump()).map(({ connections }) => connections.length);
    assert.ok(
      shares.every((share) => share > 0),
      "both workers have some",
    );

    // Some knock on and on, each time by a stream of its own.
    const knocks: Knock[] = [];
    const knockers = await Promise.all(Array.from({ length: 8 }, () => dial(t)));
    let isKnocking = true;
    const knocking = knockers.map((peer) => knockOn(peer, to, knocks, () => isKnocking));
    await until("they are let in", 5_000, () => knocks.length > 50);
    assert.ok(knocks.every(({ status }) => status === 200));

    const backlog = scene.slow(30_000);
    const saidMs = performance.now();
    await scene.workers.apply([{ policies: [deny] }]);
    const doneMs = performance.now();
    assert.equal(scene.refusals, backlog, "the slow worker came to the update after all that it had to do before");

    await until("everybody has been cut", 10_000, () => accepted.every((socket) => socket.closed));
    const cutMs = performance.now();
    // The application has accepted by then what came to it before.
    await until("some more have knocked", 5_000, () => knocks.filter(({ sentMs }) => sentMs > cutMs).length > 50);
    const [asked, before] = [knocks.length, accepted.length];
    await until("many more have knocked", 5_000, () => knocks.length > asked + 200);
    assert.equal(accepted.length, before, "nobody has come to the application");
    isKnocking = false;
    await Promise.all(knocking);
    const late = knocks.filter(({ sentMs }) => sentMs >= doneMs);
    t.diagnostic(
      `${shares.join(" + ")} connections; in force ${ms(doneMs - saidMs)} after it was said, the last one cut ${ms(cutMs - doneMs)} later; ` +
        `${knocks.length} knocked, ${late.length} of them then`,
    );
    assert.ok(late.length > 200);
    assert.deepEqual(new Set(late.map(({ status }) => status)), new Set([401]));
    assert.deepEqual(
      peers.map(({ ending }) => ending),
      peers.map(() => undefined),
      "their tunnels stand",
    );
  },
);

class Scene {
  readonly workers: Workers;
  readonly #heard: [number, FromWorker][] = [];
  readonly #listeners: number[] = [];

  constructor() {
    this.workers = new Workers({
      count: 2,
      settings: { ...workerSettings, connectDeadlineMs: 10_000, podConnections: 100_000 },
      readiness: { port: 15_021, address: "127.0.0.1" },
      clock: systemClock,
      log: silentLog,
      stuckAfterMs: 60_000,
      snapshot: () => [],
      greeting: () => [],
      deliveries: () => [],
      onMessage: (message, index) => this.#heard.push([index, message]),
      onLost: () => {
        throw new Error("a worker was lost");
      },
    });
  }

  async begin(): Promise<void> {
    this.#listeners.push(...listeningOn(bobAddress, capturedPorts, 4_096));
    await this.workers.start();
    this.workers.broadcast({ kind: "log-level", level: "access=silent" });
    const { identity, chain, key, roots, notAfter } = bob;
    const certificate = { identity, key: createPrivateKey(key), chainPem: [chain], rootsPem: roots, notAfter };
    this.workers.broadcast({ kind: "certificate", delivery: certificate });
    const workloads = [pod("default/alice", aliceAddress), pod("default/bob", bobAddress)];
    await this.workers.apply([{ workloads, policiesComplete: true }]);
    for (const index of [0, 1]) this.workers.serve(index, this.#delivery());
    await until("both serve", 10_000, () => this.#count("pod-serving") === 2);
  }

  async application(t: TestContext): Promise<{ accepted: Socket[]; port: number }> {
    const accepted: Socket[] = [];
    const { port, close } = await application(bobAddress, (socket) => accepted.push(socket.resume()));
    t.after(close);
    return { accepted, port };
  }

  /** Fills the first worker's mailbox with what it has to refuse. @returns how much that is. */
  slow(messages: number): number {
    const { descriptors: _descriptors, ...delivery } = this.#delivery();
    const descriptors = { outbound: -1, plaintext: -1, hbone: -1 };
    for (let at = 0; at < messages; at++) this.workers.serve(0, { ...delivery, descriptors });
    return messages;
  }

  /** What the first worker has refused. */
  get refusals(): number {
    return this.#count("pod-failed");
  }

  async end(): Promise<void> {
    await this.workers.terminate();
    this.#listeners.forEach(closeDescriptor);
  }

  #count(kind: FromWorker["kind"]): number {
    return this.#heard.filter(([, message]) => message.kind === kind).length;
  }

  #delivery(): PodDelivery {
    const info = { name: "bob", namespace: "default", serviceAccount: "bob" };
    return podDelivery(copiesOf(this.#listeners), { uid: "uid-bob", info });
  }
}

interface Knock {
  readonly sentMs: number;
  readonly status: number;
}

async function dial(t: TestContext): Promise<FramePeer> {
  const peer = await dialPeer({ host: bobAddress, port: 15_008, localAddress: aliceAddress });
  t.after(() => peer.destroy());
  return peer;
}

async function openAll(peer: FramePeer, to: string): Promise<void> {
  for (let stream = 1; stream < 2 * perTunnel; stream += 2) await peer.open(stream, to);
}

/** One stream after the other, as long as it is wanted. */
async function knockOn(peer: FramePeer, to: string, knocks: Knock[], isWanted: () => boolean): Promise<void> {
  for (let stream = 1; isWanted(); stream += 2) {
    const sentMs = performance.now();
    peer.send(connect(stream, to));
    knocks.push({ sentMs, status: await peer.answer(stream) });
  }
}

function ms(duration: number): string {
  return `${duration.toFixed(0)} ms`;
}

const deny = policy("default/no-alice", {
  action: "deny",
  rules: [ruleOf({ principals: [{ kind: "exact", value: "cluster.local/ns/default/sa/alice" }] })],
});
