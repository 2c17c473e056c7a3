import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createPrivateKey, createPublicKey, generateKeyPairSync, X509Certificate, type KeyObject } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { duplexPair } from "node:stream";
import { suite, test } from "node:test";
import { connect, createServer, type ConnectionOptions, type TLSSocket } from "node:tls";
import fc from "fast-check";
import { issueCertificate, openIssuer, selfSignedRoot, serverCertificate, validityOf } from "./certificate.ts";
import type { Issuer, Validity } from "./certificate.ts";
import { createKeyAndCsr, parseCsr } from "./csr.ts";
import { bits, decodeDer, encodeDer, implicit, octets, oid, sequence, time, unsigned, type Der } from "./der.ts";
import { certificateIdentity } from "./peer-identity.ts";
import { signWith } from "./signature.ts";
import { leafValidity } from "./validity.ts";
import { X509Error } from "./x509-error.ts";

const day = 86_400_000;
const nowMs = Math.floor(Date.now() / 1000) * 1000;
const today: Validity = { notBeforeMs: nowMs - 120_000, notAfterMs: nowMs + day };
const root = selfSignedRoot({
  organisation: "cluster.local",
  notBeforeMs: nowMs - day,
  notAfterMs: nowMs + 3650 * day,
});
const reviews = { trustDomain: "cluster.local", namespace: "shop", serviceAccount: "reviews" };

function leafOf(issuer: Issuer, validity = today): { key: KeyObject; certificatePem: string } {
  const { key, csrPem } = createKeyAndCsr(reviews);
  const request = parseCsr(csrPem);
  if (request instanceof X509Error) throw request;
  const { publicKey } = request;
  return { key, certificatePem: issueCertificate({ issuer, publicKey, identity: reviews, ...validity }) };
}

function codeOf(value: unknown): string {
  return value instanceof X509Error ? value.type.code : "no error";
}

/** A self-signed certificate with one subjectAltName extension of these bytes, or several. */
function withAltNames(...altNames: Uint8Array[]): Buffer {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const signer = signWith(privateKey);
  const extensions = altNames.map((value) => sequence(oid("2.5.29.17"), octets(value)));
  const body = sequence(
    tagged(0, unsigned(Uint8Array.of(2))),
    unsigned(Uint8Array.of(1)),
    signer.algorithm,
    sequence(),
    sequence(time(nowMs), time(nowMs + day)),
    sequence(),
    decodeDer(publicKey.export({ type: "spki", format: "der" })),
    tagged(3, sequence(...extensions)),
  );
  return encodeDer(sequence(body, signer.algorithm, bits(signer.sign(encodeDer(body)))));
}

function tagged(tag: number, child: Der): Der {
  return decodeDer(Buffer.concat([Buffer.from([0xa0 | tag]), lengthOf(encodeDer(child)), encodeDer(child)]));
}

function lengthOf(bytes: Buffer): Buffer {
  if (bytes.length < 0x80) return Buffer.from([bytes.length]);
  return bytes.length < 0x100
    ? Buffer.from([0x81, bytes.length])
    : Buffer.from([0x82, bytes.length >> 8, bytes.length & 0xff]);
}

const uri = (text: string): Der => implicit(6, Buffer.from(text, "latin1"));
const dns = (text: string): Der => implicit(2, Buffer.from(text, "latin1"));
const names = (...general: Der[]): Buffer => encodeDer(sequence(...general));

