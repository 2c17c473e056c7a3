import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { stringify } from "yaml";
import { ManualClock } from "../../../core/base/clock.ts";
import { loadConnection, type ConnectionOptions, type KubeConnection } from "./connection.ts";
import { KubeError } from "./errors.ts";

test("in a pod the mounted account counts, and is read again as it rotates", async (t) => {
  const folder = tempFolder(t);
  const clock = new ManualClock();
  writeFileSync(join(folder, "token"), "first\n");
  writeFileSync(join(folder, "ca.crt"), "CA");
  writeFileSync(join(folder, "namespace"), "ambient-system");
  const env = { KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "6443", HOME: folder };
  const connection = await loaded({ env, accountFolder: folder, clock });
  assert.equal(connection.server.href, "https://[fd00::1]:6443/");
  assert.equal(connection.namespace, "ambient-system");
  assert.equal(connection.kubeConfig, undefined);
  const first = { headers: { authorization: "Bearer first" }, tls: { ca: "CA" } };
  assert.deepEqual(await connection.credentials(), first);
  writeFileSync(join(folder, "token"), "second");
  assert.deepEqual(await connection.credentials(), first, "not from the disk every time");
  clock.advance(10_001);
  assert.deepEqual(await connection.credentials(), { ...first, headers: { authorization: "Bearer second" } });
  writeFileSync(join(folder, "token"), "third");
  connection.refresh();
  assert.deepEqual(await connection.credentials(), { ...first, headers: { authorization: "Bearer third" } });
  rmSync(join(folder, "token"));
  connection.refresh();
  const missing = await connection.credentials();
  assert.ok(missing instanceof KubeError && missing.type.code === "kube.credentials");
});

test("files named by KUBECONFIG win over the pod's account, and a context may be chosen from any of them", async (t) => {
  const folder = tempFolder(t);
  const one = write(folder, "one.yaml", config("one", "https://one:6443", { token: "t1" }));
  const two = write(folder, "two.yaml", config("two", "https://two:6443/prefix/", { token: "t2" }));
  const env = { KUBECONFIG: `${join(folder, "none")}:${one}:${two}`, KUBERNETES_SERVICE_HOST: "10.0.0.1" };
  const first = await loaded({ env });
  assert.equal(first.server.href, "https://one:6443/");
  assert.deepEqual(await headersOf(first), { authorization: "Bearer t1" });
  const second = await loaded({ env, context: "two" });
  assert.equal(second.server.href, "https://two:6443/prefix");
  assert.equal(second.namespace, "ns-of-two");
  const mixed = await loaded({ env, context: "one", user: "user-two" });
  assert.equal(mixed.server.href, "https://one:6443/");
  assert.deepEqual(await headersOf(mixed), { authorization: "Bearer t2" });
});

test("the same name in two files is the first one's", async (t) => {
  const folder = tempFolder(t);
  const one = write(folder, "one.yaml", config("same", "https://one:6443", { token: "t1" }));
  const two = write(folder, "two.yaml", config("same", "https://two:6443", { token: "t2" }));
  const connection = await loaded({ env: { KUBECONFIG: `${one}:${two}` } });
  assert.equal(connection.server.hostname, "one");
});

test("without any name ~/.kube/config is read", async (t) => {
  const folder = tempFolder(t);
  mkdirSync(join(folder, ".kube"));
  write(folder, ".kube/config", config("home", "https://home:6443", { token: "t" }));
  assert.equal((await loaded({ env: { HOME: folder } })).server.hostname, "home");
});

test("files beside a kubeconfig are found from there, and a token file is read again", async (t) => {
  const folder = tempFolder(t);
  writeFileSync(join(folder, "ca.pem"), "CA");
  writeFileSync(join(folder, "cert.pem"), "CERT");
  writeFileSync(join(folder, "key.pem"), "KEY");
  const user = { "client-certificate": "cert.pem", "client-key": "key.pem" };
  const made = config("one", "https://one", user, { "certificate-authority": "ca.pem", "tls-server-name": "api" });
  const connection = await loaded({ kubeconfig: write(folder, "one.yaml", made), env: {} });
  const credentials = await connection.credentials();
  assert.ok(!(credentials instanceof KubeError));
  assert.deepEqual(credentials.tls, { ca: "CA", cert: "CERT", key: "KEY", servername: "api" });

  writeFileSync(join(folder, "token"), "first");
  const byFile = await loaded({
    kubeconfig: write(folder, "two.yaml", config("two", "https://two", { tokenFile: "token" })),
    env: {},
  });
  assert.deepEqual(await headersOf(byFile), { authorization: "Bearer first" });
});

