import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createTcpServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { connect, createServer, type ConnectionOptions, type TLSSocket, type TlsOptions } from "node:tls";
import { generateKeyPairSync } from "node:crypto";
import { extensionTypes, readClientHello, type ClientHello } from "../../test/support/client-hello.ts";
import { impostorOf, oddIdentity, subIssuer, type OddLeaf } from "../../test/hostile/odd-certificates.ts";
import { alice, bob, bobUri, openTunnel, root, startServer } from "../../test/support/hbone-pair.ts";
import { identityOf, testIdentity } from "../../test/support/identities.ts";
import { until } from "../../test/support/until.ts";
import type { TlsPolicy } from "./tls-policy.ts";
import { parseTlsPolicy, tlsPolicy } from "./tls-policy.ts";
import { secureOptions, type TlsIdentity } from "./tls.ts";
import type { EngineName } from "./engine.ts";
import { TunnelError } from "./tunnel.ts";

const hybridOnly: TlsPolicy = { ...tlsPolicy, keyExchange: "hybrid-only" };
const classical: TlsPolicy = { ...tlsPolicy, keyExchange: "classical" };
const withOld: TlsPolicy = { ...tlsPolicy, oldest: "TLSv1.2" };
const hybrid = "X25519MLKEM768";
const groupNumbers = { hybrid: 0x11ec, x25519: 0x001d, p256: 0x0017, p384: 0x0018 };

test("F-091 a ClientHello of ours offers TLS 1.3, AES-GCM and h2 alone, key shares of both kinds, and neither a name nor a session", async (t) => {
  const hellos = await helloesOf(t, alice, 2);
  for (const { suites, extensions, shares, groups, versions } of hellos) {
    assert.deepEqual(
      suites.filter((suite) => suite !== renegotiationInfo),
      [0x1302, 0x1301],
    );
    assert.deepEqual(versions, [0x0304]);
    assert.equal(extensions.get(extensionTypes.alpn)?.toString("latin1"), "\0\x03\x02h2");
    assert.equal(extensions.has(extensionTypes.serverName), false);
    assert.equal(extensions.has(extensionTypes.preSharedKey), false);
    assert.equal(extensions.get(extensionTypes.sessionTicket)?.length ?? 0, 0);
    const { hybrid: first, x25519, p256, p384 } = groupNumbers;
    assert.deepEqual(
      [shares, groups],
      [
        [first, x25519],
        [first, x25519, p256, p384],
      ],
    );
  }
});

test("F-093 with COMPLIANCE_POLICY=pqc nothing but the hybrid group is offered", async (t) => {
  const [hello] = await helloesOf(t, { ...alice, policy: hybridOnly }, 1);
  assert.deepEqual([hello?.shares, hello?.groups], [[groupNumbers.hybrid], [groupNumbers.hybrid]]);
});

test("F-091 both ends of ours agree on the hybrid group; who can only do one kind of key exchange gets through with it", async (t) => {
  const { port } = await server(t, bob);
  const expected = [
    [undefined, hybrid],
    [hybrid, hybrid],
    ["X25519", "X25519"],
    ["P-256", "prime256v1"],
    // It would rather not, but it can: so it is asked to.
    [`X25519:${hybrid}`, hybrid],
  ] as const;
  for (const [ecdhCurve, name] of expected) {
    const socket = await dial(t, port, ecdhCurve === undefined ? {} : { ecdhCurve });
    assert.deepEqual((socket.getEphemeralKeyInfo() as { name?: string }).name, name);
    assert.match(socket.getCipher().name, /^TLS_AES_(?:128|256)_GCM_SHA/);
    assert.equal(socket.getProtocol(), "TLSv1.3");
  }
  for (const ecdhCurve of [hybrid, "X25519", "P-256", "P-384"]) {
    const peer = await plainServer(t, { ...secureOptions(bob), ecdhCurve });
    assert.equal(codeOf(await openTunnel(peer)), undefined, ecdhCurve);
  }
});

