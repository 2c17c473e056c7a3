import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError, parseConfig, parseDuration, type AgentConfig } from "./config.ts";

function config(env: Record<string, string>, cores = 8): AgentConfig {
  const parsed = parseConfig(env, cores);
  assert.ok(!(parsed instanceof ConfigError), "refused");
  return parsed;
}

test("F-018 F-022 F-140 without any variable the agent has the field's defaults", () => {
  const parsed = config({});
  assert.equal(parsed.xds.address, "https://istiod.istio-system.svc:15012");
  assert.equal(parsed.ca.rootCa, "./var/run/secrets/istio/root-cert.pem");
  assert.equal(parsed.authToken, "./var/run/secrets/tokens/istio-token");
  assert.equal(parsed.zdsSocket, "/var/run/ztunnel/ztunnel.sock");
  assert.equal(parsed.clusterId, "Kubernetes");
  assert.equal(parsed.packetMark, 1337);
  assert.equal(parsed.secretTtlSeconds, 86_400);
  assert.equal(parsed.poolIdleReleaseMs, 300_000);
  assert.equal(parsed.termination.aloneMs, 5_000);
  assert.deepEqual(parsed.keepAlive, { idleSeconds: 180, intervalSeconds: 180, probes: 9 });
  assert.equal(parsed.adminSocket, undefined);
});

test("F-067 F-173 what comes in is treated as the field's agents do, but for waypoints, which are not passed by", () => {
  const flags = (env: Record<string, string>): boolean[] => {
    const { localhostApplicationTunnel, policyInfoLogging, requireWaypoint } = config(env);
    return [localhostApplicationTunnel, policyInfoLogging, requireWaypoint];
  };
  assert.deepEqual(flags({}), [true, false, true]);
  assert.deepEqual(
    flags({
      LOCALHOST_APP_TUNNEL: "false",
      AUTHZ_POLICY_INFO_LOGGING: "true",
      AMBIENTD_REQUIRE_WAYPOINT: "false",
    }),
    [false, true, false],
  );
});

test("F-006 a number, a share and nothing say how many workers there are", () => {
  const rows: [string | undefined, number, number][] = [
    ["3", 8, 3],
    ["0", 8, 8],
    ["25%", 8, 2],
    ["30%", 8, 3],
    ["1%", 8, 1],
    [undefined, 8, 2],
    [undefined, 64, 16],
    [undefined, 1, 2],
  ];
  for (const [text, cores, workers] of rows) {
    assert.equal(config(text === undefined ? {} : { ZTUNNEL_WORKER_THREADS: text }, cores).workers, workers, text);
  }
});

test("F-225 the deadline of a drain follows the pod's grace period unless it is given", () => {
  const of = (env: Record<string, string>): number | undefined => config(env).termination.relievedMs;
  assert.equal(of({ TERMINATION_GRACE_PERIOD_SECONDS: "30" }), 25_000);
  assert.equal(of({ TERMINATION_GRACE_PERIOD_SECONDS: "10" }), 9_000);
  assert.equal(of({ TERMINATION_GRACE_PERIOD_SECONDS: "1" }), 1_000);
  assert.equal(of({ TERMINATION_GRACE_PERIOD_SECONDS: "30", CONNECTION_TERMINATION_DEADLINE: "90s" }), 90_000);
  assert.equal(of({}), undefined, "while another agent serves, connections have as long as they last");
});

test("F-225 without a deadline of its own an agent that nobody relieves ends within seconds; with one it has all of it", () => {
  const of = (env: Record<string, string>): number => config(env).termination.aloneMs;
  assert.equal(of({}), 5_000);
  assert.equal(of({ TERMINATION_GRACE_PERIOD_SECONDS: "10" }), 9_000);
  assert.equal(of({ TERMINATION_GRACE_PERIOD_SECONDS: "3600" }), 3_595_000);
  assert.equal(of({ CONNECTION_TERMINATION_DEADLINE: "90s" }), 90_000);
});

