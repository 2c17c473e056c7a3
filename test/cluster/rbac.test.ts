/**
 * What our parts may do with the API, on a real API server: nothing they do is refused, nothing is granted that isn't used,
 * and each single right is missed when it is withheld.
 */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { join } from "node:path";
import { until } from "../support/until.ts";
import { Unavailable, type Cluster } from "./cluster.ts";
import {
  meshedCluster,
  chart,
  install,
  installedTag,
  namespace,
  release,
  remove,
  systemNamespace,
} from "./mesh/install.ts";
import { Administrator, createAccounts, inLanes, removeAccounts, type Account } from "./rights/accounts.ts";
import { AuditLog, type Asked } from "./rights/audit-log.ts";
import { forbidden, refusedFor, type Bench } from "./rights/bench.ts";
import * as cni from "./rights/cni-trial.ts";
import * as control from "./rights/control-trial.ts";
import { describeGrant, grantsOf, type Grant } from "./rights/grants.ts";
import { labelled, newNamespace, oddPods, replacedDaemon, somethingSaid } from "./rights/situations.ts";
import { leaveTraces, tracesLeft, tryRelease } from "./rights/release-trial.ts";

const cluster = await meshedCluster();
const skip = cluster instanceof Unavailable ? `no cluster: ${cluster.missing}` : false;
const own = "rights";
const second = "rights-second";
const everyday = "rights-everyday";
const fresh = "rights-fresh";

