import assert from "node:assert/strict";
import { connect as connectHttp2, createSecureServer } from "node:http2";
import { connect, type AddressInfo, type Socket } from "node:net";
import { after, test } from "node:test";
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from "node:tls";
import { ManualClock } from "../../core/base/clock.ts";
import { identityOf, testIdentity, testRoot } from "../../test/support/identities.ts";
import { alice, bob, bobUri, openStream, openTunnel, root, startServer } from "../../test/support/hbone-pair.ts";
import { until } from "../../test/support/until.ts";
import { secureOptions } from "./tls.ts";
import { TunnelError, type ClientTunnel } from "./tunnel.ts";

const closers: (() => unknown)[] = [];
after(async () => {
  for (const close of closers.reverse()) await close();
});

async function server(options: Parameters<typeof startServer>[0] = {}): ReturnType<typeof startServer> {
  const started = await startServer(options);
  closers.push(started.close);
  return started;
}

function codeOf(result: unknown): string | undefined {
  return result instanceof TunnelError ? result.type.code : undefined;
}

async function tunnelTo(port: number): Promise<ClientTunnel> {
  const tunnel = await openTunnel(port);
  assert.ok(!(tunnel instanceof TunnelError), "no tunnel");
  closers.push(() => tunnel.destroy());
  return tunnel;
}

test("the server learns the client's identity from its certificate, and the client the server's", async () => {
  let seen = "";
  const { port } = await server({
    onStream: (stream) => {
      seen = `${stream.peer.identity.namespace}/${stream.peer.identity.serviceAccount} ${stream.peer.remote.address}`;
      stream.refuse(503);
    },
  });
  const tunnel = await tunnelTo(port);
  assert.equal(tunnel.peerIdentity, bobUri);
  const answer = await openStream(tunnel);
  assert.deepEqual(answer instanceof TunnelError && answer.type, { code: "tunnel.refused", status: 503 });
  assert.equal(seen, "default/alice 127.0.0.1");
});

test("F-097 a server that proves another identity than the accepted ones is refused, and both are named", async () => {
  const { port } = await server();
  const refused = await openTunnel(port, { accepted: ["spiffe://cluster.local/ns/default/sa/carol"] });
  assert.ok(refused instanceof TunnelError);
  assert.deepEqual(refused.type, {
    code: "tunnel.san-mismatch",
    presented: bobUri,
    accepted: ["spiffe://cluster.local/ns/default/sa/carol"],
  });
});

test("a server whose certificate leads to another root, or has expired, is refused by its own code", async () => {
  const stranger = await server({ identity: testIdentity(testRoot("other"), identityOf("bob")) });
  assert.equal(codeOf(await openTunnel(stranger.port)), "tunnel.certificate-untrusted");
  const old = { notBeforeMs: Date.now() - 7_200_000, notAfterMs: Date.now() - 60_000 };
  const expired = await server({ identity: testIdentity(root, identityOf("bob"), old) });
  assert.equal(codeOf(await openTunnel(expired.port)), "tunnel.certificate-expired");
});

test("F-095 a client without a certificate is refused", async () => {
  const { port, refusals } = await server();
  const { cert: _cert, key: _key, ...anonymous } = secureOptions(alice);
  const tls = connectTls({ port, ...anonymous, ALPNProtocols: ["h2"], checkServerIdentity: () => undefined });
  tls.on("error", () => {});
  await closed(tls);
  assert.deepEqual(refusals.map(codeOf), ["tunnel.no-client-certificate"]);
});

test("F-096 a client of another trust domain, another root or another protocol is refused by its own code", async () => {
  const { port, refusals } = await server();
  const foreign = testIdentity(root, identityOf("alice", "default", "elsewhere.example"));
  const untrusted = testIdentity(testRoot("other"), identityOf("alice"));
  for (const identity of [foreign, { ...untrusted, roots: root.certificatePem }]) {
    const tls = connectTls({
      port,
      ...secureOptions(identity),
      ALPNProtocols: ["h2"],
      checkServerIdentity: () => undefined,
    });
    tls.on("error", () => {});
    await closed(tls);
  }
  const http1 = connectTls({ port, ...secureOptions(alice), checkServerIdentity: () => undefined });
  http1.on("error", () => {});
  await closed(http1);
  assert.deepEqual(refusals.map(codeOf), ["tunnel.trust-domain", "tunnel.certificate-untrusted", "tunnel.not-h2"]);
});

test("H042 a session that is brought back buys nothing: the handshake is whole again, certificates and all", async () => {
  const seen: string[] = [];
  const { port, refusals } = await server({
    engine: "own-on-node-tls",
    onStream: (stream) => {
      seen.push(stream.peer.identity.serviceAccount);
      stream.refuse(503);
    },
  });
  // Over Node's TLS OpenSSL gives tickets all the same: 32 octets each that name what it has not kept.
  const { session } = await visit(port, secureOptions(alice));
  assert.ok(session, "there is something to bring back");
  const again = await visit(port, { ...secureOptions(alice), session });
  assert.deepEqual([again.isReused, again.status], [false, 503]);
  const other = testIdentity(root, identityOf("carol"));
  assert.equal((await visit(port, { ...secureOptions(other), session })).status, 503);
  assert.deepEqual(seen, ["alice", "alice", "carol"], "whoever shows a certificate in this handshake, not in that one");
  const anonymous = { ...secureOptions(alice), cert: undefined, key: undefined, session };
  assert.equal((await visit(port, anonymous)).status, undefined);
  assert.deepEqual(refusals.map(codeOf), ["tunnel.no-client-certificate"]);

  const own = await server();
  assert.equal((await visit(own.port, secureOptions(alice))).session, undefined, "ours gives none at all");

  // That such a session is offered at all, a server that takes it shows.
  const taking = createSecureServer(
    { ...secureOptions(bob), secureOptions: 0, requestCert: true },
    (_request, response) => {
      response.stream.respond({ ":status": 503 }, { endStream: true });
    },
  );
  closers.push(() => taking.close());
  await new Promise<void>((resolve) => taking.listen(0, "127.0.0.1", resolve));
  const { port: takingPort } = taking.address() as AddressInfo;
  const given = await visit(takingPort, { ...secureOptions(alice), secureOptions: 0 });
  assert.ok(given.session);
  const resumed = await visit(takingPort, { ...secureOptions(alice), secureOptions: 0, session: given.session });
  assert.equal(resumed.isReused, true);
});