test("a bad value is named together with its fix", () => {
  const rows: Record<string, string>[] = [
    { SECRET_TTL: "soon" },
    { SECRET_TTL: "0s" },
    { PACKET_MARK: "-1" },
    { PACKET_MARK: "1e3" },
    { ZTUNNEL_WORKER_THREADS: "many" },
    { ZTUNNEL_WORKER_THREADS: "0%" },
    { IPV6_ENABLED: "perhaps" },
    { KEEPALIVE_RETRIES: "0" },
    { PROXY_MODE: "sidecar" },
    { PROXY_MODE: "dedicated" },
    { LOCAL_XDS_PATH: "/mesh.yaml", LOCAL_XDS: "{}" },
    { FAKE_CA: "true", AMBIENTD_FAKE_CA_DIR: "/tmp/ca" },
    { TLS12_ENABLED: "true" },
    { XDS_ON_DEMAND: "true" },
    { CA_ADDRESS: "" },
    { XDS_ADDRESS: "" },
    { ZTUNNEL_CPU_LIMIT: "much" },
    { ISTIO_METAJSON_X: "{" },
  ];
  for (const env of rows) {
    const [[first, given]] = Object.entries(env) as [[string, string]];
    // Whose workload it is stands in another variable.
    const [variable, value] = given === "dedicated" ? ["PROXY_WORKLOAD_INFO", ""] : [first, given];
    const parsed = parseConfig(env, 8);
    assert.ok(parsed instanceof ConfigError, variable);
    assert.deepEqual([parsed.type.variable, parsed.type.value], [variable, value]);
    assert.match(parsed.sentence(), /^ambientd agent: \w+=.* .+: .+/);
    assert.ok(parsed.sentence().startsWith(`ambientd agent: ${variable}=${value === "" ? '""' : value} `));
  }
});

test("F-118 F-120 F-121 headers and metadata are taken from their prefixes; the later name of the cluster wins", () => {
  const parsed = config({
    XDS_HEADER_tenant: "a",
    CA_HEADER_tenant: "b",
    ISTIO_META_region: "north",
    CLUSTER_ID: "one",
    ISTIO_META_CLUSTER_ID: "two",
    ALT_CA_HOSTNAME: "ca.example",
  });
  assert.deepEqual(parsed.xds.headers, { tenant: "a" });
  assert.deepEqual(parsed.ca.headers, { tenant: "b" });
  assert.deepEqual(parsed.ca.serverNames, ["ca.example"]);
  assert.equal(parsed.metadata["region"], "north");
  assert.equal(parsed.clusterId, "two");
});

test("durations are read as they are written in the field", () => {
  assert.equal(parseDuration("24h"), 86_400_000);
  assert.equal(parseDuration("1h30m"), 5_400_000);
  assert.equal(parseDuration("1.5s"), 1_500);
  assert.equal(parseDuration("500ms"), 500);
  for (const text of ["", "5", "5 m", "m", "-1s", "1d", "0s", "99999999999999999h"]) {
    assert.equal(parseDuration(text), undefined, text);
  }
});

test("F-006 without a number of threads the cores that the container may use say how many workers there are", () => {
  const rows: [Record<string, string>, number, number][] = [
    [{ ZTUNNEL_CPU_LIMIT: "3" }, 64, 3],
    [{ ZTUNNEL_RESOURCE_CPU_LIMIT: "1500m" }, 64, 2],
    [{ ZTUNNEL_RESOURCE_CPU_LIMIT: "1", ZTUNNEL_RESOURCE_CPU_REQUEST: "4" }, 64, 4],
    [{ ZTUNNEL_RESOURCE_CPU_REQUEST: "3" }, 8, 3],
    [{ ZTUNNEL_RESOURCE_CPU_REQUEST: "200m" }, 64, 16],
    [{ ZTUNNEL_CPU_LIMIT: "3", ZTUNNEL_WORKER_THREADS: "50%" }, 8, 4],
    [{ PROXY_CONFIG: "concurrency: 0", ZTUNNEL_CPU_LIMIT: "3" }, 8, 8],
  ];
  for (const [env, cores, workers] of rows) assert.equal(config(env, cores).workers, workers, JSON.stringify(env));
});