suite("certificates", () => {
  test("are read by Node: the root an authority, the leaf with nothing but its URI", () => {
    const authority = new X509Certificate(root.certificatePem);
    assert.ok(authority.ca && authority.verify(authority.publicKey) && authority.checkIssued(authority));
    assert.equal(authority.subject, "O=cluster.local");
    const leaf = new X509Certificate(leafOf(root).certificatePem);
    assert.ok(!leaf.ca && leaf.checkIssued(authority) && leaf.verify(authority.publicKey));
    assert.ok(!leaf.subject, "no subject");
    assert.equal(leaf.subjectAltName, "URI:spiffe://cluster.local/ns/shop/sa/reviews");
    assert.deepEqual(leaf.keyUsage, ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);
    assert.match(leaf.serialNumber, /^[0-9A-F]{30,32}$/);
    assert.deepEqual(validityOf(leaf.toString()), today);
    assert.deepEqual(certificateIdentity(leaf), reviews);
    assert.deepEqual(certificateIdentity(leaf.raw), reviews);
  });

  test("have a serial number that is never negative", () => {
    const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const serial = Buffer.from("ff000000000000000000000000000001", "hex");
    const pem = issueCertificate({ issuer: root, publicKey, identity: reviews, serial, ...today });
    assert.equal(new X509Certificate(pem).serialNumber, serial.toString("hex").toUpperCase());
  });

  test("that end after 2049 say so in the longer form of time", () => {
    const notAfterMs = Date.UTC(2050, 5, 1, 12, 30, 15);
    const later = selfSignedRoot({ organisation: "o", notBeforeMs: Date.UTC(2049, 11, 31, 23, 59, 59), notAfterMs });
    assert.deepEqual(validityOf(later.certificatePem), { notBeforeMs: Date.UTC(2049, 11, 31, 23, 59, 59), notAfterMs });
  });

  test("are found good by openssl, strictly", (context) => {
    if (spawnSync("openssl", ["version"]).status !== 0) return context.skip("openssl is not installed");
    const folder = mkdtempSync(join(tmpdir(), "ambientd-x509-"));
    try {
      const serving = serverCertificate({
        issuer: root,
        names: ["istiod.istio-system.svc", "10.0.0.1", "fd00::1"],
        ...today,
      });
      const put = (name: string, text: string): string => {
        writeFileSync(join(folder, name), text);
        return join(folder, name);
      };
      const ca = put("root.pem", root.certificatePem);
      const leaf = put("leaf.pem", leafOf(root).certificatePem);
      const server = put("server.pem", serving.certificatePem);
      const verify = (...args: string[]): string =>
        execFileSync("openssl", ["verify", "-x509_strict", "-CAfile", ca, ...args], { encoding: "utf8" });
      assert.match(verify("-purpose", "sslclient", leaf), /: OK/);
      assert.match(verify("-purpose", "sslserver", leaf), /: OK/);
      assert.match(verify("-purpose", "sslserver", "-verify_hostname", "istiod.istio-system.svc", server), /: OK/);
      assert.match(verify("-purpose", "sslserver", "-verify_ip", "fd00::1", server), /: OK/);
      const csr = put("csr.pem", createKeyAndCsr(reviews).csrPem);
      const printed = execFileSync("openssl", ["req", "-in", csr, "-noout", "-text", "-verify"], { encoding: "utf8" });
      assert.match(printed, /Subject Alternative Name: critical\s+URI:spiffe:\/\/cluster.local\/ns\/shop\/sa\/reviews/);
    } finally {
      rmSync(folder, { recursive: true });
    }
    return undefined;
  });

  test("signed by an RSA or P-384 authority verify too", () => {
    for (const type of ["rsa", "ec"] as const) {
      const { privateKey } =
        type === "rsa"
          ? generateKeyPairSync("rsa", { modulusLength: 2048 })
          : generateKeyPairSync("ec", { namedCurve: "P-384" });
      // The same issuer with another key: only the signature is looked at here.
      const pem = leafOf({ ...root, key: privateKey }).certificatePem;
      assert.ok(new X509Certificate(pem).verify(createPublicKey(privateKey)), type);
    }
  });
});

