/**
 * nghttpx as either half of HBONE, and curl through it. It knows no half-close (a client's end is a reset for what is behind it, and
 * after its server's end it keeps the stream for good), so whole conversations and resets are tried.
 */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import type { Socket } from "node:net";
import { after, before, suite, test } from "node:test";
import { find } from "../../scripts/peers.ts";
import { run } from "../cluster/command.ts";
import { Unavailable } from "../cluster/unavailable.ts";
import { engineOf, engines } from "../support/engines.ts";
import { alice, bob, root } from "../support/hbone-pair.ts";
import { identityOf, testIdentity } from "../support/identities.ts";
import { application, LoopbackMesh, ownAddresses, type LoopbackPod, type LogLine } from "../support/loopback-mesh.ts";
import { pod, policy, ruleOf } from "../support/mesh.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { until } from "../support/until.ts";
import { Heard, sayOwnAddress, sendMuch, talkBothWays, type Ends } from "./conversations.ts";
import { uriOf } from "./envoy-config.ts";
import { startForwardProxy, throughProxy } from "./forward-proxy.ts";
import { Nghttpx } from "./nghttpx.ts";
import { nghttpxProgram } from "./parts.ts";
import { pemFiles } from "./pem-files.ts";

// First what may have to be fetched: inside there is no network.
const program = await nghttpxProgram();
const skip = program instanceof Unavailable ? program.missing : (enterNamespaces() ?? false);
const skipCurl = skip !== false ? skip : find("curl") === undefined ? "no curl here" : false;

const gateway = testIdentity(root, identityOf("gateway"));
const [bobAddress, gatewayAddress] = ["10.99.0.3", "10.99.0.5"];
const held = { address: bobAddress, port: 8_080 };
const echo = { address: bobAddress, port: 8_081 };
const http = { address: bobAddress, port: 8_082 };
/** nghttpx as client listens here, in clear. */
const door = { address: "127.0.0.1", port: 3_128 };
const page = randomBytes(5_000_000);

