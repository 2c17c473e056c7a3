/** Stock Envoy as HBONE server: what a pod of ours opens is tunnelled to a listener such as a waypoint has. */
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { after, before, suite, test } from "node:test";
import { Unavailable } from "../cluster/unavailable.ts";
import type { Endpoint } from "../../core/base/ip.ts";
import { engineOf, engines } from "../support/engines.ts";
import { alice, root } from "../support/hbone-pair.ts";
import { identityOf, testIdentity } from "../support/identities.ts";
import { application, LoopbackMesh, ownAddresses, type LogLine, type LoopbackPod } from "../support/loopback-mesh.ts";
import { backs, gatewayAt, pod, port, service } from "../support/mesh.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { until } from "../support/until.ts";
import {
  closeOneHalfFirst,
  endInOrder,
  Heard,
  sayOwnAddress,
  sendMuch,
  talkBothWays,
  type Ends,
} from "./conversations.ts";
import { terminatingServer, uriOf } from "./envoy-config.ts";
import { Envoy } from "./envoy.ts";
import { envoyProgram } from "./parts.ts";

// First what may have to be fetched: inside there is no network.
const program = await envoyProgram();
const skip = program instanceof Unavailable ? program.missing : (enterNamespaces() ?? false);

const gateway = testIdentity(root, identityOf("gateway"));
const [aliceAddress, gatewayAddress, impostorAddress] = ["10.99.0.2", "10.99.0.5", "10.99.0.6"];
/** Applications behind Envoy. */
const held: Endpoint = { address: "10.99.0.7", port: 8_080 };
const echo: Endpoint = { address: "10.99.0.7", port: 8_081 };
const nobody: Endpoint = { address: "10.99.0.7", port: 8_083 };
const virtual: Endpoint = { address: "10.96.0.1", port: 80 };
const ports = { held: 8_080, echo: 8_081, denied: 8_082, nobody: 8_083, unknown: 8_084 } as const;

