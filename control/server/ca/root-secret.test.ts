import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";
import { foreignAuthority } from "../../../test/support/authorities.ts";
import { isConflict, KubeError } from "../../sources/kubernetes/errors.ts";
import { newRoot } from "./authority.ts";
import { openRootSecret, readRootSecret, RootError, type Secret, type SecretClient } from "./root-secret.ts";
import { isRelated } from "./signing-material.ts";

const now = Date.UTC(2030, 0, 1);
const options = { namespace: "ambient-system", trustDomain: "cluster.local", wallMs: () => now };

test("where there is no root one is made, in the layout istiod knows", async () => {
  const api = new SecretApi();
  const root = await openRootSecret({ ...options, client: api });
  assert.ok(!(root instanceof Error));
  assert.equal(root.name, "istio-ca-secret");
  const secret = api.secrets.get("istio-ca-secret");
  assert.equal(secret?.type, "istio.io/ca-root");
  assert.deepEqual(Object.keys(secret?.data ?? {}).sort(), ["ca-cert.pem", "ca-key.pem"]);
  const certificate = new X509Certificate(root.chain.rootsPem);
  assert.equal(certificate.subject, "O=cluster.local");
  assert.ok(certificate.ca && certificate.verify(certificate.publicKey));
  assert.deepEqual(root.chain.intermediates, []);
  assert.equal(Buffer.from(secret?.data?.["ca-cert.pem"] ?? "", "base64").toString(), root.chain.rootsPem);
});

test("of ten replicas that start at once one makes the root, and all use that one", async () => {
  const api = new SecretApi();
  const roots = await Promise.all(Array.from({ length: 10 }, () => openRootSecret({ ...options, client: api })));
  const pems = roots.map((root) => (root instanceof Error ? root.message : root.chain.rootsPem));
  assert.equal(new Set(pems).size, 1);
  assert.equal(api.created, 1);
  assert.ok(api.refused >= 1, "somebody lost");
});

test("a root that is there is used as it stands: istiod's, with its RSA key", async () => {
  const { certificatePem, keyPem } = foreignAuthority("cluster.local");
  const api = new SecretApi({ "istio-ca-secret": secret({ "ca-cert.pem": certificatePem, "ca-key.pem": keyPem }) });
  const before = JSON.stringify([...api.secrets]);
  const root = await openRootSecret({ ...options, client: api });
  assert.ok(!(root instanceof Error), JSON.stringify(root));
  assert.equal(root.chain.rootsPem, certificatePem);
  assert.equal(JSON.stringify([...api.secrets]), before);
  assert.equal(api.created, 0);
});

test("a plugged-in intermediate signs, and its chain up to below the root goes along", async () => {
  const { files, root, intermediate } = pluggedIn();
  for (const chain of [intermediate, intermediate + root]) {
    const api = new SecretApi({ cacerts: secret({ ...files, "cert-chain.pem": chain }) });
    const opened = await openRootSecret({ ...options, client: api });
    assert.ok(!(opened instanceof Error), JSON.stringify(opened));
    assert.equal(opened.name, "cacerts");
    assert.deepEqual(opened.chain.intermediates, [intermediate]);
    assert.equal(opened.chain.rootsPem, root);
    assert.equal(opened.chain.issuer.certificatePem, intermediate);
    assert.equal(api.created, 0);
  }
});

test("a Secret as cert-manager writes it is read too", () => {
  const { files, root, intermediate } = pluggedIn();
  const tls = { "tls.crt": intermediate, "tls.key": files["ca-key.pem"], "ca.crt": root };
  const chain = readRootSecret(secret(tls), "cacerts", options);
  assert.ok(!(chain instanceof Error), JSON.stringify(chain));
  assert.deepEqual(chain.intermediates, [intermediate]);
});

test("an incomplete set stops the start, and says what is missing", async () => {
  const { files, intermediate } = pluggedIn();
  const whole = { ...files, "cert-chain.pem": intermediate };
  for (const missing of Object.keys(whole)) {
    const data = Object.fromEntries(Object.entries(whole).filter(([key]) => key !== missing));
    const opened = await openRootSecret({ ...options, client: new SecretApi({ cacerts: secret(data) }) });
    assert.ok(opened instanceof RootError, missing);
    assert.deepEqual(opened.type, { code: "root.incomplete", secret: "ambient-system/cacerts", missing: [missing] });
    assert.match(opened.sentence(), new RegExp(`lacks ${missing}.*Put it right, or remove it`));
  }
  const empty = await openRootSecret({ ...options, client: new SecretApi({ "istio-ca-secret": secret({}) }) });
  assert.ok(empty instanceof RootError);
  assert.equal(empty.type.code, "root.incomplete");
});

