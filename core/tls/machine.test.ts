import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { tlsPolicy, type TlsPolicy } from "../../agent/tunnel/tls-policy.ts";
import { secureOptions } from "../../agent/tunnel/tls.ts";
import { longChain } from "../../test/hostile/odd-certificates.ts";
import {
  alice,
  bob,
  contextOf,
  each,
  exchange,
  feed,
  Heard,
  openssl,
  root,
  securedPair,
  uncut,
  withNodeClient,
  withNodeServer,
  type NodePeer,
} from "../../test/support/tls-machines.ts";
import { until } from "../../test/support/until.ts";
import type { TlsMachine } from "./machine.ts";

const client = contextOf("client", alice);
const server = contextOf("server", bob);
const withOld: TlsPolicy = { ...tlsPolicy, oldest: "TLSv1.2" };
const gcm = "ECDHE-ECDSA-AES128-GCM-SHA256";
const old = { minVersion: "TLSv1.2", maxVersion: "TLSv1.2" } as const;
const noise = (octets: number): Buffer => Buffer.from(Array.from({ length: octets }, (_, at) => (at * 7919) % 251));

test("two machines agree on what their settings ask for, and know each other's certificates", () => {
  const [ours, theirs] = securedPair(client, server);
  for (const { machine, events } of [ours, theirs]) {
    assert.deepEqual(machine.agreed(), {
      version: "TLSv1.3",
      cipher: "TLS_AES_256_GCM_SHA384",
      group: "X25519MLKEM768",
      protocol: "h2",
      isResumed: false,
    });
    assert.deepEqual(events, ["secured"]);
  }
  assert.deepEqual(ours.machine.peerCertificates(), [new X509Certificate(bob.chain).raw]);
  assert.deepEqual(theirs.machine.peerCertificates(), [new X509Certificate(alice.chain).raw]);
  free(ours, theirs);
});

const peers: Readonly<Record<string, () => NodePeer>> = {
  "a TLSSocket that is the server": () => withNodeServer(client),
  "a TLSSocket that is the client": () => withNodeClient(server),
  "a TLSSocket server, octet by octet": () => withNodeServer(client, bob, {}, each(1)),
  "a TLSSocket client, octet by octet": () => withNodeClient(server, alice, {}, each(1)),
};
for (const [what, make] of Object.entries(peers)) {
  test(`a machine and ${what} understand each other both ways, and say goodbye one after the other`, async () => {
    const peer = make();
    const { heard, socket } = peer;
    const { machine } = heard;
    await until("both are secured", 5_000, () => peer.isSecure() && machine.phase === "secured");
    assert.equal(socket.alpnProtocol, "h2");
    assert.deepEqual([machine.agreed().protocol, machine.agreed().version], ["h2", "TLSv1.3"]);
    assert.deepEqual(machine.peerCertificates()[0], socket.getX509Certificate()?.raw);
    assert.deepEqual(machine.agreed().cipher, socket.getCipher().name);

    const there = noise(1_000_003);
    const back = noise(300_001);
    machine.write([there.subarray(0, 9), there.subarray(9, 400_000), there.subarray(400_000)]);
    socket.write(back);
    await until("all has come", 10_000, () => heard.octets === back.length && sum(peer.octets) === there.length);
    assert.equal(hash(heard.plaintext), hash([back]));
    assert.equal(hash(peer.octets), hash([there]));

    // Half closed: what the other still has to say is heard.
    machine.close();
    await until("the socket has ended", 5_000, peer.hasEnded);
    assert.deepEqual(heard.events, ["secured"]);
    socket.end("last words");
    await until("the machine has ended", 5_000, () => machine.hasEnded);
    assert.ok(heard.text().endsWith("last words"));
    assert.deepEqual([heard.events, peer.errors], [["secured", "ended"], []]);
    machine.receiveEnd();
    assert.equal(heard.error, undefined);
    machine.free();
    socket.destroy();
  });
}

test("what the peer says goodbye to first can still be answered", () => {
  const [ours, theirs] = securedPair(client, server);
  ours.machine.close();
  exchange(ours, theirs);
  assert.deepEqual(theirs.events, ["secured", "ended"]);
  theirs.machine.write([Buffer.from("an answer")]);
  theirs.machine.close();
  exchange(ours, theirs);
  assert.equal(ours.text(), "an answer");
  assert.deepEqual(ours.events, ["secured", "ended"]);
  // Nothing is written after goodbye.
  ours.machine.write([Buffer.from("more")]);
  assert.deepEqual(ours.sent, []);
  free(ours, theirs);
});

