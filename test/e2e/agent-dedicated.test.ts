/** An agent for one workload, on loopback: no node daemon, no control plane, no authority but its own. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { agentProgram as program, DedicatedAgent } from "../support/dedicated-agent.ts";
import { application, ownAddresses } from "../support/loopback-mesh.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { until } from "../support/until.ts";

const skip = enterNamespaces() ?? false;

const mesh = (appPort: number): string => `
workloads:
- {uid: client, name: client, namespace: shop, serviceAccount: client, trustDomain: cluster.local, workloadIps: [10.99.0.2], protocol: HBONE}
- uid: web
  name: web
  namespace: shop
  serviceAccount: web
  trustDomain: cluster.local
  workloadIps: [10.99.0.3]
  protocol: HBONE
  authorizationPolicies: [shop/only-client]
policies:
- name: only-client
  namespace: shop
  scope: WorkloadSelector
  action: Allow
  rules: [[[{principals: [{Exact: cluster.local/ns/shop/sa/client}], destinationPorts: [${appPort}]}]]]
`;

test(
  "F-002 F-123 F-125 F-141 F-003 one workload is served from a file, with certificates of a test's own authority and nobody else",
  { skip },
  async (t) => {
    await ownAddresses();
    const app = await application("10.99.0.3", (socket) => socket.pipe(socket));
    t.after(app.close);
    const agent = new DedicatedAgent(t);
    const file = join(agent.folder, "mesh.yaml");
    writeFileSync(file, mesh(app.port));
    const child = agent.start({ LOCAL_XDS_PATH: file, XDS_ADDRESS: "" });
    await until("it is ready", 20_000, () => agent.says("agent is ready"));
    const authority = `10.99.0.3:${app.port}`;
    const friend = await agent.peer("client");
    const answer = await friend.connect(authority);
    assert.equal(answer.status, 200);
    answer.stream.write("ping");
    assert.equal(String(((await once(answer.stream, "data")) as [Buffer])[0]), "ping");
    const stranger = await agent.peer("stranger");
    assert.equal(await stranger.status(authority), 401);
    friend.close();
    stranger.close();
    child.kill("SIGTERM");
    await until("it ends in order", 15_000, () => child.exitCode === 0);
  },
);

test("F-003 version and help are answered, and what is no command is refused with the help", () => {
  const run = (...argv: string[]): { status: number | null; stdout: string; stderr: string } =>
    spawnSync(process.execPath, [...program, ...argv], { encoding: "utf8", env: { PATH: "/bin" } });
  assert.match(run("version").stdout, /^\d+\.\d+\.\d+\n$/);
  const help = run("help");
  assert.deepEqual([help.status, help.stdout.startsWith("usage: ambientd agent")], [0, true]);
  const wrong = run("serve");
  assert.deepEqual([wrong.status, wrong.stderr.startsWith("usage: ambientd agent")], [1, true]);
});

test("F-123 a local mesh that cannot be read keeps the agent from starting, with its place", () => {
  const run = spawnSync(process.execPath, program, {
    encoding: "utf8",
    env: { PATH: "/bin", LOCAL_XDS: "workloads: [{uid: a, name: a, namespace: b, workloadIps: [x]}]" },
  });
  assert.equal(run.status, 2);
  assert.match(run.stderr, /LOCAL_XDS: workloads\[0\]\.workloadIps\[0\] is no IP address/);
});
