/** Who may have which certificate, asked of the installed control with tokens of the cluster's own making. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { connect as connectTls } from "node:tls";
import { after, before, describe, it } from "node:test";
import { status } from "@grpc/grpc-js";
import { formatEndpoint, type Endpoint } from "../../core/base/ip.ts";
import { systemClock } from "../../core/base/clock.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { openNamespace } from "../../core/linux/namespace.ts";
import { tcpSockets } from "../../core/linux/procfs.ts";
import { closeDescriptor, connectTcp } from "../../core/linux/sockets.ts";
import type { Identity } from "../../core/protocol/spiffe/identity.ts";
import type { NodeTokenClaims } from "../../core/protocol/token/node-token.ts";
import { DeltaClient } from "../../core/protocol/xds/delta-client.ts";
import { deltaStreams } from "../../control/client/delta-stream.ts";
import { ControlError } from "../../control/client/grpc-errors.ts";
import { addressTypeUrl } from "../../control/server/model/resources.ts";
import { askCertificate } from "../support/replicas.ts";
import { until } from "../support/until.ts";
import { images, Unavailable, type Cluster } from "./cluster.ts";
import { claimsOf, controlDoor, heard, resigned, tokenOfAccount, tokenOfPod, type Door } from "./mesh/control-door.ts";
import { meshedCluster, namespace, remove, systemNamespace } from "./mesh/install.ts";
import { podOf } from "./mesh/parts-of-ours.ts";
import { apply, client, ready } from "./mesh/workloads.ts";

const own = "identity";
const agentAccount = "ambientd-agent";
/** What a refusal carries beside its code and its sentence. */
const alike = JSON.stringify({ "content-type": "application/grpc+proto" });
const cluster = await meshedCluster();
const skip = cluster instanceof Unavailable ? `no cluster: ${cluster.missing}` : false;

