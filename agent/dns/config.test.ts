import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLog } from "../../core/base/log.ts";
import { parseConfig } from "../config.ts";
import { dnsListenSettings, fallbackServers, parseDnsConfig, type DnsConfig } from "./config.ts";
import { parseNameServers, parseResolvConf } from "./name-servers.ts";

function dns(env: Record<string, string>, metadata: Record<string, string> = {}): DnsConfig {
  const config = parseDnsConfig(env, metadata);
  assert.ok(config !== undefined && !("fix" in config));
  return config;
}

test("F-190 queries are answered unless the proxy's metadata says anything but true", () => {
  assert.ok(parseDnsConfig({}, {}));
  assert.ok(parseDnsConfig({}, { DNS_CAPTURE: "true" }));
  for (const DNS_CAPTURE of ["false", "", "True", "1"]) assert.equal(parseDnsConfig({}, { DNS_CAPTURE }), undefined);
  const off = parseConfig({ ISTIO_META_DNS_CAPTURE: "false" }, 4);
  assert.ok("dns" in off && off.dns === undefined);
});

test("F-190 the listen address can be another loopback address or port, and nothing that strangers reach", () => {
  const { addresses, port } = dns({});
  assert.deepEqual([addresses, port], [["127.0.0.1", "::1"], 15_053]);
  assert.deepEqual(dns({ DNS_PROXY_ADDR: "localhost:5300" }).addresses, ["127.0.0.1", "::1"]);
  assert.equal(dns({ DNS_PROXY_ADDR: "localhost:5300" }).port, 5_300);
  assert.deepEqual(dns({ DNS_PROXY_ADDR: "127.0.0.1:15053" }).addresses, ["127.0.0.1"]);
  assert.deepEqual(dns({ DNS_PROXY_ADDR: "[::1]:15053" }).addresses, ["::1"]);
  for (const DNS_PROXY_ADDR of ["0.0.0.0:15053", "10.0.0.1:53", "localhost", "localhost:0", "localhost:70000", "x"]) {
    const refused = parseConfig({ DNS_PROXY_ADDR }, 4);
    assert.ok(
      "sentence" in refused && refused.sentence().startsWith(`ambientd agent: DNS_PROXY_ADDR=${DNS_PROXY_ADDR} is no`),
    );
  }
});

test("F-017 with IPv6 switched off, ::1 is not listened at", () => {
  assert.deepEqual(dnsListenSettings(dns({}), { ipv6: false, workers: 2 }), { addresses: ["127.0.0.1"], port: 15_053 });
});

test("F-181 F-191 the cluster's domain and the preferred namespace are those of the environment", () => {
  const { clusterDomain, preferredNamespace } = dns({
    CLUSTER_DOMAIN: "Mesh.Example.",
    PREFERED_SERVICE_NAMESPACE: "prod",
  });
  assert.deepEqual([clusterDomain, preferredNamespace], ["mesh.example", "prod"]);
  assert.deepEqual([dns({}).clusterDomain, dns({}).preferredNamespace], ["cluster.local", undefined]);
});

test("F-186 resolvers are those that are configured, else the agent's own, without what only its own loopback reaches", () => {
  const text =
    "# made by\nsearch shop.svc.cluster.local\nnameserver 127.0.0.53\nnameserver 10.96.0.10\n nameserver 1.1.1.1\nnameserver fd00::a%eth0\nnameserver nobody\n";
  assert.deepEqual(parseResolvConf(text), {
    usable: [
      { address: "10.96.0.10", port: 53 },
      { address: "fd00::a", port: 53 },
    ],
    onLoopback: ["127.0.0.53"],
  });
  assert.deepEqual(fallbackServers(dns({}), silentLog, () => text).length, 2);
  assert.deepEqual(
    fallbackServers(dns({}), silentLog, () => ""),
    [],
  );
  const configured = dns({ AMBIENTD_DNS_SERVERS: "10.96.0.10, [fd00::a]:5353,fd00::b" });
  assert.deepEqual(
    fallbackServers(configured, silentLog, () => text),
    [
      { address: "10.96.0.10", port: 53 },
      { address: "fd00::a", port: 5_353 },
      { address: "fd00::b", port: 53 },
    ],
  );
  for (const text of ["dns.example", "10.0.0.1:0", "10.0.0.1,", "10.0.0.1 10.0.0.2"])
    assert.equal(parseNameServers(text), undefined);
  const refused = parseConfig({ AMBIENTD_DNS_SERVERS: "kube-dns" }, 4);
  assert.ok("sentence" in refused && refused.sentence().includes("names no resolvers"));
});
