/** The chart as a whole: it lints, it renders what is asked for, it refuses what it does not know. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { parseConfig } from "../../agent/config.ts";
import { parseFlags as parseDaemonFlags } from "../../cni/daemon/config.ts";
import { parseFlags as parseReleaseFlags } from "../../control/release/config.ts";
import { parseFlags as parseControlFlags } from "../../control/server/config.ts";
import { chart, containerOf, helm, one, podOf, refusal, render, run, type Spec } from "./helm.ts";

const skip = typeof helm === "string" ? false : helm.missing;

test("helm finds nothing to complain of", { skip }, async () => {
  const { code, said } = await run("lint", "--strict", chart);
  assert.equal(code, 0, said);
});

test("chart, image and package have one version", () => {
  const { version, appVersion } = parse(readFileSync(join(chart, "Chart.yaml"), "utf8")) as Record<string, string>;
  const root = join(chart, "../..");
  const released = (JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string }).version;
  assert.equal(version, released);
  assert.equal(appVersion, released);
  assert.match(readFileSync(join(root, "deploy/image/Dockerfile"), "utf8"), new RegExp(`ARG VERSION=${released}`));
});

test("every value is explained, and the schema knows it", () => {
  const lines = readFileSync(join(chart, "values.yaml"), "utf8").split("\n");
  const unexplained = lines.filter((line, index) => {
    const isLeaf = /^ *[A-Za-z]+: *\S/.test(line);
    return isLeaf && !obvious.has(line.trim().split(":")[0] ?? "") && !/^ *#/.test(lines[index - 1] ?? "");
  });
  assert.deepEqual(unexplained, []);
  const schema = JSON.parse(readFileSync(join(chart, "values.schema.json"), "utf8")) as Schema;
  const values = parse(readFileSync(join(chart, "values.yaml"), "utf8")) as Record<string, unknown>;
  const unknown = (value: unknown, { properties, additionalProperties }: Schema, path: string): string[] => {
    if (properties === undefined || typeof value !== "object" || value === null) return [];
    assert.equal(additionalProperties, false, path);
    const absent = Object.keys(properties).filter((name) => !(name in value) && name !== "global");
    assert.deepEqual(absent, [], `the schema of ${path} knows values that values.yaml does not show`);
    return Object.entries(value).flatMap(([name, inner]) =>
      properties[name] === undefined ? [`${path}.${name}`] : unknown(inner, properties[name], `${path}.${name}`),
    );
  };
  assert.deepEqual(unknown(values, schema, ""), []);
});

for (const [value, named] of [
  ["contol.replicas=3", /contol/],
  ["control.replica=3", /replica/],
  ["control.replicas=0", /control\/replicas/],
  ["control.replicas=two", /control\/replicas/],
  ["control.certTtlSeconds=9000000", /control\/certTtlSeconds/],
  ["control.trustedAgents={ztunnel}", /control\/trustedAgents/],
  ["agent.workers=lots", /agent\/workers/],
  ["agent.control=https://istiod", /agent\/control/],
  ["agent.env.NODE_OPTIONS=--inspect", /agent\/env/],
  ["cni.env.NODE_TLS_REJECT_UNAUTHORIZED=0", /cni\/env/],
  ["agent.podLabels.istio\\.io/dataplane-mode=ambient", /agent\/podLabels/],
  ["agent.resources.limits.memory=a lot", /agent\/resources\/limits\/memory/],
  ["agent.tolerations[0].effect=NoWay", /agent\/tolerations/],
  ["cni.paths.bin=opt/cni/bin", /cni\/paths\/bin/],
  ["cni.paths.run=/var/run/../../etc", /cni\/paths\/run/],
  ["cni.confName=../passwd", /cni\/confName/],
  ["cni.enablementSelectors[0].podselector.matchLabels.a=b", /cni\/enablementSelectors\/0/],
  ["image.digest=sha256:beef", /image\/digest/],
  ["image.pullPolicy=Sometimes", /image\/pullPolicy/],
  ["mesh.trustDomain=Upper.Case", /mesh\/trustDomain/],
  ["mesh.danglingWaypoints=drop", /mesh\/danglingWaypoints/],
  ["agent.podLabels.networking\\.istio\\.io/tunnel=none", /agent\/podLabels/],
  ["agent.env.SERVICE_ACCOUNT=other", /agent\/env/],
  ["agent.env.RUST_LOG=debug", /agent\/env/],
  ["agent.env.FAKE_CA=true", /agent\/env/],
  ["agent.requireWaypoint=perhaps", /agent\/requireWaypoint/],
  ["agent.crlConfigMap=A_B", /agent\/crlConfigMap/],
  ["agent.logLevel=info\\,access", /agent\/logLevel/],
  ["logLevel=loud", /logLevel/],
  ["logFormat=xml", /logFormat/],
  ["platform=vax", /platform/],
  ["uninstall.timeoutSeconds=1", /uninstall\/timeoutSeconds/],
] as const) {
  test(`${value} is refused by name`, { skip }, async () => {
    const said = await refusal(value);
    assert.notEqual(said, "");
    assert.match(said, named);
  });
}

test("what can't work together is refused with its fix", { skip }, async () => {
  for (const [values, sentence] of [
    [["--kube-version=1.29.4"], /needs Kubernetes 1\.30 or newer and this cluster is v1\.29\.4: upgrade the cluster/],
    [["control.enabled=false"], /agent\.control is empty.*set agent\.control to HOST:PORT/],
    [["cni.enabled=false"], /zdsDir is empty.*set zdsDir/],
    [["cni.enabled=false", "agent.enabled=false", "control.enabled=false"], /all disabled/],
  ] as const) {
    assert.match(await refusal(...values), sentence);
    assert.match(await refusal(...values), /Nothing was changed/);
  }
});

test("each part can be another one's", { skip }, async () => {
  const ofOurs = async (...values: string[]): Promise<string[]> =>
    (await render(...values))
      .filter(({ kind }) => kind === "Deployment" || kind === "DaemonSet")
      .map(({ metadata }) => metadata.name)
      .sort();
  assert.deepEqual(await ofOurs(), ["ambientd-agent", "ambientd-cni", "ambientd-control"]);
  const underZtunnel = await ofOurs("agent.enabled=false", "control.compat.istiod=true");
  assert.deepEqual(underZtunnel, ["ambientd-cni", "ambientd-control"]);
  const underIstiod = ["control.enabled=false", "agent.control=istiod.istio-system.svc:15012"];
  assert.deepEqual(await ofOurs(...underIstiod), ["ambientd-agent", "ambientd-cni"]);
  const alone = await render(...underIstiod, "cni.enabled=false", "zdsDir=/var/run/ztunnel");
  const { env } = containerOf(one(alone, "DaemonSet", "ambientd-agent"));
  const environment = new Map(env.map(({ name, value }) => [name, value]));
  assert.equal(environment.get("XDS_ADDRESS"), "https://istiod.istio-system.svc:15012");
  assert.equal(environment.get("INPOD_UDS"), "/var/run/ztunnel/ztunnel.sock");
  assert.ok(!environment.has("AMBIENTD_LISTENER_STORE"));
  assert.ok(containerOf(one(alone, "Job", "ambientd-release")).args.includes("--keep-control"));
});

test("flags that the chart writes are flags that the programs know", { skip }, async () => {
  const selector = "cni.enablementSelectors[0].podSelector.matchLabels.app=web";
  const objects = await render(
    selector,
    "cni.dnsCapture=true",
    "cni.confName=10-bridge.conflist",
    "control.advertise={mesh.example}",
    "uninstall.keepRoot=true",
  );
  const fill = (args: readonly string[]): string[] => args.map((arg) => arg.replace(/\$\(\w+\)/g, "some-name"));
  const [control, ...flags] = fill(containerOf(one(objects, "Deployment", "ambientd-control")).args);
  const controlConfig = control === "control" && parseControlFlags(flags);
  assert.ok(typeof controlConfig === "object" && !(controlConfig instanceof Error), describe(controlConfig));
  const [cni, daemon, ...daemonFlags] = fill(containerOf(one(objects, "DaemonSet", "ambientd-cni")).args);
  assert.deepEqual([cni, daemon], ["cni", "daemon"]);
  const daemonConfig = parseDaemonFlags(daemonFlags);
  assert.ok(!(daemonConfig instanceof Error), describe(daemonConfig));
  assert.deepEqual([...daemonConfig.daemon.selection.excludeNamespaces], ["kube-system", "ambient-system"]);
  assert.equal(daemonConfig.daemon.selection.selectors.length, 1);
  const [release, ...releaseFlags] = fill(containerOf(one(objects, "Job", "ambientd-release")).args);
  assert.equal(release, "release");
  const releaseConfig = parseReleaseFlags(releaseFlags);
  assert.ok(!(releaseConfig instanceof Error), describe(releaseConfig));
  assert.ok(releaseConfig.keepRoot);
});

test("the agent understands its environment", { skip }, async () => {
  const { env } = containerOf(one(await render("agent.workers=25%"), "DaemonSet", "ambientd-agent"));
  const config = parseConfig(Object.fromEntries(env.map(({ name, value }) => [name, value ?? "some-name"])), 8);
  assert.ok(!(config instanceof Error), describe(config));
  assert.equal(config.workers, 2);
  assert.equal(config.xds.address, "https://ambientd-control.ambient-system.svc:15012");
  assert.equal(config.termination.relievedMs, 604_795_000);
  assert.equal(config.serviceAccount, "some-name");
  assert.ok(config.requireWaypoint && config.dns !== undefined);
  const lax = await environmentOf(
    "agent.requireWaypoint=false",
    "agent.logLevel=info\\,access=warn",
    "logFormat=plain",
  );
  assert.equal(lax.get("AMBIENTD_REQUIRE_WAYPOINT"), "false");
  assert.equal(lax.get("CRL_PATH"), undefined);
  assert.equal(
    (await environmentOf("agent.crlConfigMap=istio-ca-crl")).get("CRL_PATH"),
    "/var/run/secrets/crl/ca-crl.pem",
  );
  assert.equal(lax.get("LOG_LEVEL"), "info,access=warn");
  assert.equal(lax.get("LOG_FORMAT"), "plain");
});

test("Service istiod is there only when asked for, and a ztunnel is trusted then", { skip }, async () => {
  for (const [values, services, trusted] of [
    [[], ["ambientd-control"], ["--trusted-agent=ambient-system/ambientd-agent"]],
    [
      ["control.compat.istiod=true"],
      ["ambientd-control", "istiod"],
      ["--trusted-agent=ambient-system/ambientd-agent", "--trusted-agent=ambient-system/ztunnel"],
    ],
  ] as const) {
    const objects = await render(...values);
    const found = objects.filter(({ kind }) => kind === "Service").map(({ metadata }) => metadata.name);
    assert.deepEqual(found, services);
    const { args } = containerOf(one(objects, "Deployment", "ambientd-control"));
    assert.deepEqual(
      args.filter((arg) => arg.startsWith("--trusted-agent")),
      trusted,
    );
  }
});

for (const [platform, bin, conf, netns] of [
  ["", "/opt/cni/bin", "/etc/cni/net.d", "/var/run/netns"],
  ["gke", "/home/kubernetes/bin", "/etc/cni/net.d", "/var/run/netns"],
  ["k3s", "/var/lib/rancher/k3s/data/cni", "/var/lib/rancher/k3s/agent/etc/cni/net.d", "/var/run/netns"],
  ["k3d", "/bin", "/var/lib/rancher/k3s/agent/etc/cni/net.d", "/var/run/netns"],
  [
    "microk8s",
    "/var/snap/microk8s/current/opt/cni/bin",
    "/var/snap/microk8s/current/args/cni-network",
    "/var/run/netns",
  ],
  ["minikube-docker", "/opt/cni/bin", "/etc/cni/net.d", "/var/run/docker/netns"],
] as const) {
  test(`a node's folders on platform "${platform}", each of which a value replaces`, { skip }, async () => {
    const paths = async (...values: string[]): Promise<(string | undefined)[]> => {
      const daemon = one(await render(`platform=${platform}`, ...values), "DaemonSet", "ambientd-cni");
      const volumes = new Map(podOf(daemon).volumes?.map(({ name, hostPath }) => [name, hostPath?.path]));
      return ["cni-bin", "cni-conf", "netns"].map((name) => volumes.get(name));
    };
    assert.deepEqual(await paths(), [bin, conf, netns]);
    const own = await paths("cni.paths.bin=/x", "cni.paths.conf=/y", "cni.paths.netns=/z");
    assert.deepEqual(own, ["/x", "/y", "/z"]);
  });
}

test("a registry, a digest and pull secrets reach every pod", { skip }, async () => {
  const repository = "registry.example:5000/mesh/ambientd";
  const digest = `sha256:${"ab".repeat(32)}`;
  const objects = await render(`image.repository=${repository}`, `image.digest=${digest}`, "image.pullSecrets={key}");
  const pods = objects.filter(({ spec }) => spec?.template !== undefined);
  assert.equal(pods.length, 4);
  for (const object of pods) {
    assert.equal(containerOf(object).image, `${repository}@${digest}`);
    assert.deepEqual(podOf(object).imagePullSecrets, [{ name: "key" }]);
  }
});

test("a drain takes one control at a time, and an agent's successor starts before it ends", { skip }, async () => {
  const objects = await render();
  assert.equal(one(objects, "PodDisruptionBudget", "ambientd-control").spec?.maxUnavailable, 1);
  assert.equal(one(objects, "Deployment", "ambientd-control").spec?.replicas, 2);
  assert.deepEqual(one(objects, "DaemonSet", "ambientd-agent").spec?.updateStrategy, {
    type: "RollingUpdate",
    rollingUpdate: { maxSurge: 1, maxUnavailable: 0 },
  });
});

test("an agent's metrics are found, in clear text and by tunnel", { skip }, async () => {
  const metadata = async (...values: string[]): Promise<PodMetadata> =>
    one(await render(...values), "DaemonSet", "ambientd-agent").spec!.template!.metadata;
  const { labels, annotations } = await metadata();
  assert.equal(labels["networking.istio.io/tunnel"], "http");
  const scraped = { "prometheus.io/scrape": "true", "prometheus.io/port": "15020", "prometheus.io/path": "/metrics" };
  assert.deepEqual(annotations, scraped);
  const ours = await metadata(
    "--set-string=agent.podAnnotations.prometheus\\.io/scrape=false",
    "agent.podAnnotations.a=b",
  );
  assert.deepEqual(ours.annotations, { ...scraped, "prometheus.io/scrape": "false", a: "b" });
  assert.equal((await metadata("agent.scrapeAnnotations=false")).annotations, undefined);
});

test("NetworkPolicies and a ResourceQuota come when asked for", { skip }, async () => {
  const kinds = async (...values: string[]): Promise<Set<string>> =>
    new Set((await render(...values)).map(({ kind }) => kind));
  const usual = await kinds();
  assert.ok(!usual.has("NetworkPolicy") && !usual.has("ResourceQuota"));
  assert.ok((await kinds("networkPolicy.enabled=true")).has("NetworkPolicy"));
  assert.ok((await kinds("platform=gke")).has("ResourceQuota"));
});

test("selectors never hold what an upgrade changes", { skip }, async () => {
  for (const { kind, spec } of await render()) {
    if (kind !== "Deployment" && kind !== "DaemonSet") continue;
    const names = Object.keys(spec?.selector?.matchLabels ?? {}).sort();
    assert.deepEqual(names, ["app.kubernetes.io/component", "app.kubernetes.io/name"]);
  }
});

test("none of our own pods is in the mesh", { skip }, async () => {
  const pods = (await render()).flatMap(({ spec }) => spec?.template ?? []);
  assert.equal(pods.length, 4);
  for (const { metadata } of pods) assert.equal(metadata.labels["istio.io/dataplane-mode"], "none");
});

test("what helm says after an install ends in what to try", { skip }, async () => {
  const { said } = await run("install", "x", chart, "--dry-run=client", "-n", "ambient-system");
  assert.match(said, /kubectl label namespace default istio\.io\/dataplane-mode=ambient/);
  assert.match(said, /15008/);
});

async function environmentOf(...values: string[]): Promise<Map<string, string | undefined>> {
  const { env } = containerOf(one(await render(...values), "DaemonSet", "ambientd-agent"));
  return new Map(env.map(({ name, value }) => [name, value]));
}

function describe(config: unknown): string {
  return config instanceof Error ? config.message : "";
}

type PodMetadata = NonNullable<Spec["template"]>["metadata"];

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: boolean;
}

/** Names that Kubernetes' own manual explains. */
const obvious = new Set([
  "enabled",
  "priorityClassName",
  "nodeSelector",
  "tolerations",
  "podLabels",
  "podAnnotations",
  "requests",
  "limits",
  "rollingUpdate",
  "type",
  "env",
]);
