import assert from "node:assert/strict";
import { createPublicKey } from "node:crypto";
import { test } from "node:test";
import type { ConnectionOptions } from "node:tls";
import fc from "fast-check";
import type { TlsIdentity } from "../../agent/tunnel/tls.ts";
import { longChain, oddIdentity, signedByLeaf } from "../../test/hostile/odd-certificates.ts";
import { identityOf, testIdentity, testRoot } from "../../test/support/identities.ts";
import {
  alice,
  bob,
  contextOf,
  exchange,
  feed,
  Heard,
  openssl,
  root,
  securedPair,
  uncut,
  withNodeClient,
  withNodeServer,
} from "../../test/support/tls-machines.ts";
import { until } from "../../test/support/until.ts";
import type { TlsError } from "./tls-error.ts";

const client = contextOf("client", alice);
const server = contextOf("server", bob);
const hour = 3_600_000;
const verified = (verify: string): TlsError["type"] => {
  return { code: "tls.certificate", verify, reason: "certificate verify failed" };
};
const alerted = (alert: number, reason: string): TlsError["type"] => ({ code: "tls.alert", alert, reason });

interface Refusal {
  readonly make: () => TlsIdentity;
  readonly verify: string;
  /** What Node's own TLS calls it where that goes on after a first fault and tells the last. */
  readonly nodeSays?: string;
  readonly alert: number;
  readonly words: string;
}

const expiredAt = { notBeforeMs: Date.now() - 2 * hour, notAfterMs: Date.now() - hour };
const notYetAt = { notBeforeMs: Date.now() + hour / 2, notAfterMs: Date.now() + hour };
const stranger = testRoot("somebody else");

const both: Readonly<Record<string, Refusal>> = {
  "comes from another root": {
    make: () => ({ ...testIdentity(stranger, identityOf("bob")), roots: root.certificatePem }),
    verify: "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
    nodeSays: "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
    alert: 48,
    words: "unknown ca",
  },
  "brings its own root along": {
    make: () => {
      const { chain, ...rest } = testIdentity(stranger, identityOf("bob"));
      return { ...rest, chain: chain + stranger.certificatePem, roots: root.certificatePem };
    },
    verify: "SELF_SIGNED_CERT_IN_CHAIN",
    alert: 48,
    words: "unknown ca",
  },
  "has expired": {
    make: () => testIdentity(root, identityOf("bob"), expiredAt),
    verify: "CERT_HAS_EXPIRED",
    alert: 45,
    words: "certificate expired",
  },
  "is not valid yet": {
    make: () => testIdentity(root, identityOf("bob"), notYetAt),
    verify: "CERT_NOT_YET_VALID",
    alert: 42,
    words: "bad certificate",
  },
  "was signed by a leaf": {
    make: () => signedByLeaf(root, "bob"),
    verify: "INVALID_CA",
    nodeSays: "UNSPECIFIED",
    alert: 48,
    words: "unknown ca",
  },
};

const roles: Readonly<Record<"client" | "server", Readonly<Record<string, Refusal>>>> = {
  server: {
    ...both,
    "is a client's only": {
      make: () => oddIdentity(root, "bob", { usages: ["clientAuth"] }),
      verify: "INVALID_PURPOSE",
      alert: 43,
      words: "unsupported certificate",
    },
  },
  client: {
    ...both,
    "is a server's only": {
      make: () => oddIdentity(root, "bob", { usages: ["serverAuth"] }),
      verify: "INVALID_PURPOSE",
      alert: 43,
      words: "unsupported certificate",
    },
  },
};

for (const [what, { make, verify, alert, nodeSays = verify, words }] of Object.entries(roles.server)) {
  test(`a client refuses a server whose certificate ${what}, tells it, and says why as Node does`, async () => {
    const odd = make();
    const context = contextOf("server", odd);
    const [ours, theirs] = [new Heard(client), new Heard(context)];
    exchange(ours, theirs);
    assert.deepEqual(ours.error?.type, verified(verify));
    assert.deepEqual([ours.events, theirs.events], [["failed"], ["failed"]]);
    assertAlert(theirs.error, alert, words);
    context.release();

    const peer = withNodeServer(client, odd);
    await until("it has failed", 5_000, () => peer.heard.error !== undefined && peer.errors.length > 0);
    assert.deepEqual(peer.heard.error?.type, verified(verify));
    assert.match(peer.errors[0]!.reason!, new RegExp(words));
    peer.socket.destroy();

    const oracle = withNodeClientOf(odd);
    await until("Node has refused it", 5_000, () => oracle.errors.length > 0);
    assert.equal(oracle.errors[0]!.code, nodeSays);
    oracle.heard.machine.free();
    oracle.socket.destroy();
  });
}

