/** What an agent tells its peers of its pods, and them alone: headers as a foreign server, and a foreign client, see them. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createSecureServer, type IncomingHttpHeaders } from "node:http2";
import { test, type TestContext } from "node:test";
import { alice, bob, root } from "../../test/support/hbone-pair.ts";
import { identityOf, testIdentity } from "../../test/support/identities.ts";
import { application, LoopbackMesh, ownAddresses } from "../../test/support/loopback-mesh.ts";
import { backs, pod, port, service } from "../../test/support/mesh.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { TunnelClient } from "../../test/support/tunnel-client.ts";
import { until } from "../../test/support/until.ts";
import type { MeshWorkload } from "../../core/protocol/wds/workload.ts";
import type { WorkerSettings } from "./context.ts";

const skip = enterNamespaces() ?? false;
const [aliceAddress, bobAddress] = ["10.99.0.2", "10.99.0.3"];
const described: Partial<MeshWorkload> = {
  workloadType: "deployment",
  workloadName: "front end",
  canonicalName: "front",
  canonicalRevision: "v7",
  clusterId: "Kubernetes",
  locality: { region: "north", zone: "n1", subzone: "" },
};
const baggage =
  "k8s.cluster.name=Kubernetes,k8s.namespace.name=default,k8s.deployment.name=front%20end," +
  "service.name=front,service.version=v7,cloud.region=north,cloud.availability_zone=n1";

test(
  "F-080 F-081 F-083 F-084 a server is told who calls and by which service, in a CONNECT that says nothing else",
  { skip },
  async (t) => {
    const mesh = await meshOf(t);
    const heard = await foreignServer(t);
    const web = service("default/web", "10.96.0.1", [port(80, 8080)]);
    mesh.apply({
      services: [web],
      workloads: [
        pod("default/alice", aliceAddress, described),
        pod("default/bob", bobAddress, { services: backs([web, port(80, 8080)]) }),
      ],
    });
    const client = await mesh.serve("default/alice", aliceAddress);
    const byService = client.connectOut({ address: "10.96.0.1", port: 80 });
    const byAddress = client.connectOut({ address: bobAddress, port: 8080 });
    await until("both have come", 5_000, () => heard.length === 2);
    const named = heard.find((headers) => headers["forwarded"]?.includes("host="));
    const bare = heard.find((headers) => headers !== named);
    const ports = { named: localPort(byService), bare: localPort(byAddress) };
    assert.equal(named?.["forwarded"], `for="${aliceAddress}:${ports.named}";host=web.default.svc.cluster.local`);
    assert.equal(bare?.["forwarded"], `for="${aliceAddress}:${ports.bare}"`);
    for (const headers of heard) {
      assert.equal(headers["baggage"], baggage);
      assert.match(String(headers["traceparent"]), /^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/);
      assert.equal(headers[":authority"], `${bobAddress}:8080`);
      const names = [":authority", ":method", "baggage", "forwarded", "traceparent"];
      assert.deepEqual(Object.keys(headers).sort(), names);
    }
  },
);

for (const [responseBaggage, what] of [
  [true, "whom it has reached"],
  [false, "nothing where that is switched off"],
] as const)
  test(`F-082 a client is told ${what}`, { skip }, async (t) => {
    const mesh = await meshOf(t, { responseBaggage });
    const app = await application(bobAddress, (socket) => socket.pipe(socket));
    t.after(app.close);
    mesh.apply({ workloads: [pod("default/bob", bobAddress, described)] });
    const { hbonePort } = await mesh.serve("default/bob", bobAddress);
    const client = new TunnelClient({ address: bobAddress, port: hbonePort }, alice, aliceAddress);
    t.after(() => client.close());
    const accepted = await client.connect(`${bobAddress}:${app.port}`);
    assert.deepEqual([accepted.status, accepted.baggage], [200, responseBaggage ? baggage : ""]);
    const refused = await client.connect("192.0.2.1:80");
    assert.deepEqual([refused.status, refused.baggage], [400, ""], "who is refused learns nothing");
  });

test("F-096 a pod of another trust domain gets a reset, and the server's log says which", { skip }, async (t) => {
  const mesh = await meshOf(t);
  const app = await application(bobAddress, () => assert.fail("nothing arrives"));
  t.after(app.close);
  const trustDomain = "elsewhere.example";
  mesh.apply({
    workloads: [pod("default/alice", aliceAddress, { trustDomain }), pod("default/bob", bobAddress)],
  });
  const elsewhere = testIdentity(root, identityOf("alice", "default", trustDomain));
  const client = await mesh.serve("default/alice", aliceAddress, elsewhere);
  await mesh.serve("default/bob", bobAddress);
  const [error] = (await once(client.connectOut({ address: bobAddress, port: app.port }), "error")) as [Error];
  assert.equal((error as NodeJS.ErrnoException).code, "ECONNRESET");
  const line = await mesh.line("inbound");
  assert.match(String(line["detail"] ?? line["error"]), /spiffe:\/\/elsewhere\.example\/ns\/default\/sa\/alice/);
  assert.equal((await mesh.line("outbound"))["bytes_sent"], 0);
});

async function meshOf(t: TestContext, settings: Partial<WorkerSettings> = {}): Promise<LoopbackMesh> {
  await ownAddresses();
  const mesh = new LoopbackMesh({ settings });
  t.after(() => mesh.close());
  return mesh;
}

/** Node's own HTTP/2 with bob's certificate at bob's port for tunnels: the headers of each CONNECT it took. */
async function foreignServer(t: TestContext): Promise<IncomingHttpHeaders[]> {
  const heard: IncomingHttpHeaders[] = [];
  const server = createSecureServer({
    cert: bob.chain,
    key: bob.key,
    ca: bob.roots,
    requestCert: true,
    minVersion: "TLSv1.3",
    ALPNProtocols: ["h2"],
  });
  server.on("stream", (stream, headers) => {
    heard.push({ ...headers });
    stream.on("error", () => {});
    stream.respond({ ":status": 200 }, { endStream: false });
  });
  server.on("session", (session) => t.after(() => session.destroy()));
  await new Promise<void>((resolve) => server.listen(15_008, bobAddress, resolve));
  t.after(() => server.close());
  return heard;
}

function localPort(socket: { readonly localPort?: number | undefined }): number {
  return socket.localPort ?? 0;
}