describe("the installed control, asked for certificates", { skip }, () => {
  const mesh = cluster as Cluster;
  const refusal = { code: status.UNAUTHENTICATED, details: "not authenticated", headers: alike };
  let door: Door;
  let agent1 = "";
  let agent2 = "";
  /** Every token that control was shown. */
  const shown = new Set<string>();

  before(async () => {
    await namespace(mesh, own);
    await apply(mesh, own, [...client("cart", "node1"), ...client("stock", "node2")]);
    await ready(mesh, own);
    await apply(mesh, own, [account("done"), pod("done", "done", ["true"])]);
    await mesh.mustKubectl(["wait", "pod", "done", "-n", own, "--for=jsonpath={.status.phase}=Succeeded"]);
    door = await controlDoor(mesh);
    [agent1, agent2] = await Promise.all([agentToken("node1"), agentToken("node2")]);
  });
  after(async () => {
    await mesh.kubectl(["delete", "pod", "former-agent", "-n", systemNamespace, "--ignore-not-found", "--force"]);
    await remove(mesh, own);
  });

  it("gives each node's agent certificates for the accounts of live pods of its own node, and for no others", async () => {
    const answers = await Promise.all(
      [agent1, agent2].flatMap((token) => ["cart", "stock", "done"].map((name) => ask(token, name))),
    );
    assert.deepEqual(
      answers.map(({ code }) => code),
      [
        ...[status.OK, status.UNAUTHENTICATED, status.UNAUTHENTICATED],
        ...[status.UNAUTHENTICATED, status.OK, status.UNAUTHENTICATED],
      ],
    );
    const answer = await askCertificate(door.endpoint(agent1), identity("cart"));
    assert.ok(!(answer instanceof Error));
    const leaf = new X509Certificate(answer.certChain[0] ?? "");
    assert.equal(leaf.subjectAltName, `URI:spiffe://cluster.local/ns/${own}/sa/cart`);
    assert.ok(leaf.verify(new X509Certificate(answer.certChain.at(-1) ?? "").publicKey), "under the mesh's root");
  });

  it("serves its agents at their Service's name as well", async () => {
    const { spec } = await mesh.get<{ spec: { clusterIP: string } }>([
      "service",
      "ambientd-control",
      "-n",
      systemNamespace,
    ]);
    const cart = await mesh.podProcess(own, "cart");
    const netns = openNamespace(cart.netns);
    assert.ok(!(netns instanceof LinuxError));
    const socket = connectTcp({ netns, remote: { address: spec.clusterIP, port: 15012 } });
    closeDescriptor(netns);
    const { rootCa } = door.endpoint(agent1);
    const tls = connectTls({ socket, ca: rootCa, servername: `ambientd-control.${systemNamespace}.svc` });
    await new Promise((resolve, reject) => tls.once("secureConnect", resolve).once("error", reject));
    assert.equal(tls.authorized, true);
    tls.destroy();
  });

  it("refuses every other caller, all alike and without a hint, and logs why", async () => {
    const { name: nameOfAgent1 } = (await podOf(mesh, "agent", "node1")).metadata;
    const expiredSeconds = Math.floor(Date.now() / 1000) - 60;
    const lives = { exp: expiredSeconds + 3600 };
    assert.equal((await ask(resigned(agent1, lives), "cart")).code, status.OK, "a token made anew is as good");
    const cases: readonly [what: string, token: string, reason: RegExp, wanted?: Identity, clusterId?: string][] = [
      ["of another audience", await agentToken("node1", "kubernetes"), /caller\.bad-token.*audience/],
      ["of the API server's own audience", await agentToken("node1", apiAudience), /caller\.bad-token/],
      ["expired", resigned(agent1, { iat: expiredSeconds - 60, exp: expiredSeconds }), /caller\.bad-token.*expired/],
      ["signed by nobody", `${agent1.split(".").slice(0, 2).join(".")}.${"A".repeat(86)}`, /caller\.bad-token/],
      ["unbound", await tokenOfAccount(mesh, systemNamespace, agentAccount), /caller\.unbound/],
      ["of an account that is no agent", await podToken("cart"), /caller\.untrusted-account.*identity\/cart/],
      [
        "of control itself",
        await tokenOfPod(mesh, { namespace: systemNamespace, name: door.pod, account: "ambientd-control" }),
        /caller\.untrusted-account/,
      ],
      ["of the other node's agent", agent2, /caller\.no-live-pod.*node2.*sa\/cart/],
      ["asking for an account of the other node", agent1, /caller\.no-live-pod.*node1.*sa\/stock/, identity("stock")],
      ["asking for an account whose pod has ended", agent1, /caller\.no-live-pod.*sa\/done/, identity("done")],
      ["asking for an account that nobody has", agent1, /caller\.no-live-pod.*sa\/nobody/, identity("nobody")],
      [
        "asking for a foreign trust domain",
        agent1,
        /caller\.foreign-trust-domain/,
        { ...identity("cart"), trustDomain: "elsewhere.example" },
      ],
      ["of another cluster", agent1, /caller\.foreign-cluster.*elsewhere/, identity("cart"), "elsewhere"],
      [
        "of the right pod's name with another uid",
        resigned(agent1, boundTo(agent1, { name: nameOfAgent1, uid: "00000000-0000-4000-8000-000000000000" })),
        /caller\.bad-token/,
      ],
    ];
    for (const [what, token, reason, wanted = identity("cart"), clusterId] of cases) {
      const before = (await door.log()).length;
      shown.add(token);
      assert.deepEqual(await heard(door.endpoint(token, clusterId), wanted), refusal, what);
      await until(`the log to say why (${what})`, 5_000, async () =>
        (await door.log())
          .slice(before)
          .split("\n")
          .some((line) => /refused/.test(line) && reason.test(line)),
      );
    }
  });

  it("stops hearing an agent once its pod is gone, and takes its successor of the same name for another", async (t) => {
    const former = { namespace: systemNamespace, name: "former-agent", account: agentAccount };
    await apply(mesh, systemNamespace, [pod(former.name, agentAccount)]);
    await untilServed(() => tokenOfPod(mesh, former));
    const used = await tokenOfPod(mesh, former);
    const unused = await tokenOfPod(mesh, former);
    assert.equal((await ask(used, "cart")).code, status.OK);
    await mesh.mustKubectl(["delete", "pod", former.name, "-n", systemNamespace, "--force", "--grace-period=0"]);
    const goneMs = performance.now();
    await until("the token that was good a moment ago to be refused", 5_000, async () => {
      return (await ask(used, "cart")).code === status.UNAUTHENTICATED;
    });
    t.diagnostic(`a deleted agent was refused ${Math.round(performance.now() - goneMs)} ms after it was gone`);
    assert.equal((await ask(unused, "cart")).code, status.UNAUTHENTICATED);
    await apply(mesh, systemNamespace, [pod(former.name, agentAccount)]);
    await untilServed(() => tokenOfPod(mesh, former));
    for (const token of [used, unused]) {
      assert.deepEqual(await heard(door.endpoint(token), identity("cart")), refusal);
    }
    const log = await door.log();
    assert.match(log, /caller\.stale-pod.*former-agent/);
    assert.match(log, /caller\.bad-token/);
    await mesh.mustKubectl(["delete", "pod", former.name, "-n", systemNamespace, "--force", "--grace-period=0"]);
  });

  it("serves an account within 5 s of its first pod's appearance, and no longer than its last pod lives", async (t) => {
    assert.equal((await ask(agent1, "late")).code, status.UNAUTHENTICATED);
    await apply(mesh, own, [account("late")]);
    await apply(mesh, own, [pod("late", "late")]);
    const appearedMs = performance.now();
    await until("a certificate", 5_000, async () => (await ask(agent1, "late")).code === status.OK);
    t.diagnostic(`served ${Math.round(performance.now() - appearedMs)} ms after the pod appeared`);
    await mesh.mustKubectl(["delete", "pod", "late", "-n", own, "--force", "--grace-period=0"]);
    await until("a refusal", 5_000, async () => (await ask(agent1, "late")).code === status.UNAUTHENTICATED);
  });

  it("opens no stream to an agent that says it is of another node or namespace", async () => {
    const good = { id: nodeId(systemNamespace), metadata: { NODE_NAME: "node1" } };
    const first = await firstOfStream(agent1, good);
    assert.ok(!(first instanceof ControlError), first instanceof ControlError ? first.message : "");
    const foreign = [
      { id: nodeId(systemNamespace), metadata: { NODE_NAME: "node2" } },
      { id: nodeId(own), metadata: { NODE_NAME: "node1" } },
      { id: nodeId(systemNamespace), metadata: { NODE_NAME: "node1", NAMESPACE: own } },
      { id: nodeId(systemNamespace), metadata: { NODE_NAME: "node1", SERVICE_ACCOUNT: "ambientd-control" } },
    ];
    for (const node of foreign) assert.equal(refusedWith(await firstOfStream(agent1, node)), "PERMISSION_DENIED");
    const strangers = [
      await podToken("cart"),
      await tokenOfAccount(mesh, systemNamespace, agentAccount),
      await agentToken("node1", "kubernetes"),
    ];
    for (const token of strangers) assert.equal(refusedWith(await firstOfStream(token, good)), "UNAUTHENTICATED");
  });

  it("has no token in its log, nor any part of one that would serve", async () => {
    assert.ok(shown.size >= 15, `${shown.size} tokens were shown`);
    const { items } = await mesh.get<{ items: { metadata: { name: string } }[] }>(["pods", "-n", systemNamespace]);
    for (const { metadata } of items) {
      const log = await mesh.mustKubectl(["logs", "-n", systemNamespace, metadata.name, "--ignore-errors"]);
      if (metadata.name === door.pod) assert.match(log, /certificate refused/);
      for (const token of shown) {
        for (const part of token.split(".").slice(1))
          assert.ok(!log.includes(part), `a token in ${metadata.name}'s log`);
      }
      assert.doesNotMatch(log, /eyJ[A-Za-z0-9_-]{20,}\.eyJ/, metadata.name);
    }
  });

  it("listens in plaintext for health alone, and shows its insides to nobody but itself", async () => {
    assert.deepEqual(await listening(door.pod), ["127.0.0.1:15014", "[::]:15012", "[::]:8080"]);
    const inside = await mesh.inPodNetwork(systemNamespace, door.pod, [mesh.parts.app, "get"]);
    const debug = await mesh.command([...inside, "http://127.0.0.1:15014/debug/syncz"]);
    assert.match(debug.stdout, /"status":200/, "it is there, for who is inside");
    for (const port of [15010, 15014, 15017, 9090]) {
      assert.equal(await reach("cart", { address: door.address, port }), "ECONNREFUSED", `${port}`);
    }
    for (const path of ["debug", "debug/wds", "debug/connections", "metrics"]) {
      const { stdout } = await mesh.execInPod(own, "cart", ["/app", "get", `http://${door.address}:8080/${path}`]);
      assert.match(stdout, /"status":404/, path);
    }
    const { stdout } = await mesh.execInPod(own, "cart", ["/app", "get", `http://${door.address}:8080/readyz`]);
    assert.match(stdout, /"status":200/);
    // Whoever speaks plaintext to the TLS port is cut off.
    const plain = await mesh.execInPod(own, "cart", ["/app", "get", `http://${door.address}:15012/`]);
    assert.match(plain.stdout + plain.stderr, /"ok":false/);
  });

  it("shows other pods nothing of its agents and node daemons but their health, and of agents their metrics", async () => {
    for (const [component, port, ports, closed] of [
      // 15008 is for tunnels only: whoever scrapes 15020 by mutual TLS comes by it.
      ["agent", 15021, [15008, 15020, 15021], 15000],
      ["cni", 8000, [8000], 15000],
    ] as const) {
      const { name } = (await podOf(mesh, component, "node1")).metadata;
      const { status: at } = await mesh.get<{ status: { podIP: string } }>(["pod", name, "-n", systemNamespace]);
      const open = (await listening(name)).filter((listener) => !/^(127\.|\[::1\])/.test(listener));
      assert.deepEqual(
        open.map((listener) => Number(listener.replace(/.*:/, ""))).sort((a, b) => a - b),
        ports,
        component,
      );
      assert.equal(await reach("cart", { address: at.podIP, port }), "connected");
      assert.equal(await reach("cart", { address: at.podIP, port: closed }), "ECONNREFUSED");
      for (const asked of ports.filter((one) => one !== 15008)) {
        for (const path of ["config_dump", "wds", "debug", "quitquitquit", "logging"]) {
          const { stdout } = await mesh.execInPod(own, "cart", ["/app", "get", `http://${at.podIP}:${asked}/${path}`]);
          assert.match(stdout, /"status":404/, `${component} ${asked} ${path}`);
        }
      }
    }
  });

  const apiAudience = "https://kubernetes.default.svc.cluster.local";

  function identity(serviceAccount: string): Identity {
    return { trustDomain: "cluster.local", namespace: own, serviceAccount };
  }

  function ask(token: string, serviceAccount: string): ReturnType<typeof heard> {
    shown.add(token);
    return heard(door.endpoint(token), identity(serviceAccount));
  }

  async function agentToken(node: string, audience?: string): Promise<string> {
    const { name } = (await podOf(mesh, "agent", node)).metadata;
    return tokenOfPod(mesh, { namespace: systemNamespace, name, account: agentAccount }, audience);
  }

  function podToken(name: string): Promise<string> {
    return tokenOfPod(mesh, { namespace: own, name, account: name });
  }

  /** Its pod is known to control. */
  async function untilServed(token: () => Promise<string>): Promise<void> {
    await until("control to know the pod", 5_000, async () => (await ask(await token(), "cart")).code === status.OK);
  }

  async function firstOfStream(token: string, node: { id: string; metadata: Record<string, unknown> }) {
    shown.add(token);
    const stream = deltaStreams(door.endpoint(token), systemClock)();
    assert.ok(!(stream instanceof ControlError));
    const [request] = new DeltaClient({ node: { cluster: "ztunnel", ...node }, types: [addressTypeUrl] }).connected();
    stream.send(request!);
    const first = await stream.receive();
    stream.close();
    return first;
  }

  /** Everything that listens in one of our own pods. */
  async function listening(pod: string): Promise<string[]> {
    const netns = openNamespace((await mesh.podProcess(systemNamespace, pod)).netns);
    assert.ok(!(netns instanceof LinuxError));
    const sockets = tcpSockets(netns).filter(({ state }) => state === "listen");
    closeDescriptor(netns);
    return sockets.map(({ local }) => formatEndpoint(local)).sort();
  }

  /** What a pod's attempt to connect comes to. */
  async function reach(pod: string, remote: Endpoint): Promise<string> {
    const netns = openNamespace((await mesh.podProcess(own, pod)).netns);
    assert.ok(!(netns instanceof LinuxError));
    const socket = connectTcp({ netns, remote });
    closeDescriptor(netns);
    return new Promise((resolve) => {
      const end = (outcome: string): void => {
        socket.destroy();
        resolve(outcome);
      };
      socket.setTimeout(3_000, () => end("timeout"));
      socket.once("connect", () => end("connected"));
      socket.once("error", (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
    });
  }
});

function nodeId(namespace: string): string {
  return `ztunnel~10.0.0.1~agent.${namespace}~${namespace}.svc.cluster.local`;
}

function refusedWith(answer: object): string {
  return answer instanceof ControlError && answer.type.code === "control.refused" ? answer.type.status : "not refused";
}

/** Claims that differ in the pod they are bound to. */
function boundTo(token: string, pod: { readonly name: string; readonly uid: string }): Partial<NodeTokenClaims> {
  const claims = claimsOf(token);
  return { "kubernetes.io": { ...claims["kubernetes.io"], pod } };
}

function account(name: string): object {
  return { apiVersion: "v1", kind: "ServiceAccount", metadata: { name } };
}

/** On node1. */
function pod(name: string, serviceAccountName: string, command = ["/app", "pause"]): object {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name },
    spec: {
      serviceAccountName,
      automountServiceAccountToken: false,
      restartPolicy: "Never",
      nodeSelector: { "kubernetes.io/hostname": "node1" },
      containers: [{ name: "app", image: images.busybox, imagePullPolicy: "Never", command }],
    },
  };
}
