import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, constants, type ClientHttp2Session } from "node:http2";
import { test } from "node:test";
import { connect as connectTls } from "node:tls";
import { ManualClock } from "../../core/base/clock.ts";
import { alice, openStream, openTunnel, startServer, type TestServer } from "../../test/support/hbone-pair.ts";
import { until } from "../../test/support/until.ts";
import { ResetBudget } from "./reset-budget.ts";
import { secureOptions } from "./tls.ts";
import { TunnelError } from "./tunnel.ts";

test("a thousand resets at once are forgiven, and 33 more each second", () => {
  const budget = new ResetBudget(0);
  const spend = (count: number, nowMs: number): boolean[] => Array.from({ length: count }, () => budget.spend(nowMs));
  assert.ok(spend(1_000, 0).every(Boolean));
  assert.ok(spend(33, 1_000).every(Boolean));
  assert.equal(budget.spend(1_000), false);
});

test("a peer that opens streams and takes them back unanswered loses its tunnel", { timeout: 20_000 }, async () => {
  const clock = new ManualClock();
  let opened = 0;
  const server = await startServer({ clock, onStream: () => (opened += 1) });
  const session = await rawSession(server);
  for (let round = 0; round < 40 && server.hbone.tunnels > 0; round++) {
    const streams = Array.from({ length: 50 }, () =>
      session.request({ ":method": "CONNECT", ":authority": "10.0.0.1:80" }),
    );
    for (const stream of streams) stream.on("error", () => {}).close(constants.NGHTTP2_CANCEL);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await until("the flood is noticed", 5_000, () => server.refusals.length > 0);
  clock.advance(501);
  await until("the tunnel is gone", 5_000, () => server.hbone.tunnels === 0);
  assert.ok(opened <= 1_200, `${opened} streams were looked at`);
  assert.deepEqual(
    server.refusals.map(({ type }) => type.code),
    ["tunnel.reset-flood"],
  );
  await server.close();
});

test(
  "connections that clients reset leave a tunnel to the others, however many they are",
  { timeout: 20_000 },
  async () => {
    const server = await startServer({
      clock: new ManualClock(),
      onStream: (stream) => void stream.accept({ ":status": 200 }),
    });
    const tunnel = await openTunnel(server.port);
    assert.ok(!(tunnel instanceof TunnelError));
    const bystander = await openStream(tunnel);
    assert.ok(!(bystander instanceof TunnelError));
    for (let round = 0; round < 50; round++) {
      const streams = await Promise.all(Array.from({ length: 50 }, () => openStream(tunnel)));
      for (const stream of streams) {
        assert.ok(!(stream instanceof TunnelError));
        stream.reset();
      }
      await until("the streams are gone", 5_000, () => tunnel.streams === 1);
    }
    assert.equal(tunnel.phase, "open");
    assert.deepEqual(server.refusals, []);
    tunnel.destroy();
    await server.close();
  },
);

/** An HTTP/2 client with a certificate, and without manners. */
async function rawSession(server: TestServer): Promise<ClientHttp2Session> {
  const tls = connectTls({
    port: server.port,
    host: "127.0.0.1",
    ...secureOptions(alice),
    ALPNProtocols: ["h2"],
    checkServerIdentity: () => undefined,
  });
  await once(tls, "secureConnect");
  const session = connect("https://hbone", { createConnection: () => tls });
  session.on("error", () => {});
  await once(session, "remoteSettings");
  return session;
}
