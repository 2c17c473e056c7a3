/** Connections that never become tunnels, or become them in a way that nobody should. */
import assert from "node:assert/strict";
import { before } from "node:test";
import { secureOptions } from "../../agent/tunnel/tls.ts";
import { alice } from "../support/hbone-pair.ts";
import { ownAddresses } from "../support/loopback-mesh.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { until } from "../support/until.ts";
import { echoes, ServerScene } from "./engine-scene.ts";
import { dialTcp, dialTls } from "./frame-peer.ts";
import { connect, data, preface, settings } from "./frames.ts";
import { aliceAddress, bobAddress, MeshScene } from "./mesh-scene.ts";
import { firstEngine, onEngines, ownOnly } from "./on-engines.ts";
import { contentTypes, RecordWriter } from "./tls-records.ts";

const skip = enterNamespaces() ?? false;
before(() => (skip === false ? ownAddresses() : undefined));

onEngines(
  "H014 two hundred that say nothing and fifty that say it very slowly are gone after ten seconds, each with its line",
  { skip, only: firstEngine },
  async (t, engine) => {
    const scene = await MeshScene.open(t, engine, { manualClock: true, deadlineMs: 10_000, withoutBystander: true });
    const to = { host: bobAddress, port: scene.port, localAddress: aliceAddress };
    const before = scene.victim.descriptors;
    const sockets = await Promise.all(Array.from({ length: 250 }, () => dialTcp(to)));
    const slow = sockets.slice(200);
    await until("all are accepted", 5_000, () => scene.victim.descriptors >= before + 250);
    // 33 times 300 ms: each time one more byte of a ClientHello that would be 512 long.
    for (let at = 0; at < 33; at++) {
      for (const socket of slow) socket.write(clientHello.subarray(at, at + 1));
      await scene.victim.call("advanceMesh", { ms: 300 });
    }
    assert.deepEqual(await scene.victim.call("log", {}), []);
    await scene.victim.call("advanceMesh", { ms: 200 });
    await scene.lines("TLS_HANDSHAKE_TIMEOUT", 250);
    await until("all are closed", 5_000, () => sockets.every((socket) => socket.destroyed || socket.readableEnded));
    await scene.unharmed(t);
  },
);

onEngines(
  "H015 TLS without HTTP/2 behind it ends after ten seconds, and the log says so",
  { skip },
  async (t, engine) => {
    const scene = await MeshScene.open(t, engine, { manualClock: true, deadlineMs: 10_000, withoutBystander: true });
    const mute = await dialTls({ host: bobAddress, port: scene.port, localAddress: aliceAddress });
    await until("its tunnel is known", 5_000, async () => (await scene.victim.call("meshCounts")).tunnels === 1);
    await scene.victim.call("advanceMesh", { ms: 9_999 });
    assert.equal(mute.ending, undefined);
    await scene.victim.call("advanceMesh", { ms: 2 });
    await mute.closed;
    await scene.lineOf("H2_NO_PREFACE");
    await scene.unharmed(t);
  },
);

onEngines(
  "H015 who does not offer HTTP/2 is refused at once, and the log says so",
  { skip, only: firstEngine },
  async (t, engine) => {
    const scene = await MeshScene.open(t, engine);
    for (const ALPNProtocols of [[], ["http/1.1"]]) {
      const peer = await dialTls({
        host: bobAddress,
        port: scene.port,
        localAddress: aliceAddress,
        tls: { ALPNProtocols },
      });
      await peer.closed;
    }
    // OpenSSL itself refuses an offer without h2 in it; an offer of nothing is ours to refuse.
    await scene.lineOf("ALPN_NOT_H2");
    await scene.lineOf("TLS_HANDSHAKE_FAILED");
    await scene.unharmed(t);
  },
);

onEngines("H015 HTTP/1 where HTTP/2 was agreed ends its tunnel", { skip }, async (t, engine) => {
  const scene = await MeshScene.open(t, engine);
  await speakHttp1(scene);
  await scene.unharmed(t);
});

onEngines("H015 the log says that HTTP/1 is not HTTP/2", { skip, only: ownOnly }, async (t, engine) => {
  const scene = await MeshScene.open(t, engine);
  await speakHttp1(scene);
  await scene.lineOf("H2_NO_PREFACE");
  await scene.unharmed(t);
});

const tlsFloods = {
  "empty records": (writer: RecordWriter) => writer.record(contentTypes.applicationData, Buffer.alloc(0)),
  "warning alerts": (writer: RecordWriter) => writer.record(contentTypes.alert, Buffer.from([1, 90])),
} as const;