describe("the rights of our parts", { skip }, () => {
  const mesh = cluster as Cluster;
  let admin: Administrator;
  let audit: AuditLog;
  let bench: Bench;
  let tag = "";
  /** What control watches when it is there. */
  let gateways = "";
  let hadGateways = false;
  const grants = { control: [] as Grant[], cni: [] as Grant[], release: [] as Grant[] };

  before(async () => {
    tag = (await installedTag(mesh))!;
    admin = await Administrator.connect();
    audit = new AuditLog();
    bench = { admin, audit, namespace: own };
    const template = await mesh.helm(["template", release, chart, "-n", systemNamespace, "--set", "image.tag=none"]);
    for (const part of ["control", "cni", "release"] as const) {
      grants[part] = grantsOf(template.stdout, `ambientd-${part}`);
    }
    await mesh.mustKubectl(["delete", "namespace", fresh, "--ignore-not-found"]);
    await Promise.all([own, second, everyday].map((name) => namespace(mesh, name)));
    gateways = join(mesh.parts.gatewayApi, "standard");
    hadGateways = (await mesh.kubectl(["get", "crd", "gateways.gateway.networking.k8s.io"])).code === 0;
    if (!hadGateways) await mesh.mustKubectl(["apply", "--server-side", "-f", gateways]);
    const accounts = Object.entries(grants).flatMap(([part, all]): Account[] => [
      { name: part, grants: all },
      ...all.map((lacking, index) => ({ name: `${part}-${index}`, grants: all.filter((one) => one !== lacking) })),
    ]);
    await removeAccounts(admin, own);
    await createAccounts(admin, own, accounts);
    await somethingSaid({ ...bench, namespace: everyday }, "before");
    // Parts that are tried below would contend with installed ones; and what a release does is to be seen, too.
    const uninstalled = await mesh.helm(["uninstall", release, "-n", systemNamespace, "--wait"]);
    assert.equal(uninstalled.code, 0, uninstalled.stderr);
  });
  after(async () => {
    await removeAccounts(admin, own);
    if (!hadGateways) await mesh.kubectl(["delete", "-f", gateways, "--wait=false"]);
    await remove(mesh, own, second, everyday, fresh);
    admin.close();
    audit.close();
  });

  /** By control with all rights, of a Secret. */
  function watched(name: string): boolean {
    return audit.of(`${own}:control`).some((asked) => asked.verb === "watch" && asked.name === name);
  }

  it("are each missed by control when withheld", async () => {
    await admin.create([
      { kind: "ServiceAccount", metadata: { name: control.agent, namespace: own } },
      { kind: "Pod", metadata: { name: control.agent, namespace: own }, spec: agentSpec },
      { kind: "ConfigMap", metadata: { name: "istio-ca-root-cert", namespace: second } },
    ]);
    await control.tellable(bench, "control");
    // With all of them, first from nothing and then with a root that was plugged in, everything holds.
    const whole = await control.ControlTrial.start(bench, "control");
    for (const grant of grants.control) {
      const { what, holds } = control.purposeOf(grant, second);
      await until(`with all rights: ${what} (${describeGrant(grant)})`, 10_000, () => holds(whole));
    }
    await whole.close();
    await control.plugIn(bench);
    const pluggedIn = await control.ControlTrial.start(bench, "control");
    await until("news of cacerts", 10_000, () => watched("cacerts"));
    await pluggedIn.close();
    assert.deepEqual(forbidden(bench, "control"), []);
    const trials = grants.control.map((lacking, index) => ({ lacking, account: `control-${index}` }));
    const withhold = async ({ lacking, account }: (typeof trials)[number]): Promise<void> => {
      const { what, prepare, holds } = control.purposeOf(lacking, second);
      if (!control.isReading(lacking)) {
        await control.tidy(bench);
        await control.tellable(bench, account);
      }
      await prepare?.(bench);
      const trial = await control.ControlTrial.start(bench, account);
      try {
        if (describeGrant(lacking).startsWith("create tokenreviews")) await trial.issues();
        await refusedFor(bench, account, lacking);
        const isMissed = await until("the loss", 5_000, async () => !(await holds(trial))).catch(() => false);
        assert.ok(isMissed, `without ${describeGrant(lacking)} there is ${what} all the same`);
      } finally {
        await trial.close();
      }
    };
    await inLanes(
      trials.filter(({ lacking }) => control.isReading(lacking)),
      withhold,
      6,
    );
    for (const trial of trials) if (!control.isReading(trial.lacking)) await withhold(trial);
  });

  it("are each missed by a node's daemon when withheld", async () => {
    const tryOne = async (account: string, grant: Grant, lacks: boolean): Promise<void> => {
      const { what, late, holds } = cni.purposeOf(grant);
      const right = describeGrant(grant);
      const trial = await cni.CniTrial.start(bench, account, late);
      try {
        // Who may not even list never becomes ready.
        if (grant.verb !== "list" || !lacks) await until(`${account} is ready`, 10_000, () => trial.isReady());
        const outcome = holds(trial);
        if (lacks) await Promise.all([refusedFor(bench, account, grant), outcome]);
        const isReading = /^(list|watch)$/.test(grant.verb);
        // Its log is written after the API server's.
        const lost = async (): Promise<boolean> => !(await holds(trial));
        const isThere = isReading ? !(await until("the loss", 5_000, lost).catch(() => false)) : await outcome;
        assert.equal(isThere, !lacks, `${lacks ? "without" : "with"} ${right}: ${what}`);
      } finally {
        await trial.close();
      }
    };
    const tryAll = async (account: string, tried: readonly { readonly grant: Grant }[]): Promise<void> => {
      const trial = await cni.CniTrial.start(bench, account);
      try {
        await until(`${account} is ready`, 10_000, () => trial.isReady());
        for (const { grant } of tried)
          assert.equal(await cni.purposeOf(grant).holds(trial), true, describeGrant(grant));
      } finally {
        await trial.close();
      }
    };
    const trials = grants.cni.map((grant, index) => ({ grant, account: `cni-${index}` }));
    const isReading = ({ grant }: (typeof trials)[number]): boolean => /^(list|watch)$/.test(grant.verb);
    await cni.furnish(bench);
    await Promise.all([
      tryAll("cni", trials.filter(isReading)),
      inLanes(trials.filter(isReading), ({ grant, account }) => tryOne(account, grant, true), 4),
    ]);
    await cni.clear(bench);
    for (const { grant, account } of trials.filter((trial) => !isReading(trial))) {
      for (const [who, lacks] of [
        ["cni", false],
        [account, true],
      ] as const) {
        await cni.furnish(bench);
        await tryOne(who, grant, lacks);
        await cni.clear(bench);
      }
    }
    assert.deepEqual(forbidden(bench, "cni"), []);
  });

  it("are each missed by a release when withheld", async () => {
    for (const [index, lacking] of grants.release.entries()) {
      const account = `release-${index}`;
      await leaveTraces(bench, account);
      const outcome = await tryRelease(bench, account);
      assert.equal(outcome.kind, "refused", `without ${describeGrant(lacking)}`);
      await refusedFor(bench, account, lacking);
    }
    await leaveTraces(bench, "release");
    assert.equal((await tracesLeft(bench, "release")).length, 8);
    const outcome = await tryRelease(bench, "release");
    assert.equal(outcome.kind, "released");
    assert.deepEqual(await tracesLeft(bench, "release"), []);
    assert.deepEqual(forbidden(bench, "release"), []);
    // Or the chart would take it for another installation.
    await admin.delete("DaemonSet", own, "ambientd-cni");
    await admin.delete("Deployment", own, "ambientd-control");
  });

  it("suffice for an installation and everything it comes across", async () => {
    const refused = (): string[] =>
      Object.keys(grants).flatMap((part) =>
        forbidden({ ...bench, namespace: systemNamespace }, `ambientd-${part}`).map((text) => `${part}: ${text}`),
      );
    // A daemon that ends with its installation asks for the DaemonSet, which is gone, by a right that is gone.
    const parting = "cni: get daemonsets.apps[ambientd-cni]";
    assert.deepEqual(
      refused().filter((text) => text !== parting),
      [],
    );
    const before = new Set(installedAsked());
    await install(mesh, tag);
    await labelled(mesh, everyday);
    await somethingSaid({ ...bench, namespace: everyday }, "after");
    await newNamespace(bench, fresh);
    await Promise.all([oddPods(mesh, { ...bench, namespace: everyday }), replacedDaemon(mesh)]);
    const since = installedAsked().filter((asked) => !before.has(asked));
    assert.ok(since.length > 100, `${since.length} requests`);
    assert.deepEqual(
      since.filter(({ isForbidden, code }) => isForbidden || code === 403),
      [],
    );
    // By our own roles, not by others that are wider.
    for (const { account, why, path } of since) {
      const [, name = ""] = account.split(":");
      assert.match(why, new RegExp(`(Cluster)?Role "${name}" `), path);
    }
  });

  it("are all used", (t) => {
    for (const [part, all] of Object.entries(grants)) {
      const asked = audit.of(`${systemNamespace}:ambientd-${part}`);
      // A root that was plugged in is watched like ours; the installed mesh has its own.
      const tried = audit.of(`${own}:${part}`).filter(({ name }) => name === "cacerts");
      const used = [...asked, ...tried].filter(({ isForbidden }) => !isForbidden);
      const idle = all.filter((grant) => !used.some((one) => isUse(one, grant)));
      assert.deepEqual(idle.map(describeGrant), [], part);
      t.diagnostic(`${part}: ${used.length} requests by ${all.length} rights`);
    }
    assert.deepEqual(audit.of(`${systemNamespace}:ambientd-agent`), [], "agents ask the API server nothing");
  });

  it("give an agent no more than a stranger has, and nobody a token that isn't used", async () => {
    await admin.create([{ kind: "ServiceAccount", metadata: { name: "stranger", namespace: systemNamespace } }]);
    try {
      const [agent, stranger] = await Promise.all(["ambientd-agent", "stranger"].map(list));
      assert.match(agent!, /selfsubjectreviews/);
      assert.equal(agent, stranger);
      for (const part of ["control", "cni"]) assert.notEqual(await list(`ambientd-${part}`), stranger, part);
    } finally {
      await admin.delete("ServiceAccount", systemNamespace, "stranger");
    }
    const { items } = await mesh.get<{ items: PodWithVolumes[] }>(["pods", "-n", systemNamespace]);
    const mounted = items.map(({ metadata, spec }) => {
      const part = metadata.labels["app.kubernetes.io/component"] ?? "";
      return `${part} ${spec.containers.some(({ volumeMounts }) => volumeMounts.some(({ mountPath }) => mountPath === tokenFolder))}`;
    });
    assert.deepEqual([...new Set(mounted)].sort(), ["agent false", "cni true", "control true"]);
  });

  it("end where others' things begin", async () => {
    const user = (part: string): string => `system:serviceaccount:${systemNamespace}:ambientd-${part}`;
    const may = async (part: string, question: string): Promise<boolean> => {
      const [verb = "", what = "", place = ""] = question.split(" ");
      const [resource = "", subresource] = what.split(":");
      const scope = [
        ...(place === "" ? ["-A"] : ["-n", place]),
        ...(subresource === undefined ? [] : ["--subresource", subresource]),
      ];
      const { stdout } = await mesh.kubectl(["auth", "can-i", verb, resource, ...scope, "--as", user(part)]);
      return stdout.trim() === "yes";
    };
    assert.equal(await may("control", "list pods"), true);
    assert.equal(await may("cni", "patch pods:status"), true);
    assert.equal(await may("control", `get secrets/istio-ca-secret ${systemNamespace}`), true);
    const questions = Object.entries(denied).flatMap(([part, all]) => all.map((question) => ({ part, question })));
    const allowed: string[] = [];
    await inLanes(
      questions,
      async ({ part, question }) => void ((await may(part, question)) && allowed.push(`${part}: ${question}`)),
      6,
    );
    assert.deepEqual(allowed, []);
  });

  /** Everything asked by the accounts of the installation. */
  function installedAsked(): Asked[] {
    return ["control", "cni", "agent"].flatMap((part) => audit.of(`${systemNamespace}:ambientd-${part}`));
  }

  /** What an account may do, as kubectl shows it to the account itself. */
  async function list(account: string): Promise<string> {
    const user = await mesh.serviceAccountUser(systemNamespace, account);
    const { code, stdout, stderr } = await mesh.kubectl(["auth", "can-i", "--list"], undefined, user);
    assert.equal(code, 0, stderr);
    return stdout.split("\n").sort().join("\n");
  }
});

