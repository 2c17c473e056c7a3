import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { localMesh } from "../../agent/local-mesh/local-mesh.ts";
import { Address } from "../../core/protocol/generated/workload.ts";
import { formatIp } from "../../core/base/ip.ts";
import { certificatesFor } from "./authority.ts";
import { clientBootstrap, serverBootstrap } from "./envoy-config.ts";
import { externalEnvironment, meshDescription } from "./external.ts";
import { clientConfig, serverConfig } from "./haproxy-config.ts";
import type { Stage, StagePod } from "./stage.ts";

const folder = mkdtempSync(join(tmpdir(), "sides-"));
after(() => rmSync(folder, { recursive: true }));
const certificates = certificatesFor("test", join(folder, "certificates"), Date.now());

test("both ends get P-256 certificates of one authority, and only their owner may read the keys", () => {
  const roots = new X509Certificate(readFileSync(certificates.client.roots));
  for (const end of [certificates.client, certificates.server]) {
    const leaf = new X509Certificate(readFileSync(end.chain));
    assert.ok(leaf.verify(roots.publicKey));
    assert.equal(leaf.subjectAltName, `URI:${end.uri}`);
    assert.deepEqual(leaf.publicKey.asymmetricKeyDetails, { namedCurve: "prime256v1" });
    assert.equal(statSync(end.key).mode & 0o777, 0o600);
    assert.equal(readFileSync(end.bundle, "utf8"), readFileSync(end.chain, "utf8") + readFileSync(end.key, "utf8"));
  }
});

test("haproxy verifies both ends, resumes no session and keeps the client's address", () => {
  const client = clientConfig(certificates.client, 2);
  const server = serverConfig(certificates.server, 3, [8080, 5201]);
  for (const text of [client, server]) {
    assert.match(text, /ssl-min-ver TLSv1\.3 no-tls-tickets/);
    assert.match(text, /verify required/);
  }
  assert.match(client, /nbthread 2\n/);
  assert.match(client, /bind 127\.0\.0\.1:15001\n/);
  assert.match(client, /server peer 0\.0\.0\.0:\+20000 ssl .*no-ssl-reuse/);
  assert.match(server, /nbthread 3\n/);
  assert.deepEqual(server.match(/bind 0\.0\.0\.0:\d+/g), ["bind 0.0.0.0:28080", "bind 0.0.0.0:25201"]);
  assert.match(server, /source 0\.0\.0\.0 usesrc clientip\n {2}server application 0\.0\.0\.0:-20000\n/);
});

test("Envoy tunnels to the peer's tunnel port under its name, with marked sockets, and ends tunnels of the client alone", () => {
  const client = JSON.stringify(clientBootstrap(certificates.client, { address: "10.0.0.9", uri: "spiffe://a" }));
  for (const part of ['"port_value":15001', '"address":"10.0.0.9","port_value":15008', '"exact":"spiffe://a"', "1337"])
    assert.ok(client.includes(part), part);
  const server = JSON.stringify(serverBootstrap(certificates.server, { uri: "spiffe://b" }));
  for (const part of ['"port_value":15008', '"exact":"spiffe://b"', '"require_client_certificate":true', '"mark":1337'])
    assert.ok(server.includes(part), part);
});

const pod = (end: "client" | "server", address: string): StagePod => ({
  key: `bench-external/${end}`,
  address,
  netns: undefined,
  netnsInside: `/proc/${end === "client" ? 11 : 12}/ns/net`,
  run: () => Promise.reject(new Error("nothing runs here")),
  readProc: () => Promise.reject(new Error("nothing runs here")),
});
const stage: Stage = {
  client: pod("client", "10.1.0.2"),
  server: pod("server", "10.2.0.2"),
  workers: 2,
  ports: [8080],
  folder,
};

test("another agent is told both namespaces, its identity and certificate as files, the mesh, ports and mark", () => {
  const environment = externalEnvironment("client", stage, certificates, "/mesh.yaml");
  assert.equal(environment["BENCH_NETNS"], "/proc/11/ns/net");
  assert.equal(environment["BENCH_PEER_NETNS"], "/proc/12/ns/net");
  assert.equal(environment["BENCH_PEER_ADDRESS"], "10.2.0.2");
  assert.equal(environment["BENCH_PEER_IDENTITY"], certificates.server.uri);
  for (const file of ["BENCH_CERTIFICATE", "BENCH_KEY", "BENCH_ROOTS"]) assert.ok(statSync(environment[file] ?? ""));
  const manual = readFileSync(join(import.meta.dirname, "../README.md"), "utf8");
  for (const name of Object.keys(environment))
    assert.ok(manual.includes(`\`${name}\``), `README.md says nothing of ${name}`);
});

test("the mesh's file is one that our own agent reads", () => {
  const updates = localMesh(meshDescription(stage));
  assert.ok(!(updates instanceof Error));
  const workloads = updates.flatMap(({ resources }) => resources.map(({ bytes }) => Address.decode(bytes).type));
  assert.deepEqual(
    workloads.map((one) => one?.$case === "workload" && [one.value.serviceAccount, formatIp(one.value.addresses[0]!)]),
    [
      ["client", "10.1.0.2"],
      ["server", "10.2.0.2"],
    ],
  );
});
