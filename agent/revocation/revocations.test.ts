import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { before, test, type TestContext } from "node:test";
import { impostorOf, oddIdentity, subIssuer } from "../../test/hostile/odd-certificates.ts";
import { engineOf, engines, type EngineName } from "../../test/support/engines.ts";
import { bob, bobUri, openTunnel, root, startServer } from "../../test/support/hbone-pair.ts";
import { identityOf, testIdentity } from "../../test/support/identities.ts";
import { application, LoopbackMesh, ownAddresses, type LoopbackPod } from "../../test/support/loopback-mesh.ts";
import { pod } from "../../test/support/mesh.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { crlDer } from "../../test/support/revocation.ts";
import { until } from "../../test/support/until.ts";
import type { Issuer } from "../../core/protocol/x509/certificate.ts";
import { parseCrlFile } from "../../core/protocol/x509/crl.ts";
import { X509Error } from "../../core/protocol/x509/x509-error.ts";
import type { TlsIdentity } from "../tunnel/tls.ts";
import { TunnelError } from "../tunnel/tunnel.ts";
import { Revocations, type RevokedSerials } from "./revocations.ts";

const skip = enterNamespaces() ?? false;
before(() => (skip === false ? ownAddresses() : undefined));

const [aliceAddress, bobAddress, carolAddress] = ["10.99.0.2", "10.99.0.3", "10.99.0.4"] as const;

test("F-098 a peer whose certificate is on a list is refused, at both ends, and one that is on none is not", async (t) => {
  const alice = testIdentity(root, identityOf("alice"));
  const carol = testIdentity(root, identityOf("carol"));
  const { outcome } = await ends(t, [listOf(root, [alice.chain])]);
  assert.deepEqual(await outcome({ client: alice }), { client: undefined, server: revoked });
  assert.deepEqual(await outcome({ client: carol }), { client: undefined, server: undefined });
  const dead = await ends(t, [listOf(root, [bob.chain])]);
  assert.deepEqual(await dead.outcome({ client: carol }), { client: revoked, server: undefined });
});

test("F-098 H029 who stands below a revoked authority is refused, at both ends, however the chain is shown", async (t) => {
  const between = subIssuer(root, "between", true);
  const twin = { ...impostor(between), certificatePem: impostorOf(between, ecKey()) };
  const [client, server] = ["alice", "bob"].map((account) => oddIdentity(between, account));
  assert.ok(client && server);
  const shown = (leaf: TlsIdentity, above: readonly string[]): TlsIdentity => ({
    ...leaf,
    chain: [leaf.chain, ...above].join(""),
    roots: root.certificatePem,
  });
  const chains = [
    [between.certificatePem],
    [between.certificatePem, twin.certificatePem],
    [twin.certificatePem, between.certificatePem],
  ];
  const free = await ends(t, []);
  const { outcome } = await ends(t, [listOf(root, [between.certificatePem])]);
  assert.deepEqual(await free.outcome({ client: shown(client, chains[0]!) }), { client: undefined, server: undefined });
  for (const above of chains) {
    // TLS itself takes offence at what comes in the wrong order.
    const expected = above[0] === between.certificatePem ? revoked : "tunnel.certificate-untrusted";
    assert.equal((await outcome({ client: shown(client, above) })).server, expected);
    assert.equal((await outcome({ server: shown(server, above) })).client, expected);
  }
});

test("F-098 an authority that we trust ourselves, and that the peer has not shown, counts as well", async (t) => {
  const between = subIssuer(root, "between", true);
  const roots = root.certificatePem + between.certificatePem;
  const [client, server] = ["alice", "bob"].map((account) => ({ ...oddIdentity(between, account), roots }));
  const { outcome } = await ends(t, [listOf(root, [between.certificatePem])], { ...bob, roots });
  assert.equal((await outcome({ client })).server, revoked);
  assert.equal(
    (await outcome({ server, client: { ...testIdentity(root, identityOf("alice")), roots } })).client,
    revoked,
  );
});