test("however octets are cut and writes are gathered, what comes out is what went in", () => {
  const sizes = fc.array(fc.oneof(fc.nat(40), fc.nat(20_000), fc.nat(200_000), fc.constantFrom(16_384, 65_536)), {
    maxLength: 6,
  });
  const cuts = fc.array(fc.oneof(fc.integer({ min: 1, max: 64 }), fc.integer({ min: 1, max: 300_000 })), {
    minLength: 1,
    maxLength: 5,
  });
  fc.assert(
    fc.property(sizes, sizes, cuts, (there, back, pattern) => {
      let next = 0;
      const cut = (): number => pattern[next++ % pattern.length]!;
      const handshakeCut = (): number => Math.min(cut(), 5_000);
      const [ours, theirs] = securedPair(client, server, handshakeCut);
      const out = there.map(noise);
      const home = back.map(noise);
      ours.machine.write(out);
      theirs.machine.write(home);
      const large = (): number => Math.max(cut(), 500);
      exchange(ours, theirs, large);
      assert.equal(hash(theirs.plaintext), hash(out));
      assert.equal(hash(ours.plaintext), hash(home));
      free(ours, theirs);
    }),
    { numRuns: 60 },
  );
});

test("records are as full as what is written at once allows, and each is counted where it arrives", () => {
  const [ours, theirs] = securedPair(client, server);
  const cases: readonly (readonly [number[], number])[] = [
    [[9, 65_527], 4],
    [[65_536], 4],
    [[16_384, 1], 2],
    [[1, 16_384], 2],
    [[100, 200, 300], 1],
    [[0, 5, 0], 1],
    [[], 0],
    [[300_000, 9, 9], 19],
  ];
  for (const [sizes, expected] of cases) {
    const before = theirs.records;
    ours.machine.write(sizes.map(noise));
    exchange(ours, theirs);
    assert.equal(theirs.records - before, expected, String(sizes));
  }
  free(ours, theirs);
});

test("a server gives no ticket: after its handshake it has said nothing more", () => {
  const [ours, theirs] = [new Heard(client), new Heard(server)];
  ours.machine.start();
  feed(theirs.machine, Buffer.concat(ours.sent.splice(0)), uncut);
  feed(ours.machine, Buffer.concat(theirs.sent.splice(0)), uncut);
  feed(theirs.machine, Buffer.concat(ours.sent.splice(0)), uncut);
  assert.equal(theirs.machine.phase, "secured");
  assert.deepEqual(theirs.sent, []);
  free(ours, theirs);
});

test("a peer of TLS 1.2 is served where that is allowed, either way, and never resumed", async () => {
  const oldClient = contextOf("client", { ...alice, policy: withOld });
  const oldServer = contextOf("server", { ...bob, policy: withOld });
  for (const peer of [
    withNodeServer(
      oldClient,
      { ...bob, policy: withOld },
      { secureContext: undefined!, ...secureOptions(bob), ...old, ciphers: gcm },
    ),
    withNodeClient(oldServer, alice, { ...old, ciphers: gcm }),
  ]) {
    const { heard, socket } = peer;
    await until("both are secured", 5_000, () => peer.isSecure() && heard.machine.phase === "secured");
    const { version, cipher, isResumed } = heard.machine.agreed();
    assert.deepEqual([version, cipher, isResumed], ["TLSv1.2", gcm, false]);
    heard.machine.write([noise(100_000)]);
    socket.write("hello");
    await until("all has come", 5_000, () => heard.text() === "hello" && sum(peer.octets) === 100_000);
    socket.end();
    await until("it has ended", 5_000, () => heard.machine.hasEnded);
    heard.machine.free();
    socket.destroy();
  }
  oldClient.release();
  oldServer.release();
});

test("a peer's new keys are taken and answered, thousands of times, and nothing is lost", () => {
  const [ours, theirs] = securedPair(client, server);
  for (let round = 0; round < 2_000; round++) {
    ours.machine.updateKeys();
    ours.machine.write([Buffer.from("x")]);
    if (round % 50 === 0) exchange(ours, theirs, each(1_000));
    if (round % 300 === 0) theirs.machine.write([Buffer.from("y")]);
  }
  exchange(ours, theirs);
  assert.equal(theirs.octets, 2_000);
  assert.equal(ours.octets, 7);
  free(ours, theirs);
});

test("all that a peer presents is told, its own first, however long the chain", async () => {
  const long = longChain(root, "bob", 60);
  const expected = long.chain
    .match(/-----BEGIN[^]+?-----END CERTIFICATE-----\n/g)!
    .map((pem) => new X509Certificate(pem).raw);
  assert.equal(expected.length, 61);
  const longServer = contextOf("server", long);
  const [ours, theirs] = securedPair(client, longServer);
  assert.deepEqual(ours.machine.peerCertificates(), expected);
  free(ours, theirs);
  const peer = withNodeClient(server, long);
  await until("the server has it", 5_000, () => peer.heard.machine.phase === "secured");
  assert.deepEqual(peer.heard.machine.peerCertificates(), expected);
  peer.heard.machine.free();
  peer.socket.destroy();
  longServer.release();
});

