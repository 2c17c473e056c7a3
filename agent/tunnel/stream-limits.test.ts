import assert from "node:assert/strict";
import { connect as connectHttp2, type Settings } from "node:http2";
import { connect as connectTls } from "node:tls";
import { test } from "node:test";
import { alice, openTunnel, startServer } from "../../test/support/hbone-pair.ts";
import { engines, type EngineName } from "../../test/support/engines.ts";
import { until } from "../../test/support/until.ts";
import { TunnelError, tunnelLimits, type ClientTunnel } from "./tunnel.ts";
import { secureOptions } from "./tls.ts";

for (const engine of engines) {
  test(`F-087 a server says that it takes 200 streams (${engine})`, async () => {
    const server = await startServer({ engine });
    const tls = connectTls({
      ...secureOptions(alice),
      host: "127.0.0.1",
      port: server.port,
      ALPNProtocols: ["h2"],
      checkServerIdentity: () => undefined,
    });
    const session = connectHttp2("https://hbone", { createConnection: () => tls });
    const settings = await new Promise<Settings>((resolve) => session.once("remoteSettings", resolve));
    assert.equal(settings.maxConcurrentStreams, 200);
    session.destroy();
    await server.close();
  });

  test(`F-087 F-101 a client opens a hundred streams in a tunnel, before it hears of 200 and after (${engine})`, async () => {
    const server = await startServer({ engine });
    const tunnel = await opened(server.port, engine);
    assert.equal(tunnel.room, 100);
    let heard = 0;
    tunnel.changed = () => (heard += 1);
    await until("the server's settings", 5_000, () => heard > 0);
    assert.equal(tunnel.room, 100);
    tunnel.destroy();
    await server.close();
  });

  test(`F-101 a client that is told to opens fewer (${engine})`, async () => {
    const server = await startServer({ engine });
    const tunnel = await opened(server.port, engine, 7);
    for (let stream = 0; stream < 7; stream++) tunnel.reserve();
    assert.equal(tunnel.room, 0);
    tunnel.destroy();
    await server.close();
  });
}

async function opened(port: number, engine: EngineName, clientStreams?: number): Promise<ClientTunnel> {
  const limits = { ...tunnelLimits, ...(clientStreams !== undefined && { clientStreams }) };
  const tunnel = await openTunnel(port, { engine, limits });
  assert.ok(!(tunnel instanceof TunnelError), "no tunnel");
  return tunnel;
}