for (const [what, { make, verify, alert, words }] of Object.entries(roles.client)) {
  test(`a server refuses a client whose certificate ${what}, and tells it`, async () => {
    const odd = make();
    const context = contextOf("client", odd);
    const [ours, theirs] = [new Heard(context), new Heard(server)];
    exchange(ours, theirs);
    assert.deepEqual(theirs.error?.type, verified(verify));
    assert.deepEqual(theirs.events, ["failed"]);
    // In TLS 1.3 a client is up before it is judged.
    assert.deepEqual(ours.events, ["secured", "failed"]);
    assertAlert(ours.error, alert, words);
    context.release();

    const peer = withNodeClient(server, odd);
    await until("it has failed", 5_000, () => peer.errors.length > 0);
    assert.deepEqual(peer.heard.error?.type, verified(verify));
    assert.match(peer.errors[0]!.reason!, new RegExp(words));
    peer.socket.destroy();
  });
}

test("a client that shows no certificate is refused for that, with TLS 1.2 as well", async () => {
  const policy = { keyExchange: "hybrid-first", oldest: "TLSv1.2" } as const;
  const strict = contextOf("server", { ...bob, policy });
  const none: ConnectionOptions = { cert: undefined, key: undefined };
  const old: ConnectionOptions = {
    minVersion: "TLSv1.2",
    maxVersion: "TLSv1.2",
    ciphers: "ECDHE-ECDSA-AES128-GCM-SHA256",
  };
  for (const [options, alert] of [
    [none, /certificate required/],
    [{ ...none, ...old }, /handshake failure/],
  ] as const) {
    const peer = withNodeClient(strict, alice, options);
    await until("it has failed", 5_000, () => peer.errors.length > 0);
    const reason = "peer did not return a certificate";
    assert.deepEqual(peer.heard.error?.type, { code: "tls.no-client-certificate", reason });
    assert.deepEqual(peer.heard.events, ["failed"]);
    assert.match(peer.errors[0]!.reason!, alert);
    peer.socket.destroy();
  }
  strict.release();
});

test("a chain of more than a hundred authorities is too long, and one of ninety is not", () => {
  const [long, longer] = [longChain(root, "bob", 90), longChain(root, "bob", 101)].map((one) =>
    contextOf("server", one),
  );
  const pair = securedPair(client, long!);
  for (const { machine } of pair) machine.free();
  const [ours, theirs] = [new Heard(client), new Heard(longer!)];
  exchange(ours, theirs);
  assert.equal(ours.error?.type.code, "tls.certificate");
  assert.match(ours.error.message, /CERT_CHAIN_TOO_LONG|UNABLE_TO_GET_ISSUER_CERT/);
  assert.equal(theirs.error?.type.code, "tls.alert");
  long!.release();
  longer!.release();
});

test("a chain that fills more than OpenSSL writes at once is sent whole, and refused for its length", () => {
  const huge = contextOf("server", { ...bob, chain: bob.chain.repeat(500) });
  const [ours, theirs] = [new Heard(client), new Heard(huge)];
  ours.machine.start();
  feed(theirs.machine, Buffer.concat(ours.sent.splice(0)), uncut);
  assert.ok(theirs.sent.reduce((octets, piece) => octets + piece.length, 0) > 200_000);
  exchange(ours, theirs);
  assert.deepEqual(ours.error?.type, { code: "tls.protocol", reason: "excessive message size" });
  assert.equal(theirs.error?.type.code, "tls.alert");
  huge.release();
});