test("F-124 the mesh's file and PROXY_CONFIG say where control is, unless the environment does", () => {
  const mesh = "defaultConfig: {discoveryAddress: file:15012, proxyMetadata: {ISTIO_META_A: file, B: file}}";
  const of = (env: Record<string, string>): AgentConfig => {
    const parsed = parseConfig(env, 2, mesh);
    assert.ok(!(parsed instanceof ConfigError));
    return parsed;
  };
  assert.equal(of({}).xds.address, "file:15012");
  assert.equal(of({ PROXY_CONFIG: "discoveryAddress: own:15012" }).xds.address, "own:15012");
  assert.equal(of({ XDS_ADDRESS: "https://env:15012" }).xds.address, "https://env:15012");
  assert.deepEqual(of({ ISTIO_META_A: "env", ISTIO_METAJSON_L: '{"a":[1]}' }).metadata, { A: "env", B: "file" });
  assert.deepEqual(of({ ISTIO_METAJSON_L: '{"a":[1]}' }).jsonMetadata, { L: { a: [1] } });
});

test("F-002 a dedicated agent has one workload, marks nothing, and needs to be told which", () => {
  const { mode, packetMark } = config({ PROXY_MODE: "dedicated", PROXY_WORKLOAD_INFO: "shop/web/account" });
  assert.deepEqual(mode, {
    kind: "dedicated",
    workload: { namespace: "shop", name: "web", serviceAccount: "account" },
  });
  assert.equal(packetMark, undefined);
  for (const info of ["", "web", "shop/web", "shop/web/", "a/b/c/d"]) {
    assert.ok(parseConfig({ PROXY_MODE: "dedicated", PROXY_WORKLOAD_INFO: info }, 2) instanceof ConfigError, info);
  }
});

test("F-141 H053 an agent issues certificates to itself only where three variables agree that it is a test", () => {
  const all = { FAKE_CA: "true", NODE_ENV: "test", AMBIENTD_FAKE_CA_DIR: "/tmp/ca" };
  assert.equal(config(all).fakeCa, "/tmp/ca");
  assert.equal(config({ ...all, FAKE_CA: "false" }).fakeCa, undefined);
  for (const [name, value] of [
    ["NODE_ENV", "production"],
    ["NODE_ENV", ""],
    ["AMBIENTD_FAKE_CA_DIR", ""],
    ["AMBIENTD_FAKE_CA_DIR", "ca"],
    ["FAKE_CA", "yes"],
  ] as const) {
    assert.ok(parseConfig({ ...all, [name]: value }, 2) instanceof ConfigError, `${name}=${value}`);
  }
});

test("F-023 unacknowledged bytes wait as long as silent peers where that is asked for", () => {
  assert.equal(config({ USER_TIMEOUT_ENABLED: "true" }).keepAlive?.userTimeoutMs, 1_800_000);
  const short = { KEEPALIVE_TIME: "10s", KEEPALIVE_INTERVAL: "5s", KEEPALIVE_RETRIES: "3" };
  assert.equal(config({ ...short, USER_TIMEOUT_ENABLED: "true" }).keepAlive?.userTimeoutMs, 25_000);
  assert.equal(config({ KEEPALIVE_ENABLED: "false" }).keepAlive, undefined);
});

test("nothing is looked for in connections unless it is asked for by its name", () => {
  assert.equal(config({}).sniff, undefined);
  assert.equal(config({ AMBIENTD_SNIFF: "" }).sniff, undefined);
  assert.equal(config({ AMBIENTD_SNIFF: "http" }).sniff, "http");
  const refused = parseConfig({ AMBIENTD_SNIFF: "true" }, 8);
  assert.ok(refused instanceof ConfigError);
  assert.match(refused.sentence(), /AMBIENTD_SNIFF=true .*"http"/);
});
