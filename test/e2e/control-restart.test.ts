/** What control says to whom; and what goes on without it. */
import assert from "node:assert/strict";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { describe, it } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { decodeAddress } from "../../core/protocol/wds/address.ts";
import { WdsError } from "../../core/protocol/wds/wds-error.ts";
import { authorizationPolicy, idlePod, namespace, pod, service } from "../support/manifests.ts";
import { useLab, type RunningClient } from "../support/mesh-lab.ts";
import { until } from "../support/until.ts";

const lab = useLab(
  [
    namespace("mesh", { ambient: true }),
    namespace("plain"),
    idlePod("mesh/client", { node: "node1" }),
    idlePod("mesh/other", { node: "node1" }),
    pod("mesh/server", { node: "node2" }),
    service("mesh/server"),
    authorizationPolicy("mesh/nobody", {
      action: "DENY",
      rules: [{ from: [{ source: { namespaces: ["nowhere"] } }] }],
    }),
    idlePod("plain/probe1", { node: "node1" }),
    idlePod("plain/probe2", { node: "node2" }),
  ],
  // It says then what it sends to whom.
  { environment: { control: { LOG_LEVEL: "debug" } } },
);

const url = "http://server.mesh.svc/";
const identityOf = (account: string): string => `spiffe://cluster.local/ns/mesh/sa/${account}`;
const addressType = "type.googleapis.com/istio.workload.Address";

describe("control answers", () => {
  it("F-110 both agents and two raw delta clients alike", async (t) => {
    const probes = [
      await lab().startControlClient("plain/probe1", "follow"),
      await lab().startControlClient("plain/probe2", "follow"),
    ];
    // The pods' last words may still be under way, to one a moment before the other.
    const first = await until("two agents and two raw clients hold the same", 10_000, async () => {
      const [one = new Map<string, string>(), other] = await Promise.all(["node1", "node2"].map(heldByAgent));
      const same = [other, ...probes.map(heldBy)].every((held) => isDeepStrictEqual(held, one));
      return same && one.size === 7 ? one : undefined;
    });
    t.diagnostic(`${first.size} resources, byte by byte the same at two agents and two raw clients`);
    for (const probe of probes) probe.end();
    await Promise.all(probes.map(({ ended }) => ended));
  });

  it("nobody without a token", async () => {
    const stream = await lab().askControl("plain/probe1", "stream", "--token", "none");
    assert.deepEqual([stream["answer"], stream["code"]], ["refused", "UNAUTHENTICATED"]);
    const certificate = await lab().askControl("plain/probe1", "certificate", identityOf("client"), "--token", "none");
    assert.deepEqual([certificate["answer"], certificate["code"]], ["refused", "UNAUTHENTICATED"]);
  });

  it("with a token for each node that only its owner can read, in Kubernetes' shape, and none that was changed", async () => {
    const file = `/proc/${lab().handle.pid}/root/run/lab/tokens/node1/istio-token`;
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const [header = "", payload = "", signature = ""] = readFileSync(file, "utf8").trim().split(".");
    const claims = JSON.parse(Buffer.from(payload, "base64url").toString()) as Record<string, unknown>;
    assert.deepEqual(claims["aud"], ["istio-ca"]);
    assert.equal(claims["sub"], "system:serviceaccount:istio-system:ztunnel");
    const bound = claims["kubernetes.io"] as Record<string, { name: string; uid: string }>;
    assert.equal(bound["namespace"], "istio-system");
    assert.equal(bound["node"]?.name, "node1");
    assert.equal(bound["pod"]?.name, "ztunnel-node1");
    assert.equal(bound["serviceaccount"]?.name, "ztunnel");

    const changed = JSON.stringify({ ...claims, "kubernetes.io": { ...bound, node: { name: "node2", uid: "" } } });
    const forged = [header, Buffer.from(changed).toString("base64url"), signature].join(".");
    writeFileSync(`/proc/${lab().handle.pid}/root/run/lab/nodes/node1/forged-token`, forged, { mode: 0o600 });
    const stream = await lab().askControl("plain/probe1", "stream", "--token", "/run/forged-token");
    assert.deepEqual([stream["answer"], stream["code"]], ["refused", "UNAUTHENTICATED"]);
    const certificate = await lab().askControl(
      "plain/probe1",
      "certificate",
      identityOf("server"),
      "--token",
      "/run/forged-token",
    );
    assert.deepEqual([certificate["answer"], certificate["code"]], ["refused", "UNAUTHENTICATED"]);
  });

  it("a node's token for that node, and not for the other: neither its stream nor its pods' certificates", async () => {
    assert.deepEqual(await lab().askControl("plain/probe1", "stream", "--node", "node1"), { answer: "served" });
    const stream = await lab().askControl("plain/probe2", "stream", "--node", "node1");
    assert.deepEqual([stream["answer"], stream["code"]], ["refused", "PERMISSION_DENIED"]);

    const own = await lab().askControl("plain/probe1", "certificate", identityOf("client"));
    assert.deepEqual([own["answer"], own["subjectAltName"]], ["issued", `URI:${identityOf("client")}`]);
    const foreign = await lab().askControl("plain/probe2", "certificate", identityOf("client"));
    assert.deepEqual([foreign["answer"], foreign["code"]], ["refused", "UNAUTHENTICATED"]);
    assert.doesNotMatch(String(foreign["details"]), /node|pod/, "the reason stays in control's log");
    assert.match(await lab().log("control"), /certificate refused/);
  });
});

