import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { after, test } from "node:test";
import type { TlsIdentity } from "../../agent/tunnel/tls.ts";
import { longChain } from "../../test/hostile/odd-certificates.ts";
import { identityOf, testIdentity, testRoot } from "../../test/support/identities.ts";
import { alice, bob, contextOf, exchange, Heard, openssl, root, settingsOf } from "../../test/support/tls-machines.ts";
import { until } from "../../test/support/until.ts";
import type { TlsContext } from "./context.ts";
import { certificatesIn, type VerifiedChain } from "./verified-chains.ts";

const { chains } = openssl();
const client = contextOf("client", alice);
const server = contextOf("server", bob);
after(() => (chains.wallMs = Date.now));

/** A handshake, and what each end heard of the other: chains as they were told within `secured`. */
function shake(one: TlsContext, other: TlsContext): { pair: [Heard, Heard]; told: (VerifiedChain | undefined)[] } {
  const pair: [Heard, Heard] = [new Heard(one), new Heard(other)];
  const told: (VerifiedChain | undefined)[] = [undefined, undefined];
  for (const [index, heard] of pair.entries()) heard.onSecured = () => (told[index] = heard.machine.peerChain);
  exchange(...pair);
  for (const { machine } of pair) {
    assert.equal(machine.peerChain, undefined, "nothing of it is kept");
    machine.free();
  }
  return { pair, told };
}

/** How many chains OpenSSL verifies meanwhile. */
function verificationsIn(work: () => unknown): number {
  const before = chains.verifications;
  work();
  return chains.verifications - before;
}

test("what has been verified by the same roots in the same role is recognised by its octets, whoever asks", () => {
  const carol = contextOf("client", testIdentity(root, identityOf("carol")));
  const first = shake(client, server);
  assert.equal(
    verificationsIn(() => {
      const again = shake(client, server);
      assert.deepEqual(
        again.pair.map(({ events }) => events),
        [["secured"], ["secured"]],
      );
      for (const index of [0, 1]) assert.equal(again.told[index], first.told[index]);
    }),
    0,
  );
  const [ofServer, ofClient] = first.told;
  assert.deepEqual(certificatesIn(ofServer!), [new X509Certificate(bob.chain).raw]);
  assert.deepEqual(certificatesIn(ofClient!), [new X509Certificate(alice.chain).raw]);
  // Another identity of ours knows the server already; the server does not know it.
  assert.equal(
    verificationsIn(() => shake(carol, server)),
    1,
  );
  // What has been shown as a client's says nothing of a server.
  assert.equal(
    verificationsIn(() => shake(contextOf("client", bob), contextOf("server", alice))),
    2,
  );
});

test("each of two handshakes at once is told its own peer", () => {
  const carol = testIdentity(root, identityOf("carol"));
  const pairs = [client, contextOf("client", carol)].map((context) => [new Heard(context), new Heard(server)] as const);
  const told: string[] = [];
  for (const [, heard] of pairs) heard.onSecured = () => void told.push(heard.machine.peerChain!.octets);
  for (const pair of pairs) for (const { machine } of pair) machine.start();
  // Flight by flight, in turns.
  for (let flight = 0; flight < 4; flight++) {
    for (const [from, to] of pairs) for (const piece of from.sent.splice(0)) to.machine.receive(piece);
    for (const [to, from] of pairs) for (const piece of from.sent.splice(0)) to.machine.receive(piece);
  }
  assert.deepEqual(
    told,
    [alice, carol].map(({ chain }) => new X509Certificate(chain).raw.toString("latin1")),
  );
  for (const { machine } of pairs.flat()) machine.free();
});