test("F-093 with COMPLIANCE_POLICY=pqc a classical peer is refused, at both ends, and a hybrid one is not", async (t) => {
  const { port, refusals } = await server(t, { ...bob, policy: hybridOnly });
  const ours = { ...alice, policy: hybridOnly };
  await refusedBy(port, { ecdhCurve: "X25519" });
  assert.deepEqual(refusals.map(codeOf), ["tunnel.tls-failed"]);
  await dial(t, port);
  assert.equal(codeOf(await openTunnel(port, { as: ours })), undefined);
  const classical = await plainServer(t, { ...secureOptions(bob), ecdhCurve: "X25519" });
  assert.equal(codeOf(await openTunnel(classical, { as: ours })), "tunnel.tls-failed");
});

test("F-092 with TLS12_ENABLED a peer of TLS 1.2 is served, by ECDHE and AES-GCM alone and only with its certificate", async (t) => {
  const { port, refusals } = await server(t, { ...bob, policy: withOld });
  const old = { minVersion: "TLSv1.2", maxVersion: "TLSv1.2" } as const;
  const socket = await dial(t, port, { ...old, ciphers: "ECDHE-ECDSA-AES128-GCM-SHA256" });
  assert.equal(socket.getProtocol(), "TLSv1.2");
  assert.equal(refusals.length, 0);
  for (const ciphers of ["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-SHA256"]) {
    await refusedBy(port, { ...old, ciphers });
  }
  const again = await dial(t, port, { ...old, ciphers: gcm, session: socket.getSession() });
  assert.equal(again.isSessionReused(), false);
  await refusedBy(port, { ...old, ciphers: gcm, cert: undefined, key: undefined });
  assert.equal(refusals.map(codeOf).at(-1), "tunnel.no-client-certificate");
  assert.equal((await dial(t, port)).getProtocol(), "TLSv1.3");

  const oldServer = await plainServer(t, { ...secureOptions(bob), ...old, ciphers: gcm });
  assert.equal(codeOf(await openTunnel(oldServer, { as: { ...alice, policy: withOld } })), undefined);
  assert.equal(codeOf(await openTunnel(oldServer)), "tunnel.tls-failed");
  const mallory = await plainServer(t, {
    ...secureOptions(testIdentity(root, identityOf("mallory"))),
    ...old,
    ciphers: gcm,
  });
  assert.equal(codeOf(await openTunnel(mallory, { as: { ...alice, policy: withOld } })), "tunnel.san-mismatch");
});

test("F-092 F-093 the settings say what they are, or which of them contradicts the other", () => {
  assert.deepEqual(parseTlsPolicy({}), tlsPolicy);
  assert.deepEqual(parseTlsPolicy({ TLS12_ENABLED: "true" }), withOld);
  assert.deepEqual(parseTlsPolicy({ COMPLIANCE_POLICY: "pqc", TLS12_ENABLED: "false" }), hybridOnly);
  for (const env of [{ COMPLIANCE_POLICY: "fips" }, { TLS12_ENABLED: "yes" }]) assert.ok("fix" in parseTlsPolicy(env));
  assert.ok("fix" in parseTlsPolicy({ COMPLIANCE_POLICY: "pqc", TLS12_ENABLED: "1" }));
  assert.deepEqual(parseTlsPolicy({ AMBIENTD_KEY_EXCHANGE: "classical" }), classical);
  assert.ok("fix" in parseTlsPolicy({ AMBIENTD_KEY_EXCHANGE: "hybrid" }));
  assert.ok("fix" in parseTlsPolicy({ COMPLIANCE_POLICY: "pqc", AMBIENTD_KEY_EXCHANGE: "classical" }));
});

test("with AMBIENTD_KEY_EXCHANGE=classical the hybrid group is neither offered nor taken", async (t) => {
  const { x25519, p256, p384 } = groupNumbers;
  const [hello] = await helloesOf(t, { ...alice, policy: classical }, 1);
  assert.deepEqual([hello?.shares, hello?.groups], [[x25519], [x25519, p256, p384]]);
  const { port } = await server(t, { ...bob, policy: classical });
  assert.equal(codeOf(await openTunnel(port)), undefined);
  await refusedBy(port, { ecdhCurve: hybrid });
});

