/** AuthorizationPolicy and PeerAuthentication as kubectl applies them: who is let in, who is cut, and what broken ones do. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it, type TestContext } from "node:test";
import { Unavailable, type Cluster } from "./cluster.ts";
import { ambient, meshedCluster, namespace, remove, systemNamespace } from "./mesh/install.ts";
import { Asking } from "./mesh/asking.ts";
import { OpenConnection } from "./mesh/open-connection.ts";
import { leader, rolledOut } from "./mesh/parts-of-ours.ts";
import { authorizationPolicy, condition, fromAccount, peerAuthentication, selects } from "./mesh/policies.ts";
import { apply, ask, client, pod, ready, server, serviceAccount } from "./mesh/workloads.ts";
import { images } from "./layout.ts";
import { until } from "../support/until.ts";

const cluster = await meshedCluster();
const skip = cluster instanceof Unavailable ? `no cluster: ${cluster.missing}` : false;

const url = "http://vault.guarded/";

describe("policies for a server on one node, with callers on the other", { skip }, () => {
  const mesh = cluster as Cluster;
  let echo = { address: "", port: 9000 };
  const open: OpenConnection[] = [];

  before(async () => {
    await Promise.all([
      namespace(mesh, "guarded", ambient),
      namespace(mesh, "annex", ambient),
      namespace(mesh, "outside"),
    ]);
    await apply(mesh, "guarded", [
      ...server({ name: "vault", node: "node2" }),
      ...client("teller", "node1"),
      ...client("thief", "node1"),
    ]);
    await apply(mesh, "annex", server({ name: "depot", node: "node2" }));
    await apply(mesh, "outside", client("stranger", "node1"));
    await Promise.all(["guarded", "annex", "outside"].map((name) => ready(mesh, name)));
    const service = await mesh.get<{ spec: { clusterIP: string } }>(["service", "vault", "-n", "guarded"]);
    echo = { address: service.spec.clusterIP, port: 9000 };
  });

  afterEach(async () => {
    for (const connection of open.splice(0)) connection.close();
    for (const where of ["guarded", systemNamespace])
      await mesh.mustKubectl(["delete", "authorizationpolicies,peerauthentications", "--all", "-n", where]);
    await Promise.all([lets("guarded", "teller"), lets("guarded", "thief"), lets("outside", "stranger")]);
  });

  after(async () => {
    await mesh.kubectl(["delete", "authorizationpolicies,peerauthentications", "--all", "-n", systemNamespace]);
    await remove(mesh, "guarded", "annex", "outside");
  });

  it("DENY cuts the open connections it names, refuses new ones, and touches nobody else's", async (t) => {
    const [theirs, others] = [await hold("guarded", "thief"), await hold("guarded", "teller")];
    await cutBy(t, theirs, "guarded", authorizationPolicy("gate", denial("thief")));
    await refuses("guarded", "thief");
    await others.lives();
    assert.ok((await ask(mesh, "guarded", "teller", url)).ok);
    const said = await condition(mesh, authorizationPolicyOf("gate"), "True");
    assert.equal(said.type, "ZtunnelAccepted");
  });

  it("ALLOW lets in whom it names, cuts everybody else, in the mesh or not", async (t) => {
    const named = await hold("guarded", "teller");
    const [other, stranger] = [await hold("guarded", "thief"), await hold("outside", "stranger")];
    await cutBy(t, other, "guarded", authorizationPolicy("gate", allowance("teller")));
    await stranger.cut();
    await Promise.all([refuses("guarded", "thief"), refuses("outside", "stranger")]);
    await named.lives();
    assert.ok((await ask(mesh, "guarded", "teller", url)).ok);
    // And a change of it moves the line.
    await apply(mesh, "guarded", [authorizationPolicy("gate", allowance("thief"))]);
    await named.cut();
    await lets("guarded", "thief");
    await refuses("guarded", "teller");
  });

  it("STRICT refuses plaintext, new and open, while kubelet's probes by TCP, HTTP and exec go on", async (t) => {
    const [plain, meshed] = [await hold("outside", "stranger"), await hold("guarded", "teller")];
    await cutBy(t, plain, "guarded", peerAuthentication("default", { mtls: { mode: "STRICT" } }));
    await refuses("outside", "stranger");
    await meshed.lives();
    // Each can only become Ready by its one kind of probe, and all of them begin under STRICT.
    const probes = { tcp: { tcpSocket: { port: 9000 } }, http: { httpGet: { path: "/readyz", port: 8080 } } };
    const kinds = { ...probes, exec: { exec: { command: ["/app", "probe"] } } };
    await apply(
      mesh,
      "guarded",
      Object.entries(kinds).map(([kind, how]) => probed(`by-${kind}`, how)),
    );
    await ready(mesh, "guarded");
    for (const kind of Object.keys(kinds)) {
      const { metadata, status } = await mesh.get<ProbedPod>(["pod", `by-${kind}`, "-n", "guarded"]);
      assert.equal(metadata.annotations["ambient.istio.io/redirection"], "enabled");
      // The very port that is probed is shut for the plaintext of others.
      const { ok, error } = await ask(mesh, "outside", "stranger", `http://${status.podIP}:8080/readyz`);
      assert.equal(ok, false);
      assert.match(error ?? "", refusal);
    }
    const { items } = await mesh.get<{ items: ProbedPod[] }>(["pods", "-n", "guarded"]);
    for (const { metadata, status } of items)
      assert.deepEqual([metadata.name, status.containerStatuses[0]?.restartCount], [metadata.name, 0]);
    await mesh.mustKubectl([
      ...["delete", "pod", "-n", "guarded", "--wait=false", "--grace-period=1"],
      ...Object.keys(kinds).map((kind) => `by-${kind}`),
    ]);
    await apply(mesh, "guarded", [peerAuthentication("default", { mtls: { mode: "PERMISSIVE" } })]);
    await lets("outside", "stranger");
  });

  it("holds mesh-wide in the root namespace", async (t) => {
    const theirs = await hold("guarded", "thief");
    const policy = { ...denial("thief"), selector: undefined };
    await cutBy(t, theirs, systemNamespace, authorizationPolicy("nowhere", policy));
    await refuses("guarded", "thief");
    await refuses("guarded", "thief", "http://depot.annex/");
    assert.ok((await ask(mesh, "guarded", "teller", "http://depot.annex/")).ok);
    await apply(mesh, systemNamespace, [peerAuthentication("default", { mtls: { mode: "STRICT" } })]);
    await refuses("outside", "stranger");
    await refuses("outside", "stranger", "http://depot.annex/");
  });

  it("guards a pod that comes after the policy from its first connection", async (t) => {
    const deny = { ...selects("late"), action: "DENY", rules: [fromAccount("guarded", "thief")] };
    await apply(mesh, "guarded", [authorizationPolicy("early", deny)]);
    await condition(mesh, authorizationPolicyOf("early"), "True");
    await apply(mesh, "guarded", [serviceAccount("late"), pod("late", { ...serving, name: "app" }, "node2")]);
    const address = await until("the pod has an address", 30_000, async () => {
      const { status } = await mesh.get<{ status: { podIP?: string } }>(["pod", "late", "-n", "guarded"]);
      return status.podIP;
    });
    const late = `http://${address}:8080/`;
    const asking = await Asking.start(mesh, "guarded", "thief", late);
    try {
      await ready(mesh, "guarded");
      const before = asking.answers.length;
      await until("it asked a few times more", 10_000, () => asking.answers.length > before + 10);
    } finally {
      asking.stop();
    }
    t.diagnostic(`${asking.answers.length} tries, none answered`);
    assert.equal(
      asking.answers.find(({ ok }) => ok),
      undefined,
    );
    await lets("guarded", "teller", late);
    await mesh.mustKubectl(["delete", "authorizationpolicy", "early", "-n", "guarded"]);
    await lets("guarded", "thief", late);
    await mesh.mustKubectl(["delete", "pod", "late", "-n", "guarded", "--wait=false", "--grace-period=1"]);
  });

  /** The API server's schema lets each of them pass; what they mean, nobody can say. */
  const broken = [
    { source: { ipBlocks: ["10.0.0.0/33"] }, field: "spec.rules[0].from[0].source.ipBlocks[0]" },
    { source: { principals: ["*/sa/*"] }, field: "spec.rules[0].from[0].source.principals" },
    { source: { serviceAccounts: ["a/b/c"] }, field: "spec.rules[0].from[0].source.serviceAccounts" },
    { source: {}, field: "spec.rules[0].from[0].source" },
  ];

  it("keeps the last good version of what is broken, says where, and goes on with what isn't", async () => {
    await apply(mesh, "guarded", [authorizationPolicy("gate", denial("thief"))]);
    await refuses("guarded", "thief");
    const since = new Date().toISOString();
    for (const { source, field } of broken) {
      const bad = { ...selects("vault"), action: "DENY", rules: [{ from: [{ source }] }] };
      await apply(mesh, "guarded", [authorizationPolicy("gate", bad)]);
      const said = await until(`the status names ${field}`, 20_000, async () => {
        const found = await condition(mesh, authorizationPolicyOf("gate"), "False");
        return found.message.includes(field) && found;
      });
      assert.deepEqual([said.type, said.reason], ["ZtunnelAccepted", "Invalid"]);
      assert.match(said.message, /The last good version stays in force/);
    }
    const port = { ...denial("thief"), rules: [{ to: [{ operation: { ports: ["http"] } }] }] };
    await apply(mesh, "guarded", [authorizationPolicy("gate", port)]);
    await until("the log of control names the object and its field", 10_000, async () =>
      (await controlLog(since)).some(
        (line) => line.includes("AuthorizationPolicy guarded/gate") && line.includes("operation.ports[0]"),
      ),
    );
    // One beside it, applied now, takes effect: so the broken one was looked at as well.
    await apply(mesh, "guarded", [authorizationPolicy("beside", denial("teller"))]);
    await refuses("guarded", "teller");
    await mesh.mustKubectl(["delete", "authorizationpolicy", "beside", "-n", "guarded"]);
    await lets("guarded", "teller");
    const still = await ask(mesh, "guarded", "thief", url);
    assert.match(still.error ?? "answered", refusal);
    // Mended, it says so and does what it now says.
    await apply(mesh, "guarded", [authorizationPolicy("gate", denial("teller"))]);
    await condition(mesh, authorizationPolicyOf("gate"), "True");
    await refuses("guarded", "teller");
    await lets("guarded", "thief");
    // Broken once more, and deleted: gone with all it held.
    await apply(mesh, "guarded", [authorizationPolicy("gate", port)]);
    await condition(mesh, authorizationPolicyOf("gate"), "False");
    await mesh.mustKubectl(["delete", "authorizationpolicy", "gate", "-n", "guarded"]);
    await lets("guarded", "teller");
  });

  it("denies under a DENY that was never understood, and a PeerAuthentication broken later stays as it was", async () => {
    const bad = { ...selects("vault"), action: "DENY", rules: [{ from: [{ source: { ipBlocks: ["everywhere"] } }] }] };
    await apply(mesh, "guarded", [authorizationPolicy("never", bad)]);
    await refuses("guarded", "teller");
    const said = await condition(mesh, authorizationPolicyOf("never"), "False");
    assert.match(said.message, /source\.ipBlocks\[0\] .*"everywhere".* everything it selects is denied/);
    await mesh.mustKubectl(["delete", "authorizationpolicy", "never", "-n", "guarded"]);
    await lets("guarded", "teller");

    const strict = { ...selects("vault"), mtls: { mode: "STRICT" } };
    await apply(mesh, "guarded", [peerAuthentication("vault", strict)]);
    await refuses("outside", "stranger");
    const odd = { ...selects("vault"), mtls: { mode: "PERMISSIVE" }, portLevelMtls: { "0000080": { mode: "STRICT" } } };
    await apply(mesh, "guarded", [peerAuthentication("vault", odd)]);
    const why = await condition(mesh, { kind: "peerauthentication", namespace: "guarded", name: "vault" }, "False");
    assert.match(why.message, /portLevelMtls.*0000080.*last good version stays in force/);
    const { ok, error } = await ask(mesh, "outside", "stranger", url);
    assert.match(ok ? "answered" : (error ?? ""), refusal);
  });

  it("goes on saying so when another control leads", async (t) => {
    const bad = { ...selects("vault"), action: "DENY", rules: [{ to: [{ operation: { ports: ["http"] } }] }] };
    await apply(mesh, "guarded", [
      authorizationPolicy("good", denial("thief")),
      authorizationPolicy("bad", { ...selects("nobody"), ...bad }),
    ]);
    const before = [
      await condition(mesh, authorizationPolicyOf("good"), "True"),
      await condition(mesh, authorizationPolicyOf("bad"), "False"),
    ];
    const old = await leader(mesh);
    const begun = performance.now();
    await mesh.mustKubectl(["delete", "pod", old, "-n", systemNamespace, "--force", "--grace-period=0"]);
    const next = await until("another leads", 40_000, async () => {
      const now = await leader(mesh);
      return now !== old && now !== "" && now;
    });
    t.diagnostic(`${next} leads after ${Math.round(performance.now() - begun)} ms`);
    // The new one writes: what changes now is said.
    await apply(mesh, "guarded", [authorizationPolicy("newer", bad)]);
    await condition(mesh, authorizationPolicyOf("newer"), "False");
    assert.deepEqual(
      [
        await condition(mesh, authorizationPolicyOf("good"), "True"),
        await condition(mesh, authorizationPolicyOf("bad"), "False"),
      ],
      before,
      "and nothing that stood was said anew",
    );
    await mesh.mustKubectl(["rollout", "status", "deployment/ambientd-control", "-n", systemNamespace]);
  });

  it("keeps the last good version, and says so, when every control is another one", async (t) => {
    await apply(mesh, "guarded", [authorizationPolicy("gate", denial("thief"))]);
    await refuses("guarded", "thief");
    const port = { ...denial("thief"), rules: [{ to: [{ operation: { ports: ["http"] } }] }] };
    await apply(mesh, "guarded", [authorizationPolicy("gate", port)]);
    const before = await condition(mesh, authorizationPolicyOf("gate"), "False");
    assert.match(before.message, /operation\.ports\[0\].*last good version stays in force/);
    const kept = await hold("guarded", "teller");
    const began = performance.now();
    const control = ["deployment/ambientd-control", "-n", systemNamespace];
    await mesh.mustKubectl(["rollout", "restart", ...control]);
    await mesh.mustKubectl(["rollout", "status", ...control, "--timeout=120s"]);
    t.diagnostic(`control was exchanged in ${Math.round(performance.now() - began)} ms`);
    // Whoever leads now has looked at it: it looked at this one, too.
    await apply(mesh, "guarded", [authorizationPolicy("beside", { ...denial("nobody"), ...selects("nobody") })]);
    await condition(mesh, authorizationPolicyOf("beside"), "True");
    assert.deepEqual(await condition(mesh, authorizationPolicyOf("gate"), "False"), before);
    assert.ok((await ask(mesh, "guarded", "teller", url)).ok);
    assert.match((await ask(mesh, "guarded", "thief", url)).error ?? "answered", refusal);
    await kept.lives();
    // Agents that begin anew have no memory to go by. The old ones live on with what is open.
    await rolledOut(mesh, systemNamespace, "daemonset/ambientd-agent");
    await kept.lives();
    await lets("guarded", "teller");
    assert.match((await ask(mesh, "guarded", "thief", url)).error ?? "answered", refusal);
  });

  async function hold(from: string, name: string): Promise<OpenConnection> {
    const connection = await OpenConnection.open(mesh, from, name, echo);
    open.push(connection);
    return connection;
  }

  /** Applies the policy, and waits for the cut. */
  async function cutBy(t: TestContext, connection: OpenConnection, where: string, policy: object): Promise<void> {
    await connection.lives();
    const begun = performance.now();
    const applying = apply(mesh, where, [policy]).then(() => performance.now());
    const cutMs = (await connection.cut()) - begun;
    const appliedMs = (await applying) - begun;
    t.diagnostic(
      `cut ${Math.round(cutMs)} ms after kubectl was started, which took ${Math.round(appliedMs)} ms itself`,
    );
    assert.ok(cutMs < 5_000);
  }

  async function refuses(from: string, name: string, target = url): Promise<void> {
    await until(`${from}/${name} is refused by ${target}`, 10_000, async () => {
      const { ok, error } = await ask(mesh, from, name, target);
      return !ok && refusal.test(error ?? "");
    });
  }

  async function lets(from: string, name: string, target = url): Promise<void> {
    await until(`${from}/${name} is answered by ${target}`, 20_000, async () => {
      const { ok, error } = await ask(mesh, from, name, target);
      if (!ok) throw new Error(error);
      return true;
    });
  }

  async function controlLog(since: string): Promise<string[]> {
    const all = ["logs", "-n", systemNamespace, "-l", "app.kubernetes.io/component=control", "--tail=-1"];
    return (await mesh.mustKubectl([...all, `--since-time=${since}`])).split("\n");
  }
});

/** How a refusal looks to an application: no answer at all would be something else. */
const refusal = /connection reset by peer|EOF/;

const serving = {
  image: images.app,
  args: ["serve"],
  readinessProbe: { httpGet: { path: "/readyz", port: 8080 }, periodSeconds: 1 },
};

const authorizationPolicyOf = (name: string) => ({ kind: "authorizationpolicy", namespace: "guarded", name }) as const;

const denial = (account: string) => ({
  ...selects("vault"),
  action: "DENY",
  rules: [fromAccount("guarded", account)],
});

const allowance = (account: string) => ({
  ...selects("vault"),
  action: "ALLOW",
  rules: [fromAccount("guarded", account)],
});

/** A pod whose only way to be Ready is this one probe. */
function probed(name: string, readinessProbe: object): object {
  const probe = { readinessProbe: { ...readinessProbe, periodSeconds: 1 } };
  return pod(name, { name: "app", image: images.app, args: ["serve"], ...probe }, "node2", {}, "default");
}

interface ProbedPod {
  readonly metadata: { readonly name: string; readonly annotations: Readonly<Record<string, string>> };
  readonly status: {
    readonly podIP: string;
    readonly containerStatuses: readonly { readonly restartCount: number }[];
  };
}
