/** An agent that is replaced while connections are made: by a successor that runs beside it, by one that comes after it, or after kill -9. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { AnotherAgent, roomForAgents } from "../support/another-agent.ts";
import { useLab, type RunningClient } from "../support/mesh-lab.ts";
import { until } from "../support/until.ts";

/** What open connections get when an agent is asked to end. */
const deadlineMs = 4_000;
const settings = { CONNECTION_TERMINATION_DEADLINE: `${deadlineMs}ms` };

const lab = useLab(roomForAgents, { environment: { agent: settings } });

const url = "http://server.mesh.svc/";
const loops = 6;

it("agents put their sockets into the listener store of their node", async () => {
  for (const node of ["node1", "node2"]) await stored(node);
});

for (const [node, side] of [
  ["node1", "client"],
  ["node2", "server"],
] as const) {
  describe(`an agent on the ${side}'s node`, () => {
    it("F-224 F-225 H106 hands over to a successor beside it: no new connection fails, held ones live to the deadline", async (t) => {
      const load = await Load.begin();
      const held = await hold();
      const successor = await AnotherAgent.start(lab(), node, settings);
      const asked = Date.now();
      await lab().act(`${node}.agent`, "stop", "SIGTERM");
      const cut = await held.result(
        "the end of the held connection",
        ({ event }) => event === "error" || event === "end",
      );
      const heldMs = Date.now() - asked;
      await load.more(100);
      const lines = await lab().accessLog(`${node}`);
      assert.ok(
        lines.some(({ reason }) => reason === "DRAINED"),
        "the log says why",
      );
      assert.equal(cut["code"], "ECONNRESET");
      assert.ok(heldMs > deadlineMs - 500 && heldMs < deadlineMs + 3_000, `held for ${heldMs} ms`);
      // And back: the lab's own agent is the successor now.
      const heldAgain = await hold();
      const continued = Date.now();
      await lab().act(`${node}.agent`, "cont");
      await stored(node, continued);
      await successor.stop();
      await heldAgain.result(
        "the end of the other held connection",
        ({ event }) => event === "error" || event === "end",
      );
      await load.more(100);
      await load.end(t, `${side}: handed over and back, held ${heldMs} ms`);
      for (const one of [held, heldAgain]) one.end();
    });

    it("F-224 that is asked to end without a successor serves on, and the next one takes up what waits", async (t) => {
      const load = await Load.begin();
      const held = await hold();
      const asked = Date.now();
      await lab().act(`${node}.agent`, "restart", "SIGTERM");
      await held.result("the end of the held connection", ({ event }) => event === "error" || event === "end");
      await stored(node, asked);
      await load.more(200);
      await load.end(t, `${side}: restarted in order`);
      held.end();
    });

    it("H105 killed -9 refuses nothing: what is opened meanwhile waits and is served", async (t) => {
      const load = await Load.begin();
      const killed = Date.now();
      await lab().signal(`${node}.agent`, "SIGKILL");
      await stored(node, killed);
      await load.more(200);
      // A connection that the dead agent had accepted is lost with it; one that came later must not be.
      await load.end(t, `${side}: killed`, killed);
    });
  });
}

/** Connections one after another from several loops at once. */
class Load {
  readonly #clients: readonly RunningClient[];

  private constructor(clients: readonly RunningClient[]) {
    this.#clients = clients;
  }

  static async begin(): Promise<Load> {
    const load = new Load(
      await Promise.all(Array.from({ length: loops }, () => lab().start("mesh/client", "loop", url))),
    );
    await load.more(loops * 20);
    return load;
  }

  get results(): Record<string, unknown>[] {
    return this.#clients.flatMap(({ results }) => results);
  }

  async more(answers: number): Promise<void> {
    const before = this.results.length;
    await until("more answers", 30_000, () => this.results.length >= before + answers);
  }

  /** @param killedAt a request that was under way then may fail. */
  async end(t: TestContext, what: string, killedAt?: number): Promise<void> {
    for (const client of this.#clients) client.end();
    await Promise.all(this.#clients.map(({ ended }) => ended));
    const all = this.results;
    const failed = all.filter(({ status }) => status !== 200);
    const slowest = Math.max(...all.map(({ ms }) => Number(ms)));
    t.diagnostic(`${what}: ${all.length} connections, ${failed.length} failed, the slowest took ${slowest} ms`);
    const late = failed.filter(({ at, ms }) => killedAt === undefined || Number(at) - Number(ms) > killedAt + 50);
    assert.deepEqual(late, []);
    assert.ok(failed.length <= loops, "at most what was under way");
  }
}

async function hold(): Promise<RunningClient> {
  const held = await lab().start("mesh/client", "hold", "server.mesh.svc:9000");
  held.send("hello");
  await held.result("an echo", ({ event }) => event === "echo");
  return held;
}

/** Waits until the node's agent, or the one that began after that time, is ready and its sockets are in the store. */
function stored(node: string, sinceMs?: number): Promise<void> {
  return lab().agentSays(node, ["agent is ready", "connected to the listener store"], sinceMs);
}
