/** Peers that prove somebody else, or prove it with a certificate that must not be taken. */
import assert from "node:assert/strict";
import { before } from "node:test";
import type { CloseCode } from "../../core/decision/close-reasons.ts";
import type { TlsIdentity } from "../../agent/tunnel/tls.ts";
import { root } from "../support/hbone-pair.ts";
import { identityOf, testIdentity, testRoot } from "../support/identities.ts";
import { ownAddresses } from "../support/loopback-mesh.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { until } from "../support/until.ts";
import { dialTls } from "./frame-peer.ts";
import type { ServedTunnel } from "./frame-server.ts";
import { aliceAddress, bobAddress, MeshScene } from "./mesh-scene.ts";
import { longChain, oddIdentity, signedByLeaf, weakKey } from "./odd-certificates.ts";
import { firstEngine, onEngines } from "./on-engines.ts";
import { OutboundScene } from "./outbound-scene.ts";

const skip = enterNamespaces() ?? false;
const once = { skip, only: firstEngine };
before(() => (skip === false ? ownAddresses() : undefined));

onEngines(
  "H028 who proves another account than the one expected there gets nothing, by no way",
  once,
  async (t, engine) => {
    const scene = await OutboundScene.open(t, engine);
    const mallory = testIdentity(root, identityOf("mallory"));
    const server = await scene.carol(t, { identity: mallory, onTunnel: (tunnel) => tunnel.greet() });
    await scene.refusedWith(await scene.dial("secret words"), "SAN_MISMATCH");
    assert.deepEqual(requestsOf(server.tunnels), []);
    server.close();
    await scene.unharmed(t);
  },
);

/** Lets a peer show what its own OpenSSL would not. */
const careless = { ciphers: "DEFAULT@SECLEVEL=0" };
const day = 86_400_000;
const now = Date.now();

interface Odd {
  readonly what: string;
  readonly make: (account: string) => TlsIdentity;
  readonly code: CloseCode;
}

const odd: readonly Odd[] = [
  {
    what: "has expired",
    make: (account) => oddIdentity(root, account, { validity: { notBeforeMs: now - 2 * day, notAfterMs: now - day } }),
    code: "PEER_CERT_EXPIRED",
  },
  {
    what: "is of tomorrow",
    make: (account) => oddIdentity(root, account, { validity: { notBeforeMs: now + day, notAfterMs: now + 2 * day } }),
    code: "PEER_CERT_NOT_YET_VALID",
  },
  {
    what: "leads to a stranger's root",
    make: (account) => ({ ...oddIdentity(testRoot("stranger"), account), roots: root.certificatePem }),
    code: "PEER_CERT_UNTRUSTED",
  },
  { what: "was signed by a leaf", make: (account) => signedByLeaf(root, account), code: "PEER_CERT_UNFIT" },
  {
    what: "names two accounts",
    make: (account) => oddIdentity(root, account, { uris: [uriOf(account), uriOf("somebody")] }),
    code: "BAD_IDENTITY",
  },
  {
    what: "names nobody",
    make: (account) => oddIdentity(root, account, { uris: ["https://a"] }),
    code: "BAD_IDENTITY",
  },
  {
    what: "has a weak key",
    make: (account) => oddIdentity(root, account, { key: weakKey() }),
    code: "PEER_CERT_UNFIT",
  },
  {
    what: "stands below 300 authorities",
    make: (account) => longChain(root, account, 300),
    code: "TLS_HANDSHAKE_FAILED",
  },
];

for (const { what, make, code } of odd) {
  onEngines(`H029 a client whose certificate ${what} is refused with ${code}`, once, async (t, engine) => {
    const scene = await MeshScene.open(t, engine);
    const peer = await dialTls({ ...inbound(scene), as: make("alice"), tls: careless });
    peer.greet();
    await peer.closed;
    await scene.lineOf(code);
    assert.equal(scene.accepted.length, 1, "the bystander's alone");
    await scene.unharmed(t);
  });

  onEngines(`H029 a server whose certificate ${what} is refused with ${code}`, once, async (t, engine) => {
    const scene = await OutboundScene.open(t, engine);
    const server = await scene.carol(t, { identity: make("carol"), tls: careless });
    await scene.refusedWith(await scene.dial("secret words"), code);
    assert.deepEqual(requestsOf(server.tunnels), []);
    server.close();
    await scene.unharmed(t);
  });
}

onEngines("H029 a certificate that is for the other end only is refused at both", once, async (t, engine) => {
  const scene = await MeshScene.open(t, engine);
  const peer = await dialTls({ ...inbound(scene), as: oddIdentity(root, "alice", { usages: ["serverAuth"] }) });
  peer.greet();
  await peer.closed;
  await scene.lineOf("PEER_CERT_UNFIT");
  await scene.unharmed(t);
  const other = await OutboundScene.open(t, engine);
  const server = await other.carol(t, { identity: oddIdentity(root, "carol", { usages: ["clientAuth"] }) });
  await other.refusedWith(await other.dial("secret words"), "PEER_CERT_UNFIT");
  server.close();
  await other.unharmed(t);
});

const offers = [
  ["TLS 1.2", { minVersion: "TLSv1.2", maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES256-GCM-SHA384" }],
  ["another suite", { ciphers: "TLS_CHACHA20_POLY1305_SHA256" }],
] as const;

for (const [what, tls] of offers) {
  onEngines(`H030 a server that offers nothing but ${what} is refused`, once, async (t, engine) => {
    const scene = await OutboundScene.open(t, engine);
    const server = await scene.carol(t, { tls });
    await scene.refusedWith(await scene.dial("secret words"), "TLS_HANDSHAKE_FAILED");
    server.close();
    await scene.unharmed(t);
  });
}

onEngines("H030 H042 a ticket that a server gives is never shown again", once, async (t, engine) => {
  const scene = await OutboundScene.open(t, engine);
  const server = await scene.carol(t, {
    tls: { secureOptions: 0, sessionTimeout: 3_600 },
    onTunnel: (tunnel) => {
      tunnel.greet();
      tunnel.onFrame = ({ type, stream }) => {
        if (type === 1) tunnel.accept(stream);
      };
    },
  });
  for (let round = 1; round <= 3; round++) {
    await scene.dial("hello");
    const tunnel = await until("a new tunnel", 5_000, () => server.tunnels[round - 1]);
    await tunnel.request();
    assert.equal(tunnel.tls.isSessionReused(), false);
    tunnel.destroy();
    await until("it is gone", 5_000, async () => (await scene.victim.call("meshCounts")).tunnels === 0);
  }
  server.close();
  await scene.unharmed(t);
});

onEngines("H030 a client that offers nothing but TLS 1.2 is refused", once, async (t, engine) => {
  const scene = await MeshScene.open(t, engine);
  const peer = await dialTls({ ...inbound(scene), tls: offers[0][1] });
  await peer.closed;
  await scene.lineOf("TLS_HANDSHAKE_FAILED");
  await scene.unharmed(t);
});

function inbound(scene: MeshScene): { host: string; port: number; localAddress: string } {
  return { host: bobAddress, port: scene.port, localAddress: aliceAddress };
}

function requestsOf(tunnels: readonly ServedTunnel[]): unknown[] {
  return tunnels.flatMap(({ requests }) => requests);
}

function uriOf(account: string): string {
  return `spiffe://cluster.local/ns/default/sa/${account}`;
}