for (const engine of engines)
  suite(`nghttpx, and our ${engine} engine`, () => {
    let mesh: LoopbackMesh;
    let client: LoopbackPod;
    const closers: (() => void | Promise<void>)[] = [];
    const accepted: Socket[] = [];

    before(async () => {
      if (skip !== false) return;
      await ownAddresses();
      const apps = [
        await application(held.address, (socket) => accepted.push(socket), held.port),
        await application(echo.address, (socket) => socket.pipe(socket), echo.port),
      ];
      const pages = createServer((_request, response) => response.end(page));
      await new Promise<void>((resolve) => pages.listen(http.port, http.address, resolve));
      mesh = new LoopbackMesh(engineOf(engine).meshOptions);
      mesh.apply({
        workloads: [
          pod("default/alice", "10.99.0.2"),
          pod("default/bob", bobAddress),
          pod("default/gateway", gatewayAddress),
        ],
        policies: [policy("default/no-8090", { action: "deny", rules: [ruleOf({ destinationPorts: [8_090] })] })],
      });
      client = await mesh.serve("default/alice", "10.99.0.2");
      const server = await mesh.serve("default/bob", bobAddress);
      const pem = pemFiles(gateway);
      closers.push(pem.remove, () => mesh.close(), ...apps.map((app) => app.close));
      closers.push(() => (pages.closeAllConnections(), void pages.close()));
      const proxy = await startForwardProxy({ [`${gatewayAddress}:80`]: held, [`${gatewayAddress}:81`]: echo });
      const tunnel = { address: bobAddress, port: server.hbonePort };
      const asClient = await Nghttpx.client(program as readonly string[], door, tunnel, pem);
      closers.push(proxy.close, () => asClient.close());
      const asServer = await Nghttpx.server(
        program as readonly string[],
        { address: gatewayAddress, port: 15_008 },
        proxy,
        pem,
      );
      closers.push(() => asServer.close());
    });
    after(async () => {
      for (const close of closers.toReversed()) await close();
    });

    test(
      "nghttpx tunnels into a pod of ours: bytes both ways, and the log knows it by its certificate",
      { skip },
      async () => {
        const ends = await openThroughNghttpx();
        await talkBothWays(ends);
        ends.client.socket.resetAndDestroy();
        const line = await mesh.line("inbound", (one) => one["app.local"] === ends.server.peer);
        assert.deepEqual([line["src.identity"], line["dst.identity"]], [uriOf(gateway), uriOf(bob)]);
        assert.deepEqual([line["bytes_sent"], line["bytes_recv"]], [15, 15]);
      },
    );

    test("a client that goes from nghttpx is a reset for our application", { skip }, async () => {
      const ends = await openThroughNghttpx();
      await talkBothWays(ends);
      ends.client.socket.resetAndDestroy();
      await ends.server.becomes("reset");
      const line = await mesh.line("inbound", (one) => one["app.local"] === ends.server.peer);
      assert.equal(line["reason"], "PEER_RESET");
    });

    test("what we refuse reaches nghttpx's client as its status", { skip }, async () => {
      assert.equal(await throughProxy(door, `${bobAddress}:8090`), 401, "denied");
      assert.equal(await throughProxy(door, `${bobAddress}:8083`), 503, "nobody listens");
      assert.equal(await throughProxy(door, "10.99.0.77:80"), 400, "not this pod's");
    });

    test("50 MB in both directions at once through nghttpx arrive whole", { skip, timeout: 120_000 }, async () => {
      const ends = await openThroughNghttpx();
      await sendMuch(ends, 50_000_000);
      ends.client.socket.resetAndDestroy();
    });

    test("a hundred and fifty streams at once through nghttpx", { skip }, async () => {
      const all = await Promise.all(Array.from({ length: 150 }, () => openAnswering()));
      await Promise.all(all.map((heard) => heard.says(heard.local)));
      for (const { socket } of all) socket.resetAndDestroy();
    });

    test("curl fetches a page through nghttpx and our tunnel, byte for byte", { skip: skipCurl }, async () => {
      const proxy = ["--proxy", `http://${door.address}:${door.port}`, "--proxytunnel"];
      const url = `http://${http.address}:${http.port}/`;
      const { stdout } = await run(["sh", "-c", 'curl -sS "$@" | sha256sum', "sh", ...proxy, url], {
        timeoutMs: 30_000,
      });
      assert.equal(stdout.split(" ")[0], createHash("sha256").update(page).digest("hex"));
    });

    test("a pod of ours tunnels into nghttpx: bytes both ways, each certain of the other", { skip }, async () => {
      const ends = await openToNghttpx();
      await talkBothWays(ends);
      ends.client.socket.resetAndDestroy();
      const line = await outboundLine(ends.client);
      assert.deepEqual([line["src.identity"], line["dst.identity"]], [uriOf(alice), uriOf(gateway)]);
      assert.deepEqual([line["bytes_sent"], line["bytes_recv"]], [15, 15]);
    });

    test("what nghttpx refuses is a reset for the application", { skip }, async () => {
      const heard = new Heard(client.connectOut({ address: gatewayAddress, port: 82 }));
      await heard.becomes("reset");
      const line = await outboundLine(heard);
      assert.deepEqual([line["reason"], line["detail"]], ["BAD_CONNECT_REPLY", "status 502"]);
    });

    test("50 MB in both directions at once into nghttpx arrive whole", { skip, timeout: 120_000 }, async () => {
      const ends = await openToNghttpx();
      await sendMuch(ends, 50_000_000);
      ends.client.socket.resetAndDestroy();
    });

    test("a hundred and fifty streams at once into nghttpx", { skip }, async () => {
      const all = await Promise.all(
        Array.from({ length: 150 }, () => sayOwnAddress(client.connectOut({ address: gatewayAddress, port: 81 }))),
      );
      await Promise.all(all.map((heard) => heard.says(heard.local)));
      for (const { socket } of all) socket.resetAndDestroy();
    });

    async function openThroughNghttpx(): Promise<Ends> {
      const before = accepted.length;
      const socket = await throughProxy(door, `${held.address}:${held.port}`);
      assert.ok(typeof socket !== "number", "it was answered with a status");
      return { client: new Heard(socket), server: await acceptedAfter(before) };
    }

    async function openAnswering(): Promise<Heard> {
      const socket = await throughProxy(door, `${echo.address}:${echo.port}`);
      assert.ok(typeof socket !== "number", "it was answered with a status");
      return sayOwnAddress(socket);
    }

    async function openToNghttpx(): Promise<Ends> {
      const before = accepted.length;
      const socket = client.connectOut({ address: gatewayAddress, port: 80 });
      return { client: new Heard(socket), server: await acceptedAfter(before) };
    }

    async function acceptedAfter(before: number): Promise<Heard> {
      return new Heard(await until("the application is connected to", 10_000, () => accepted[before]));
    }

    function outboundLine(heard: Heard): Promise<LogLine> {
      return mesh.line("outbound", (line) => line["src.addr"] === heard.local);
    }
  });