test("F-098 lists of several authorities are in force together, and new ones replace them all", async (t) => {
  const between = subIssuer(root, "between", true);
  const leaf = oddIdentity(between, "alice");
  const alice = { ...leaf, chain: leaf.chain + between.certificatePem, roots: root.certificatePem };
  const { outcome, revocations } = await ends(t, [listOf(root, []), listOf(between, [leaf.chain])]);
  assert.equal((await outcome({ client: alice })).server, revoked);
  revocations.use([listOf(root, [bob.chain])]);
  assert.equal((await outcome({ client: alice })).server, undefined);
  revocations.use([]);
  assert.deepEqual(await outcome({ client: alice }), { client: undefined, server: undefined });
});

test("F-098 a tunnel that has gone is not watched any more, at both ends", async (t) => {
  const { outcome, revocations } = await ends(t, []);
  for (let i = 0; i < 3; i++) await outcome({});
  await until("nothing is watched", 5_000, () => revocations.watching === 0);
});

for (const engine of engines) {
  test(
    `F-099 H054 (${engine}) a client that is revoked loses its open connections, and nobody else does`,
    { skip },
    async (t) => {
      const { mesh, connect, alice } = await scene(t, engine);
      const [cut, kept] = await Promise.all([connect(alice), connect(mesh.carol)]);
      mesh.revoke([mesh.identities.alice]);
      await cut.ended;
      const line = await mesh.line("inbound", ({ reason }) => reason === "PEER_CERT_REVOKED");
      assert.match(JSON.stringify(line), /sa\/alice/);
      await kept.echo("still here");
      await refused(mesh, alice, "inbound");
      await kept.echo("and still");
      await (await connect(mesh.carol)).echo("a new one, too");
    },
  );

  test(
    `F-099 F-205 H054 (${engine}) a server that is revoked is let go by its clients, and the count goes up`,
    { skip },
    async (t) => {
      const { mesh, connect, alice } = await scene(t, engine);
      const cut = await connect(alice);
      mesh.revoke([mesh.identities.bob]);
      await cut.ended;
      await mesh.line("outbound", ({ reason }) => reason === "PEER_CERT_REVOKED");
      await refused(mesh, alice, "outbound");
      mesh.send({ kind: "metrics", id: 1, reset: false });
      const count = await until("the counters are reported", 5_000, () => {
        const rows = mesh.messages.flatMap((message) => (message.kind === "metrics" ? message.rows.counters : []));
        return rows.find(({ name }) => name === "istio_crl_policy_rejections");
      });
      assert.deepEqual([count.labels, count.value], [["source"], 2]);
    },
  );
}

test("F-099 lists that revoke nobody cut nothing, and certificates that are renewed come back", { skip }, async (t) => {
  const { mesh, connect, alice } = await scene(t, "own");
  const open = await connect(alice);
  mesh.revoke([testIdentity(root, identityOf("mallory"))]);
  await open.echo("still here");
  const old = mesh.identities.alice;
  const renewed = testIdentity(root, identityOf("alice"));
  mesh.certify(renewed);
  mesh.revoke([old]);
  await open.ended;
  await (await connect(alice)).echo("with another certificate");
});

const revoked = "tunnel.certificate-revoked";

function listOf(issuer: Issuer, pems: readonly string[]): RevokedSerials {
  const steps = parseCrlFile(crlDer(issuer, pems));
  let step = steps.next();
  while (step.done !== true) step = steps.next();
  assert.ok(!(step.value instanceof X509Error) && step.value[0]);
  return step.value[0];
}

function ecKey(): ReturnType<typeof generateKeyPairSync>["privateKey"] {
  return generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
}

function impostor(issuer: Issuer): Issuer {
  return { ...issuer, key: ecKey() };
}