test("contexts can be released while their connections live, and others take their place", () => {
  const [first, second] = [contextOf("client", alice), contextOf("client", bob)];
  const [serverBefore, serverAfter] = [contextOf("server", bob), contextOf("server", alice)];
  const pairs = [securedPair(first, serverBefore)];
  const [halfway, halfwayServer] = [new Heard(first), new Heard(serverBefore)];
  halfway.machine.start();
  first.release();
  first.release();
  serverBefore.release();
  assert.throws(() => new Heard(first), /after its release/);
  pairs.push(securedPair(second, serverAfter));
  exchange(halfway, halfwayServer);
  pairs.push([halfway, halfwayServer]);
  const leaves = [alice, bob].map(({ chain }) => new X509Certificate(chain).raw);
  const [aliceLeaf, bobLeaf] = leaves;
  const seen = pairs.map(([ours, theirs]) => [
    ...ours.machine.peerCertificates(),
    ...theirs.machine.peerCertificates(),
  ]);
  assert.deepEqual(seen, [
    [bobLeaf, aliceLeaf],
    [aliceLeaf, bobLeaf],
    [bobLeaf, aliceLeaf],
  ]);
  for (const [ours, theirs] of pairs) {
    ours.machine.write([noise(70_000)]);
    exchange(ours, theirs);
    assert.equal(theirs.octets, 70_000);
    free(ours, theirs);
  }
  second.release();
  serverAfter.release();
});

test("an owner may write, close and free from within whatever it is told", () => {
  const [ours, theirs] = [new Heard(client), new Heard(server)];
  ours.onSecured = () => ours.machine.write([noise(50_000)]);
  theirs.onReceived = () => {
    theirs.machine.write(theirs.plaintext.splice(0));
    if (theirs.octets === 50_000) theirs.machine.close();
  };
  ours.onReceived = () => {
    if (ours.octets === 50_000) ours.machine.free();
  };
  exchange(ours, theirs);
  assert.deepEqual([ours.events, theirs.events], [["secured"], ["secured"]]);
  assert.equal(ours.machine.phase, "freed");
  free(theirs);

  const refusing = new Heard(server);
  const refused = new Heard(client);
  refusing.onSecured = () => refusing.machine.free();
  refused.onSecured = () => refused.machine.write([Buffer.from("too early")]);
  exchange(refused, refusing);
  assert.deepEqual([refusing.octets, refusing.events], [0, ["secured"]]);
  free(refused);
});

test("what is called on a freed machine does nothing, and what asks it something says so", () => {
  const [ours, theirs] = securedPair(client, server);
  const { machine } = ours;
  machine.free();
  const calls: ((machine: TlsMachine) => void)[] = [
    (one) => one.start(),
    (one) => one.receive(noise(100)),
    (one) => one.receiveEnd(),
    (one) => one.write([noise(100)]),
    (one) => one.close(),
    (one) => one.free(),
  ];
  for (const call of calls) call(machine);
  assert.deepEqual([ours.sent, ours.events], [[], ["secured"]]);
  assert.throws(() => machine.agreed(), /freed/);
  assert.throws(() => machine.peerCertificates(), /freed/);
  assert.throws(() => machine.updateKeys(), /freed/);
  free(theirs);
});

test("what an owner keeps is its own: nothing is written over it, and what it does not keep costs no memory", () => {
  const [ours, theirs] = securedPair(client, server);
  const kept: Buffer[] = [];
  theirs.received = (plaintext): boolean => {
    kept.push(plaintext);
    return true;
  };
  const sent = Array.from({ length: 30 }, (_, at) => Buffer.alloc(60_000, at));
  for (const piece of sent) {
    ours.machine.write([piece]);
    exchange(ours, theirs);
  }
  assert.equal(hash(kept), hash(sent));
  const slabs = new Set<ArrayBufferLike>();
  theirs.received = (plaintext): boolean => {
    slabs.add(plaintext.buffer);
    return false;
  };
  for (const piece of sent) {
    ours.machine.write([piece]);
    exchange(ours, theirs);
  }
  assert.ok(slabs.size <= 2, `${slabs.size} slabs`);
  free(ours, theirs);
});

test("an error that somebody else has left in the thread's queue is not taken for ours, and we leave none", () => {
  const { calls } = openssl();
  const [ours, theirs] = securedPair(client, server);
  const text = Buffer.from("no PEM");
  const bio = calls.bioOver(text, text.length);
  for (const provoke of [
    (): void => ours.machine.write([noise(10)]),
    (): void => exchange(ours, theirs),
    (): void => ours.machine.close(),
  ]) {
    assert.equal(calls.pemCertificate(bio, 0, 0, text), 0);
    assert.notEqual(calls.peekError(), 0);
    provoke();
    assert.equal(calls.peekError(), 0);
  }
  calls.bioFree(bio);
  assert.deepEqual([ours.error, theirs.error, theirs.octets], [undefined, undefined, 10]);
  theirs.machine.receive(noise(100));
  assert.equal(calls.peekError(), 0);
  free(ours, theirs);
});

function free(...heard: readonly Heard[]): void {
  for (const { machine } of heard) machine.free();
}

function sum(pieces: readonly Buffer[]): number {
  return pieces.reduce((octets, piece) => octets + piece.length, 0);
}

function hash(pieces: readonly Uint8Array[]): string {
  const sha = createHash("sha256");
  for (const piece of pieces) sha.update(piece);
  return sha.digest("hex");
}
