import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { connect as connectTls } from "node:tls";
import { after, before, test } from "node:test";
import type { Socket } from "node:net";
import { root } from "../../test/support/hbone-pair.ts";
import { identityOf, testIdentity } from "../../test/support/identities.ts";
import { application, LoopbackMesh, ownAddresses, type LoopbackPod } from "../../test/support/loopback-mesh.ts";
import { pod } from "../../test/support/mesh.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { alpn, secureOptions } from "../tunnel/tls.ts";

const skip = enterNamespaces() ?? false;
const closers: (() => void)[] = [];
before(() => (skip === false ? ownAddresses() : undefined));
after(() => closers.reverse().forEach((close) => close()));

const alice = pod("default/alice", "10.99.0.2");

test("a pod that came after its account's certificate shows the next one in its next tunnel", { skip }, async () => {
  const { mesh, client, port } = await scene();
  await served(client.connectOut({ address: "10.99.0.3", port }));
  await served(client.connectOut({ address: "10.99.0.3", port }));
  assert.equal(mesh.tunnelsOpened, 1);
  mesh.certifyPod("default/alice");
  await served(client.connectOut({ address: "10.99.0.3", port }));
  assert.equal(mesh.tunnelsOpened, 2);
});

test("a pod that control does not know for a while does not miss its next certificate", { skip }, async () => {
  const { mesh, client } = await scene();
  await shown(client);
  mesh.apply({ removed: { addresses: [alice.uid] } });
  const next = testIdentity(root, identityOf("alice"));
  mesh.certify(next);
  mesh.apply({ workloads: [alice] });
  assert.equal(await shown(client), new X509Certificate(next.chain).serialNumber);
});

async function scene(): Promise<{ mesh: LoopbackMesh; client: LoopbackPod; port: number }> {
  const mesh = new LoopbackMesh();
  const app = await application("10.99.0.3", (socket) => socket.pipe(socket));
  closers.push(app.close, () => mesh.close());
  mesh.apply({ workloads: [alice, pod("default/bob", "10.99.0.3")] });
  mesh.certifyPod("default/alice");
  await mesh.serve("default/bob", "10.99.0.3");
  return { mesh, client: await mesh.serve("default/alice", "10.99.0.2", "none"), port: app.port };
}

/** Some words there and back. */
async function served(socket: Socket): Promise<void> {
  socket.end("hello");
  let answer = "";
  for await (const chunk of socket) answer += String(chunk);
  assert.equal(answer, "hello");
}

/** @returns the serial number of the certificate that a pod's 15008 shows. */
async function shown({ address, hbonePort }: LoopbackPod): Promise<string | undefined> {
  const as = secureOptions(testIdentity(root, identityOf("bob")));
  const tls = connectTls({
    host: address,
    port: hbonePort,
    ...as,
    ALPNProtocols: alpn,
    checkServerIdentity: () => undefined,
  });
  await new Promise((resolve, reject) => tls.once("secureConnect", resolve).once("error", reject));
  const { serialNumber } = tls.getPeerX509Certificate() ?? {};
  tls.destroy();
  return serialNumber;
}