suite("an authority's files", () => {
  test("are opened where certificate and key belong together", () => {
    const key = createPrivateKey(root.key.export({ type: "pkcs8", format: "pem" }));
    const opened = openIssuer(root.certificatePem, key);
    if (opened instanceof X509Error) throw opened;
    assert.deepEqual({ ...opened, key: undefined }, { ...root, key: undefined });
    const leaf = leafOf(opened);
    assert.ok(new X509Certificate(leaf.certificatePem).verify(new X509Certificate(root.certificatePem).publicKey));
  });

  test("are refused with another key, a leaf's certificate or nonsense", () => {
    const leaf = leafOf(root);
    assert.deepEqual((openIssuer(root.certificatePem, leaf.key) as X509Error).type, {
      code: "x509.not-an-issuer",
      reason: "key-mismatch",
    });
    assert.deepEqual((openIssuer(leaf.certificatePem, leaf.key) as X509Error).type, {
      code: "x509.not-an-issuer",
      reason: "not-a-ca",
    });
    assert.equal(codeOf(openIssuer("nonsense", leaf.key)), "x509.undecodable");
  });
});

suite("mutual TLS with our certificates", () => {
  interface Ends {
    readonly client: TLSSocket;
    readonly server: TLSSocket;
  }

  /** Both ends once both are content, or the first complaint of either. `inspect` runs while they are open. */
  async function handshake(
    server: { key: KeyObject; certificatePem: string },
    client: { key: KeyObject; certificatePem: string } | undefined,
    inspect: (ends: Ends) => void = () => undefined,
    options: ConnectionOptions = { checkServerIdentity: () => undefined },
  ): Promise<Error | undefined> {
    const pem = (key: KeyObject): string => key.export({ type: "pkcs8", format: "pem" }) as string;
    const [near, far] = duplexPair();
    const common = { ca: root.certificatePem, minVersion: "TLSv1.3" } as const;
    const listener = createServer({
      ...common,
      key: pem(server.key),
      cert: server.certificatePem,
      requestCert: true,
      rejectUnauthorized: true,
    });
    const dialling = connect({
      ...common,
      socket: near,
      ...(client && { key: pem(client.key), cert: client.certificatePem }),
      ...options,
    });
    dialling.on("error", () => undefined);
    const failed = new Promise<Error>((resolve) => {
      listener.once("tlsClientError", resolve);
      dialling.once("error", resolve);
    });
    const accepted = once(listener, "secureConnection") as Promise<[TLSSocket]>;
    listener.emit("connection", far);
    try {
      const outcome = await Promise.race([failed, Promise.all([accepted, once(dialling, "secureConnect")])]);
      if (outcome instanceof Error) return outcome;
      const [[serving]] = outcome;
      inspect({ client: dialling, server: serving });
      return undefined;
    } catch (thrown) {
      return thrown as Error;
    } finally {
      dialling.destroy();
      near.destroy();
      far.destroy();
    }
  }

  test("succeeds, and each end reads the other's identity from the DER", async () => {
    const error = await handshake(leafOf(root), leafOf(root), ({ client, server }) => {
      assert.ok(client.authorized && server.authorized);
      for (const end of [client, server]) assert.deepEqual(certificateIdentity(end.getPeerX509Certificate()!), reviews);
    });
    assert.equal(error, undefined);
  });

  test("of a serving certificate holds for its names and addresses and for no other", async () => {
    const serving = serverCertificate({ issuer: root, names: ["control.test", "10.0.0.1"], ...today });
    for (const [host, good] of [
      ["control.test", true],
      ["10.0.0.1", true],
      ["other.test", false],
      ["10.0.0.2", false],
    ] as const) {
      const options = { host, ...(host.startsWith("10.") ? {} : { servername: host }) };
      const error = await handshake(serving, leafOf(root), undefined, options);
      assert.equal(error === undefined, good, `${host}: ${error?.message}`);
    }
  });

  test("fails at either end with another root, a wrong time, or a certificate that a leaf signed", async () => {
    const other = selfSignedRoot({ organisation: "other", ...today });
    const expired = leafOf(root, { notBeforeMs: nowMs - 2 * day, notAfterMs: nowMs - day });
    const future = leafOf(root, { notBeforeMs: nowMs + day, notAfterMs: nowMs + 2 * day });
    const signer = leafOf(root);
    const forged = leafOf({ ...root, key: signer.key });
    for (const [what, bad] of Object.entries({ foreign: leafOf(other), expired, future, forged })) {
      assert.ok(await handshake(bad, leafOf(root)), `${what} server`);
      assert.ok(await handshake(leafOf(root), bad), `${what} client`);
    }
    assert.ok(await handshake(leafOf(root), undefined), "a client without a certificate");
  });

  test("fails for a client that shows a serving certificate", async () => {
    const serving = serverCertificate({ issuer: root, names: ["control.test"], ...today });
    assert.ok(await handshake(leafOf(root), serving));
  });
});

