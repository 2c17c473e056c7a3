/** The commands as a shell runs them, against a scripted cluster: golden output, sentences and exit codes. */
import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { answers, appPod, demo, ourPod, type Demo } from "../test-support/demo-cluster.ts";
import { ambientctl, type Ran } from "../test-support/run.ts";
import { refusal, ScriptedApi, type Forwarded } from "../test-support/scripted-api.ts";

const api = new ScriptedApi();
const folder = mkdtempSync(join(tmpdir(), "ambientctl-"));
let world: Demo;

before(() => api.start());
after(async () => {
  await api.close();
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(() => {
  world = demo();
  api.answer = answers(world);
  api.forward = forwarded;
  api.asked.length = 0;
});

test("workloads are what all agents say, merged", async () => {
  const { code, stdout, stderr } = await ask("workloads");
  assert.equal(
    stdout,
    `NAMESPACE  NAME      ADDRESSES  NODE   PROTOCOL  SERVICE ACCOUNT  STATUS   POLICIES  KNOWN BY
shop       client-1  10.0.1.2   node1  HBONE     app              Healthy            2/2
shop       server-1  10.0.2.2   node2  HBONE     app              Healthy            2/2
`,
  );
  assert.deepEqual([code, stderr], [0, ""]);
});

test("a disagreement is said on standard error and stands in the data", async () => {
  const { node1 } = world.dumps;
  world.dumps["node1"] = {
    ...node1!,
    workloads: node1!.workloads.map((one) => ({ ...one, protocol: "TCP" })).slice(0, 1),
  };
  const table = await ask("workloads");
  assert.match(table.stderr, /shop\/client-1: the agents disagree about its protocol: TCP at node1; HBONE at node2\./);
  assert.match(table.stderr, /shop\/server-1: the agent of node1 doesn't know it\./);
  const { stdout } = await ask("workloads", "-o", "json", "-n", "shop");
  const [row] = JSON.parse(stdout) as { differences: { field: string }[]; knownBy: string[] }[];
  assert.deepEqual(
    row?.differences.map(({ field }) => field),
    ["protocol"],
  );
});

test("an agent that can't be asked is named, the others answer, and the exit code says so", async () => {
  api.forward = (pod, port) => (pod === "agent-node1" ? { kind: "status", status: 403 } : forwarded(pod, port));
  const { code, stdout, stderr } = await ask("workloads");
  assert.match(stdout, /server-1/);
  assert.match(
    stderr,
    /^Without node1: You may not forward a port of ambient-system\/agent-node1\.\n {2}It takes get and create/,
  );
  assert.equal(code, 3);
  api.forward = () => ({ kind: "status", status: 403 });
  const nobody = await ask("workloads");
  assert.deepEqual([nobody.code, nobody.stdout], [2, ""]);
});

test("certificates come in a table, as JSON and as YAML", async () => {
  const { stdout } = await ask("certificates", "--node", "node1");
  assert.equal(
    stdout,
    `NODE   IDENTITY                             STATE      VALID FROM                EXPIRES                   SERIAL
node1  spiffe://cluster.local/ns/shop/sa/app  Available  2026-01-01T00:00:00.000Z  2096-01-01T00:00:00.000Z  17
`.replace("IDENTITY                             STATE", "IDENTITY                               STATE"),
  );
  const yaml = await ask("-o", "yaml", "certificates", "--agent", "agent-node2");
  assert.match(yaml.stdout, /^- node: node2\n {2}identity: spiffe:/);
  assert.equal((await ask("certificates", "-n", "outside", "-o", "json")).stdout, "[]\n");
});

test("a node or an agent that isn't there is answered with those that are", async () => {
  const node = await ask("workloads", "--node", "node9");
  assert.deepEqual([node.code, node.stderr], [2, "No agent runs on node node9.\n  Nodes with one: node1, node2.\n"]);
  const agent = await ask("workloads", "--agent", "nope");
  assert.match(agent.stderr, /There is no agent nope\.\n {2}There are agent-node1 \(node1\), agent-node2 \(node2\)\./);
});

test("an agent that isn't running is not asked, and why it isn't is said", async () => {
  const pod = ourPod("agent", "agent-node1", "node1");
  const waiting = {
    name: "agent",
    restartCount: 4,
    state: { waiting: { reason: "CrashLoopBackOff", message: "back-off 40s" } },
  };
  world.pods = [{ ...pod, status: { phase: "Pending", containerStatuses: [waiting] } }];
  const { code, stderr } = await ask("workloads");
  assert.match(
    stderr,
    /isn't running: agent: CrashLoopBackOff \(back-off 40s\), restarted 4 times\.\n {2}kubectl -n ambient-system describe pod agent-node1/,
  );
  assert.equal(code, 2);
});

test("without ambientd the next step is to install it, and a ztunnel is asked as an agent is", async () => {
  world.pods = [];
  const none = await ask("workloads");
  assert.deepEqual([none.code, none.stderr.split("\n")[0]], [2, "No agent runs in this cluster."]);
  const { metadata, ...rest } = ourPod("agent", "agent-node1", "node1");
  world.pods = [{ ...rest, metadata: { ...metadata, namespace: "istio-system", labels: { app: "ztunnel" } } }];
  assert.match((await ask("workloads")).stdout, /client-1.*1\/1/);
});

test("who may not list every namespace's pods is shown the usual one's", async () => {
  const inner = answers(world);
  api.answer = (asked) =>
    asked.path === "/api/v1/pods" ? refusal(403, "Forbidden", 'pods is forbidden: User "x" cannot list') : inner(asked);
  assert.match((await ask("workloads")).stdout, /client-1/);
  api.answer = () => refusal(403, "Forbidden", 'pods is forbidden: User "x" cannot list');
  const { code, stderr } = await ask("workloads");
  assert.match(stderr, /^You may not: pods is forbidden: User "x" cannot list\.\n {2}Ask for a Role/);
  assert.equal(code, 2);
});

test("the log is one line a connection, of all agents in order of time", async () => {
  const inner = answers(world);
  api.answer = (asked) => {
    const [, pod] = /pods\/agent-(\w+)\/log$/.exec(asked.path) ?? [];
    return pod === undefined ? inner(asked) : { body: logs[pod] };
  };
  const { stdout } = await ask("log", "--since", "100000h", "--tail", "100");
  assert.equal(
    stdout,
    `2026-01-01T00:00:01Z node2 inbound  shop/client-1 → shop/server-1 hbone as spiffe://a OK 3ms
2026-01-01T00:00:02Z node1 outbound shop/client-1 → shop/server-1 hbone as spiffe://a POLICY_DENIED (shop/deny) 3ms
`,
  );
  const { query } = api.asked.find(({ path }) => path.endsWith("agent-node1/log"))!;
  assert.deepEqual(Object.fromEntries(query), { container: "agent", sinceSeconds: "360000000", tailLines: "100" });
  assert.equal((await ask("log", "--pod", "nothing")).stdout, "");
  assert.equal((await ask("log", "--since", "1ms")).stdout, "");
});

test("version names every part, and where two differ", async () => {
  world.pods = [
    ...world.pods.filter(({ metadata }) => metadata.name !== "agent-node2"),
    ourPod("agent", "agent-node2", "node2", "registry.test/ambientd:0.2.0"),
  ];
  const { code, stdout, stderr } = await ask("version");
  assert.equal(
    stdout,
    `ambientctl 0.1.0

COMPONENT  NODE   POD                         VERSION  IMAGE                         READY
agent      node1  ambient-system/agent-node1  0.1.0    registry.test/ambientd:0.1.0  yes
agent      node2  ambient-system/agent-node2  0.2.0    registry.test/ambientd:0.2.0  yes
cni        node1  ambient-system/cni-node1    0.1.0    registry.test/ambientd:0.1.0  yes
cni        node2  ambient-system/cni-node2    0.1.0    registry.test/ambientd:0.1.0  yes
control    node1  ambient-system/control-1    0.1.0    registry.test/ambientd:0.1.0  yes
`,
  );
  assert.equal(stderr, "agent runs in 2 versions: 0.1.0 on node1; 0.2.0 on node2.\n");
  assert.equal(code, 0);
});

test("this program's own version asks nobody", async () => {
  assert.deepEqual(await ambientctl(["version", "--client"]), { code: 0, stdout: "ambientctl 0.1.0\n", stderr: "" });
});

test("a namespace is enrolled by its label alone, and once", async () => {
  const first = await ask("namespace", "enroll", "outside");
  assert.equal(first.stderr, "namespace/outside enrolled\n");
  const [patch] = api.asked.filter(({ method }) => method === "PATCH");
  assert.deepEqual(patch?.body, { metadata: { labels: { "istio.io/dataplane-mode": "ambient" } } });
  assert.equal((await ask("ns", "enroll", "outside")).stderr, "namespace/outside was already enrolled\n");
  assert.equal((await ask("namespace", "unenroll", "outside")).stderr, "namespace/outside unenrolled\n");
  assert.deepEqual(world.namespaces[1]?.metadata.labels, {});
  const missing = await ask("namespace", "enroll", "nope");
  assert.deepEqual(missing, {
    code: 2,
    stdout: "",
    stderr:
      "There is no namespace nope in this cluster.\n  There are shop, outside; --context chooses another cluster.\n",
  });
});

test("waiting ends when the last pod is captured, and says how far it is", async () => {
  world.pods.push(appPod("late", "node1", "pending"));
  const inner = answers(world);
  let looks = 0;
  api.answer = (asked) => {
    if (asked.path === "/api/v1/namespaces/shop/pods" && ++looks === 2) {
      world.pods = [
        ...world.pods.filter(({ metadata }) => metadata.name !== "late"),
        appPod("late", "node1", "captured"),
      ];
    }
    return inner(asked);
  };
  const { code, stderr } = await ask("namespace", "enroll", "shop", "--wait");
  assert.deepEqual(
    [code, stderr],
    [0, "namespace/shop was already enrolled\n  2 captured, 1 pending\n  3 captured, 0 pending\n"],
  );
});

test("waiting names the pods that can't be captured, and those that weren't in time, each with the reason", async () => {
  world.pods.push(appPod("host", "node1", "pending", { hostNetwork: true }), appPod("late", "node1", "pending"));
  world.events.push({ reason: "AmbientNotServed", message: "no agent", involvedObject: { name: "late", uid: "late" } });
  const { code, stderr, stdout } = await ask("namespace", "enroll", "shop", "--wait", "--timeout", "0", "-o", "json");
  assert.match(stderr, /shop\/host can't be captured: it uses its node's own network \(hostNetwork\)\./);
  assert.match(stderr, /shop\/late is still pending: AmbientNotServed: no agent\./);
  assert.equal(code, 1);
  const [{ captured, pending }] = JSON.parse(stdout) as [{ captured: number; pending: object[] }];
  assert.deepEqual([captured, pending], [2, [{ pod: "shop/late", why: "AmbientNotServed: no agent" }]]);
});

test("waiting for the way out ends when no pod is captured but those that say so themselves", async () => {
  const stays = appPod("stays", "node1", "captured");
  world.pods.push({ ...stays, metadata: { ...stays.metadata, labels: { "istio.io/dataplane-mode": "ambient" } } });
  const inner = answers(world);
  let looks = 0;
  api.answer = (asked) => {
    if (asked.path === "/api/v1/namespaces/shop/pods" && ++looks === 2) {
      world.pods = world.pods.map((pod) =>
        pod.metadata.namespace === "shop" && pod.metadata.name !== "stays"
          ? appPod(pod.metadata.name, "node1", "pending")
          : pod,
      );
    }
    return inner(asked);
  };
  const { code, stderr } = await ask("namespace", "unenroll", "shop", "--wait");
  assert.match(
    stderr,
    /0 out of the mesh, 2 still captured\n {2}2 out of the mesh, 0 still captured\n {2}shop\/stays stays in the mesh/,
  );
  assert.equal(code, 0);
});

test("verify says of each node what it does, and fails where it doesn't", async () => {
  const good = await ask("verify", "node");
  assert.equal(good.code, 0, good.stdout);
  assert.equal(good.stdout.split("\n").length, 17);
  world.dumps["node2"] = { ...world.dumps["node2"]!, xds: { phase: "waiting" } };
  const bad = await ask("verify", "node", "node2");
  assert.match(
    bad.stdout,
    /node2 {2}control-connected {3}failed {2}its stream is waiting\n {4}See that ambientd-control/,
  );
  assert.equal(bad.code, 1);
  assert.match((await ask("verify", "node", "node9")).stderr, /There is no node node9\.\n {2}There are node1, node2\./);
});

test("a check that couldn't be made is no pass", async () => {
  api.forward = () => ({ kind: "status", status: 403 });
  const { code, stdout } = await ask("verify", "node", "node1", "-o", "json");
  assert.equal(code, 3);
  const checks = JSON.parse(stdout) as { name: string; outcome: string; nextStep?: string }[];
  assert.deepEqual(
    checks.filter(({ outcome }) => outcome === "skipped").map(({ name }) => name),
    ["plugin-installed", "control-connected", "pods-served", "certificates-valid"],
  );
});

test("install looks first, then has Helm do it with what was passed through", async () => {
  const helm = fakeHelm(0);
  const { code, stdout } = await ask(
    "install",
    "--helm",
    helm,
    "--set",
    "a=b",
    "-f",
    "my.yaml",
    "--wait",
    "--timeout",
    "5m",
    "-n",
    "mesh",
    "--context",
    "here",
    "--",
    "--atomic",
  );
  assert.equal(code, 0);
  assert.match(stdout, /^kubernetes-version {2}ok {2}v1\.36\.3\n[\s\S]*helm {16}ok {2}v4\.3 /);
  const said = readFileSync(join(folder, "said"), "utf8").trim();
  assert.match(
    said,
    /^upgrade --install ambientd \S+\/deploy\/chart --namespace mesh --create-namespace --values my\.yaml --set a=b --wait --timeout 5m --kube-context here --atomic$/,
  );
});

test("install changes nothing where a check fails, unless that check is to be ignored", async () => {
  world.daemonSets.push({
    metadata: { name: "z", namespace: "istio-system" },
    spec: { selector: { matchLabels: { app: "ztunnel" } } },
  });
  const helm = fakeHelm(0);
  const refused = await ask("install", "--helm", helm);
  assert.match(
    refused.stdout,
    /ztunnel +failed {2}istio-system\/z would serve the same pods\n {4}Remove it, or keep it/,
  );
  assert.deepEqual([refused.code, refused.stderr, saidToHelm()], [1, "Nothing was changed.\n", undefined]);
  const forced = await ask("install", "--helm", helm, "--ignore", "ztunnel", "--dry-run");
  assert.equal(forced.code, 0);
  assert.match(saidToHelm() ?? "", /--dry-run=server/);
});

test("a Helm that is missing, too old or fails is named with the fix", async () => {
  const none = await ask("install", "--preflight-only");
  assert.match(none.stdout, /helm +failed {2}Helm isn't on PATH\.\n {4}Install Helm 3\.14 or newer .*--helm FILE/);
  assert.equal(none.code, 1);
  assert.match(
    (await ask("install", "--helm", "/nowhere/helm")).stdout,
    /\/nowhere\/helm is no program that can be run/,
  );
  assert.match((await ask("install", "--helm", fakeHelm(0, "v3.2.1"))).stdout, /is Helm v3\.2\.1, which is too old/);
  const failing = await ask("install", "--helm", fakeHelm(7));
  assert.match(failing.stderr, /Helm ended with 7\./);
  assert.equal(failing.code, 1);
  assert.match((await ask("install", "--helm", fakeHelm(0), "--user", "somebody")).stderr, /Helm knows no --user/);
  assert.match((await ask("install", "--chart", "/nowhere")).stderr, /\/nowhere is no chart/);
});

test("uninstall goes where it is, and says which pods are left in the mesh", async () => {
  const helm = fakeHelm(0);
  const left = await ask("uninstall", "--helm", helm);
  assert.match(saidToHelm() ?? "", /^uninstall ambientd --namespace ambient-system --wait --kube-context here$/);
  assert.match(
    left.stderr,
    /2 pods still say that they are captured: shop\/client-1, shop\/server-1\.\n {2}Their node's daemon/,
  );
  assert.equal(left.code, 1);
  world.pods = [];
  const clean = await ask("uninstall", "--helm", helm);
  assert.deepEqual([clean.code, clean.stderr.trim().split("\n").at(-1)], [0, "No pod is left in the mesh."]);
  const unknown = await ask("uninstall", "--helm", fakeHelm(0, "v4.3", 1));
  assert.match(unknown.stderr, /Helm knows no release ambientd in namespace ambient-system/);
});

test("an API server that is gone, and a context that isn't there, are named with what to check", async () => {
  const gone = await ask("workloads", "--context", "gone");
  assert.match(
    gone.stderr,
    /The API server at http:\/\/127\.0\.0\.1:1 can't be reached: .*\n {2}Check that the cluster runs/,
  );
  const missing = await ask("--context", "nope", "version");
  assert.match(missing.stderr, /there is no context "nope"; contexts are here, gone/);
  assert.deepEqual([gone.code, missing.code], [2, 2]);
});

test("KUBECONFIG may be a list, and a flag before the command is a flag after it", async () => {
  const ran = await ambientctl(["-o", "json", "version"], { KUBECONFIG: `/nonexistent:${api.kubeconfig}` });
  assert.equal((JSON.parse(ran.stdout) as { client: string }).client, "0.1.0");
});

test("a flag that is wrong names itself and its fix", async () => {
  const cases: [string[], RegExp][] = [
    [["workloads", "--contxt", "a"], /unknown option '--contxt'\n\(Did you mean --context\?\)/],
    [
      ["workloads", "--request-timeout", "soon"],
      /'--request-timeout <time>' argument 'soon' is invalid\. write 0, 30s/,
    ],
    [["workloads", "-o", "xml"], /Allowed choices are table, json, yaml/],
    [["log", "--tail", "-1"], /at least 0 is needed/],
    [["verfy"], /unknown command 'verfy'\n\(Did you mean verify\?\)/],
    [["namespace", "enroll"], /missing required argument 'name'/],
    [
      ["verify", "node", "--lab", "a"],
      /ambientctl verify node is for clusters, and --lab a names a lab\.\n {2}For a lab: npm start -- --check/,
    ],
    [["version"], /ambientctl version is for clusters, and nothing names one\.\n {2}Name a cluster: --kubeconfig FILE/],
    [["workloads", "--lab", "nope"], /No lab of yours is named nope/],
  ];
  for (const [argv, expected] of cases) {
    const { code, stderr } = await ambientctl(argv);
    assert.match(stderr, expected);
    assert.equal(code, 2, argv.join(" "));
  }
});

function ask(...argv: string[]): Promise<Ran> {
  // A lab that happens to run on this machine is not meant.
  const which = argv.includes("--context") ? [] : ["--context", "here"];
  return ambientctl([...which, ...argv], { KUBECONFIG: api.kubeconfig });
}

function forwarded(pod: string, port: number): Forwarded {
  const node = pod.replace(/^\w+-/, "");
  if (pod.startsWith("cni-") && port === 8000) return { kind: "http", answer: () => ({ body: "ok\n" }) };
  return { kind: "http", answer: () => ({ body: world.dumps[node] ?? world.dumps["node1"] }) };
}

/** Writes down what it is told. @param code how upgrade and uninstall end. */
function fakeHelm(code: number, version = "v4.3", statusCode = 0): string {
  rmSync(join(folder, "said"), { force: true });
  const file = join(folder, "helm");
  writeFileSync(
    file,
    `#!/bin/sh\ncase "$1" in\nversion) echo ${version} ;;\nstatus) exit ${statusCode} ;;\n*) echo "$*" > ${folder}/said; exit ${code} ;;\nesac\n`,
  );
  chmodSync(file, 0o755);
  return file;
}

function saidToHelm(): string | undefined {
  try {
    return readFileSync(join(folder, "said"), "utf8").trim();
  } catch {
    return undefined;
  }
}

const closed = {
  scope: "access",
  protocol: "hbone",
  "src.addr": "10.0.1.2:1",
  "src.workload": "client-1",
  "src.namespace": "shop",
  "src.identity": "spiffe://a",
  "dst.workload": "server-1",
  "dst.namespace": "shop",
  duration: "3ms",
  trace: "0".repeat(32),
};
const logs: Record<string, string> = {
  node1: `not json\n${JSON.stringify({ ...closed, time: "2026-01-01T00:00:02Z", direction: "outbound", reason: "POLICY_DENIED", policy: "shop/deny" })}\n`,
  node2: `${JSON.stringify({ ...closed, time: "2026-01-01T00:00:01Z", direction: "inbound", reason: "OK" })}\n{"scope":"other"}\n`,
};
