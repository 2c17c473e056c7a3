import assert from "node:assert/strict";
import { connect } from "node:tls";
import { test } from "node:test";
import { CertificateError } from "../client/certificates/certificate.ts";
import { MeshCaProvider } from "../client/providers/mesh-ca.ts";
import { systemClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import type { Identity } from "../../core/protocol/spiffe/identity.ts";
import { foreignAuthority } from "../../test/support/authorities.ts";
import type { FakeApiServer, StoredObject } from "../../test/support/fake-api-server.ts";
import {
  agentToken,
  askCertificate,
  controlNamespace,
  podObject,
  rootOf,
  startApi,
  startReplica,
  subscribeAgent,
  type Replica,
} from "../../test/support/replicas.ts";
import { until } from "../../test/support/until.ts";

const patience = 5_000;
const cart: Identity = { trustDomain: "cluster.local", namespace: "shop", serviceAccount: "cart" };

test("control's own certificate names it as a Service of its namespace, as istiod's, and as it is advertised", async (t) => {
  const api = await startApi(t);
  const { plane } = await startReplica(t, api, "control-1", { advertise: ["127.0.0.1", "control.example"] });
  const names = await namesServed(plane.port, rootOf(api));
  for (const host of ["ambientd-control", "istiod"]) {
    for (const suffix of ["", ".svc", ".svc.cluster.local"]) {
      assert.ok(names.includes(`DNS:${host}.${controlNamespace}${suffix}`), names.join());
    }
  }
  assert.ok(names.includes("DNS:control.example") && names.includes("IP Address:127.0.0.1"));
});

test("under a plugged-in intermediate agents reach control, and get leaves whose chain leads to the company's root", async (t) => {
  const company = foreignAuthority("company");
  const mesh = foreignAuthority("mesh", company);
  const api = await startApi(t);
  api.put(podObject("cart", "node1", "10.244.1.5"));
  api.put(
    secret("cacerts", {
      "ca-cert.pem": mesh.certificatePem,
      "ca-key.pem": mesh.keyPem,
      "cert-chain.pem": mesh.certificatePem,
      "root-cert.pem": company.certificatePem,
    }),
  );
  const { plane, endpoint } = await startReplica(t, api, "control-1");
  await plane.synced;
  const reached = { ...endpoint(agentToken("node1")), rootCa: company.certificatePem };
  const agent = subscribeAgent(t, "node1", reached);
  await agent.session.ready;
  const provider = new MeshCaProvider({ ...reached, validitySeconds: 3_600, clock: systemClock, log: silentLog });
  t.after(() => provider.close());
  const certificate = await provider.fetch(cart, AbortSignal.timeout(patience));
  assert.ok(!(certificate instanceof CertificateError), JSON.stringify(certificate));
  assert.equal(certificate.chainPem.length, 2);
  assert.equal(certificate.rootsPem, company.certificatePem);
  assert.equal(api.find("Secret", controlNamespace, "istio-ca-secret"), undefined);
  await until("the root published", patience, () => published(api, "shop") === company.certificatePem);
});

test("every replica follows a root that is extended, and agents and namespaces are given both", async (t) => {
  const api = await startApi(t);
  api.put(podObject("cart", "node1", "10.244.1.5"));
  const replicas = await Promise.all(["control-1", "control-2"].map((name) => startReplica(t, api, name)));
  await Promise.all(replicas.map(({ plane }) => plane.synced));
  const before = rootOf(api);
  const both = before + foreignAuthority("next").certificatePem;
  const old = api.find("Secret", controlNamespace, "istio-ca-secret");
  assert.ok(old !== undefined);
  const data = { ...(old["data"] as object), "root-cert.pem": Buffer.from(both).toString("base64") };
  api.put({ ...old, data });
  for (const replica of replicas) {
    await until("both roots", patience, async () => (await rootsGiven(replica)) === both);
  }
  await until("both roots published", patience, () => published(api, "shop") === both);
});

test("a root that is exchanged for an unrelated one is not followed, and is said", async (t) => {
  const api = await startApi(t);
  api.put(podObject("cart", "node1", "10.244.1.5"));
  const replica = await startReplica(t, api, "control-1");
  await replica.plane.synced;
  const before = rootOf(api);
  const other = foreignAuthority("other");
  api.put(secret("istio-ca-secret", { "ca-cert.pem": other.certificatePem, "ca-key.pem": other.keyPem }));
  await until("the log to say so", patience, () => JSON.stringify(replica.lines).includes("unrelated root"));
  assert.ok(!JSON.stringify(replica.lines).includes("PRIVATE"));
  const endpoint = { ...replica.endpoint(agentToken("node1")), rootCa: before };
  const answer = await askCertificate(endpoint, cart);
  assert.ok(!(answer instanceof Error));
  assert.equal(answer.certChain.at(-1), before);
});

function secret(name: string, files: Record<string, string>): object {
  const data = Object.entries(files).map(([key, text]) => [key, Buffer.from(text).toString("base64")]);
  return {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name, namespace: controlNamespace },
    data: Object.fromEntries(data) as object,
  };
}

async function rootsGiven({ endpoint }: Replica): Promise<string | undefined> {
  const answer = await askCertificate(endpoint(agentToken("node1")), cart);
  return answer instanceof Error ? undefined : answer.certChain.at(-1);
}

function published(api: FakeApiServer, namespace: string): unknown {
  const map: (StoredObject & { data?: Record<string, string> }) | undefined = api.find(
    "ConfigMap",
    namespace,
    "istio-ca-root-cert",
  );
  return map?.data?.["root-cert.pem"];
}

function namesServed(port: number, ca: string): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const options = { port, host: "127.0.0.1", ca, ALPNProtocols: ["h2"] };
    const socket = connect(options, () => {
      resolve((socket.getPeerCertificate().subjectaltname ?? "").split(", "));
      socket.destroy();
    });
    socket.once("error", reject);
  });
}