for (const [what, next] of Object.entries(tlsFloods)) {
  // However they are cut into reads: Node ends some of them by itself, and leaves others open and unread.
  for (const each of [1, 34, 50]) {
    onEngines(
      `H022 a flood of ${what}, ${each} at a time, ends its connection and nothing else`,
      {},
      async (t, engine) => {
        const scene = await ServerScene.open(t, engine);
        const writer = await floodRecords(scene, 2_000, next, each);
        await until("the connection has gone", 5_000, () => isOver(writer));
        writer.socket.destroy();
        await scene.unharmed(t);
      },
    );
  }
}

for (const wanted of [false, true]) {
  const what = wanted ? "key updates that want one back" : "key updates";
  onEngines(
    `H022 a flood of ${what} ends its connection and keeps nobody else from being served`,
    { only: ownOnly },
    async (t, engine) => {
      const scene = await ServerScene.open(t, engine);
      // OpenSSL takes them without end, 12 to 23 microseconds each, and Node does not tell of them: agent/tunnel/own/tls-overhead.ts.
      const writer = await floodRecords(scene, 20_000, (one) => one.keyUpdate(wanted));
      await scene.bystander.echo(1, "meanwhile");
      await until("the connection has gone", 5_000, () => isOver(writer));
      await until("it is told why", 5_000, async () =>
        (await scene.victim.call("counts")).refusals.includes("tunnel.abuse"),
      );
      writer.socket.destroy();
      await scene.unharmed(t);
    },
  );
}

onEngines(
  "H022 who sends one octet in each record, and now and then new keys, is served",
  { only: ownOnly },
  async (t, engine) => {
    const scene = await ServerScene.open(t, engine);
    const writer = await floodRecords(scene, 1_000, (one) => one.keyUpdate(false));
    await writer.send(writer.record(contentTypes.applicationData, connect(1, echoes)));
    const words = 5_000;
    for (let sent = 0; sent < words; sent += 50) {
      const some = Array.from({ length: 50 }, () => writer.record(contentTypes.applicationData, data(1, "x")));
      await writer.send(Buffer.concat(some));
    }
    await until("all have been read", 5_000, async () => (await scene.victim.call("counts")).bytes >= words);
    const { ticks } = await scene.victim.call("counts");
    await until("it has been looked at", 5_000, async () => (await scene.victim.call("counts")).ticks > ticks + 1);
    assert.equal(isOver(writer), false);
    assert.deepEqual((await scene.victim.call("counts")).refusals, []);
    writer.socket.destroy();
    await scene.unharmed(t);
  },
);

onEngines(
  "H042 a session that is brought back without a certificate is none",
  { skip, only: firstEngine },
  async (t, engine) => {
    const scene = await MeshScene.open(t, engine);
    const to = { host: bobAddress, port: scene.port, localAddress: aliceAddress };
    const first = await scene.attacker();
    await first.open(1, scene.authority);
    const session = first.tls.getSession();
    assert.ok(session, "there is something to bring back");
    first.destroy();
    const { cert: _cert, key: _key, ...anonymous } = secureOptions(alice);
    const tls = { ...anonymous, cert: undefined, key: undefined, session };
    const again = await dialTls({ ...to, tls });
    again.greet();
    await again.closed;
    assert.notEqual(again.tls.isSessionReused(), true);
    await scene.lineOf("NO_CLIENT_CERTIFICATE");
    await scene.unharmed(t);
  },
);

async function speakHttp1(scene: MeshScene): Promise<void> {
  const peer = await dialTls({ host: bobAddress, port: scene.port, localAddress: aliceAddress });
  peer.send(Buffer.from("GET / HTTP/1.1\r\nHost: bob\r\n\r\n"));
  await peer.closed;
}

/** HTTP/2 has begun; then so many records, so many with each write. */
async function floodRecords(
  scene: ServerScene,
  count: number,
  next: (writer: RecordWriter) => Buffer,
  each = 50,
): Promise<RecordWriter> {
  const writer = await RecordWriter.dial({ port: scene.port });
  await writer.send(writer.record(contentTypes.applicationData, Buffer.concat([preface, settings()])));
  for (let sent = 0; sent < count; sent += each) {
    if (!(await writer.send(Buffer.concat(Array.from({ length: each }, () => next(writer)))))) break;
    await new Promise(setImmediate);
  }
  return writer;
}

function isOver({ socket }: RecordWriter): boolean {
  return socket.destroyed || socket.readableEnded;
}

/** The beginning of a record of 512 octets that holds a ClientHello. */
const clientHello = Buffer.concat([Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]), Buffer.alloc(501)]);
