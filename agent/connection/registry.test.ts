import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FakeEnd } from "../../test/support/fake-end.ts";
import { pod, policy, ruleOf } from "../../test/support/mesh.ts";
import { MeshState, type MeshUpdate } from "../../core/decision/mesh-state.ts";
import type { Identity } from "../../core/protocol/spiffe/identity.ts";
import type { CloseRecord } from "./close-record.ts";
import { Connection } from "./connection.ts";
import { ConnectionRegistry } from "./registry.ts";

/** An end that is gone as soon as it is reset. */
class GoneOnReset extends FakeEnd {
  override reset(): void {
    this.listener.closed(this);
  }
}

const shop = Array.from({ length: 100 }, (_, at) => pod(`shop/s${at}`, `10.1.0.${at}`));
const vault = pod("vault/db", "10.2.0.1");
const front: Identity = { trustDomain: "cluster.local", namespace: "shop", serviceAccount: "front" };
const back: Identity = { ...front, serviceAccount: "back" };
const denyFront = policy("shop/no-front", {
  action: "deny",
  rules: [ruleOf({ principals: [{ kind: "exact", value: "cluster.local/ns/shop/sa/front" }] })],
});

/** 10,000 open connections: 100 to each of 99 pods of shop and to vault/db, every second one from front. */
class Worker {
  readonly state = new MeshState();
  readonly turns: (() => void)[] = [];
  readonly closed: CloseRecord[] = [];
  readonly registry: ConnectionRegistry;

  constructor(later: (run: () => void) => void = (run) => void this.turns.push(run), nowMs = () => performance.now()) {
    this.state.apply({ workloads: [...shop, vault] });
    this.registry = new ConnectionRegistry(this.state, { nowMs, later });
    for (let at = 0; at < 10_000; at++) this.open(at % 100 === 99 ? vault : shop[at % 100]!, at % 2 ? back : front);
  }

  open(local: typeof vault, peerIdentity: Identity): Connection {
    const connection: Connection = new Connection(
      { direction: "inbound", protocol: "hbone", trace: "", source: { address: "10.3.0.1", port: 1 } },
      {
        nowMs: () => 0,
        closed: (ended, record) => {
          this.registry.remove(ended);
          this.closed.push(record);
        },
      },
    );
    this.registry.add(connection, local.uid);
    const destination = { address: local.addresses[0] ?? "", port: 8080 };
    this.registry.admit(connection, { local, peerIdentity, peerAddress: "10.3.0.1", destination });
    connection.open(new GoneOnReset(), new GoneOnReset());
    return connection;
  }

  /** @returns how many connections were judged again. */
  apply(update: MeshUpdate): number {
    return this.registry.judgeAgain(this.state.apply(update));
  }

  finish(): void {
    while (this.turns.length > 0) this.turns.shift()?.();
  }
}

describe("with 10,000 open connections", () => {
  test("F-171 a change costs a judgement for each connection that it may concern, and for no other", () => {
    const worker = new Worker(undefined, () => 0);
    const attached = { ...shop[7]!, policies: ["shop/chosen"] };
    const judged: [string, number, MeshUpdate][] = [
      ["a policy of another namespace", 0, { policies: [policy("elsewhere/p", { action: "deny" })] }],
      ["a policy that nobody lists", 0, { policies: [policy("shop/chosen", { scope: "selector", action: "deny" })] }],
      ["a policy that is attached to a workload", 100, { workloads: [attached] }],
      [
        "a policy that one workload lists",
        100,
        { policies: [policy("shop/chosen", { scope: "selector", action: "deny" })] },
      ],
      ["a policy of a namespace with one pod", 100, { policies: [policy("vault/p", { action: "deny" })] }],
      ["a workload whose health changes", 0, { workloads: [{ ...shop[8]!, healthy: false }] }],
      ["a workload whose waypoint changes", 100, { workloads: [{ ...shop[8]!, waypoint: gone }] }],
      ["a policy of the whole mesh", 9_900, { policies: [policy("root/p", { scope: "global", action: "deny" })] }],
    ];
    for (const [what, expected, update] of judged) assert.equal(worker.apply(update), expected, what);
  });

  test("F-171 F-174 H071 a DENY cuts whom it names, with its name as the reason, and spares the rest", () => {
    const worker = new Worker(undefined, () => 0);
    worker.apply({ policies: [denyFront] });
    assert.equal(worker.closed.length, 5_000);
    assert.ok(worker.closed.every(({ reason, policy }) => reason === "POLICY_DENIED" && policy === "shop/no-front"));
    assert.equal(worker.registry.size, 5_000);
  });

  test("F-171 a policy that only comes to be attached cuts as one that arrives does", () => {
    const worker = new Worker(undefined, () => 0);
    worker.apply({ policies: [{ ...denyFront, scope: "selector" }] });
    assert.equal(worker.closed.length, 0);
    worker.apply({ workloads: [{ ...shop[2]!, policies: [denyFront.key] }] });
    assert.equal(worker.closed.length, 100);
  });

  test("M02 a workload that gets a waypoint sheds whoever came past it", () => {
    const worker = new Worker(undefined, () => 0);
    worker.apply({ workloads: [{ ...shop[2]!, waypoint: gone }] });
    assert.equal(worker.closed.length, 100);
    assert.deepEqual(new Set(worker.closed.map(({ reason }) => reason)), new Set(["WAYPOINT_REQUIRED"]));
    assert.equal(worker.closed[0]?.detail, "shop/gone:15008");
  });

  test("F-171 they are judged a millisecond at a time, a new one at once, and by what holds when it is their turn", () => {
    let nowMs = 0;
    // Each look at the clock is a fifth of a millisecond after the last.
    const worker = new Worker(undefined, () => (nowMs += 0.2));
    worker.apply({ policies: [denyFront] });
    assert.ok(worker.registry.awaitingJudgement > 9_000);
    const closedSoFar = worker.closed.length;
    const taken = worker.open(shop[0]!, back);
    assert.equal(worker.apply({ policies: [policy("shop/none", { action: "deny" })] }), 9_901 - closedSoFar);
    assert.ok(worker.turns.length === 1, "what is added waits for its turn");
    worker.apply({ removed: { policies: [denyFront.key] } });
    worker.finish();
    assert.equal(worker.registry.awaitingJudgement, 0);
    assert.equal(worker.closed.length, closedSoFar, "who had not been judged yet is judged by the present");
    assert.equal(taken.state.phase, "open");
  });

  test("H071 the last violator is cut within a quarter of a second, and nobody else waits long meanwhile", async (t) => {
    const worker = new Worker((run) => void setImmediate(run));
    const beganMs = performance.now();
    let [longestMs, lastMs] = [0, beganMs];
    worker.apply({ policies: [denyFront] });
    const appliedMs = performance.now() - beganMs;
    while (worker.registry.awaitingJudgement > 0) {
      await new Promise((resolve) => setImmediate(resolve));
      const nowMs = performance.now();
      longestMs = Math.max(longestMs, nowMs - lastMs);
      lastMs = nowMs;
    }
    assert.equal(worker.closed.length, 5_000);
    t.diagnostic(
      `10,000 live connections: applied in ${appliedMs.toFixed(1)} ms, ` +
        `last of 5,000 violators cut after ${(lastMs - beganMs).toFixed(1)} ms, longest turn ${longestMs.toFixed(1)} ms`,
    );
  });
});

const gone = { destination: { kind: "hostname", namespace: "shop", hostname: "gone" }, port: 15_008 } as const;