test("a client that offers other protocols is refused by an alert; one that offers none gets none", async () => {
  const other = contextOf("client", alice, { protocols: ["http/1.1", "smtp"] });
  const [ours, theirs] = [new Heard(other), new Heard(server)];
  exchange(ours, theirs);
  assertAlert(ours.error, 120, "no application protocol");
  assert.equal(theirs.error?.type.code, "tls.protocol");
  other.release();

  const several = contextOf("client", alice, { protocols: ["http/1.1", "h2"] });
  const [one, two] = securedPair(several, server);
  assert.deepEqual([one.machine.agreed().protocol, two.machine.agreed().protocol], ["h2", "h2"]);
  one.machine.free();
  two.machine.free();
  several.release();

  const mute = withNodeClient(server, alice, { ALPNProtocols: [] });
  await until("both are secured", 5_000, () => mute.isSecure() && mute.heard.machine.phase === "secured");
  assert.equal(mute.heard.machine.agreed().protocol, undefined);
  mute.heard.machine.free();
  mute.socket.destroy();

  const odd = withNodeServer(client, bob, { ALPNProtocols: ["http/1.1"] });
  await until("it has failed", 5_000, () => odd.heard.error !== undefined);
  assertAlert(odd.heard.error, 120, "no application protocol");
  odd.socket.destroy();
});

test("peers that have no version, suite or group in common part with words for it", async () => {
  const hybrid = contextOf("server", { ...bob, policy: { keyExchange: "hybrid-only", oldest: "TLSv1.3" } });
  for (const [context, options, words] of [
    [
      server,
      { minVersion: "TLSv1.2", maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-GCM-SHA256" },
      /unsupported protocol/,
    ],
    [server, { ciphers: "TLS_CHACHA20_POLY1305_SHA256" }, /no shared cipher/],
    [hybrid, { ecdhCurve: "X25519" }, /no suitable key share|no shared group/],
  ] as const) {
    const peer = withNodeClient(context, alice, options);
    await until("it has failed", 5_000, () => peer.heard.error !== undefined && peer.errors.length > 0);
    assert.equal(peer.heard.error?.type.code, "tls.protocol");
    assert.match(peer.heard.error.message, words);
    peer.socket.destroy();
  }
  hybrid.release();
});

test("a transport that ends before the peer has said goodbye is told from one that ends after", () => {
  const hello = new Heard(client);
  hello.machine.start();
  hello.machine.receiveEnd();
  assert.deepEqual(hello.error?.type, { code: "tls.truncated", within: "handshake" });

  const [ours, theirs] = securedPair(client, server);
  ours.machine.write([Buffer.alloc(20_000)]);
  const sent = Buffer.concat(ours.sent.splice(0));
  feed(theirs.machine, sent.subarray(0, sent.length - 1), uncut);
  assert.equal(theirs.octets, 16_384);
  theirs.machine.receiveEnd();
  assert.deepEqual(theirs.error?.type, { code: "tls.truncated", within: "stream" });
  assert.deepEqual([theirs.events, theirs.machine.phase], [["secured", "failed"], "freed"]);
  ours.machine.free();
});

test("a peer that says goodbye in the middle of a handshake has ended it: its transport's end is not waited for", () => {
  const goodbye = Buffer.from([0x15, 0x03, 0x03, 0x00, 0x02, 0x01, 0x00]);
  const other = new Heard(client);
  other.machine.start();
  const hello = Buffer.concat(other.sent);
  other.machine.free();
  for (const context of [client, server]) {
    const heard = new Heard(context);
    heard.machine.start();
    if (context === server) feed(heard.machine, hello, uncut);
    feed(heard.machine, goodbye, uncut);
    assert.deepEqual(heard.error?.type, { code: "tls.truncated", within: "handshake" });
    assert.deepEqual([heard.events, heard.machine.phase], [["failed"], "freed"]);
    heard.machine.receiveEnd();
    assert.deepEqual(heard.events, ["failed"]);
  }
});

test("what is no TLS fails the handshake, in OpenSSL's own words", () => {
  for (const [text, words] of [
    ["GET / HTTP/1.1\r\n\r\n", "http request"],
    ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "wrong version number"],
    ["\0\0\0\0\0\0\0\0\0\0\0\0", "wrong version number"],
    ["\x16\x03\x01\xff\xff" + "\0".repeat(70_000), "data length too long"],
  ] as const) {
    const heard = new Heard(server);
    heard.machine.start();
    feed(heard.machine, Buffer.from(text, "latin1"), uncut);
    assert.deepEqual(heard.error?.type, { code: "tls.protocol", reason: words });
    assert.deepEqual(heard.events, ["failed"]);
  }
});