describe("control killed -9", () => {
  it("F-112 F-114 F-116 H067 takes no connection with it, and back again sends exactly what changed and what was deleted", async (t) => {
    await lab().apply("changing.yaml", service("mesh/changing", { app: "nobody" }));
    await lab().apply("leaving.yaml", service("mesh/leaving", { app: "nobody" }));
    const probe = await lab().startControlClient("plain/probe1", "follow");
    const changing = "mesh/changing.mesh.svc.cluster.local";
    const leaving = "mesh/leaving.mesh.svc.cluster.local";
    const bothThere = (held: ReadonlyMap<string, string>): boolean =>
      [changing, leaving].every((name) => held.has(`${addressType} ${name}`));
    await until("the raw client holds both", 10_000, () => bothThere(heldBy(probe)));
    for (const node of ["node1", "node2"])
      await until(`${node} holds both`, 10_000, async () => bothThere(await heldByAgent(node)));
    const held = await lab().start("mesh/client", "hold", "server.mesh.svc:9000");
    held.send("before");
    await held.result("an echo", ({ event }) => event === "echo");
    const loop = await lab().start("mesh/client", "loop", url);
    await loop.result("a request", () => true);

    await lab().act("control", "stop", "SIGKILL");
    await probe.result("the stream is lost", ({ event }) => event === "lost");
    held.send("without control");
    await until("an echo without control", 10_000, () => echoes(held) === 2);
    // Its first tunnel, with a certificate it has had since it came.
    const [first] = await lab().client("mesh/other", "get", url);
    assert.equal(first?.["status"], 200);
    const [byIp] = await lab().client("mesh/other", "get", `http://${await lab().addressOf("mesh/server")}:8080/`);
    assert.equal(byIp?.["status"], 200);

    await lab().apply("changing.yaml", withPort(service("mesh/changing", { app: "nobody" }), 8443));
    await lab().remove("leaving.yaml");
    const since = probe.results.length;
    const sentBefore = await pushesToAgents();
    const started = performance.now();
    await lab().act("control", "cont");
    const isDone = ({ event, removed }: Record<string, unknown>): boolean =>
      event === "response" && (removed as string[]).length > 0;
    await probe.result("what was deleted", isDone, since);
    t.diagnostic(`the difference was there ${Math.round(performance.now() - started)} ms after control was started`);
    for (const node of ["node1", "node2"])
      await until(`${node} has forgotten ${leaving}`, 10_000, async () => {
        const now = await heldByAgent(node);
        return now.has(`${addressType} ${changing}`) && !now.has(`${addressType} ${leaving}`);
      });

    const responses = probe.results.slice(since).filter(({ event }) => event === "response");
    const resources = responses.flatMap((response) => response["resources"] as { name: string }[]);
    assert.deepEqual(
      resources.map(({ name }) => name),
      [changing],
    );
    assert.deepEqual(
      responses.flatMap(({ removed }) => removed as string[]),
      [leaving],
    );
    const toAgents = (await pushesToAgents()).slice(sentBefore.length);
    assert.deepEqual(summed(toAgents), {
      node1: { changed: 1, removed: 1 },
      node2: { changed: 1, removed: 1 },
    });

    const count = loop.results.length;
    await loop.result("a request with control back", () => true, count);
    for (const client of [held, loop, probe]) client.end();
    await Promise.all([held.ended, loop.ended, probe.ended]);
    assert.deepEqual(
      loop.results.filter(({ status }) => status !== 200),
      [],
    );
    t.diagnostic(`${loop.results.length} requests meanwhile, none lost`);
  });
});

interface Push {
  readonly node: string;
  readonly changed: number;
  readonly removed: number;
}

/** What control says in its log that it sent to the nodes' agents. */
async function pushesToAgents(): Promise<Push[]> {
  const text = await lab().log("control");
  return text.split("\n").flatMap((line) => {
    if (!line.includes('"pushed"')) return [];
    const { nodeId, subscriber, changed, removed } = JSON.parse(line) as Push & {
      nodeId: string;
      subscriber: { node: string };
    };
    return nodeId.includes("~probe.") ? [] : [{ node: subscriber.node, changed, removed }];
  });
}

function summed(pushes: readonly Push[]): Record<string, { changed: number; removed: number }> {
  const sums: Record<string, { changed: number; removed: number }> = {};
  for (const { node, changed, removed } of pushes) {
    const sum = (sums[node] ??= { changed: 0, removed: 0 });
    sum.changed += changed;
    sum.removed += removed;
  }
  return sums;
}

/** Every resource by type and name, as base64. */
async function heldByAgent(node: string): Promise<Map<string, string>> {
  const types = await lab().askAgent<Record<string, { name: string; base64: string }[]>>(node, "/wds");
  return new Map(
    Object.entries(types)
      .flatMap(([type, resources]) => resources.map(({ name, base64 }) => [`${type} ${name}`, base64] as const))
      .sort(byName),
  );
}

function heldBy(probe: RunningClient): Map<string, string> {
  const held = new Map<string, string>();
  for (const { event, typeUrl, resources, removed } of probe.results) {
    if (event !== "response") continue;
    for (const { name, base64 } of resources as { name: string; base64: string }[])
      held.set(`${String(typeUrl)} ${name}`, base64);
    for (const name of removed as string[]) held.delete(`${String(typeUrl)} ${name}`);
  }
  for (const [key, base64] of held)
    if (key.startsWith(addressType)) {
      const address = decodeAddress(Buffer.from(base64, "base64"), key.slice(addressType.length + 1));
      assert.ok(!(address instanceof WdsError), key);
    }
  return new Map([...held].sort(byName));
}

function byName([a]: readonly [string, string], [b]: readonly [string, string]): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function echoes({ results }: RunningClient): number {
  return results.filter(({ event }) => event === "echo").length;
}

function withPort(manifest: ReturnType<typeof service>, port: number): ReturnType<typeof service> {
  const spec = manifest["spec"] as object;
  return { ...manifest, spec: { ...spec, ports: [{ name: "https", port, targetPort: port }] } };
}
