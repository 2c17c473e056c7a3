/**
 * curl against the tunnel port of a whole worker of ours, with a client certificate and without. Debian 12's knows no
 * `--proxy-http2`: what it can say of CONNECT over HTTP/2 it says through nghttpx (nghttpx.test.ts).
 */
import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { find } from "../../scripts/peers.ts";
import { run } from "../cluster/command.ts";
import { engineOf, engines } from "../support/engines.ts";
import { root } from "../support/hbone-pair.ts";
import { identityOf, testIdentity } from "../support/identities.ts";
import { application, LoopbackMesh, ownAddresses } from "../support/loopback-mesh.ts";
import { pod } from "../support/mesh.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { uriOf } from "./envoy-config.ts";
import { pemFiles, type PemFiles } from "./pem-files.ts";

const skip = find("curl") === undefined ? "no curl here" : (enterNamespaces() ?? false);
const gateway = testIdentity(root, identityOf("gateway"));
const address = "10.99.0.3";
const echoPort = 8_081;

for (const engine of engines)
  suite(`curl, and our ${engine} engine`, () => {
    let mesh: LoopbackMesh;
    let tunnel: string;
    let pem: PemFiles;
    let app: { close: () => void };

    before(async () => {
      if (skip !== false) return;
      await ownAddresses();
      app = await application(address, (socket) => socket.pipe(socket), echoPort);
      mesh = new LoopbackMesh(engineOf(engine).meshOptions);
      mesh.apply({ workloads: [pod("default/bob", address)] });
      tunnel = `https://${address}:${(await mesh.serve("default/bob", address)).hbonePort}`;
      pem = pemFiles(gateway);
    });
    after(() => {
      pem?.remove();
      app?.close();
      mesh?.close();
    });

    test("curl's GET over HTTP/2 with a client certificate is answered 400", { skip }, async () => {
      const { stdout } = await curl("--http2", "--cert", pem.certificate, "--key", pem.key, `${tunnel}/`);
      assert.equal(stdout, "400 2");
      const line = await mesh.line("inbound", ({ reason }) => reason === "NOT_CONNECT");
      assert.equal(line["src.identity"], uriOf(gateway));
    });

    test("curl without a client certificate gets no answer, and the log says why", { skip }, async () => {
      const { stdout, code } = await curl("--http2", `${tunnel}/`);
      assert.notEqual(code, 0);
      assert.equal(stdout, "000 0");
      await mesh.line("inbound", ({ reason }) => reason === "NO_CLIENT_CERTIFICATE");
    });

    test(
      "curl that wants to use a tunnel port as a proxy of HTTP/1.1 is refused at the handshake",
      { skip },
      async () => {
        const certificate = ["--proxy-cert", pem.certificate, "--proxy-key", pem.key, "--proxy-insecure"];
        const target = `http://${address}:${echoPort}/`;
        const { code } = await curl("--http1.1", ...certificate, "--proxy", tunnel, "--proxytunnel", target);
        assert.notEqual(code, 0);
        await mesh.line("inbound", ({ reason }) => reason === "ALPN_NOT_H2");
      },
    );
  });

/** Prints the status and the version of HTTP. */
function curl(...argv: string[]): ReturnType<typeof run> {
  const write = ["--output", "/dev/null", "--write-out", "%{http_code} %{http_version}"];
  return run(["curl", "--silent", "--insecure", "--max-time", "20", ...write, ...argv]);
}
