import assert from "node:assert/strict";
import { connect as connectHttp2, constants, createSecureServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { alice, bob, openStream, openTunnel, startServer, type TestServer } from "../../../test/support/hbone-pair.ts";
import { until } from "../../../test/support/until.ts";
import { pauseReasons, type ByteEnd, type EndListener } from "../../relay/byte-end.ts";
import { alpn, secureOptions } from "../tls.ts";
import { TunnelError, type ClientTunnel, type TunnelStream } from "../tunnel.ts";

let server: TestServer;
let tunnel: ClientTunnel;
/** The server's end of the newest stream. */
let served: TunnelStream;
before(async () => {
  server = await startServer({ onStream: (stream) => (served = stream.accept({ ":status": 200 })) });
  const opened = await openTunnel(server.port);
  assert.ok(!(opened instanceof TunnelError));
  tunnel = opened;
});
after(async () => {
  tunnel.destroy();
  await server.close();
});

test(
  "a stream that ended both ways while nobody read its last bytes is gone once it is reset",
  { timeout: 10_000 },
  async () => {
    const stream = await opened();
    const [atClient, atServer] = [new Told(), new Told()];
    stream.listener = atClient;
    served.listener = atServer;
    stream.end();
    served.resume(pauseReasons.unjoined);
    await until("the server hears the end", 5_000, () => atServer.told.includes("ended"));
    served.write(Buffer.alloc(100_000));
    served.end();
    await until("the stream is over for the server", 5_000, () => atServer.told.includes("closed"));
    stream.reset();
    await until("the stream is over for the client, too", 5_000, () => atClient.told.includes("closed"));
    assert.deepEqual(atClient.told, ["closed"]);
    assert.equal(tunnel.streams, 0);
  },
);

test("bytes that arrive after a reset of ours go nowhere", { timeout: 10_000 }, async () => {
  const stream = await opened();
  const atClient = new Told();
  stream.listener = atClient;
  stream.resume(pauseReasons.unjoined);
  served.write(Buffer.alloc(1_000));
  await until("the first have come", 5_000, () => atClient.bytes === 1_000);
  served.write(Buffer.alloc(100_000));
  stream.reset();
  stream.pause(pauseReasons.full);
  await until("the stream is over", 5_000, () => atClient.told.includes("closed"));
  assert.deepEqual([atClient.told, atClient.bytes], [["closed"], 1_000]);
});

test("a CONNECT that carries its END_STREAM itself is heard as an end", { timeout: 10_000 }, async () => {
  const tls = connectTls({
    host: "127.0.0.1",
    port: server.port,
    ...secureOptions(alice),
    ALPNProtocols: alpn,
    checkServerIdentity: () => undefined,
  });
  const session = connectHttp2("https://bob", { createConnection: () => tls });
  try {
    const request = session.request({ ":method": "CONNECT", ":authority": "10.0.0.1:80" }, { endStream: true });
    await new Promise((resolve) => request.once("response", resolve));
    const atServer = new Told();
    served.listener = atServer;
    served.resume(pauseReasons.unjoined);
    await until("the server hears the end", 5_000, () => atServer.told.includes("ended"));
    let read = "";
    request.on("data", (chunk) => (read += String(chunk)));
    served.write(Buffer.from("still here"));
    served.end();
    await new Promise((resolve) => request.once("end", resolve));
    assert.equal(read, "still here");
  } finally {
    session.destroy();
  }
});

test(
  "a peer that ends its half and abandons ours with NO_ERROR is an end and then a reset",
  { timeout: 10_000 },
  async () => {
    const peer = createSecureServer({ ...secureOptions(bob), requestCert: true });
    peer.on("stream", (stream) => {
      stream.respond({ ":status": 200 });
      stream.end("all");
      stream.close(constants.NGHTTP2_NO_ERROR);
    });
    await new Promise<void>((resolve) => peer.listen(0, "127.0.0.1", resolve));
    const other = await openTunnel((peer.address() as AddressInfo).port);
    assert.ok(!(other instanceof TunnelError));
    try {
      const stream = await openStream(other);
      assert.ok(!(stream instanceof TunnelError));
      const atClient = new Told();
      stream.listener = atClient;
      stream.resume(pauseReasons.unjoined);
      await until("the stream is over", 5_000, () => atClient.told.includes("closed"));
      assert.deepEqual([atClient.told, atClient.bytes], [["ended", "reset", "closed"], 3]);
    } finally {
      other.destroy();
      peer.close();
    }
  },
);

async function opened(): Promise<TunnelStream> {
  const stream = await openStream(tunnel);
  assert.ok(!(stream instanceof TunnelError));
  return stream;
}

class Told implements EndListener {
  readonly told: string[] = [];
  bytes = 0;
  drained(): void {}

  data(_from: ByteEnd, chunk: Uint8Array): void {
    this.bytes += chunk.length;
  }
  ended(): void {
    this.told.push("ended");
  }
  reset(): void {
    this.told.push("reset");
  }
  closed(): void {
    this.told.push("closed");
  }
}