test("F-091 H042 openssl cannot resume: a session that it has been given is worth nothing, with a certificate or without", async (t) => {
  // Ours gives none at all.
  const { port, refusals } = await server(t, bob, "own-on-node-tls");
  const folder = mkdtempSync(join(tmpdir(), "ambientd-tls-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const session = join(folder, "session");
  const trust = ["-CAfile", file("root", root.certificatePem)];
  const own = ["-cert", file("cert", alice.chain), "-key", file("key", alice.key)];
  const first = await openssl(t, port, [...trust, ...own, "-sess_out", session], /Cipher is/);
  assert.match(first, /New, TLSv1\.3/);
  await until("the session is on file", 5_000, () => existsSync(session));
  const second = await openssl(t, port, [...trust, ...own, "-sess_in", session], /Cipher is/);
  assert.match(second, /New, TLSv1\.3/);
  assert.doesNotMatch(second, /Reused/);
  await openssl(t, port, [...trust, "-sess_in", session], /Cipher is/);
  await until("all are gone", 5_000, () => refusals.length === 3);
  assert.deepEqual(refusals.map(codeOf), ["tunnel.lost", "tunnel.lost", "tunnel.no-client-certificate"]);
});

test("H030 H042 our client shows no session of an earlier tunnel, whatever tickets the server gives", async (t) => {
  const reused: boolean[] = [];
  const port = await plainServer(t, { ...secureOptions(bob), secureOptions: 0 }, (socket) =>
    reused.push(socket.isSessionReused()),
  );
  for (let round = 0; round < 3; round++) {
    const tunnel = await openTunnel(port);
    assert.ok(!(tunnel instanceof TunnelError));
    await until("the server has it", 5_000, () => reused.length === round + 1);
    tunnel.destroy();
  }
  assert.deepEqual(reused, [false, false, false]);
});

test("F-095 F-096 a client must show a certificate, and one of our trust domain", async (t) => {
  const { port, refusals } = await server(t, bob);
  await refusedBy(port, { cert: undefined, key: undefined });
  await refusedBy(port, secureOptions(testIdentity(root, identityOf("alice", "default", "cluster.locale"))));
  assert.deepEqual(refusals.map(codeOf), ["tunnel.no-client-certificate", "tunnel.trust-domain"]);
});

test("F-097 a server must prove one of the identities that are expected, to the letter", async (t) => {
  const { port } = await server(t, bob);
  const almost = [
    "spiffe://cluster.local/ns/default/sa/bo",
    `${bobUri}b`,
    bobUri.toUpperCase(),
    bobUri.replace("local", "locale"),
  ];
  assert.equal(codeOf(await openTunnel(port, { accepted: almost })), "tunnel.san-mismatch");
  assert.equal(codeOf(await openTunnel(port, { accepted: [] })), "tunnel.san-mismatch");
  assert.equal(codeOf(await openTunnel(port, { accepted: [...almost, bobUri] })), undefined);
});

const oddIds = {
  "a step back": "spiffe://cluster.local/ns/default/sa/../sa/admin",
  "a dot": "spiffe://cluster.local/ns/./sa/admin",
  "an escaped slash": "spiffe://cluster.local/ns/default%2fsa/admin",
  "an escaped letter": "spiffe://cluster.local/ns/default/sa/%61dmin",
  "an upper-case trust domain": "spiffe://Cluster.Local/ns/default/sa/admin",
  "an upper-case scheme": "SPIFFE://cluster.local/ns/default/sa/admin",
  "upper-case segments": "spiffe://cluster.local/NS/default/SA/admin",
  "a NUL": "spiffe://cluster.local/ns/default/sa/admin\0.other",
  "a line feed": "spiffe://cluster.local/ns/default/sa/admin\n",
  "an empty segment": "spiffe://cluster.local/ns//sa/admin",
  "a segment more": "spiffe://cluster.local/ns/default/sa/admin/x",
  "a slash more": "spiffe://cluster.local/ns/default/sa/admin/",
  "a query": "spiffe://cluster.local/ns/default/sa/admin?x",
  "a port": "spiffe://cluster.local:443/ns/default/sa/admin",
  "a letter of another alphabet": "spiffe://cluster.local/ns/default/sa/\xe4dmin",
  "two kilobytes": `spiffe://cluster.local/ns/default/sa/${"a".repeat(2_048)}`,
};

for (const [what, uri] of Object.entries(oddIds)) {
  test(`H046 a certificate whose SPIFFE id has ${what} is refused whole, at both ends`, (t) =>
    refusedAtBoth(t, "tunnel.bad-identity", (account) => oddIdentity(root, account, { uris: [uri] }), [uri]));

  test(`H046 a certificate whose SPIFFE id has ${what} is refused whole, though it has a good one beside`, (t) =>
    refusedAtBoth(t, "tunnel.bad-identity", (account) =>
      oddIdentity(root, account, { uris: [`spiffe://cluster.local/ns/default/sa/${account}`, uri] }),
    ));
}

const unfit: Readonly<Record<string, (account: string) => TlsIdentity>> = {
  "is an authority's own": odd({ isAuthority: true }),
  "was signed by a weak authority": (account) => below(account, [ecKey("secp224r1")]),
  "stands below a weak authority": (account) => below(account, [ecKey("secp224r1"), ecKey("prime256v1")]),
  "has a key on an odd curve above it": (account) => below(account, [ecKey("secp256k1")]),
  "stands below sixteen authorities": (account) =>
    below(
      account,
      Array.from({ length: 16 }, () => ecKey("prime256v1")),
    ),
};

for (const [what, make] of Object.entries(unfit)) {
  test(`H029 a certificate that ${what} is unfit, at both ends`, (t) =>
    refusedAtBoth(t, "tunnel.certificate-unfit", make));
}

test("H029 a certificate that is sent along for no reason ends nobody's process, whatever key it has", (t) =>
  refusedAtBoth(t, "tunnel.certificate-unfit", (account) => {
    const { chain, ...leaf } = testIdentity(root, identityOf(account));
    return { ...leaf, chain: chain + impostorOf(root, ecKey("brainpoolP256r1")) };
  }));

test("H029 a certificate of three authorities is fit, at both ends", async (t) => {
  const make = (account: string): TlsIdentity =>
    below(account, [ecKey("prime256v1"), ecKey("secp384r1"), rsaKey(2_048)]);
  const { port, refusals } = await server(t, make("bob"));
  assert.equal(codeOf(await openTunnel(port, { as: make("alice") })), undefined);
  assert.deepEqual(refusals, []);
});

function odd(leaf: OddLeaf): (account: string) => TlsIdentity {
  return (account) => oddIdentity(root, account, leaf);
}

/** A leaf under a chain of authorities with these keys. */
function below(account: string, keys: readonly ReturnType<typeof ecKey>[]): TlsIdentity {
  let issuer = root;
  let above = "";
  for (const [at, key] of keys.entries()) {
    issuer = subIssuer(issuer, `authority ${at}`, true, key);
    above = issuer.certificatePem + above;
  }
  const leaf = oddIdentity(issuer, account);
  return { ...leaf, chain: leaf.chain + above, roots: root.certificatePem };
}

function ecKey(namedCurve: string): ReturnType<typeof generateKeyPairSync>["privateKey"] {
  return generateKeyPairSync("ec", { namedCurve }).privateKey;
}

function rsaKey(modulusLength: number): ReturnType<typeof ecKey> {
  return generateKeyPairSync("rsa", { modulusLength }).privateKey;
}

async function refusedAtBoth(
  t: TestContext,
  code: string,
  make: (account: string) => TlsIdentity,
  accepted: readonly string[] = [bobUri],
): Promise<void> {
  const { port, refusals } = await server(t, bob);
  await refusedBy(port, secureOptions(make("alice")));
  await until("the server has said why", 5_000, () => refusals.length > 0);
  assert.deepEqual(refusals.map(codeOf), [code]);
  const peer = await plainServer(t, secureOptions(make("bob")));
  assert.equal(codeOf(await openTunnel(peer, { accepted })), code);
}

async function server(t: TestContext, identity: TlsIdentity, engine?: EngineName): ReturnType<typeof startServer> {
  const started = await startServer({ identity, ...(engine && { engine }) });
  t.after(started.close);
  return started;
}

/** A TLS server of Node's own. @returns its port. */
async function plainServer(
  t: TestContext,
  options: TlsOptions,
  accepted?: (socket: TLSSocket) => void,
): Promise<number> {
  const peer = createServer({ ...options, ALPNProtocols: ["h2"], requestCert: true });
  // Beneath TLS: a client is through before its server is, and the test may be over by then.
  const sockets: Socket[] = [];
  peer.on("connection", (socket: Socket) => sockets.push(socket));
  peer.on("secureConnection", (socket) => {
    socket.on("error", () => {});
    accepted?.(socket);
  });
  peer.on("tlsClientError", (_error, socket) => socket.destroy());
  await new Promise<void>((resolve) => peer.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    peer.close();
  });
  return (peer.address() as AddressInfo).port;
}

function raw(port: number, options: ConnectionOptions): TLSSocket {
  const common = { ...secureOptions(alice), ALPNProtocols: ["h2"], checkServerIdentity: () => undefined };
  const socket = connect({ host: "127.0.0.1", port, ...common, ...options });
  socket.on("error", () => {});
  return socket;
}

/** A client that is let in. */
async function dial(t: TestContext, port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = raw(port, options);
  t.after(() => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    socket.once("data", () => resolve());
    socket.once("close", () => reject(new Error("refused")));
  });
  return socket;
}