test("out of its time a chain is verified anew, and then what OpenSSL says counts", () => {
  const validity = { notBeforeMs: Date.now() - 60_000, notAfterMs: Date.now() + 1_800_000 };
  const [one, other] = ["dave", "erin"].map((name) => testIdentity(root, identityOf(name), validity)) as [
    TlsIdentity,
    TlsIdentity,
  ];
  const contexts = [contextOf("client", one), contextOf("server", other)] as const;
  const [ofServer] = shake(...contexts).told;
  const at = (seconds: number): number => {
    chains.wallMs = () => seconds * 1_000;
    try {
      return verificationsIn(() => shake(...contexts));
    } finally {
      chains.wallMs = Date.now;
    }
  };
  const { notBefore, notAfter } = ofServer!;
  const leaf = new X509Certificate(other.chain);
  assert.deepEqual(
    [notBefore, notAfter].map((seconds) => seconds * 1_000),
    [leaf.validFrom, leaf.validTo].map((text) => Date.parse(text)),
    "the leaf's, which is the shortest",
  );
  assert.equal(at(notAfter - 0.001), 0);
  assert.equal(at(notBefore), 0);
  for (const seconds of [notAfter, notBefore - 0.001]) assert.equal(at(seconds), 2);
});

test("a certificate that has expired since it was remembered is refused", async () => {
  const notAfterMs = Date.now() + 2_000;
  const shortLived = testIdentity(root, identityOf("bob"), { notBeforeMs: Date.now() - 60_000, notAfterMs });
  const context = contextOf("server", shortLived);
  shake(client, context);
  assert.equal(
    verificationsIn(() => shake(client, context)),
    0,
  );
  await until("its time is over", 5_000, () => Date.now() > notAfterMs);
  const [ours] = shake(client, context).pair;
  assert.deepEqual(ours.error?.type, {
    code: "tls.certificate",
    verify: "CERT_HAS_EXPIRED",
    reason: "certificate verify failed",
  });
  assert.deepEqual(ours.events, ["failed"]);
});

test("other roots know nothing of what these have found", () => {
  shake(client, server);
  const elsewhere = testRoot("elsewhere");
  const distrustful = contextOf("client", { ...alice, roots: elsewhere.certificatePem });
  const [ours] = shake(distrustful, server).pair;
  assert.equal(ours.error?.type.code, "tls.certificate");
  // Nor does who has both find less than there is.
  const both = contextOf("client", { ...alice, roots: elsewhere.certificatePem + root.certificatePem });
  assert.equal(
    verificationsIn(() => shake(both, server)),
    1,
  );
});

test("a longer chain with the same leaf is another one, and one that is too long is verified every time", () => {
  const short = longChain(root, "bob", 1);
  const withMore = { ...short, chain: short.chain + root.certificatePem };
  const [first] = shake(client, contextOf("server", short)).told;
  const [second] = shake(client, contextOf("server", withMore)).told;
  assert.equal(second?.octets, `${first!.octets}${new X509Certificate(root.certificatePem).raw.toString("latin1")}`);
  assert.deepEqual(certificatesIn(second).length, 3);
  const long = contextOf("server", longChain(root, "bob", 5));
  for (let round = 0; round < 2; round++) {
    assert.equal(
      verificationsIn(() => assert.equal(shake(client, long).told[0], undefined)),
      1,
    );
  }
});

test("roots that were forgotten verify as before, every time", () => {
  shake(client, server);
  const { role, chain, key, roots, ...rest } = settingsOf("client", alice);
  for (let count = 0; count < 20; count++) {
    contextOf(role, { ...alice, chain, key }, { ...rest, roots: `${"\n".repeat(count + 1)}${roots}` }).release();
  }
  for (let round = 0; round < 2; round++) {
    const { pair, told } = shake(client, server);
    assert.deepEqual(pair[0].events, ["secured"]);
    assert.equal(told[0], undefined);
  }
});

test("a bug of ours within the verification refuses the peer", () => {
  const [fresh, peer] = [contextOf("client", alice, { ciphers: "TLS_AES_128_GCM_SHA256" }), server];
  shake(fresh, peer);
  chains.wallMs = () => {
    throw new Error("no clock");
  };
  const [ours] = shake(fresh, peer).pair;
  chains.wallMs = Date.now;
  assert.deepEqual(ours.error?.type, {
    code: "tls.certificate",
    verify: "UNSPECIFIED",
    reason: "certificate verify failed",
  });
  assert.deepEqual(ours.events, ["failed"]);
});