test("an exec plugin is run for its token, and its failure is told", async (t) => {
  const folder = tempFolder(t);
  const plugin = join(folder, "plugin.sh");
  const status = { apiVersion: "client.authentication.k8s.io/v1", kind: "ExecCredential", status: { token: "fresh" } };
  writeFileSync(plugin, `#!/bin/sh\necho '${JSON.stringify(status)}'\n`);
  chmodSync(plugin, 0o700);
  const exec = (command: string) => ({ exec: { apiVersion: "client.authentication.k8s.io/v1", command, args: [] } });
  const good = await loaded({ kubeconfig: write(folder, "a", config("a", "https://a", exec("./plugin.sh"))), env: {} });
  assert.deepEqual(await headersOf(good), { authorization: "Bearer fresh" });
  const bad = await loaded({ kubeconfig: write(folder, "b", config("b", "https://b", exec("./none.sh"))), env: {} });
  const error = await bad.credentials();
  assert.ok(error instanceof KubeError && error.type.code === "kube.credentials");
  assert.match(error.type.reason, /ENOENT/);
});

test("a user and password become basic authentication", async (t) => {
  const folder = tempFolder(t);
  const made = config("a", "https://a", { username: "me", password: "pass" });
  const connection = await loaded({ kubeconfig: write(folder, "a", made), env: {} });
  assert.deepEqual(await headersOf(connection), {
    authorization: `Basic ${Buffer.from("me:pass").toString("base64")}`,
  });
});

test("what is missing or wrong is said with what there is instead", async (t) => {
  const folder = tempFolder(t);
  const one = write(folder, "one.yaml", config("one", "https://one", { token: "t" }));
  const cases: [ConnectionOptions, RegExp][] = [
    [{ kubeconfig: join(folder, "none") }, /none does not exist/],
    [{ kubeconfig: write(folder, "bad.yaml", "a: [") }, /bad\.yaml cannot be read/],
    [{ kubeconfig: write(folder, "text.yaml", "just words") }, /is not a kubeconfig/],
    [{ kubeconfig: one, context: "two" }, /there is no context "two"; contexts are one/],
    [{ kubeconfig: one, cluster: "two" }, /there is no cluster "two"; known are cluster-one/],
    [{ kubeconfig: one, user: "two" }, /there is no user "two"; known are user-one/],
    [{ kubeconfig: write(folder, "empty.yaml", "") }, /there is no context in .*empty\.yaml/],
    [{ env: { HOME: folder } }, /there is no context in .*\.kube\/config/],
    [{ inCluster: true, env: {} }, /this is not a pod/],
    [{ kubeconfig: write(folder, "x", config("x", "no address", {})) }, /no usable server address/],
  ];
  for (const [options, sentence] of cases) {
    const error = await loadConnection({ env: {}, ...options });
    assert.ok(error instanceof KubeError && error.type.code === "kube.config", String(sentence));
    assert.match(error.type.reason, sentence);
  }
});

function config(name: string, server: string, user: object, cluster: object = {}): string {
  return stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: `cluster-${name}`, cluster: { server, ...cluster } }],
    users: [{ name: `user-${name}`, user }],
    contexts: [{ name, context: { cluster: `cluster-${name}`, user: `user-${name}`, namespace: `ns-of-${name}` } }],
    "current-context": name,
  });
}

async function loaded(options: ConnectionOptions): Promise<KubeConnection> {
  const connection = await loadConnection(options);
  if (connection instanceof KubeError) throw connection;
  return connection;
}

async function headersOf(connection: KubeConnection): Promise<Readonly<Record<string, string>>> {
  const credentials = await connection.credentials();
  if (credentials instanceof KubeError) throw credentials;
  return credentials.headers;
}

function write(folder: string, name: string, text: string): string {
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
}

function tempFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "connection-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
