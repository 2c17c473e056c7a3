import assert from "node:assert/strict";
import { test } from "node:test";
import { supportedVersions } from "../../core/protocol/cni/versions.ts";
import type { DaemonAnswer, Question } from "./ask-daemon.ts";
import { runPlugin, type Note, type Outcome } from "./run.ts";
import { environment } from "./test-support/call-plugin.ts";

const prevResult = {
  cniVersion: "1.0.0",
  interfaces: [{ name: "eth0", sandbox: "/var/run/netns/cni-1" }],
  ips: [{ interface: 0, address: "10.0.0.2/24", gateway: "10.0.0.1" }],
};
const config = { cniVersion: "1.0.0", name: "k8s", type: "ambient-cni", cni_agent_run_dir: "/run/x", prevResult };

test("ADD asks the daemon about the pod and answers with the result so far", async () => {
  const { outcome, questions } = await call(environment("ADD"), config);
  assert.deepEqual([outcome.exitCode, json(outcome)], [0, prevResult]);
  assert.deepEqual(questions, [
    {
      runDir: "/run/x",
      path: "/cmdadd",
      body:
        '{"Netns":"/var/run/netns/cni-1","PodName":"cart","PodNamespace":"shop",' +
        '"IPs":[{"Interface":0,"Address":{"IP":"10.0.0.2","Mask":"////AA=="},"Gateway":"10.0.0.1"}]}',
      patienceMs: 5000,
    },
  ]);
});

test("ADD answers in each version of the spec", async () => {
  for (const cniVersion of supportedVersions) {
    const older = cniVersion < "0.3.0";
    const written = older ? { ip4: { ip: "10.0.0.2/24" } } : { ips: [{ address: "10.0.0.2/24" }] };
    const { outcome } = await call(environment("ADD"), { ...config, cniVersion, prevResult: written });
    assert.deepEqual(json(outcome), { ...written, cniVersion });
  }
});

test("nobody is asked about an excluded namespace, or about what is no pod of Kubernetes", async () => {
  for (const [env, exclude_namespaces] of [
    [environment("ADD", "ambient-system/cni-x"), ["kube-system", "ambient-system"]],
    [environment("ADD", "kube-system/dns"), undefined],
    [{ ...environment("ADD"), CNI_ARGS: "" }, []],
    [{ ...environment("ADD"), CNI_ARGS: "K8S_POD_NAME=a" }, null],
  ] as const) {
    const { outcome, questions } = await call(env, { ...config, exclude_namespaces }, { kind: "cut", socket: "x" });
    assert.deepEqual([outcome.exitCode, questions], [0, []]);
  }
  const asked = await call(environment("ADD", "kube-system/dns"), { ...config, exclude_namespaces: [] });
  assert.equal(asked.questions.length, 1);
});