suite("a peer's identity", () => {
  const good = "spiffe://cluster.local/ns/shop/sa/reviews";
  const cases: [string, Buffer, string][] = [
    ["no alternative name", withAltNames(), "x509.no-uri-san"],
    ["DNS names alone", withAltNames(names(dns("a.b"))), "x509.no-uri-san"],
    ["two URIs", withAltNames(names(uri(good), uri(good))), "x509.several-uri-sans"],
    ["two extensions of one URI each", withAltNames(names(uri(good)), names(uri(good))), "x509.several-uri-sans"],
    ["a web address", withAltNames(names(uri("https://a.b/"))), "x509.not-spiffe"],
    ["a NUL at the end", withAltNames(names(uri(`${good}\0`))), "x509.not-spiffe"],
    ["octets above ASCII", withAltNames(names(uri("spiffe://cluster.local/ns/sh\xc3\xb6p/sa/a"))), "x509.not-spiffe"],
    ["an extension that is no DER", withAltNames(Buffer.from("30ff", "hex")), "x509.undecodable"],
    ["no certificate at all", Buffer.from("nonsense"), "x509.undecodable"],
  ];
  for (const [what, der, code] of cases) {
    test(`is refused with ${what}`, () => assert.equal(codeOf(certificateIdentity(der)), code));
  }

  test("is the one URI among other kinds of names, one of which pretends to be it", () => {
    const pretender = 'x, URI:spiffe://cluster.local/ns/admin/sa/admin"';
    const der = withAltNames(names(dns(pretender), uri(good)));
    assert.deepEqual(certificateIdentity(der), reviews);
    assert.deepEqual(certificateIdentity(new X509Certificate(der)), reviews);
  });

  test("in any octets whatever is an answer, never an exception", () => {
    const leaf = new X509Certificate(leafOf(root).certificatePem).raw;
    fc.assert(fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => void certificateIdentity(bytes)));
    for (let i = 0; i < leaf.length * 8; i += 3) {
      const damaged = Uint8Array.from(leaf);
      damaged[i >> 3]! ^= 1 << (i & 7);
      certificateIdentity(damaged);
    }
  });
});

suite("the life of a new certificate", () => {
  const policy = { defaultSeconds: 3600, maxSeconds: 86_400 };
  const issuer = { notBeforeMs: 0, notAfterMs: nowMs + 2 * day };
  const lifeS = (requested: bigint): number => {
    const validity = leafValidity(requested, policy, issuer, nowMs);
    if (validity instanceof X509Error) throw validity;
    assert.equal(validity.notBeforeMs, nowMs - 120_000);
    return (validity.notAfterMs - nowMs) / 1000;
  };

  test("is what was asked for, or the default where nothing positive was", () => {
    assert.deepEqual(
      [lifeS(60n), lifeS(86_400n), lifeS(0n), lifeS(-1n), lifeS(-(2n ** 63n))],
      [60, 86_400, 3600, 3600, 3600],
    );
  });

  test("is refused beyond the maximum, cut at the issuer's end, and none when the issuer has expired", () => {
    assert.equal(codeOf(leafValidity(86_401n, policy, issuer, nowMs)), "x509.validity-too-long");
    assert.equal(codeOf(leafValidity(2n ** 63n - 1n, policy, issuer, nowMs)), "x509.validity-too-long");
    const short = { notBeforeMs: 0, notAfterMs: nowMs + 1000 };
    assert.equal((leafValidity(60n, policy, short, nowMs) as Validity).notAfterMs, nowMs + 1000);
    assert.equal(codeOf(leafValidity(60n, policy, short, nowMs + 1000)), "x509.issuer-expired");
  });
});
