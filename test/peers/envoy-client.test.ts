/** Stock Envoy as HBONE client: what connects to it is tunnelled into a pod that a worker of ours serves. */
import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { after, before, suite, test } from "node:test";
import { Unavailable } from "../cluster/unavailable.ts";
import { engineOf, engines } from "../support/engines.ts";
import { bob, root } from "../support/hbone-pair.ts";
import { identityOf, testIdentity } from "../support/identities.ts";
import { application, LoopbackMesh, ownAddresses } from "../support/loopback-mesh.ts";
import { pod, policy, ruleOf } from "../support/mesh.ts";
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
import { tunnellingClient, uriOf } from "./envoy-config.ts";
import { Envoy } from "./envoy.ts";
import { envoyProgram } from "./parts.ts";

// First what may have to be fetched: inside there is no network.
const program = await envoyProgram();
const skip = program instanceof Unavailable ? program.missing : (enterNamespaces() ?? false);

const gateway = testIdentity(root, identityOf("gateway"));
const [gatewayAddress, bobAddress] = ["10.99.0.5", "10.99.0.3"];
const appPort = 8_080;
/** By what Envoy asks the tunnel for. */
const doors = {
  open: { port: 9_001, authority: `${bobAddress}:${appPort}` },
  denied: { port: 9_002, authority: `${bobAddress}:8090` },
  closed: { port: 9_003, authority: `${bobAddress}:8083` },
  echo: { port: 9_005, authority: `${bobAddress}:8081` },
  elsewhere: { port: 9_004, authority: "10.99.0.77:8080" },
} as const;

