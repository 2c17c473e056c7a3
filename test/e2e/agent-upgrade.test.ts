/** Agents replaced three times in a row under load: nothing is lost and nothing cut, and each is gone when its last connection has ended. */
import assert from "node:assert/strict";
import { it, type TestContext } from "node:test";
import { AnotherAgent, roomForAgents } from "../support/another-agent.ts";
import { authorizationPolicy } from "../support/manifests.ts";
import { useLab, type RunningClient } from "../support/mesh-lab.ts";
import { until } from "../support/until.ts";

const lab = useLab(roomForAgents);

const loops = 4;
const [chatty, idle] = [10, 10];

it("F-224 F-225 F-227 H106 agents of both nodes replaced three times: 0 lost, 0 cut, and the old ones leave with their last connection", async (t) => {
  await lab().agentSays("node1", ["agent is ready"]);
  await lab().agentSays("node2", ["agent is ready"]);
  const load = await Promise.all(
    Array.from({ length: loops }, () => lab().start("mesh/client", "loop", "http://server.mesh.svc/")),
  );
  const asked = (): Record<string, unknown>[] => load.flatMap(({ results }) => results);
  const more = async (answers: number): Promise<void> => {
    const before = asked().length;
    await until("more answers", 60_000, () => asked().length >= before + answers);
  };
  await more(50);
  // Each generation is given connections of both kinds, so that each has a reason to live.
  const generations: Held[] = [await Held.begin()];
  const agents: AnotherAgent[][] = [];
  for (let round = 0; round < 3; round++) {
    const successors: AnotherAgent[] = [];
    for (const node of ["node1", "node2"] as const) {
      const successor = await AnotherAgent.start(lab(), node);
      successors.push(successor);
      const before = agents.at(-1)?.[node === "node1" ? 0 : 1];
      if (before === undefined) await lab().act(`${node}.agent`, "stop", "SIGTERM");
      else {
        await until("the ports are the successor's", 10_000, () =>
          successor.says("the port that another agent had is this one's"),
        );
        await before.terminate();
        await until("it drains", 10_000, () => before.says("agent drains"));
      }
      await more(50);
    }
    agents.push(successors);
    generations.push(await Held.begin());
    for (const held of generations) await held.check();
  }
  await more(100);
  const drained = agents.slice(0, -1).flat();
  for (const agent of drained) assert.ok(!agent.hasEnded, "it lives as long as its connections");
  for (const held of generations) {
    await held.check();
    await held.end();
  }
  for (const agent of drained) await until("an old agent is gone", 15_000, () => agent.hasEnded);
  for (const node of ["node1", "node2"])
    await until(`the first agent of ${node} is gone`, 15_000, async () => {
      const row = (await lab().status()).processes.find(({ name }) => name === `${node}.agent`);
      return row?.state.phase === "held";
    });
  for (const client of load) client.end();
  await Promise.all(load.map(({ ended }) => ended));
  const failed = asked().filter(({ status }) => status !== 200);
  t.diagnostic(`${asked().length} connections, ${failed.length} failed, ${generations.length * (chatty + idle)} held`);
  assert.deepEqual(failed, []);
  for (const agent of drained) assert.ok(!agent.reasons.includes("DRAINED"));
  await back(t, agents.at(-1)!);
});

it("an old agent still hears of policies: one that denies cuts what it kept, and lets it end", async (t) => {
  const held = await lab().start("mesh/client", "keep", "server.mesh.svc:9000", 2);
  await held.result("the connections", ({ event }) => event === "kept");
  const successor = await AnotherAgent.start(lab(), "node2");
  await lab().act("node2.agent", "stop", "SIGTERM");
  await until("it drains", 10_000, async () => (await lab().log("node2.agent")).includes('"agent drains"'));
  held.send("still there?");
  assert.equal((await held.result("echoes", ({ event }) => event === "echoed"))["good"], 2);
  const denied = { action: "DENY", rules: [{ from: [{ source: { namespaces: ["mesh"] } }] }] };
  await lab().apply("deny.yaml", authorizationPolicy("mesh/deny", denied));
  await until("both are cut", 10_000, () => held.results.filter(({ event }) => event === "cut").length >= 2);
  await lab().remove("deny.yaml");
  await until("the old agent is gone", 15_000, async () => {
    const row = (await lab().status()).processes.find(({ name }) => name === "node2.agent");
    return row?.state.phase === "held";
  });
  held.end();
  await back(t, [undefined, successor]);
});

/** Connections of one generation. */
class Held {
  readonly #talking: RunningClient;
  readonly #silent: RunningClient;

  private constructor(talking: RunningClient, silent: RunningClient) {
    this.#talking = talking;
    this.#silent = silent;
  }

  static async begin(): Promise<Held> {
    const talking = await lab().start("mesh/client", "converse", "server.mesh.svc:9000", chatty);
    const silent = await lab().start("mesh/client", "keep", "server.mesh.svc:9000", idle);
    await silent.result("the idle connections", ({ event }) => event === "kept");
    await talking.result("the talking ones", ({ trips }) => Number(trips) > chatty);
    return new Held(talking, silent);
  }

  /** All are there, and bytes pass. */
  async check(): Promise<void> {
    const [talked, heard] = [this.#talking.results.length, this.#silent.results.length];
    this.#silent.send("still there?");
    const echoed = await this.#silent.result("echoes", ({ event }) => event === "echoed", heard);
    assert.equal(echoed["good"], idle);
    await this.#talking.result("rounds", ({ event }) => event === "round", talked + 1);
    assert.ok(!this.#silent.results.some(({ event }) => event === "cut"));
  }

  async end(): Promise<void> {
    this.#talking.end();
    this.#silent.end();
    await Promise.all([this.#talking.ended, this.#silent.ended]);
    assert.ok(this.#talking.results.some(({ event }) => event === "over"));
    assert.ok(!this.#silent.results.some(({ event }) => event === "cut"));
  }
}

/** The lab's own agents serve again. */
async function back(t: TestContext, others: readonly (AnotherAgent | undefined)[]): Promise<void> {
  for (const [at, other] of others.entries()) {
    if (other === undefined) continue;
    const node = `node${at + 1}`;
    const continued = Date.now();
    await lab().act(`${node}.agent`, "cont");
    await lab().agentSays(node, ["agent is ready"], continued);
    await other.stop();
  }
  t.diagnostic("the lab's own agents serve again");
}