test("a handshake that never begins, and one that stops after TLS, end at the deadline", async () => {
  const clock = new ManualClock(Date.now());
  const { port, refusals, hbone } = await server({ clock });
  const silent = connect(port, "127.0.0.1");
  const mute = connectTls({
    port,
    ...secureOptions(alice),
    ALPNProtocols: ["h2"],
    checkServerIdentity: () => undefined,
  });
  silent.on("error", () => {});
  mute.on("error", () => {});
  await new Promise((resolve) => mute.once("secureConnect", resolve));
  await until("both are known to the server", 5_000, () => hbone.handshakes === 2 && hbone.tunnels === 1);
  clock.advance(9_999);
  assert.deepEqual(refusals, []);
  clock.advance(2);
  await Promise.all([closed(silent), closed(mute)]);
  assert.deepEqual(refusals.map(codeOf).sort(), ["tunnel.no-preface", "tunnel.tls-timeout"]);
});

test("a connection that came before the certificate waits for it, and no longer than the deadline", async () => {
  const clock = new ManualClock(Date.now());
  const waiting = await server({ identity: undefined, clock });
  const tunnel = openTunnel(waiting.port);
  await until("it has been accepted", 5_000, () => waiting.hbone.handshakes === 1);
  waiting.hbone.useIdentity(bob);
  assert.equal(codeOf(await tunnel), undefined);
  ((await tunnel) as ClientTunnel).destroy();

  const never = await server({ identity: undefined, clock });
  const refused = openTunnel(never.port);
  await until("it has been accepted", 5_000, () => never.hbone.handshakes === 1);
  clock.advance(10_001);
  assert.equal(codeOf(await refused), "tunnel.tls-failed");
  assert.deepEqual(never.refusals.map(codeOf), ["tunnel.no-certificate"]);
});

test("a peer that accepts TCP and says nothing is given up after the deadline", async () => {
  const { port } = await server({ identity: undefined });
  const clock = new ManualClock(Date.now());
  const tunnel = openTunnel(port, { clock });
  await until("the timer is set and TCP is up", 5_000, () => clock.nextTimerMs() !== undefined);
  clock.advance(10_001);
  assert.match(String(codeOf(await tunnel)), /timeout$/);
});

test("a CONNECT that is never answered fails after the deadline and leaves the tunnel usable", async () => {
  const held: unknown[] = [];
  const { port } = await server({ onStream: (stream) => (held.length === 0 ? held.push(stream) : stream.refuse(401)) });
  const clock = new ManualClock(Date.now());
  const tunnel = await openTunnel(port, { clock });
  assert.ok(!(tunnel instanceof TunnelError));
  closers.push(() => tunnel.destroy());
  const silent = openStream(tunnel);
  await until("the server holds it", 5_000, () => held.length === 1);
  clock.advance(10_001);
  assert.equal(codeOf(await silent), "tunnel.answer-timeout");
  assert.deepEqual(((await openStream(tunnel)) as TunnelError).type, { code: "tunnel.refused", status: 401 });
});

test("a silent peer loses its tunnel 20 s after a PING, and its streams say so", async () => {
  const { port } = await server({ onStream: () => {} });
  const sockets: Socket[] = [];
  const tunnel = await tunnelTo(port);
  const stream = openStream(tunnel);
  const start = tunnel.bornMs;
  tunnel.tick(start + 9_999);
  tunnel.tick(start + 10_000);
  // The PONG cannot have been read: nothing has run since.
  tunnel.tick(start + 29_999);
  assert.equal(tunnel.phase, "open");
  tunnel.tick(start + 30_000);
  assert.equal(tunnel.phase, "closed");
  assert.equal(codeOf(await stream), "tunnel.unresponsive");
  assert.deepEqual(sockets, []);
});

interface Visit {
  /** Of the last ticket that was given. */
  readonly session: Buffer | undefined;
  readonly isReused: boolean;
  /** Of the answer to one CONNECT, if there was one. */
  readonly status: number | undefined;
}

/** By node:http2, which shows a session if it is told to. */
async function visit(port: number, options: ConnectionOptions): Promise<Visit> {
  const tls = connectTls({ port, ...options, ALPNProtocols: ["h2"], checkServerIdentity: () => undefined });
  let session: Buffer | undefined;
  tls.on("session", (given) => (session = given));
  const http2 = connectHttp2("https://x", { createConnection: () => tls });
  http2.on("error", () => {});
  const stream = http2.request({ ":method": "CONNECT", ":authority": "10.0.0.1:80" });
  stream.on("error", () => {});
  const status = await new Promise<number | undefined>((resolve) => {
    stream.once("response", (headers) => resolve(headers[":status"]));
    stream.once("close", () => resolve(undefined));
  });
  const isReused = tls.isSessionReused();
  http2.destroy();
  return { session, isReused, status };
}

function closed(socket: Socket | TLSSocket): Promise<void> {
  socket.resume();
  return new Promise((resolve) => socket.once("close", () => resolve()));
}