for (const engine of engines)
  suite(`Envoy as HBONE client, and our ${engine} engine`, () => {
    let mesh: LoopbackMesh;
    let envoy: Envoy;
    const apps: { close: () => void }[] = [];
    const accepted: Socket[] = [];

    before(async () => {
      if (skip !== false) return;
      await ownAddresses();
      apps.push(await application(bobAddress, (socket) => accepted.push(socket), appPort));
      apps.push(await application(bobAddress, (socket) => socket.pipe(socket), 8_081));
      mesh = new LoopbackMesh(engineOf(engine).meshOptions);
      mesh.apply({
        workloads: [pod("default/bob", bobAddress), pod("default/gateway", gatewayAddress)],
        policies: [policy("default/no-8090", { action: "deny", rules: [ruleOf({ destinationPorts: [8_090] })] })],
      });
      const { hbonePort } = await mesh.serve("default/bob", bobAddress);
      envoy = await Envoy.start(
        program as string,
        tunnellingClient({
          identity: gateway,
          from: gatewayAddress,
          server: { address: bobAddress, port: hbonePort },
          accepted: uriOf(bob),
          doors: Object.entries(doors).map(([name, { port, authority }]) => ({
            name,
            listen: { address: gatewayAddress, port },
            authority,
          })),
        }),
      );
    });
    after(async () => {
      await envoy?.close();
      for (const app of apps) app.close();
      mesh?.close();
    });

    test(
      "Envoy tunnels into a pod of ours: bytes both ways, and the log knows Envoy by its certificate",
      { skip },
      async () => {
        const ends = await open();
        await talkBothWays(ends);
        assert.equal(ends.server.socket.remoteAddress, gatewayAddress, "the application sees Envoy's own address");
        await endInOrder(ends);
        const line = await lineOf(ends);
        assert.deepEqual(
          [
            line["reason"],
            line["src.identity"],
            line["dst.identity"],
            line["src.workload"],
            line["bytes_sent"],
            line["bytes_recv"],
          ],
          ["OK", uriOf(gateway), uriOf(bob), "gateway", 15, 15],
        );
      },
    );

    test("either half ends first through Envoy, and the other goes on", { skip }, async () => {
      for (const first of ["client", "server"] as const) {
        const ends = await open();
        await closeOneHalfFirst(ends[first], ends[first === "client" ? "server" : "client"]);
        assert.equal((await lineOf(ends))["reason"], "OK", first);
      }
    });

    test("a client of Envoy that resets is a reset for the application, not an end", { skip }, async () => {
      const ends = await open();
      await talkBothWays(ends);
      ends.client.socket.resetAndDestroy();
      await ends.server.becomes("reset");
      const line = await lineOf(ends);
      assert.equal(line["reason"], "PEER_RESET", "Envoy says INTERNAL_ERROR");
    });

    test("an application that resets is an RST_STREAM for Envoy, not an END_STREAM", { skip }, async () => {
      const before = await envoy.stat("cluster.hbone.http2.rx_reset");
      const ends = await open();
      await talkBothWays(ends);
      ends.server.socket.resetAndDestroy();
      // Envoy itself makes a FIN of it for its own client: what it was told is in its counters.
      await until(
        "Envoy has counted it",
        5_000,
        async () => (await envoy.stat("cluster.hbone.http2.rx_reset")) === before + 1,
      );
      assert.equal((await lineOf(ends))["reason"], "UPSTREAM_RESET");
    });

    test(
      "what we refuse reaches Envoy as its status, with the reason in our log, and the tunnel lives on",
      { skip },
      async () => {
        const tunnels = await envoy.stat("cluster.hbone.upstream_cx_total");
        for (const [name, status, reason] of [
          ["denied", 401, "POLICY_DENIED"],
          ["closed", 503, "CONNECT_REFUSED"],
          ["elsewhere", 400, "DEST_NOT_LOCAL"],
        ] as const) {
          const { port, authority } = doors[name];
          const client = new Heard(connect({ host: gatewayAddress, port, allowHalfOpen: true }));
          await until("Envoy has given up", 5_000, () => client.state !== "open");
          client.socket.destroy();
          const line = await mesh.line("inbound", (one) => one["dst.hbone_addr"] === authority);
          assert.equal(line["reason"], reason);
          await until(`Envoy's log says ${status}`, 5_000, () => statusOf(name) === String(status));
        }
        const denied = mesh.lines.find((line) => line["dst.hbone_addr"] === doors.denied.authority);
        assert.equal(denied?.["policy"], "default/no-8090");
        assert.equal(await envoy.stat("cluster.hbone.upstream_cx_total"), tunnels);
      },
    );

    test(
      "three hundred streams at once through Envoy, in as many tunnels as our SETTINGS ask for",
      { skip },
      async () => {
        const all = await Promise.all(Array.from({ length: 300 }, () => openAnswering()));
        await Promise.all(all.map((client) => client.says(client.local)));
        assert.equal(await envoy.stat("cluster.hbone.upstream_cx_active"), 2, "200 streams fit into one");
        for (const client of all) client.socket.end();
        await Promise.all(all.map((client) => client.becomes("ended")));
      },
    );

    test("50 MB in both directions at once through Envoy arrive whole", { skip, timeout: 120_000 }, async () => {
      const ends = await open();
      await sendMuch(ends, 50_000_000);
      ends.client.socket.end();
      ends.server.socket.end();
      assert.equal((await lineOf(ends))["reason"], "OK");
    });

    test(
      "our GOAWAY pair leaves Envoy's open streams alone, and it opens no other in that tunnel",
      { skip },
      async () => {
        const ends = await open();
        await talkBothWays(ends);
        mesh.send({ kind: "drain", deadlineMs: 20_000 });
        await until(
          "Envoy has heard it",
          5_000,
          async () => (await envoy.stat("cluster.hbone.upstream_cx_close_notify")) > 0,
        );
        ends.client.text = ends.server.text = "";
        await talkBothWays(ends);
        const late = new Heard(connect({ host: gatewayAddress, port: doors.open.port, allowHalfOpen: true }));
        await until("nobody takes a new one", 10_000, () => late.state !== "open");
        late.socket.destroy();
        ends.client.socket.end();
        ends.server.socket.end();
        await until("the worker is done", 5_000, () => mesh.messages.some(({ kind }) => kind === "drained"));
        assert.equal((await lineOf(ends))["reason"], "OK");
      },
    );

    /** Both ends of a new connection; one at a time, as they are matched by order. */
    async function open(): Promise<Ends> {
      const before = accepted.length;
      const client = new Heard(
        connect({ host: gatewayAddress, port: doors.open.port, allowHalfOpen: true, noDelay: true }),
      );
      client.socket.on("error", () => {});
      const socket = await until("the application is connected to", 10_000, () => accepted[before]);
      return { client, server: new Heard(socket) };
    }

    function openAnswering(): Promise<Heard> {
      return sayOwnAddress(
        connect({ host: gatewayAddress, port: doors.echo.port, allowHalfOpen: true, noDelay: true }),
      );
    }

    /** The status in the newest line of Envoy's log about that door. */
    function statusOf(name: keyof typeof doors): string | undefined {
      const line = envoy.log.split("\n").findLast((text) => text.startsWith(`door=${name} `));
      return /":status","value":"(\d+)"/.exec(line ?? "")?.[1];
    }

    function lineOf({ server }: Ends): Promise<Readonly<Record<string, string | number | undefined>>> {
      return mesh.line("inbound", (line) => line["app.local"] === server.peer);
    }
  });