for (const engine of engines)
  suite(`Envoy as HBONE server, and our ${engine} engine`, () => {
    let mesh: LoopbackMesh;
    let envoy: Envoy;
    let client: LoopbackPod;
    const apps: { close: () => void }[] = [];
    const accepted: Socket[] = [];
    /** How many lines there were before the last connection was opened. */
    let earlier = 0;

    before(async () => {
      if (skip !== false) return;
      await ownAddresses();
      apps.push(await application(held.address, (socket) => accepted.push(socket), held.port));
      apps.push(await application(echo.address, (socket) => socket.pipe(socket), echo.port));
      const waypoint = service("default/waypoint", "10.96.0.9", [port(15_008, 15_008)]);
      const web = service("default/web", virtual.address, [port(virtual.port, 8_080)], {
        waypoint: gatewayAt(waypoint),
      });
      mesh = new LoopbackMesh(engineOf(engine).meshOptions);
      mesh.apply({
        services: [web, waypoint],
        workloads: [
          pod("default/alice", aliceAddress),
          pod("default/gateway", gatewayAddress, { services: backs([waypoint, port(15_008, 15_008)]) }),
          // Another account's address, where Envoy listens, too.
          pod("default/impostor", impostorAddress),
          pod("default/web", held.address, { services: backs([web, port(80, 8_080)]) }),
        ],
      });
      client = await mesh.serve("default/alice", aliceAddress);
      envoy = await Envoy.start(
        program as string,
        terminatingServer({
          identity: gateway,
          listen: { address: "0.0.0.0", port: 15_008 },
          accepted: uriOf(alice),
          behind: {
            [`${gatewayAddress}:${ports.held}`]: held,
            [`${gatewayAddress}:${ports.echo}`]: echo,
            [`${gatewayAddress}:${ports.denied}`]: echo,
            [`${gatewayAddress}:${ports.nobody}`]: nobody,
            [`${virtual.address}:${virtual.port}`]: held,
          },
          denied: [`${gatewayAddress}:${ports.denied}`],
        }),
      );
    });
    after(async () => {
      await envoy?.close();
      for (const app of apps) app.close();
      mesh?.close();
    });

    test("a pod of ours tunnels into Envoy: bytes both ways, each certain of the other", { skip }, async () => {
      const ends = await open();
      await talkBothWays(ends);
      await endInOrder(ends);
      const line = await lineOf(ends);
      assert.deepEqual(
        [
          line["reason"],
          line["protocol"],
          line["dst.identity"],
          line["dst.hbone_addr"],
          line["bytes_sent"],
          line["bytes_recv"],
        ],
        ["OK", "hbone", uriOf(gateway), `${gatewayAddress}:${ports.held}`, 15, 15],
      );
      await until("Envoy has logged whom it saw", 5_000, () =>
        envoy.log.includes(`authority=${gatewayAddress}:${ports.held} status=200 peer=${uriOf(alice)}`),
      );
    });

    test("a client's half ends through Envoy, and the other goes on", { skip }, async () => {
      const ends = await open();
      await closeOneHalfFirst(ends.client, ends.server);
      assert.equal((await lineOf(ends))["reason"], "OK");
    });

    test(
      "where Envoy lets its application's end be the end of all, nothing that it sent is lost",
      { skip },
      async () => {
        const ends = await open();
        const before = await envoy.stat("http2.tx_reset");
        ends.client.socket.pause();
        ends.server.socket.end(Buffer.alloc(3_000_000));
        // A response that is complete ends a stream of Envoy's: END_STREAM, then RST_STREAM(NO_ERROR). What came before it may not be
        // discarded (RFC 9113 8.1).
        await until(
          "Envoy has reset the stream",
          10_000,
          async () => (await envoy.stat("http2.tx_reset")) === before + 1,
        );
        ends.client.socket.resume();
        await until("all has come", 10_000, () => ends.client.bytes === 3_000_000);
        await ends.client.becomes("ended");
        ends.client.socket.end();
        const line = await lineOf(ends);
        assert.deepEqual([line["reason"], line["bytes_recv"]], ["OK", 3_000_000]);
      },
    );

    test("who goes on talking to an application of Envoy's that has gone is reset", { skip }, async () => {
      const ends = await open();
      ends.server.socket.end("goodbye");
      await ends.client.becomes("ended");
      assert.equal(ends.client.text, "goodbye");
      await until("the reset comes", 10_000, () => {
        ends.client.socket.write("hello?");
        return ends.client.state === "reset";
      });
      const line = await lineOf(ends);
      assert.deepEqual([line["reason"], line["detail"]], ["PEER_RESET", "h2 error 0"]);
    });

    test("a client that resets is an RST_STREAM for Envoy, not an END_STREAM", { skip }, async () => {
      const before = await envoy.stat("http2.rx_reset");
      const ends = await open();
      await talkBothWays(ends);
      ends.client.socket.resetAndDestroy();
      // Envoy itself makes a FIN of it for its own application: what it was told is in its log.
      await until("Envoy has logged it", 5_000, () => envoy.log.includes("flags=DR"));
      assert.equal(await envoy.stat("http2.rx_reset"), before + 1);
      assert.equal((await lineOf(ends))["reason"], "CLIENT_RESET");
    });

    test("a reset of Envoy's application is a reset for our client", { skip }, async () => {
      const ends = await open();
      await talkBothWays(ends);
      ends.server.socket.resetAndDestroy();
      await ends.client.becomes("reset");
      assert.equal((await lineOf(ends))["reason"], "UPSTREAM_RESET");
    });

    test("what Envoy refuses is a reset for the application, and its status is in our log", { skip }, async () => {
      for (const [name, reason, status] of [
        ["denied", "BAD_CONNECT_REPLY", 403],
        ["nobody", "PEER_UNAVAILABLE", 503],
        ["unknown", "BAD_CONNECT_REPLY", 404],
      ] as const) {
        const heard = new Heard(client.connectOut({ address: gatewayAddress, port: ports[name] }));
        await heard.becomes("reset");
        const line = await lineOf({ client: heard });
        assert.deepEqual([line["reason"], line["detail"]], [reason, `status ${status}`]);
      }
    });

    test("an Envoy that proves another identity than its address has is refused", { skip }, async () => {
      const heard = new Heard(client.connectOut({ address: impostorAddress, port: ports.echo }));
      await heard.becomes("reset");
      assert.equal((await lineOf({ client: heard }))["reason"], "SAN_MISMATCH");
    });

    test(
      "through Envoy as a service's waypoint: the CONNECT names the service's own address and port",
      { skip },
      async () => {
        const ends = await open(virtual);
        await talkBothWays(ends);
        await endInOrder(ends);
        const line = await lineOf(ends);
        assert.deepEqual(
          [line["reason"], line["dst.addr"], line["dst.hbone_addr"], line["dst.service"]],
          ["OK", `${gatewayAddress}:15008`, "10.96.0.1:80", "web.default.svc.cluster.local"],
        );
      },
    );

    test(
      "three hundred streams at once into Envoy, in tunnels of no more than its SETTINGS allow",
      { skip },
      async () => {
        const all = await Promise.all(Array.from({ length: 300 }, () => openAnswering()));
        await Promise.all(all.map((heard) => heard.says(heard.local)));
        // A new tunnel is asked to take a hundred, too, until its SETTINGS are here.
        const tunnels = await envoy.stat("http.hbone.downstream_cx_active");
        assert.ok(tunnels >= 3 && tunnels <= 5, `${tunnels} tunnels, and Envoy allows 100 streams in each`);
        for (const { socket } of all) socket.end();
        await Promise.all(all.map((heard) => heard.becomes("ended")));
      },
    );

    test("50 MB in both directions at once through Envoy arrive whole", { skip, timeout: 120_000 }, async () => {
      const ends = await open();
      await sendMuch(ends, 50_000_000);
      await endInOrder(ends);
      assert.equal((await lineOf(ends))["reason"], "OK");
    });

    test(
      "an Envoy that drains sends GOAWAY: what is open goes on, what is new has a tunnel of its own, and nothing is lost",
      {
        skip,
      },
      async () => {
        const ends = await open();
        await talkBothWays(ends);
        const before = await envoy.stat("http.hbone.downstream_cx_total");
        await envoy.admin("POST", "/drain_listeners?graceful&skip_exit");
        // Envoy tells a tunnel with its next answer.
        for (let i = 0; i < 10; i++) {
          const heard = await openAnswering();
          await heard.says(heard.local);
          heard.socket.end();
          await heard.becomes("ended");
        }
        assert.ok((await envoy.stat("http2.goaway_sent")) > 0);
        assert.ok((await envoy.stat("http.hbone.downstream_cx_total")) > before);
        ends.client.text = ends.server.text = "";
        await talkBothWays(ends);
        await endInOrder(ends);
        assert.equal((await lineOf(ends))["reason"], "OK");
      },
    );

    async function open(target: Endpoint = { address: gatewayAddress, port: ports.held }): Promise<Ends> {
      const before = accepted.length;
      earlier = mesh.lines.length;
      const socket = client.connectOut(target);
      await new Promise((resolve) => socket.once("connect", resolve));
      const ends = new Heard(socket);
      return {
        client: ends,
        server: new Heard(await until("the application is connected to", 10_000, () => accepted[before])),
      };
    }

    function openAnswering(): Promise<Heard> {
      return sayOwnAddress(client.connectOut({ address: gatewayAddress, port: ports.echo }));
    }

    /** Not that of an earlier connection, whose port it may have got. */
    function lineOf(ends: Pick<Ends, "client">): Promise<LogLine> {
      const old = new Set(mesh.lines.slice(0, earlier));
      return mesh.line("outbound", (line) => !old.has(line) && line["src.addr"] === ends.client.local);
    }
  });