/** A client that is not. */
function refusedBy(port: number, options: ConnectionOptions): Promise<void> {
  const socket = raw(port, options);
  return new Promise((resolve, reject) => {
    socket.once("data", () => {
      socket.destroy();
      reject(new Error("let in"));
    });
    socket.once("close", () => resolve());
  });
}

/** What our client says first, each time to somebody who then hangs up. */
async function helloesOf(t: TestContext, as: TlsIdentity, count: number): Promise<ClientHello[]> {
  const found: ClientHello[] = [];
  const listener = createTcpServer((socket) => {
    let received = Buffer.alloc(0);
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      received = Buffer.concat([received, chunk]);
      const hello = readClientHello(received);
      if (hello === undefined) return;
      found.push(hello);
      socket.destroy();
    });
  });
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  t.after(() => listener.close());
  for (let i = 0; i < count; i++) await openTunnel((listener.address() as AddressInfo).port, { as });
  assert.equal(found.length, count);
  return found;
}

/** The machine's own openssl as a client, until its output says that it is there. @returns the output. */
async function openssl(t: TestContext, port: number, args: readonly string[], there: RegExp): Promise<string> {
  const client = spawn("openssl", ["s_client", "-connect", `127.0.0.1:${port}`, "-alpn", "h2", "-nocommands", ...args]);
  t.after(() => client.kill());
  let output = "";
  for (const stream of [client.stdout, client.stderr]) stream.on("data", (text: Buffer) => (output += text.toString()));
  await until("openssl has spoken", 10_000, () => there.test(output));
  client.kill();
  if (client.exitCode === null && client.signalCode === null)
    await new Promise((resolve) => client.once("exit", resolve));
  return output;
}

function codeOf(result: unknown): string | undefined {
  return result instanceof TunnelError ? result.type.code : undefined;
}

/** TLS_EMPTY_RENEGOTIATION_INFO_SCSV */
const renegotiationInfo = 0x00ff;
const gcm = "ECDHE-ECDSA-AES256-GCM-SHA384";
