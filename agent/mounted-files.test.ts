/** The root and the token as a kubelet mounts them: files behind a symlink that is swapped, sometimes only after the agent has begun. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { CertificateError } from "../control/client/certificates/certificate.ts";
import { MeshCaProvider } from "../control/client/providers/mesh-ca.ts";
import { startXdsSession } from "../control/client/xds-session.ts";
import { systemClock } from "../core/base/clock.ts";
import { silentLog } from "../core/base/log.ts";
import { agentNode, podYaml, startTestPlane } from "../test/support/control-plane.ts";
import { identityOf, testRoot } from "../test/support/identities.ts";

test("F-117 F-119 F-139 H053 roots and tokens that appear later, and those that are swapped, are the ones that count", async (t) => {
  const plane = await startTestPlane(t);
  plane.source.put("pods", podYaml("web", "node1", "10.1.0.5"));
  const volume = join(plane.directory, "volume");
  mkdirSync(volume);
  let version = 0;
  const mount = (files: Record<string, string>): void => {
    version += 1;
    mkdirSync(join(volume, `..v${version}`));
    for (const [name, text] of Object.entries(files)) writeFileSync(join(volume, `..v${version}`, name), text);
    symlinkSync(`..v${version}`, join(volume, "..new"));
    renameSync(join(volume, "..new"), join(volume, "..data"));
  };
  const rootCa = join(volume, "..data", "root-cert.pem");
  const endpoint = plane.endpoint("node1", {
    rootCa,
    token: () => readFileSync(join(volume, "..data", "istio-token"), "utf8"),
  });
  const common = { ...endpoint, clock: systemClock, log: silentLog };
  const session = startXdsSession({ ...common, node: agentNode("node1"), onUpdate: () => Promise.resolve([]) });
  t.after(() => session.close());
  const provider = new MeshCaProvider({ ...common, validitySeconds: 3_600 });
  t.after(() => provider.close());
  const fetch = (): ReturnType<MeshCaProvider["fetch"]> =>
    provider.fetch(identityOf("web", "shop"), AbortSignal.timeout(10_000));

  const missing = await fetch();
  assert.ok(missing instanceof CertificateError);
  assert.match(missing.message, /istio-token/);
  const token = plane.token("node1");
  mount({ "istio-token": token });
  const rootless = await fetch();
  assert.ok(rootless instanceof CertificateError);
  assert.match(rootless.message, /root-cert\.pem/);
  mount({ "istio-token": token, "root-cert.pem": testRoot("stranger").certificatePem });
  assert.ok((await fetch()) instanceof CertificateError, "control does not lead to that root");
  mount({ "istio-token": token, "root-cert.pem": readFileSync(join(plane.directory, "root-cert.pem"), "utf8") });
  await session.ready;
  const issued = await fetch();
  assert.ok(!(issued instanceof CertificateError), issued instanceof CertificateError ? issued.message : "");
});
