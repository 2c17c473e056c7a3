import assert from "node:assert/strict";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { copyFileSync } from "node:fs";
import { test, type TestContext } from "node:test";
import { status, type Client, type Metadata, type ServiceError } from "@grpc/grpc-js";
import { pino } from "pino";
import { systemClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import {
  createCertificatePath,
  createCertificateRequest,
  parseCertificateResponse,
} from "../../core/protocol/ca/create-certificate.ts";
import { IstioCertificateRequest, IstioCertificateResponse } from "../../core/protocol/generated/ca.ts";
import { formatIdentity, type Identity } from "../../core/protocol/spiffe/identity.ts";
import { createCsr, createKeyAndCsr } from "../../core/protocol/x509/csr.ts";
import { podYaml, startTestPlane, type TestPlane } from "../../test/support/control-plane.ts";
import { MemorySource } from "../../test/support/memory-source.ts";
import { until } from "../../test/support/until.ts";
import type { FolderConfig } from "./config.ts";
import { CertificateError, type WorkloadCertificate } from "../client/certificates/certificate.ts";
import { MeshCaProvider } from "../client/providers/mesh-ca.ts";

const patience = 5_000;
const minute = 60_000;
const cart = identity("cart");

test("a node's agent gets a certificate for a pod of its node, with that pod's identity and nothing of the CSR but the key", async (t) => {
  const control = await startWithCart(t);
  const { key, csrPem } = createKeyAndCsr(identity("vault"));
  const answer = await ask(control, "node1", { csr: csrPem, impersonated: cart });
  assert.ok(!(answer instanceof Error));
  const issued = parseCertificateResponse(answer, { identity: cart, key });
  assert.ok(!(issued instanceof Error));
  const leaf = new X509Certificate(issued.chainPem[0] ?? "");
  assert.equal(leaf.subject, undefined);
  assert.equal(leaf.subjectAltName, `URI:${formatIdentity(cart)}`);
  assert.equal(answer.certChain.length, 2);
  assert.ok(leaf.verify(new X509Certificate(answer.certChain[1] ?? "").publicKey));
});

test("the agent's own client turns the answer into a certificate", async (t) => {
  const control = await startWithCart(t);
  const certificate = await provider(t, control, "node1").fetch(cart, AbortSignal.timeout(patience));
  assert.ok(!(certificate instanceof CertificateError));
  assert.deepEqual(certificate.identity, cart);
  assert.ok(new X509Certificate(certificate.chainPem[0] ?? "").checkPrivateKey(certificate.key));
  assert.ok(certificate.notAfter - Date.now() > 23 * 60 * minute);
  assert.equal(certificate.serialNumber.length > 20, true);
});

test("a pod of the other node is refused, and served to its own node's agent", async (t) => {
  const control = await startWithCart(t);
  assert.equal(codeOf(await order(control, "node2", cart)), status.UNAUTHENTICATED);
  assert.equal(codeOf(await order(control, "node1", cart)), status.OK);
});

test("a pod that has only just been created is served at once, and one that has ended no more", async (t) => {
  const control = await startTestPlane(t);
  await control.plane.synced;
  assert.equal(codeOf(await order(control, "node1", cart)), status.UNAUTHENTICATED);
  control.source.put("cart", podYaml("cart", "node1", "10.244.1.5", "Pending"));
  assert.equal(codeOf(await order(control, "node1", cart)), status.OK);
  control.source.put("cart", podYaml("cart", "node1", "10.244.1.5", "Failed"));
  assert.equal(codeOf(await order(control, "node1", cart)), status.UNAUTHENTICATED);
  control.source.put("cart", podYaml("cart", "node1", "10.244.1.5"));
  assert.equal(codeOf(await order(control, "node1", cart)), status.OK);
  control.source.put("cart", undefined);
  assert.equal(codeOf(await order(control, "node1", cart)), status.UNAUTHENTICATED);
});

test("identities of another trust domain, or that are none, are refused", async (t) => {
  const control = await startWithCart(t);
  assert.equal(codeOf(await order(control, "node1", { ...cart, trustDomain: "other.mesh" })), status.UNAUTHENTICATED);
  const { csrPem: csr } = createKeyAndCsr(cart);
  for (const uri of [
    "spiffe://cluster.local/ns/shop/sa/cart/",
    "spiffe://cluster.local/ns/shop/sa/..",
    "SPIFFE://cluster.local/ns/shop/sa/cart",
    7,
  ]) {
    const answer = await send(control, "node1", { csr, validityDuration: 0n, metadata: { ImpersonatedIdentity: uri } });
    assert.equal(codeOf(answer), status.UNAUTHENTICATED, String(uri));
  }
});

test("without a good token nothing is issued, and the caller isn't told why", async (t) => {
  const control = await startWithCart(t);
  const account = { namespace: "shop", name: "cart" };
  const tokens: Record<string, string> = {
    none: "",
    nonsense: "abc.def.ghi",
    "another audience": control.forge("node1", (claims) => ({ ...claims, aud: ["kubernetes"] })),
    expired: control.forge("node1", (claims) => ({ ...claims, iat: 1, nbf: 1, exp: 2 })),
    "no node": control.forge("node1", (claims) => {
      const { namespace, serviceaccount } = claims["kubernetes.io"];
      return { ...claims, "kubernetes.io": { namespace, serviceaccount } };
    }),
    "no agent's account": control.forge("node1", (claims) => ({
      ...claims,
      sub: "system:serviceaccount:shop:cart",
      "kubernetes.io": {
        ...claims["kubernetes.io"],
        namespace: account.namespace,
        serviceaccount: { name: "cart", uid: "x" },
      },
    })),
    "a tampered token": `${control.token("node1").slice(0, -4)}AAAA`,
    "an endless one": "x".repeat(20_000),
  };
  for (const [what, token] of Object.entries(tokens)) {
    const answer = await order(control, "node1", cart, token);
    assert.ok(answer instanceof Error, what);
    assert.deepEqual([answer.code, answer.details], [status.UNAUTHENTICATED, "not authenticated"], what);
  }
});

test("a thousand requests that are too large, or hold no CSR we sign, are refused, and the next good one is served", async (t) => {
  const control = await startWithCart(t);
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const other = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const small = generateKeyPairSync("rsa", { modulusLength: 1024 });
  const uri = formatIdentity(cart);
  const padded = `${createCsr(privateKey, publicKey, uri)}${"\n".repeat(17_000)}`;
  const bad = [
    padded,
    "x".repeat(60_000),
    "",
    createCsr(privateKey, other.publicKey, uri),
    createCsr(small.privateKey, small.publicKey, uri),
  ];
  const { client, metadata } = control.stranger("node1");
  const startedMs = performance.now();
  for (let round = 0; round < 20; round++) {
    const batch = Array.from({ length: 50 }, (_, index) => bad[index % bad.length] ?? "");
    const answers = await Promise.all(
      batch.map((csr) =>
        call(client, metadata, createCertificateRequest({ csrPem: csr, validitySeconds: 0n, impersonated: cart })),
      ),
    );
    for (const answer of answers) assert.equal(codeOf(answer), status.INVALID_ARGUMENT);
  }
  t.diagnostic(`1,000 bad requests in ${Math.round(performance.now() - startedMs)} ms`);
  assert.equal(codeOf(await order(control, "node1", cart)), status.OK);
});

test("a request of a megabyte is refused before it is read", async (t) => {
  const control = await startWithCart(t);
  const answer = await send(control, "node1", { csr: "x".repeat(1 << 20), validityDuration: 0n, metadata: undefined });
  assert.equal(codeOf(answer), status.INVALID_ARGUMENT);
  assert.match((answer as ServiceError).details, /longer than/);
});

for (const [seconds, expected] of [
  [-1n, 24 * 3_600],
  [0n, 24 * 3_600],
  [600n, 600],
  [30n * 86_400n, 30 * 86_400],
  [91n * 86_400n, "refused"],
  [2n ** 63n - 1n, "refused"],
] as const) {
  test(`asking for ${seconds} seconds is ${expected === "refused" ? expected : `answered with ${expected}`}`, async (t) => {
    const control = await startWithCart(t);
    const answer = await ask(control, "node1", { csr: createKeyAndCsr(cart).csrPem, impersonated: cart, seconds });
    if (expected === "refused") return assert.equal(codeOf(answer), status.INVALID_ARGUMENT);
    assert.ok(!(answer instanceof Error));
    const { validToDate } = new X509Certificate(answer.certChain[0] ?? "");
    assert.ok(Math.abs((validToDate.getTime() - Date.now()) / 1_000 - expected) < 10);
  });
}

test("--cert-ttl bounds every life, whatever is asked for", async (t) => {
  const control = await startWithCart(t, { certTtlSeconds: 20 });
  const answer = await ask(control, "node1", {
    csr: createKeyAndCsr(cart).csrPem,
    impersonated: cart,
    seconds: 86_400n,
  });
  assert.ok(!(answer instanceof Error));
  const { validToDate } = new X509Certificate(answer.certChain[0] ?? "");
  assert.ok(validToDate.getTime() - Date.now() <= 20_000);
});

test("an agent without a pod's name gets a certificate of its own", async (t) => {
  const control = await startWithCart(t);
  const answer = await ask(control, "node1", { csr: createKeyAndCsr(cart).csrPem });
  assert.ok(!(answer instanceof Error));
  const { subjectAltName } = new X509Certificate(answer.certChain[0] ?? "");
  assert.equal(subjectAltName, "URI:spiffe://cluster.local/ns/istio-system/sa/ztunnel");
});

test("before every pod is known nobody is refused for good", async (t) => {
  const source = new MemorySource();
  const control = await startWithCart(t, {}, source);
  const token = control.token("node1");
  Object.assign(source, { synced: new Promise(() => undefined) });
  await control.restart();
  assert.equal(codeOf(await order(control, "node1", cart, token)), status.UNAVAILABLE);
});

test("root, token key and tokens outlive a restart", async (t) => {
  const control = await startWithCart(t);
  const client = provider(t, control, "node1");
  const before = await client.fetch(cart, AbortSignal.timeout(patience));
  const token = control.token("node1");
  await control.restart();
  await control.plane.synced;
  const after = await client.fetch(cart, AbortSignal.timeout(patience));
  assert.ok(!(before instanceof CertificateError) && !(after instanceof CertificateError));
  assert.equal(before.rootsPem, after.rootsPem);
  assert.equal(codeOf(await order(control, "node1", cart, token)), status.OK);
});

test("an agent that found control gone gets its certificate as soon as control is back", async (t) => {
  const control = await startWithCart(t);
  const client = provider(t, control, "node1");
  await control.stop();
  for (let attempt = 0; attempt < 4; attempt++) {
    const answer = await client.fetch(cart, AbortSignal.timeout(patience));
    assert.ok(answer instanceof CertificateError && answer.type.code === "certificate.unavailable");
  }
  await control.restart();
  await control.plane.synced;
  assert.ok(!((await client.fetch(cart, AbortSignal.timeout(patience))) instanceof CertificateError));
});

test("control under a root the agent doesn't hold is not asked; when the file has the root it is, without a restart", async (t) => {
  const [control, other] = [await startWithCart(t), await startWithCart(t)];
  const wrong = provider(t, control, "node1", { rootCa: `${other.directory}/root-cert.pem` });
  const answer = await wrong.fetch(cart, AbortSignal.timeout(patience));
  assert.ok(answer instanceof CertificateError);
  assert.equal(answer.type.code, "certificate.unavailable");
  copyFileSync(`${control.directory}/root-cert.pem`, `${other.directory}/root-cert.pem`);
  await until(
    "a certificate",
    patience,
    async () => !((await wrong.fetch(cart, AbortSignal.timeout(patience))) instanceof CertificateError),
  );
});

test("F-120 control is reached by its advertised names only", async (t) => {
  const control = await startWithCart(t, { advertise: ["control.example"] });
  const byAddress = provider(t, control, "node1");
  assert.ok((await byAddress.fetch(cart, AbortSignal.timeout(patience))) instanceof CertificateError);
  const byName = provider(t, control, "node1", { serverNames: ["control.example"] });
  assert.ok(!((await byName.fetch(cart, AbortSignal.timeout(patience))) instanceof CertificateError));
});

test("every answer is in the log with who, where and for whom, and no key or token", async (t) => {
  const lines: string[] = [];
  const log = pino({ level: "debug" }, { write: (line: string) => void lines.push(line) });
  const control = await startTestPlane(t, { log });
  control.source.put("cart", podYaml("cart", "node1", "10.244.1.5"));
  await control.plane.synced;
  await order(control, "node1", cart);
  await order(control, "node2", cart);
  const text = lines.join("");
  const issued = lines
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .find(({ msg }) => msg === "certificate issued");
  assert.equal(issued?.["node"], "node1");
  assert.equal(issued["identity"], formatIdentity(cart));
  assert.match(String(issued["serialNumber"]), /^[0-9A-F]+$/);
  assert.match(text, /caller\.no-live-pod/);
  for (const secret of [control.token("node1"), "PRIVATE KEY", "BEGIN"]) assert.ok(!text.includes(secret));
});

async function startWithCart(
  t: TestContext,
  config: Partial<FolderConfig> = {},
  source = new MemorySource(),
): Promise<TestPlane> {
  source.put("cart", podYaml("cart", "node1", "10.244.1.5"));
  const control = await startTestPlane(t, { config, source });
  await control.plane.synced;
  return control;
}

function provider(
  t: TestContext,
  control: TestPlane,
  node: string,
  overrides = {},
): { fetch(of: Identity, signal: AbortSignal): Promise<WorkloadCertificate | CertificateError> } {
  const endpoint = control.endpoint(node, overrides);
  const made = new MeshCaProvider({ ...endpoint, validitySeconds: 86_400, clock: systemClock, log: silentLog });
  t.after(() => made.close());
  return made;
}

function order(control: TestPlane, node: string, of: Identity, token?: string) {
  return ask(control, node, { csr: createKeyAndCsr(of).csrPem, impersonated: of }, token);
}

function ask(
  control: TestPlane,
  node: string,
  wanted: { csr: string; impersonated?: Identity; seconds?: bigint },
  token?: string,
) {
  const { csr, impersonated, seconds = 0n } = wanted;
  const request = createCertificateRequest({
    csrPem: csr,
    validitySeconds: seconds,
    ...(impersonated && { impersonated }),
  });
  return send(control, node, request, token);
}

function send(control: TestPlane, node: string, request: IstioCertificateRequest, token?: string) {
  const { client, metadata } = control.stranger(node, token);
  return call(client, metadata, request);
}

function call(
  client: Client,
  metadata: Metadata,
  request: IstioCertificateRequest,
): Promise<IstioCertificateResponse | ServiceError> {
  return new Promise((resolve) => {
    client.makeUnaryRequest(
      createCertificatePath,
      (message: IstioCertificateRequest) => Buffer.from(IstioCertificateRequest.encode(message).finish()),
      (bytes) => IstioCertificateResponse.decode(bytes),
      request,
      metadata,
      (error, response) => resolve(error ?? response!),
    );
  });
}

function codeOf(answer: IstioCertificateResponse | ServiceError): status {
  return answer instanceof Error ? answer.code : status.OK;
}

function identity(serviceAccount: string): Identity {
  return { trustDomain: "cluster.local", namespace: "shop", serviceAccount };
}
