/** nghttp2's clients against a whole worker of ours. They can't speak CONNECT (RFC 9113 8.5): what they ask for is refused. */
import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { find } from "../../scripts/peers.ts";
import { run } from "../cluster/command.ts";
import { engineOf, engines } from "../support/engines.ts";
import { root } from "../support/hbone-pair.ts";
import { identityOf, testIdentity } from "../support/identities.ts";
import { application, LoopbackMesh, ownAddresses, type LoopbackPod } from "../support/loopback-mesh.ts";
import { pod } from "../support/mesh.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { Heard } from "./conversations.ts";
import { forwardWithCertificate, type Forwarder } from "./mutual-tls-forwarder.ts";
import { pemFiles, type PemFiles } from "./pem-files.ts";

const missing = ["nghttp", "h2load"].find((program) => find(program) === undefined);
const skip = missing === undefined ? (enterNamespaces() ?? false) : `no ${missing} here (Debian's nghttp2-client)`;

const gateway = testIdentity(root, identityOf("gateway"));
const address = "10.99.0.3";
const echoPort = 8_081;

for (const engine of engines)
  suite(`nghttp2's clients, and our ${engine} engine`, () => {
    let mesh: LoopbackMesh;
    let client: LoopbackPod;
    let server: LoopbackPod;
    let pem: PemFiles;
    let forwarder: Forwarder;
    let app: { close: () => void };

    before(async () => {
      if (skip !== false) return;
      await ownAddresses();
      app = await application(address, (socket) => socket.pipe(socket), echoPort);
      mesh = new LoopbackMesh(engineOf(engine).meshOptions);
      mesh.apply({ workloads: [pod("default/alice", "10.99.0.2"), pod("default/bob", address)] });
      client = await mesh.serve("default/alice", "10.99.0.2");
      server = await mesh.serve("default/bob", address);
      pem = pemFiles(gateway);
      // h2load has no client certificate to show.
      forwarder = await forwardWithCertificate({ host: address, port: server.hbonePort }, gateway);
    });
    after(async () => {
      await forwarder?.close();
      pem?.remove();
      app?.close();
      mesh?.close();
    });

    test("nghttp with a client certificate is answered 400 for a GET", { skip }, async () => {
      const { stdout } = await nghttp();
      assert.match(stdout, answered400, stdout);
      const line = await mesh.line("inbound", ({ reason }) => reason === "NOT_CONNECT");
      assert.equal(line["src.identity"], "spiffe://cluster.local/ns/default/sa/gateway");
    });

    test(
      "h2load's ten thousand GETs are each answered 400 in one tunnel, and somebody else's stream never notices",
      {
        skip,
      },
      async () => {
        const other = new Heard(client.connectOut({ address, port: echoPort }));
        other.socket.write("before");
        await other.says("before");
        await load(forwarder.port, 10_000);
        other.text = "";
        other.socket.write("after");
        await other.says("after");
        other.socket.destroy();
      },
    );

    // Node's own answers PROTOCOL_ERROR itself, tells nobody, and ends the tunnel after a thousand.
    if (engine !== "node") {
      test("nghttp's CONNECT that has a path is answered 400, and the log knows whose it was", { skip }, async () => {
        const { stdout } = await nghttp("-H", ":method: CONNECT", "-H", `:authority: ${address}:${echoPort}`);
        assert.match(stdout, answered400, stdout);
        const line = await mesh.line("inbound", ({ reason }) => reason === "BAD_AUTHORITY");
        assert.equal(line["src.identity"], "spiffe://cluster.local/ns/default/sa/gateway");
      });

      test(
        "h2load's five thousand CONNECTs that have a path are each answered 400 in one tunnel",
        { skip },
        async () => {
          await load(forwarder.port, 5_000, "-H", ":method: CONNECT");
        },
      );
    }

    function nghttp(...more: string[]): ReturnType<typeof run> {
      const certificate = ["--cert", pem.certificate, "--key", pem.key];
      const url = `https://${address}:${server.hbonePort}/`;
      return run(["nghttp", "-nv", ...certificate, ...more, url], { timeoutMs: 20_000 });
    }
  });

/** Over one connection, a hundred at a time; every one must be answered, and with 400. */
async function load(port: number, requests: number, ...more: string[]): Promise<void> {
  const argv = ["h2load", "-n", String(requests), "-c", "1", "-m", "100", ...more, `http://127.0.0.1:${port}/`];
  const { stdout } = await run(argv, { timeoutMs: 60_000 });
  const done = `${requests} total, ${requests} started, ${requests} done, 0 succeeded, ${requests} failed, 0 errored`;
  assert.ok(stdout.includes(`requests: ${done}, 0 timeout`), stdout);
  assert.ok(stdout.includes(`status codes: 0 2xx, 0 3xx, ${requests} 4xx, 0 5xx`), stdout);
}

/** In what nghttp prints, colours and all. */
const answered400 = /:status.*: .*400/;