test("every way in which the daemon fails holds the pod back, with what is missing and what to do", async () => {
  const socket = "/run/x/pluginevent.sock";
  for (const [answer, code, words, details] of [
    [
      { kind: "absent", socket, errno: "ENOENT" },
      11,
      /shop\/cart is held back: the node daemon .* isn't running .*ENOENT/,
      /kubectl get pods/,
    ],
    [{ kind: "no", status: 500, reason: "no agent" }, 11, /held back: no agent/, /log of the daemon/],
    [{ kind: "no", status: 503, reason: "" }, 11, /503 without a reason/, /log/],
    [{ kind: "no", status: 400, reason: "what?" }, 999, /can't read our question: what\?/, /different releases/],
    [{ kind: "not-asked-here" }, 11, /404 without a reason/, /log/],
    [{ kind: "silent", socket, waitedMs: 5000 }, 11, /no answer on .* within 5 s/, /log/],
    [{ kind: "cut", socket }, 11, /ended while it was asked/, /kubectl/],
    [{ kind: "garbage", socket, problem: "bad" }, 999, /doesn't speak HTTP \(bad\)/, /ss -xlp/],
    [
      { kind: "stranger", socket, problem: "belongs to user 7 instead of 0" },
      999,
      /user 7.*can't be trusted/,
      /remove it/,
    ],
  ] as const) {
    const { outcome, notes } = await call(environment("ADD"), config, answer);
    const report = json(outcome) as { code: number; msg: string; details: string };
    assert.deepEqual([outcome.exitCode, report.code], [1, code], answer.kind);
    assert.match(report.msg, words);
    assert.match(report.details, details);
    assert.deepEqual(
      notes.map(({ level }) => level),
      ["error"],
    );
  }
});

test("CHECK asks too, and takes a daemon that doesn't know the question for one that has nothing against it", async () => {
  const checked = await call(environment("CHECK"), config);
  assert.deepEqual([checked.outcome, checked.questions[0]?.path], [{ stdout: "", exitCode: 0 }, "/cmdcheck"]);
  assert.equal((await call(environment("CHECK"), config, { kind: "not-asked-here" })).outcome.exitCode, 0);
  const refused = await call(environment("CHECK"), config, { kind: "no", status: 500, reason: "its rules have gone" });
  assert.match(refused.outcome.stdout, /its rules have gone/);
});

test("DEL and GC have nothing to do, and do it without the daemon, a namespace or a result", async () => {
  const gone = { ...environment("DEL"), CNI_NETNS: undefined, CNI_ARGS: undefined };
  const bare = { cniVersion: "1.1.0", name: "k8s", type: "ambient-cni" };
  for (const [env, verbConfig] of [
    [environment("DEL"), config],
    [gone, bare],
    [
      { CNI_COMMAND: "GC", CNI_PATH: "/x" },
      { ...bare, "cni.dev/valid-attachments": [{ containerID: "c1", ifname: "eth0" }] },
    ],
  ] as const) {
    const { outcome, questions } = await call(env, verbConfig, { kind: "cut", socket: "x" });
    assert.deepEqual([outcome, questions], [{ stdout: "", exitCode: 0 }, []]);
  }
});

test("STATUS is 50 when the daemon can't be reached, and nothing when it is there", async () => {
  const env = { CNI_COMMAND: "STATUS", CNI_PATH: "/x" };
  const newest = { ...config, cniVersion: "1.1.0" };
  for (const answer of [
    { kind: "yes" },
    { kind: "not-asked-here" },
    { kind: "no", status: 503, reason: "no agent" },
  ] as const)
    assert.deepEqual((await call(env, newest, answer)).outcome, { stdout: "", exitCode: 0 });
  for (const answer of [
    { kind: "absent", socket: "x", errno: "ENOENT" },
    { kind: "silent", socket: "x", waitedMs: 5000 },
  ] as const) {
    const report = json((await call(env, newest, answer)).outcome) as { code: number; msg: string };
    assert.equal(report.code, 50);
    assert.match(report.msg, /every new pod is held back/);
  }
});

test("STATUS says nothing of the daemon where that couldn't start on a node whose network isn't ready", async () => {
  const env = { CNI_COMMAND: "STATUS", CNI_PATH: "/x" };
  const given = { ...config, cniVersion: "1.1.0", status_reports_daemon: false };
  const { outcome, questions } = await call(env, given, { kind: "absent", socket: "x", errno: "ENOENT" });
  assert.deepEqual([outcome, questions], [{ stdout: "", exitCode: 0 }, []]);
});

test("VERSION needs no configuration, and no verb tells what this is", async () => {
  const version = await call({ CNI_COMMAND: "VERSION" }, undefined);
  assert.deepEqual(json(version.outcome), { cniVersion: "1.1.0", supportedVersions });
  const { outcome } = await call({}, undefined);
  assert.deepEqual([outcome.exitCode, outcome.stdout], [0, ""]);
  assert.match(outcome.stderr ?? "", /CNI plugin of ambientd[\s\S]*1\.1\.0/);
});

test("a bad call is refused with the spec's code, in its order: environment, JSON, name, version, verb", async () => {
  for (const [env, given, code, words] of [
    [{ CNI_COMMAND: "JUMP" }, "{", 4, /CNI_COMMAND says JUMP/],
    [{ CNI_COMMAND: "ADD", CNI_CONTAINERID: "c" }, "{", 4, /CNI_NETNS, CNI_IFNAME, CNI_PATH are missing/],
    [{ CNI_COMMAND: "DEL", CNI_IFNAME: "eth0", CNI_PATH: "/x" }, "{", 4, /CNI_CONTAINERID is missing/],
    [{ ...environment("ADD"), CNI_CONTAINERID: "../x" }, "{", 4, /CNI_CONTAINERID has/],
    [{ ...environment("ADD"), CNI_IFNAME: "an-interface-too-long" }, "{", 4, /CNI_IFNAME/],
    [{ ...environment("ADD"), CNI_IFNAME: "a/b" }, "{", 4, /CNI_IFNAME/],
    [environment("ADD"), "{", 6, /stdin/],
    [environment("ADD"), { cniVersion: "9.0.0" }, 7, /no name/],
    [environment("ADD"), { cniVersion: "9.0.0", name: "k8s" }, 1, /incompatible/],
    [environment("CHECK"), { cniVersion: "0.3.1", name: "k8s" }, 1, /incompatible/],
    [{ CNI_COMMAND: "GC", CNI_PATH: "/x" }, { cniVersion: "1.0.0", name: "k8s" }, 1, /incompatible/],
    [{ CNI_COMMAND: "STATUS", CNI_PATH: "/x" }, { cniVersion: "1.0.0", name: "k8s" }, 1, /incompatible/],
    [environment("ADD"), { ...config, cni_agent_run_dir: "relative" }, 7, /no absolute path/],
    [environment("ADD"), { ...config, exclude_namespaces: "kube-system" }, 6, /stdin/],
    [{ ...environment("ADD"), CNI_ARGS: "COLOUR=red" }, config, 4, /CNI_ARGS has keys/],
    [{ ...environment("ADD"), CNI_NETNS: "/own" }, config, 8, /namespace of the node itself/],
  ] as const) {
    const { outcome, questions } = await call(env, given);
    const report = json(outcome) as { code: number; msg: string };
    assert.deepEqual([outcome.exitCode, report.code, questions], [1, code, []], outcome.stdout);
    assert.match(report.msg, words);
  }
});

test("the node's own namespace is taken where the runtime says that it means it", async () => {
  const { outcome } = await call({ ...environment("ADD"), CNI_NETNS: "/own", CNI_NETNS_OVERRIDE: "true" }, config);
  assert.equal(outcome.exitCode, 0);
});

async function call(
  env: Readonly<Record<string, string | undefined>>,
  given: object | string | undefined,
  answer: DaemonAnswer = { kind: "yes" },
) {
  const questions: Question[] = [];
  const notes: Note[] = [];
  const outcome = await runPlugin({
    env,
    readConfig: async () => (typeof given === "string" ? given : JSON.stringify(given)),
    ask: async (question) => {
      questions.push(question);
      return answer;
    },
    isOwnNetns: (path) => path === "/own",
    note: (_settings, note) => void notes.push(note),
  });
  return { outcome, questions, notes: notes.filter(({ level }) => level !== "debug") };
}

function json({ stdout }: Outcome): unknown {
  return JSON.parse(stdout);
}
