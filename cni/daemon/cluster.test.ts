/** The daemon as in a cluster, against an API server of the test's own and a node of real namespaces. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { join } from "node:path";
import { before, test, type TestContext } from "node:test";
import { silentLog } from "../../core/base/log.ts";
import { setUp } from "../../core/linux/netlink/links.ts";
import { KubernetesClient } from "../../control/sources/kubernetes/client.ts";
import { FakeApiServer } from "../../control/sources/kubernetes/test-support/fake-api-server.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { until } from "../../test/support/until.ts";
import { InstallError } from "../install/errors.ts";
import { runInCluster, type ClusterModules } from "./cluster.ts";
import type { ClusterConfig } from "./config.ts";
import { redirectionAnnotation } from "./desired.ts";
import { releaseAnnotation, releasedAnnotation, standingOf } from "./own-daemonset.ts";
import { NodeWorld, type Sandbox } from "./test-support/node-world.ts";

const skip = enterNamespaces() ?? false;
before(async () => {
  // Where the API server and the health server are.
  if (skip === false) assert.equal(await setUp("lo", {}), undefined);
});
const podUid = "3a6e7c9e-1d2f-4b5a-8c7d-0123456789ab";
const captured = { routing: "whole", capture: "redirecting" } as const;
const bare = { routing: "none", capture: "none" } as const;
const conflist = { cniVersion: "1.0.0", name: "net", plugins: [{ type: "bridge" }] };

test(
  "pods that were there before are captured live, new ones at their ADD; only those of this node are watched",
  { skip },
  async (t) => {
    const world = await World.make(t);
    await world.ready();
    await world.annotated("cart", "enabled");
    assert.deepEqual(await world.node.truth(world.sandbox), captured);
    assert.deepEqual(world.node.probed(), [`10.9.0.2 ${podUid}`]);
    const pods = world.api.requests.filter(({ path }) => path === "/api/v1/pods");
    assert.ok(pods.length > 0 && pods.every(({ query }) => query.get("fieldSelector") === "spec.nodeName=node1"));

    const made = world.pod("till", {});
    const next = await world.node.sandbox("cni-2", "10.9.0.3");
    assert.deepEqual(await world.node.add(next, { name: "till", uid: made }), { status: 200, body: "" });
    assert.equal(world.redirection("till"), "enabled");
    const writes = world.api.requests.filter(({ method }) => method === "PATCH");
    assert.ok(
      writes.every(({ path }) => path.endsWith("/status")),
      "no right to change pods is needed",
    );
    assert.match(readFileSync(world.conflist, "utf8"), /ambient-cni/);
  },
);

test("labels taken away: un-enrolled live; a pod that ended leaves without being touched", { skip }, async (t) => {
  const world = await World.make(t);
  await world.ready();
  await world.annotated("cart", "enabled");
  world.namespace("shop", {});
  await world.annotated("cart", undefined);
  await until("no rules", 5000, async () => (await world.node.truth(world.sandbox)).routing === "none");
  assert.deepEqual(world.node.probed(), []);
  world.namespace("shop", { "istio.io/dataplane-mode": "ambient" });
  await world.annotated("cart", "enabled");
  world.pod("cart", { phase: "Succeeded", ips: ["10.9.0.2"] });
  await world.annotated("cart", undefined);
  await until("no probes", 5000, () => world.node.probed()?.length === 0);
  assert.deepEqual(await world.node.truth(world.sandbox), captured, "its namespace dies by itself");
});

test(
  "why a pod isn't captured is said on it within ten seconds, and of one that asks for nothing nothing",
  { skip },
  async (t) => {
    const world = await World.make(t, { agent: false });
    await world.ready();
    world.pod("daemon", { hostNetwork: true });
    world.namespace("other", {});
    world.pod("plain", { namespace: "other" });
    const events = (): string[] =>
      world.api.cluster.all("/apis/events.k8s.io/v1/events").map(({ regarding, reason, note }) => {
        const { namespace, name } = regarding as { namespace: string; name: string };
        return `${namespace}/${name} ${String(reason)} ${String(note)}`;
      });
    await until("the events", 10_000, () => events().length === 2);
    assert.match(events().join("\n"), /shop\/cart AmbientNotCaptured .*no ambientd-agent on this node is connected/);
    assert.match(events().join("\n"), /shop\/daemon AmbientNotCaptured .*hostNetwork/);
  },
);

test("the DaemonSet's release gives the node up: pods, plugin, rules, and the word for it", { skip }, async (t) => {
  const world = await World.make(t);
  await world.ready();
  await world.annotated("cart", "enabled");
  world.daemonSet({ annotations: { [releaseAnnotation]: "true" } });
  await until(
    "the word",
    10_000,
    () => world.annotation("ambient-system", "ambientd-cni-x", releasedAnnotation) === "true",
  );
  assert.deepEqual(await world.node.truth(world.sandbox), bare);
  assert.equal(world.redirection("cart"), undefined);
  assert.equal(world.node.probed(), undefined);
  assert.deepEqual(JSON.parse(readFileSync(world.conflist, "utf8")), conflist);
  assert.equal(existsSync(join(world.node.folder, "bin/ambient-cni")), false);
  // Until the daemon is gone, whoever still asks passes.
  const made = world.pod("late", {});
  const late = await world.node.sandbox("cni-2", "10.9.0.3");
  assert.equal((await world.node.add(late, { name: "late", uid: made })).status, 200);
  assert.deepEqual(await world.node.truth(late), bare);
  world.daemonSet(undefined);
  assert.equal(await world.terminate(), 0);
  for (const socket of ["run/daemon.sock", "run/pluginevent.sock", "zds/ztunnel.sock", "zds/listeners.sock"])
    assert.equal(existsSync(join(world.node.folder, socket)), false, socket);
});

test("a release that is taken back ends the daemon, so that the next one takes the node again", { skip }, async (t) => {
  const world = await World.make(t);
  await world.ready();
  world.daemonSet({ annotations: { [releaseAnnotation]: "true" } });
  await until(
    "the word",
    10_000,
    () => world.annotation("ambient-system", "ambientd-cni-x", releasedAnnotation) === "true",
  );
  world.daemonSet({});
  assert.equal(await world.exit, 0);
  world.run();
  await world.ready();
  world.node.agent();
  await world.annotated("cart", "enabled");
  assert.deepEqual(await world.node.truth(world.sandbox), captured);
});

test(
  "told to end, the daemon leaves everything as it is, unless its DaemonSet is gone or going",
  { skip },
  async (t) => {
    const world = await World.make(t);
    await world.ready();
    await world.annotated("cart", "enabled");
    assert.equal(await world.terminate(), 0);
    assert.deepEqual(await world.node.truth(world.sandbox), captured);
    assert.equal(world.redirection("cart"), "enabled");
    assert.match(readFileSync(world.conflist, "utf8"), /ambient-cni/);
    assert.deepEqual(world.node.probed(), [`10.9.0.2 ${podUid}`]);
    // The next one finds it, captured, and is told that it's the last.
    world.run();
    await world.ready();
    world.node.agents[0]?.reconnect();
    world.daemonSet({ deletionTimestamp: "2026-01-01T00:00:00Z" });
    assert.equal(await world.terminate(), 0);
    assert.deepEqual(await world.node.truth(world.sandbox), bare);
    assert.equal(world.redirection("cart"), undefined);
    assert.deepEqual(JSON.parse(readFileSync(world.conflist, "utf8")), conflist);
  },
);

test("an API server that doesn't answer is no sign of a removal", { skip }, async (t) => {
  const world = await World.make(t);
  await world.ready();
  await world.annotated("cart", "enabled");
  await world.api.stop();
  assert.equal(await world.terminate(), 0);
  assert.deepEqual(await world.node.truth(world.sandbox), captured);
  assert.match(readFileSync(world.conflist, "utf8"), /ambient-cni/);
});

test(
  "a node that can't take part is not ready, says why on the daemon's pod, and stays as it was",
  { skip },
  async (t) => {
    const problem = "the kernel has no nf_tables with nat";
    const unfit = new InstallError({
      code: "install.preflight",
      faults: [{ problem, fix: "load it (modprobe nf_tables)" }],
    });
    const world = await World.make(t, { modules: { preflight: async () => unfit } });
    await until("the event", 5000, () => world.api.cluster.all("/apis/events.k8s.io/v1/events").length > 0);
    const [event] = world.api.cluster.all("/apis/events.k8s.io/v1/events");
    assert.equal(event?.["reason"], "NodeUnfit");
    const { status, body } = await world.health("/readyz");
    assert.equal(status, 503);
    assert.match(body, /no nf_tables with nat; load it \(modprobe/);
    assert.equal((await world.health("/healthz")).status, 200);
    assert.deepEqual(JSON.parse(readFileSync(world.conflist, "utf8")), conflist);
    assert.equal(world.node.probed(), undefined);
    assert.deepEqual(await world.node.truth(world.sandbox), bare);
    assert.equal(await world.terminate(), 0);
  },
);

test("what a DaemonSet says of its end", () => {
  const annotations = { [releaseAnnotation]: "true" };
  assert.equal(standingOf(undefined), "gone");
  assert.equal(standingOf({}), "gone");
  assert.equal(standingOf({ metadata: {} }), "stays");
  assert.equal(standingOf({ metadata: { annotations: null } }), "stays");
  assert.equal(standingOf({ metadata: { annotations } }), "release");
  assert.equal(standingOf({ metadata: { annotations: { [releaseAnnotation]: "false" } } }), "stays");
  assert.equal(standingOf({ metadata: { annotations, deletionTimestamp: "2026-01-01T00:00:00Z" } }), "gone");
});

interface PodSketch {
  readonly namespace?: string;
  readonly uid?: string;
  readonly hostNetwork?: boolean;
  readonly phase?: string;
  readonly ips?: readonly string[];
}

class World {
  readonly api: FakeApiServer;
  readonly node: NodeWorld;
  readonly sandbox: Sandbox;
  readonly conflist: string;
  readonly #modules: ClusterModules;
  readonly #client: KubernetesClient;
  #ended = Promise.withResolvers<NodeJS.Signals>();
  #exit: Promise<number> = Promise.resolve(0);

  private constructor(api: FakeApiServer, node: NodeWorld, sandbox: Sandbox, modules: ClusterModules) {
    this.api = api;
    this.node = node;
    this.sandbox = sandbox;
    this.conflist = join(node.folder, "net.d/10-net.conflist");
    this.#modules = modules;
    this.#client = new KubernetesClient({ connection: api.connection(), log: silentLog, userAgent: "test" });
  }

  /** A node with one pod, found through its process, in a namespace that is labelled. */
  static async make(t: TestContext, options: { agent?: boolean; modules?: ClusterModules } = {}): Promise<World> {
    const api = await new FakeApiServer().start();
    const node = new NodeWorld(t);
    const sandbox = await node.sandbox("cni-1", "10.9.0.2");
    node.process(sandbox, podUid, 42);
    const world = new World(api, node, sandbox, options.modules ?? {});
    t.after(async () => {
      await world.terminate();
      await api.stop();
    });
    for (const folder of ["bin", "net.d"]) mkdirSync(join(node.folder, folder));
    writeFileSync(world.conflist, JSON.stringify(conflist));
    writeFileSync(join(node.folder, "plugin"), "#!/bin/sh\n", { mode: 0o755 });
    world.namespace("shop", { "istio.io/dataplane-mode": "ambient" });
    world.daemonSet({});
    world.pod("ambientd-cni-x", { namespace: "ambient-system" });
    world.pod("cart", { uid: podUid, phase: "Running", ips: ["10.9.0.2"] });
    world.run();
    if (options.agent !== false && options.modules === undefined) {
      await until("the agents' socket", 10_000, () => existsSync(node.config.zds));
      node.agent();
    }
    return world;
  }

  run(): void {
    this.#ended = Promise.withResolvers();
    const { folder, config } = this.node;
    const cluster: ClusterConfig = {
      source: "kubernetes",
      daemon: config,
      namespace: "ambient-system",
      daemonset: "ambientd-cni",
      podName: "ambientd-cni-x",
      plugin: {
        binDir: join(folder, "bin"),
        confDir: join(folder, "net.d"),
        file: join(folder, "plugin"),
        confName: undefined,
      },
      health: { host: "127.0.0.1", port: healthPort },
    };
    this.#exit = runInCluster(cluster, this.#ended.promise, silentLog, { client: this.#client, ...this.#modules });
  }

  get exit(): Promise<number> {
    return this.#exit;
  }

  terminate(): Promise<number> {
    this.#ended.resolve("SIGTERM");
    return this.#exit;
  }

  ready(): Promise<true> {
    return until("ready", 10_000, async () => (await this.health("/readyz")).status === 200);
  }

  async health(path: string): Promise<{ status: number; body: string }> {
    const { promise, resolve } = Promise.withResolvers<{ status: number; body: string }>();
    get({ host: "127.0.0.1", port: healthPort, path, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (body += chunk));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    }).on("error", (error) => resolve({ status: 0, body: error.message }));
    return promise;
  }

  namespace(name: string, labels: Readonly<Record<string, string>>): void {
    this.api.cluster.put("/api/v1/namespaces", { metadata: { name, labels } });
  }

  daemonSet(metadata: Readonly<Record<string, unknown>> | undefined): void {
    const name = { name: "ambientd-cni", namespace: "ambient-system" };
    const collection = "/apis/apps/v1/daemonsets";
    if (metadata === undefined) this.api.cluster.remove(collection, "ambient-system/ambientd-cni");
    else this.api.cluster.put(collection, { metadata: { ...name, ...metadata } });
  }

  /** @returns its UID. */
  pod(name: string, { namespace = "shop", uid, hostNetwork, phase, ips }: PodSketch): string {
    const before = this.api.cluster.get("/api/v1/pods", `${namespace}/${name}`)?.metadata["annotations"];
    const made = this.api.cluster.put("/api/v1/pods", {
      metadata: { name, namespace, ...(uid === undefined ? {} : { uid }), annotations: before ?? {} },
      spec: { nodeName: "node1", containers: [], ...(hostNetwork === undefined ? {} : { hostNetwork }) },
      status: {
        phase: phase ?? "Pending",
        ...(ips === undefined ? {} : { podIP: ips[0], podIPs: ips.map((ip) => ({ ip })) }),
      },
    });
    return String(made.metadata["uid"]);
  }

  annotation(namespace: string, name: string, annotation: string): unknown {
    const pod = this.api.cluster.get("/api/v1/pods", `${namespace}/${name}`);
    return (pod?.metadata["annotations"] as Record<string, unknown> | undefined)?.[annotation];
  }

  redirection(name: string): unknown {
    return this.annotation("shop", name, redirectionAnnotation);
  }

  annotated(name: string, value: string | undefined): Promise<true> {
    return until(`${name} ${value}`, 10_000, () => this.redirection(name) === value);
  }
}

const healthPort = 18_000;
