/** An agent for one workload, on loopback: no node daemon, no control plane, no authority but its own. */
import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, test } from "node:test";
import { FakeCa } from "../../agent/fake-ca.ts";
import { systemClock } from "../../core/base/clock.ts";
import { CertificateError } from "../../control/client/certificates/certificate.ts";
import { application, ownAddresses } from "../support/loopback-mesh.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { TunnelClient } from "../support/tunnel-client.ts";
import { until } from "../support/until.ts";

const skip = enterNamespaces() ?? false;
const folder = mkdtempSync(join(tmpdir(), "dedicated-"));
after(() => rmSync(folder, { recursive: true }));
const program = ["--disable-sigusr1", join(import.meta.dirname, "../../bin/ambientd.ts"), "agent"];

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
    const file = join(folder, "mesh.yaml");
    writeFileSync(file, mesh(app.port));
    const agent = start(["proxy", "whatever"], {
      PROXY_MODE: "dedicated",
      PROXY_WORKLOAD_INFO: "shop/web/web",
      LOCAL_XDS_PATH: file,
      XDS_ADDRESS: "",
      CA_ADDRESS: "",
      FAKE_CA: "true",
      AMBIENTD_FAKE_CA_DIR: join(folder, "ca"),
      NODE_ENV: "test",
      IPV6_ENABLED: "false",
      ZTUNNEL_WORKER_THREADS: "1",
      // As the downward API has it: this agent is a pod, too, and must not take the workload's port for itself.
      POD_NAME: "web",
      POD_NAMESPACE: "shop",
      SERVICE_ACCOUNT: "web",
    });
    t.after(() => agent.child.kill("SIGKILL"));
    await until("it is ready", 20_000, () => agent.lines.some((line) => line.includes('"agent is ready"')));
    const authority = `10.99.0.3:${app.port}`;
    const friend = await client("client");
    const answer = await friend.connect(authority);
    assert.equal(answer.status, 200);
    answer.stream.write("ping");
    assert.equal(String(((await once(answer.stream, "data")) as [Buffer])[0]), "ping");
    const stranger = await client("stranger");
    assert.equal(await stranger.status(authority), 401);
    friend.close();
    stranger.close();
    agent.child.kill("SIGTERM");
    await until("it ends in order", 15_000, () => agent.child.exitCode === 0);
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

/** Another workload of the same test: a certificate of the same root. */
async function client(serviceAccount: string): Promise<TunnelClient> {
  const ca = new FakeCa({ folder: join(folder, "ca"), validitySeconds: 3_600, clock: systemClock });
  const identity = { trustDomain: "cluster.local", namespace: "shop", serviceAccount };
  const issued = await ca.fetch(identity);
  assert.ok(!(issued instanceof CertificateError));
  const { chainPem, key, rootsPem, notAfter } = issued;
  const pem = key.export({ type: "pkcs8", format: "pem" }) as string;
  const tls = { identity, chain: chainPem.join(""), key: pem, roots: rootsPem, notAfter };
  return new TunnelClient({ address: "10.99.0.3", port: 15_008 }, tls, "10.99.0.2");
}

function start(argv: string[], env: Record<string, string>): { child: ChildProcess; lines: string[] } {
  const child = spawn(process.execPath, [...program, ...argv], {
    env: { PATH: process.env["PATH"] ?? "/bin", ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
  return { child, lines };
}
