import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, test, type TestContext } from "node:test";
import { startXdsSession, type XdsSession } from "../../control/client/xds-session.ts";
import { systemClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import { setUp } from "../../core/linux/netlink/links.ts";
import { DeltaDiscoveryResponse } from "../../core/protocol/generated/discovery.ts";
import { Authorization } from "../../core/protocol/generated/security.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { PlaneClient } from "./plane-client.ts";
import { planeFiles, planeProgram, type PlaneFiles } from "./plane-files.ts";
import { meshPush, policiesPush, policiesRemoval, pushNonce } from "./pushes.ts";

const skip = enterNamespaces() ?? false;
before(() => (skip === false ? setUp("lo") : undefined));

test(
  "a push is timed until the agent has acknowledged it, beside an upstream's own answers and without",
  { skip },
  async (t) => {
    const upstream = planeAt(t, 15_012);
    await PlaneClient.connect(upstream.files.socket, upstream.folder).then((client) => client.close());
    const relay = planeAt(t, 15_013, ["--upstream", "localhost:15012", "--upstream-root", upstream.files.root]);
    for (const [{ files, folder }, port] of [[upstream, 15_012] as const, [relay, 15_013] as const]) {
      const plane = await PlaneClient.connect(files.socket, folder);
      t.after(() => plane.close());
      let resources = 0;
      const session = agentAt(port, files.root, (count) => (resources += count));
      t.after(() => session.close());
      await session.ready;
      await plane.agentsOf(["node7"]);
      await plane.load("mesh", meshPush("a", { workloads: 30, services: 3, policies: 0 }));
      const seconds = await plane.push("mesh", "node7");
      assert.ok(seconds > 0);
      assert.equal(resources, 33);
      await assert.rejects(plane.push("mesh", "nobody"), /no agent of nobody/);
      await assert.rejects(plane.push("other", "node7"), /no push other/);
      session.close();
    }
  },
);

test("what an agent refuses is said, not timed", { skip }, async (t) => {
  const { files, folder } = planeAt(t, 15_014);
  const plane = await PlaneClient.connect(files.socket, folder);
  t.after(() => plane.close());
  const session = agentAt(15_014, files.root, () => undefined, "no room for it");
  t.after(() => session.close());
  await session.ready;
  await plane.load("policies", policiesPush("bench-ours", 2));
  await assert.rejects(plane.push("policies", "node7"), /no room for it/);
});

test("policies deny callers that there are none of, and their removal names each of them", () => {
  const push = DeltaDiscoveryResponse.decode(policiesPush("bench-ours", 300));
  const removal = DeltaDiscoveryResponse.decode(policiesRemoval("bench-ours", 300));
  assert.deepEqual(
    removal.removedResources,
    push.resources.map(({ name }) => name),
  );
  const callers = new Set(
    push.resources.map(({ resource }) => JSON.stringify(Authorization.decode(resource!.value).rules)),
  );
  assert.equal(callers.size, 300);
});

test("each version of a mesh is another mesh to agents, and every push is told from what control says", () => {
  const size = { workloads: 3, services: 1, policies: 0 };
  const [a, b] = [meshPush("a", size), meshPush("b", size)].map((bytes) => DeltaDiscoveryResponse.decode(bytes));
  assert.deepEqual(
    a?.resources.map(({ name }) => name),
    b?.resources.map(({ name }) => name),
  );
  const changed = a?.resources.filter(({ resource }, at) => !resource?.value.equals(b!.resources[at]!.resource!.value));
  assert.equal(changed?.length, size.workloads);
  for (const push of [a, b]) assert.ok(push?.nonce.startsWith(pushNonce));
});

function planeAt(t: TestContext, port: number, more: readonly string[] = []): { files: PlaneFiles; folder: string } {
  const folder = mkdtempSync(join(tmpdir(), "plane-"));
  const files = planeFiles(folder, ["localhost", "127.0.0.1"], Date.now());
  const argv = [planeProgram, "--listen", `127.0.0.1:${port}`, ...files.flags, ...more];
  const child = spawn(process.execPath, argv, { stdio: ["ignore", "ignore", "inherit"] });
  t.after(async () => {
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    rmSync(folder, { recursive: true });
  });
  return { files, folder };
}

function agentAt(port: number, root: string, onResources: (count: number) => void, refusal?: string): XdsSession {
  return startXdsSession({
    address: `https://127.0.0.1:${port}`,
    rootCa: root,
    token: () => "nobody checks it",
    clusterId: "Kubernetes",
    node: { id: "ztunnel~1.1.1.1~z.istio-system~istio-system.svc", cluster: "", metadata: { NODE_NAME: "node7" } },
    onUpdate: ({ resources }) => {
      onResources(resources.length);
      return Promise.resolve(refusal === undefined ? [] : resources.map(({ name }) => ({ name, reason: refusal })));
    },
    clock: systemClock,
    log: silentLog,
  });
}