test("material that doesn't fit is refused with what is wrong, and nothing of the key is told", async () => {
  const { files, root, intermediate } = pluggedIn();
  const other = foreignAuthority("other");
  const whole = { ...files, "cert-chain.pem": intermediate };
  const leaf = foreignAuthority("leaf", other, false);
  const cases: [change: Record<string, string>, problem: RegExp][] = [
    [{ "ca-key.pem": other.keyPem }, /key does not belong/],
    [{ "ca-key.pem": "nonsense" }, /key can't be read/],
    [{ "ca-cert.pem": "nonsense" }, /certificate is not whole PEM/],
    [{ "root-cert.pem": other.certificatePem }, /do not lead to its root/],
    [{ "root-cert.pem": `${root}-----BEGIN CERTIFICATE-----\nAAAA` }, /root is not whole PEM/],
    [{ "ca-cert.pem": leaf.certificatePem, "ca-key.pem": leaf.keyPem }, /may not sign others/],
  ];
  for (const [change, problem] of cases) {
    const read = readRootSecret(secret({ ...whole, ...change }), "cacerts", options);
    assert.ok(read instanceof RootError, String(problem));
    assert.match(read.sentence(), problem);
    assert.ok(!read.sentence().includes("PRIVATE"));
  }
  const late = { ...options, wallMs: () => now + 200 * 365 * 86_400_000 };
  const ended = readRootSecret(secret(whole), "cacerts", late);
  assert.ok(ended instanceof RootError);
  assert.match(ended.sentence(), /ended at/);
});

test("an API server that says no is said to have said no", async () => {
  const request = { method: "GET", path: "/api/v1/namespaces/ambient-system/secrets/cacerts" };
  const error = new KubeError({ code: "kube.forbidden", status: 403, reason: "Forbidden", message: "no", ...request });
  const client = { get: () => Promise.resolve(error), create: () => Promise.resolve(error) };
  assert.equal(await openRootSecret({ ...options, client }), error);
});

test("roots are related when one set holds all keys of the other", () => {
  const [a, b, c] = [newRoot("a", now), newRoot("b", now), newRoot("c", now)].map((root) => root.certificatePem);
  assert.ok(a !== undefined && b !== undefined && c !== undefined);
  assert.equal(isRelated(a, a + b), true);
  assert.equal(isRelated(a + b, b), true);
  assert.equal(isRelated(a, b), false);
  assert.equal(isRelated(a + b, b + c), false);
});

/** Secrets of one namespace; a request takes a turn of the event loop. */
class SecretApi implements SecretClient {
  readonly secrets: Map<string, Secret>;
  created = 0;
  refused = 0;

  constructor(secrets: Record<string, Secret> = {}) {
    this.secrets = new Map(Object.entries(secrets));
  }

  async get<T>(path: string): Promise<T | KubeError> {
    await new Promise((resolve) => setImmediate(resolve));
    const found = this.secrets.get(path.split("/").at(-1) ?? "");
    return (found as T | undefined) ?? this.#refuse("GET", path, 404);
  }

  async create<T>(path: string, body: object): Promise<T | KubeError> {
    await new Promise((resolve) => setImmediate(resolve));
    const name = (body as Secret).metadata?.name ?? "";
    if (this.secrets.has(name)) {
      this.refused += 1;
      const error = this.#refuse("POST", path, 409);
      assert.ok(isConflict(error));
      return error;
    }
    this.created += 1;
    this.secrets.set(name, body);
    return body as T;
  }

  #refuse(method: string, path: string, status: 404 | 409): KubeError {
    const code = status === 404 ? "kube.not-found" : "kube.conflict";
    return new KubeError({ code, status, reason: "", message: "", method, path });
  }
}

function secret(files: Record<string, string>): Secret {
  const data = Object.entries(files).map(([key, text]) => [key, Buffer.from(text).toString("base64")]);
  return { data: Object.fromEntries(data) as Record<string, string> };
}

function pluggedIn() {
  const root = foreignAuthority("company");
  const intermediate = foreignAuthority("mesh", root);
  const files = {
    "ca-cert.pem": intermediate.certificatePem,
    "ca-key.pem": intermediate.keyPem,
    "root-cert.pem": root.certificatePem,
  };
  return { files, root: root.certificatePem, intermediate: intermediate.certificatePem };
}