interface Ends {
  readonly revocations: Revocations;
  /** Opens a tunnel. @returns what each end has against the other. */
  readonly outcome: (who: { client?: TlsIdentity | undefined; server?: TlsIdentity | undefined }) => Promise<Outcome>;
}

interface Outcome {
  readonly client: string | undefined;
  readonly server: string | undefined;
}

/** A server and its clients that know the same lists. */
async function ends(t: TestContext, lists: readonly RevokedSerials[], usual = bob): Promise<Ends> {
  const revocations = new Revocations();
  revocations.use(lists);
  return {
    revocations,
    outcome: async ({ client = testIdentity(root, identityOf("dave")), server = usual }) => {
      const started = await startServer({ identity: server, revocations });
      t.after(started.close);
      const tunnel = await openTunnel(started.port, { as: client, accepted: [bobUri], revocations });
      const failed = tunnel instanceof TunnelError ? tunnel.type.code : undefined;
      if (!(tunnel instanceof TunnelError)) {
        await until(
          "the server has judged it",
          5_000,
          () => started.refusals.length > 0 || started.hbone.handshakes === 0,
        );
        tunnel.destroy();
      }
      const refusal = started.refusals.find(({ type }) => type.code !== "tunnel.lost");
      return { client: failed, server: refusal?.type.code };
    },
  };
}

interface OpenConnection {
  readonly ended: Promise<void>;
  readonly echo: (text: string) => Promise<void>;
}

class RevokingMesh extends LoopbackMesh {
  readonly identities = { alice: testIdentity(root, identityOf("alice")), bob: testIdentity(root, identityOf("bob")) };
  carol!: LoopbackPod;
  bob!: LoopbackPod;
  port = 0;

  revoke(identities: readonly TlsIdentity[]): void {
    this.send({
      kind: "revocations",
      lists: [
        listOf(
          root,
          identities.map(({ chain }) => chain),
        ),
      ],
    });
  }
}

async function scene(
  t: TestContext,
  engine: EngineName,
): Promise<{ mesh: RevokingMesh; alice: LoopbackPod; connect: (from: LoopbackPod) => Promise<OpenConnection> }> {
  const { settings } = engineOf(engine).meshOptions;
  const mesh = new RevokingMesh({ settings: { ...settings, revocation: true } });
  t.after(() => mesh.close());
  const app = await application(bobAddress, (socket) => socket.pipe(socket));
  t.after(app.close);
  mesh.port = app.port;
  mesh.apply({
    workloads: [pod("default/alice", aliceAddress), pod("default/bob", bobAddress), pod("default/carol", carolAddress)],
  });
  const alice = await mesh.serve("default/alice", aliceAddress, mesh.identities.alice);
  mesh.bob = await mesh.serve("default/bob", bobAddress, mesh.identities.bob);
  mesh.carol = await mesh.serve("default/carol", carolAddress);
  const connect = async (from: LoopbackPod): Promise<OpenConnection> => {
    const socket = from.connectOut({ address: bobAddress, port: app.port });
    let received = "";
    socket.on("data", (chunk) => (received += chunk.toString()));
    const open: OpenConnection = {
      ended: new Promise((resolve) => socket.once("close", () => resolve())),
      echo: async (text) => {
        const before = received;
        socket.write(text);
        await until("it comes back", 5_000, () => received === before + text);
      },
    };
    await open.echo("hello");
    return open;
  };
  return { mesh, alice, connect };
}

/** A new connection fails, and the end that has refused it says why. */
async function refused(mesh: RevokingMesh, from: LoopbackPod, by: "inbound" | "outbound"): Promise<void> {
  const count = (): number =>
    mesh.lines.filter(({ direction, reason }) => direction === by && reason === "PEER_CERT_REVOKED").length;
  const before = count();
  const socket = from.connectOut({ address: bobAddress, port: mesh.port });
  await until("it is said", 5_000, () => count() > before);
  // The client's own agent takes a server that hangs up for one that is being restarted, and tries for a while.
  socket.destroy();
}