const agentSpec = {
  serviceAccountName: control.agent,
  automountServiceAccountToken: false,
  nodeName: "node1",
  containers: [{ name: "pause", image: "ambientd.test/pause:1", imagePullPolicy: "Never" }],
};

const tokenFolder = "/var/run/secrets/kubernetes.io/serviceaccount";

interface PodWithVolumes {
  readonly metadata: { readonly labels: Readonly<Record<string, string>> };
  readonly spec: {
    readonly containers: readonly { readonly volumeMounts: readonly { readonly mountPath: string }[] }[];
  };
}

/** `verb resource[/name][:subresource] namespace`; without a namespace: anywhere. */
const everybody = [
  ...["create", "update", "patch", "delete"].map((verb) => `${verb} pods`),
  ...["pods:exec", "pods:portforward", "pods:ephemeralcontainers", "serviceaccounts:token"].map(
    (resource) => `create ${resource}`,
  ),
  ...["list secrets", "get secrets default", "get secrets kube-system", `list secrets ${systemNamespace}`],
  ...["create clusterroles", "bind clusterroles", "escalate clusterroles", "create rolebindings"],
  ...["impersonate users", "impersonate serviceaccounts", "patch nodes", "get nodes:proxy", "get pods:log"],
  ...["create deployments", "patch daemonsets", "delete namespaces", "patch namespaces", "update configmaps"],
  ...["create mutatingwebhookconfigurations", "create certificatesigningrequests", "approve signers"],
];
const denied = {
  agent: [...everybody, "list pods", "get pods", "list nodes", "create tokenreviews", "create events"],
  control: [
    ...everybody,
    ...["update", "patch", "delete"].map((verb) => `${verb} secrets/istio-ca-secret ${systemNamespace}`),
    ...["patch pods:status", "patch nodes:status", "delete configmaps", "get configmaps kube-system"],
    ...["create secrets kube-system", "create leases kube-system", "delete leases", "patch services"],
    ...["patch authorizationpolicies", "create authorizationpolicies", "patch serviceentries"],
  ],
  cni: [
    ...everybody,
    ...["list nodes", "get nodes", "create tokenreviews", "create configmaps", "patch nodes:status"],
    ...[`get secrets/istio-ca-secret ${systemNamespace}`, `get daemonsets kube-system`, "update pods:status"],
  ],
} as const;

/** Whether a request took this right. */
function isUse(asked: Asked, { verb, group, resource, name }: Grant): boolean {
  const isSame = asked.verb === verb && asked.group === group && asked.resource === resource;
  return isSame && (name === undefined || name === asked.name);
}