test("garbage after the handshake ends it, and what came before it is heard first", () => {
  const [ours, theirs] = securedPair(client, server);
  ours.machine.write([Buffer.from("before")]);
  const good = Buffer.concat(ours.sent.splice(0));
  feed(theirs.machine, Buffer.concat([good, Buffer.alloc(64, "garbage")]), uncut);
  assert.deepEqual([theirs.text(), theirs.events], ["before", ["secured", "failed"]]);
  assert.equal(theirs.error?.type.code, "tls.protocol");
  exchange(ours, theirs);
  assert.equal(ours.error?.type.code, "tls.alert");
});

test("after the peer's goodbye whatever comes is not looked at", () => {
  const [ours, theirs] = securedPair(client, server);
  ours.machine.close();
  feed(theirs.machine, Buffer.concat([...ours.sent.splice(0), Buffer.alloc(500, "garbage")]), uncut);
  feed(theirs.machine, Buffer.alloc(500, "garbage"), uncut);
  assert.deepEqual(theirs.events, ["secured", "ended"]);
  // Nor does it get in the way of others.
  for (const { machine } of securedPair(client, server)) machine.free();
  ours.machine.free();
  theirs.machine.free();
});

test("any octet of a handshake or a record may be spoilt: nobody gets anything that was not sent", () => {
  fc.assert(
    fc.property(fc.nat(), fc.nat(6), fc.integer({ min: 1, max: 255 }), (where, flight, flip) => {
      const [ours, theirs] = [new Heard(client), new Heard(server)];
      ours.onSecured = () => ours.machine.write([Buffer.alloc(3_000, "a")]);
      theirs.onSecured = () => theirs.machine.write([Buffer.alloc(3_000, "b")]);
      ours.machine.start();
      let flights = 0;
      for (const ends = [ours, theirs]; ours.sent.length + theirs.sent.length > 0; ends.reverse()) {
        const octets = Buffer.concat(ends[0]!.sent.splice(0));
        if (octets.length > 0 && flights++ === flight) octets[where % octets.length]! ^= flip;
        feed(ends[1]!.machine, octets, uncut);
      }
      assert.ok("b".repeat(3_000).startsWith(ours.text()));
      assert.ok("a".repeat(3_000).startsWith(theirs.text()));
      assert.equal(openssl().calls.peekError(), 0);
      ours.machine.free();
      theirs.machine.free();
    }),
    { numRuns: 300 },
  );
});

test("no error holds anything of a key or of what was said", () => {
  const secret = createPublicKey(alice.key).export({ type: "spki", format: "pem" }) as string;
  const [ours, theirs] = securedPair(client, server);
  ours.machine.write([Buffer.from("a secret of ours")]);
  const octets = Buffer.concat(ours.sent.splice(0));
  octets[octets.length - 1]! ^= 1;
  feed(theirs.machine, octets, uncut);
  const said = JSON.stringify([theirs.error?.type, theirs.error?.message, theirs.error?.stack]);
  for (const word of ["secret", secret.slice(30, 60), alice.key.slice(30, 60)]) assert.ok(!said.includes(word));
  ours.machine.free();
});

/** Node as the client of a machine that is the server, with a certificate that Node refuses. */
function withNodeClientOf(odd: TlsIdentity): ReturnType<typeof withNodeClient> {
  const context = contextOf("server", odd);
  const peer = withNodeClient(context);
  context.release();
  return peer;
}

function assertAlert(error: TlsError | undefined, alert: number, words: string): void {
  assert.ok(error?.type.code === "tls.alert", error?.message);
  assert.equal(error.type.alert, alert);
  assert.ok(error.type.reason.includes(words), error.type.reason);
  assert.deepEqual(error.type, alerted(alert, error.type.reason));
}
