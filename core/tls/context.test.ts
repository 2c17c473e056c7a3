import assert from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import { test } from "node:test";
import { extensionTypes, readClientHello } from "../../test/support/client-hello.ts";
import { alice, bob, contextOf, Heard, openssl, settingsOf } from "../../test/support/tls-machines.ts";
import { TlsContext, type TlsSettings } from "./context.ts";
import { TlsError } from "./tls-error.ts";

const good = settingsOf("server", alice);
const encrypted = createPrivateKey(alice.key).export({
  type: "pkcs8",
  format: "pem",
  cipher: "aes-128-cbc",
  passphrase: "",
}) as string;
const half = (pem: string): string => pem.slice(0, pem.length / 2);

const bad: Readonly<Record<string, Partial<TlsSettings>>> = {
  chain: { chain: "" },
  "chain that is none": { chain: "hello" },
  "chain cut in two": { chain: half(alice.chain) },
  "chain whose second part is cut": { chain: alice.chain + half(alice.chain) },
  key: { key: "" },
  "key of somebody else": { key: bob.key },
  "key that is a certificate": { key: alice.chain },
  "key that is encrypted": { key: encrypted.replace(/[A-Z]{4}/, "AAAA") },
  roots: { roots: "" },
  "roots cut in two": { roots: half(alice.roots) },
  ciphers: { ciphers: "TLS_NO_SUCH_SUITE" },
  "ciphers of old that are none": { ciphers: "TLS_AES_256_GCM_SHA384:NONE-SUCH" },
  groups: { groups: "no-such-group" },
};

for (const [what, change] of Object.entries(bad)) {
  test(`bad ${what} is said to be, with OpenSSL's reason and nothing of its content`, () => {
    const made = TlsContext.create(openssl(), { ...good, ...change });
    assert.ok(made instanceof TlsError && made.type.code === "tls.bad-setting", what);
    assert.deepEqual([made.type.setting], Object.keys(change));
    assert.match(made.type.reason, /^[a-z0-9 ]+$/i);
    const value = Object.values(change)[0] as string;
    if (value !== "") assert.ok(!made.message.includes(value.slice(-20)));
    assert.equal(openssl().calls.peekError(), 0);
  });
}

test("a client's hello offers no compression of certificates, no ticket, and what the settings say", () => {
  const context = contextOf("client", alice, { protocols: ["h2", "http/1.1"] });
  const heard = new Heard(context);
  heard.machine.start();
  const { extensions, versions, suites } = readClientHello(Buffer.concat(heard.sent))!;
  const compressCertificate = 27;
  assert.equal(extensions.has(compressCertificate), false);
  assert.equal(extensions.has(extensionTypes.sessionTicket), false);
  assert.equal(extensions.get(extensionTypes.alpn)?.toString("latin1"), "\0\x0c\x02h2\x08http/1.1");
  assert.deepEqual(versions, [0x0304]);
  assert.deepEqual(suites.slice(0, 2), [0x1302, 0x1301]);
  heard.machine.free();
  context.release();
});

test("a released context is gone for who asks for it, and once is enough", () => {
  const context = contextOf("server", bob);
  context.release();
  context.release();
  assert.throws(() => new Heard(context), /after its release/);
});
