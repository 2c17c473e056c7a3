import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import type { Pod } from "../../control/sources/objects.ts";
import { RelievedAgents, relievedAgents } from "./relieved-agents.ts";
import { pod } from "./test-support/objects.ts";

test("F-225 an agent that ends is relieved when another one of the node is ready, and not before", () => {
  const old = agent("old", { leaving: true });
  const found = (...pods: Pod[]): string[] =>
    relievedAgents(pods, "ambient-system").map(({ metadata }) => metadata.uid);
  assert.deepEqual(found(old), []);
  assert.deepEqual(found(old, agent("new", { ready: false })), []);
  assert.deepEqual(found(old, agent("other", { leaving: true })), []);
  assert.deepEqual(found(old, agent("new", {})), ["old"]);
  assert.deepEqual(found(agent("older", { leaving: true }), old, agent("new", {})), ["older", "old"]);
});

test("pods of others are no agents, whatever they are called", () => {
  const labels = { "app.kubernetes.io/name": "ambientd", "app.kubernetes.io/component": "agent" };
  const elsewhere = pod({ uid: "x", name: "ambientd-agent-x", namespace: "shop", labels });
  const unlike = pod({ uid: "y", name: "ambientd-agent-y", namespace: "ambient-system", labels: {} });
  const leaving = [elsewhere, unlike].map((one) => ended(one));
  assert.deepEqual(relievedAgents([...leaving, agent("new", {})], "ambient-system"), []);
});

test("F-225 only one that is still there when it is looked for again is let go of, and a failure is tried again", async () => {
  const clock = new ManualClock();
  const labelled: string[] = [];
  let pods: Pod[] = [agent("new", {}), agent("short", { leaving: true })];
  let failure: Error | undefined = new Error("no API server");
  const relieved = new RelievedAgents({
    pods: () => pods,
    namespace: "ambient-system",
    label: ({ metadata }, labels) => {
      labelled.push(`${metadata.uid} ${JSON.stringify(labels)}`);
      return Promise.resolve(failure);
    },
    clock,
    log: silentLog,
  });
  const look = async (): Promise<string[]> => {
    clock.advance(3_000);
    await new Promise((resolve) => setImmediate(resolve));
    return labelled.splice(0);
  };
  assert.deepEqual(await look(), []);
  pods = [agent("new", {}), agent("long", { leaving: true })];
  assert.deepEqual(await look(), []);
  const said = ['long {"app.kubernetes.io/component":"agent-relieved"}'];
  assert.deepEqual(await look(), said);
  failure = undefined;
  assert.deepEqual(await look(), said);
  relieved.close();
  assert.equal(clock.nextTimerMs(), undefined);
});

function agent(uid: string, { leaving = false, ready = true }): Pod {
  const labels = { "app.kubernetes.io/name": "ambientd", "app.kubernetes.io/component": "agent" };
  const made = pod({ uid, name: `ambientd-agent-${uid}`, namespace: "ambient-system", labels });
  const conditions = ready ? [{ type: "Ready", status: "True" }] : [];
  const one = { ...made, status: { ...made.status, conditions } };
  return leaving ? ended(one) : one;
}

function ended(one: Pod): Pod {
  return { ...one, metadata: { ...one.metadata, deletionTimestamp: "2030-01-01T00:00:00Z" } };
}
