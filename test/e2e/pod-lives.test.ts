/** Pods that come and go: their connections, their certificates, and their share of a service's. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { endpointText, type Asked } from "../support/answers.ts";
import { idlePod, namespace, pod, service } from "../support/manifests.ts";
import { useLab } from "../support/mesh-lab.ts";
import { until } from "../support/until.ts";

const lab = useLab([
  namespace("shop", { ambient: true }),
  idlePod("shop/alice", { node: "node1" }),
  pod("shop/near", { node: "node1", labels: { app: "both" } }),
  pod("shop/far", { node: "node2", labels: { app: "both" } }),
  service("shop/both"),
]);

test("F-226 a server pod that is removed takes its connections with it, and nobody is left hanging", async () => {
  await lab().apply("guest.yaml", pod("shop/guest", { node: "node2" }));
  const target = await until("the guest serves", 30_000, async () => {
    const address = await lab().addressOf("shop/guest");
    const [asked] = await lab().client<Asked>("shop/alice", "get", `http://${address}:8080/`);
    return asked?.status === 200 && endpointText(address, 9000);
  });
  const held = await lab().start("shop/alice", "hold", target);
  held.send("before");
  await held.result("an echo", ({ event }) => event === "echo");
  const { local } = await held.result("its port", ({ event }) => event === "connected");

  await lab().remove("guest.yaml");
  await held.result("its end", ({ event }) => event === "end" || event === "error");
  held.end();
  await held.ended;
  const line = await lab().accessLine("node1", "the client's end", (one) =>
    one["src.addr"].endsWith(`:${String(local)}`),
  );
  assert.equal(line["dst.workload"], "guest");
  await letGo("node2", "guest");
  const [after] = await lab().client<Asked>("shop/alice", "get", `http://${target.replace(":9000", ":8080")}/`);
  assert.notEqual(after?.status, 200, "nobody answers in its place");
});

test("F-088 F-226 what a removed client pod had open is ended at once by its agent, and given up by its peers that hear no PING", async () => {
  await lab().apply("leaver.yaml", idlePod("shop/leaver", { node: "node1" }));
  const address = await until("it is there", 30_000, () => lab().addressOf("shop/leaver"));
  const target = endpointText(await lab().addressOf("shop/far"), 9000);
  const held = await until("it may call", 30_000, async () => {
    const client = await lab().start("shop/leaver", "hold", target);
    client.send("before");
    return (await client.result("an echo", ({ event }) => event === "echo")) && client;
  });
  // What the application says as it is killed does not come through: a pod that is gone at once says nothing.
  await link({ lossPercent: 100 });
  try {
    await lab().remove("leaver.yaml");
    await held.ended;
    await letGo("node1", "leaver");
  } finally {
    await link({ lossPercent: 0 });
  }
  const line = await lab().accessLine("node1", "its end", (one) => one["src.addr"].startsWith(`${address}:`));
  assert.equal(line.reason, "POD_REMOVED");
  await until("the server heard of it", 60_000, async () => {
    const told = (await lab().log("node2.pod.shop.far")).split("\n").filter((line) => line.includes(`${address}"`));
    const opened = told.filter((line) => line.includes('"event":"open"')).length;
    return opened > 0 && told.filter((line) => line.includes('"event":"close"')).length === opened;
  });
  const other = await lab().accessLine("node2", "the other half", ({ trace }) => trace === line.trace);
  assert.equal(other.direction, "inbound");
  assert.notEqual(other.reason, "OK");
});

test("F-130 F-131 F-137 F-138 F-220 an agent has the certificates of its own node's pods before anybody calls, and none of a pod that is gone", async () => {
  const identity = "spiffe://cluster.local/ns/shop/sa/newcomer";
  assert.deepEqual(await identities("node1"), ["alice", "near"]);
  assert.deepEqual(await identities("node2"), ["far"]);
  await lab().apply("newcomer.yaml", pod("shop/newcomer", { node: "node2" }));
  await until("its certificate, on its own node", 30_000, async () => {
    const { certificates } = await lab().askAgent<Dump>("node2");
    return certificates.some((one) => one.identity === identity && one.state === "Available");
  });
  assert.deepEqual(await identities("node1"), ["alice", "near"], "other nodes' agents do not have it");
  const signed = (await lab().log("control")).split("\n").filter((line) => line.includes(identity));
  assert.ok(signed.length > 0 && signed.every((line) => !line.includes("node1")), signed.join("\n"));
  await lab().remove("newcomer.yaml");
  await until("its certificate is forgotten", 30_000, async () => (await identities("node2")).join() === "far");
});

test("F-051 one request of a service goes to one pod, and fifty of them go to both", async () => {
  const url = `http://${await lab().vipOf("shop/both")}/`;
  const answers = await lab().client<Asked>("shop/alice", "get", url, 50);
  assert.equal(answers.filter(({ status }) => status === 200).length, 50);
  assert.deepEqual([...new Set(answers.map(({ answer }) => answer.pod))].sort(), ["shop/far", "shop/near"]);
  for (const node of ["node1", "node2"]) {
    const { workloadState } = await lab().askAgent<Dump>(node);
    for (const { connections } of Object.values(workloadState))
      assert.ok(connections.inbound.length <= 1 && connections.outbound.length <= 1);
  }
});

interface Dump {
  readonly certificates: readonly { readonly identity: string; readonly state: string }[];
  readonly workloadState: Record<
    string,
    {
      readonly info: { readonly name: string };
      readonly connections: Record<"inbound" | "outbound", readonly unknown[]>;
    }
  >;
}

/** Between node1 and the others. */
function link(impairments: object): Promise<unknown> {
  return lab().handle.request("POST", "/links/node1", impairments);
}

/** Waits until an agent has nothing of a pod any more. */
async function letGo(node: string, name: string): Promise<void> {
  await until(`the agent of ${node} has let go of ${name}`, 30_000, async () => {
    const { workloadState } = await lab().askAgent<Dump>(node);
    return Object.values(workloadState).every(({ info }) => info.name !== name);
  });
}

/** Accounts that a node's agent has, or asks for, certificates of. */
async function identities(node: string): Promise<string[]> {
  const { certificates } = await lab().askAgent<Dump>(node);
  return certificates.map(({ identity }) => identity.split("/").at(-1) ?? "").sort();
}
