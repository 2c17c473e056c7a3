/** A service whose pods are replaced one after the other while clients connect all the time: nobody's request is lost. */
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { idlePod, namespace, pod, service, type Manifest } from "../support/manifests.ts";
import { useLab, type RunningClient } from "../support/mesh-lab.ts";
import { until } from "../support/until.ts";

const replicas = [1, 2, 3];

const lab = useLab([
  namespace("shop", { ambient: true }),
  idlePod("shop/alice", { node: "node1" }),
  idlePod("shop/bob", { node: "node2" }),
  service("shop/web"),
]);

/** Milliseconds from one new connection of a client to its next. */
const everyMs = 2;

describe("a service of three pods under clients that connect every two milliseconds", () => {
  it("loses no request when each pod is replaced by a new one and then ended", async (t) => {
    await Promise.all(replicas.map((replica) => start(replica, "a")));
    await serves();
    const clients = await storm();
    for (const replica of replicas) {
      await start(replica, "b");
      await more(clients, 300);
      await end(replica, "a");
      await more(clients, 300);
    }
    await nothingWasLost(t, clients);
  });

  it("loses no request when each pod is ended and then comes back under its old name", async (t) => {
    const clients = await storm();
    for (const replica of replicas) {
      await end(replica, "b");
      await more(clients, 300);
      await start(replica, "b");
      await more(clients, 300);
    }
    await nothingWasLost(t, clients);
  });
});

function web(replica: number, generation: string): Manifest {
  return pod(name(replica, generation), {
    node: replica === 3 ? "node1" : "node2",
    account: "web",
    labels: { app: "web" },
    command: ["node", "test/e2e/apps/graceful.ts"],
    ports: [9000],
  });
}

function name(replica: number, generation: string): string {
  return `shop/web-${replica}${generation}`;
}

async function start(replica: number, generation: string): Promise<void> {
  const key = name(replica, generation);
  await lab().apply(`web-${replica}${generation}.yaml`, web(replica, generation));
  await until(`${key} is ready`, 30_000, async () => {
    const { pods } = await lab().status();
    return pods.find((row) => row.pod === key)?.ready;
  });
}

async function end(replica: number, generation: string): Promise<void> {
  const key = name(replica, generation);
  await lab().remove(`web-${replica}${generation}.yaml`);
  await until(`${key} is gone`, 30_000, async () => {
    const { pods } = await lab().status();
    return pods.every((row) => row.pod !== key);
  });
}

async function serves(): Promise<void> {
  const target = await address();
  await until("the service serves", 30_000, async () => {
    const [result] = await lab().client("shop/alice", "sequence", target, 1);
    return result?.["good"] === 1;
  });
}

async function storm(): Promise<RunningClient[]> {
  const target = await address();
  const pods = ["shop/alice", "shop/alice", "shop/bob"];
  const clients = await Promise.all(pods.map((from) => lab().start(from, "storm", target, everyMs)));
  await more(clients, 300);
  return clients;
}

async function address(): Promise<string> {
  return `${await lab().vipOf("shop/web")}:9000`;
}

/** Until every client has had so many more answers. */
async function more(clients: readonly RunningClient[], answers: number): Promise<void> {
  await Promise.all(
    clients.map(async (client) => {
      const wanted = good(client) + answers;
      await until("more answers", 60_000, () => good(client) >= wanted);
    }),
  );
}

function good({ results }: RunningClient): number {
  return Number(results.findLast((result) => "good" in result)?.["good"] ?? 0);
}

async function nothingWasLost(t: TestContext, clients: readonly RunningClient[]): Promise<void> {
  for (const client of clients) client.end();
  await Promise.all(clients.map(({ ended }) => ended));
  const answered = clients.reduce((sum, client) => sum + good(client), 0);
  const lost = clients.flatMap(({ results }) => results.filter(({ event }) => event === "lost"));
  const lines = [...(await lab().accessLog("node1")), ...(await lab().accessLog("node2"))];
  const outbound = lines.filter(({ direction }) => direction === "outbound");
  const retried: Record<string, number> = {};
  for (const { retry_reason: reason } of outbound)
    if (typeof reason === "string") retried[reason] = (retried[reason] ?? 0) + 1;
  t.diagnostic(`${answered} answered, ${lost.length} lost; tried again elsewhere: ${JSON.stringify(retried)}`);
  for (const one of lost) {
    const line = outbound.find((each) => String(each["src.addr"]).endsWith(`:${String(one["local"])}`));
    t.diagnostic(`${JSON.stringify(one)} ${JSON.stringify(line)}`);
  }
  assert.equal(lost.length, 0);
  assert.ok(answered > 2_000, `${answered} answered`);
}
