import assert from "node:assert/strict";
import { generateKeyPairSync, sign, createHmac } from "node:crypto";
import { suite, test } from "node:test";
import fc from "fast-check";
import { istioCaAudience, mintToken, TokenError, verifyToken, type NodeTokenClaims } from "./node-token.ts";

const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const nowMs = Date.UTC(2030, 0, 1);
const claims: NodeTokenClaims = {
  iss: "https://ambientd.local",
  aud: [istioCaAudience],
  iat: nowMs / 1000,
  exp: nowMs / 1000 + 3600,
  sub: "system:serviceaccount:istio-system:ztunnel",
  "kubernetes.io": {
    namespace: "istio-system",
    node: { name: "node1", uid: "n-1" },
    pod: { name: "ztunnel-abc", uid: "p-1" },
    serviceaccount: { name: "ztunnel", uid: "s-1" },
  },
};
const good = mintToken(claims, privateKey);

function codeOf(token: string, audience = istioCaAudience, wallMs = nowMs): string {
  const verified = verifyToken(token, publicKey, audience, wallMs);
  return verified instanceof TokenError ? verified.type.code : "no error";
}

function signed(header: unknown, body: unknown): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part(header)}.${part(body)}`;
  const signature = sign("sha256", Buffer.from(text), { key: privateKey, dsaEncoding: "ieee-p1363" });
  return `${text}.${signature.toString("base64url")}`;
}

suite("a node's token", () => {
  test("says to whoever verifies it what was put into it", () => {
    assert.deepEqual(verifyToken(good, publicKey, istioCaAudience, nowMs), claims);
  });

  test("is good from its first to just before its last second, for its audience alone", () => {
    assert.equal(codeOf(good, istioCaAudience, nowMs - 1), "token.not-yet");
    assert.equal(codeOf(good, istioCaAudience, nowMs + 3_599_999), "no error");
    assert.equal(codeOf(good, istioCaAudience, nowMs + 3_600_000), "token.expired");
    assert.equal(codeOf(good, "kubernetes"), "token.audience");
  });

  test("may name one audience without a list, as JWTs do", () => {
    const verified = verifyToken(
      signed({ alg: "ES256" }, { ...claims, aud: "istio-ca" }),
      publicKey,
      "istio-ca",
      nowMs,
    );
    assert.deepEqual(verified, claims);
  });

  test("of another signer, unsigned, or signed by the public key as a secret is refused", () => {
    const stranger = generateKeyPairSync("ec", { namedCurve: "P-256" });
    assert.equal(codeOf(mintToken(claims, stranger.privateKey)), "token.signature");
    const [, body = "", signature = ""] = good.split(".");
    const header = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
    assert.equal(codeOf(`${header({ alg: "none" })}.${body}.${signature}`), "token.algorithm");
    const hs256 = `${header({ alg: "HS256" })}.${body}`;
    const secret = publicKey.export({ type: "spki", format: "pem" });
    assert.equal(
      codeOf(`${hs256}.${createHmac("sha256", secret).update(hs256).digest("base64url")}`),
      "token.algorithm",
    );
    assert.equal(codeOf(`${header({ alg: "ES256" })}.${body}.${signature}`), "token.signature");
  });

  test("without the claims that bind it to a pod's account is refused, however well signed", () => {
    const odd: object[] = [
      { ...claims, "kubernetes.io": undefined },
      { ...claims, sub: "system:serviceaccount:kube-system:ztunnel" },
      { ...claims, exp: "tomorrow" },
      { ...claims, exp: undefined },
      { ...claims, aud: [istioCaAudience, 5] },
      { ...claims, "kubernetes.io": { ...claims["kubernetes.io"], serviceaccount: undefined } },
      [],
    ];
    for (const body of odd)
      assert.equal(codeOf(signed({ alg: "ES256" }, body)), "token.malformed", JSON.stringify(body));
    assert.equal(codeOf(signed({ alg: "ES256" }, null)), "token.malformed");
  });

  test("with a pod half named counts as bound to none", () => {
    const half = { ...claims, "kubernetes.io": { ...claims["kubernetes.io"], pod: { name: "ztunnel-abc" } } };
    const verified = verifyToken(signed({ alg: "ES256" }, half), publicKey, istioCaAudience, nowMs);
    assert.ok(!(verified instanceof TokenError));
    assert.equal(verified["kubernetes.io"].pod, undefined);
  });

  test("damaged, overlong or of any text whatever is refused without an exception", () => {
    for (let i = 0; i < good.length; i++) {
      const damaged = good.slice(0, i) + (good[i] === "A" ? "B" : "A") + good.slice(i + 1);
      // The last character carries bits that no octet holds.
      if (i < good.length - 1) assert.notEqual(codeOf(damaged), "no error", `character ${i}`);
    }
    assert.equal(codeOf(`${good}${"A".repeat(10_000)}`), "token.malformed");
    fc.assert(fc.property(fc.string(), (text) => void codeOf(text)));
    fc.assert(
      fc.property(fc.array(fc.base64String(), { minLength: 3, maxLength: 3 }), (parts) => void codeOf(parts.join("."))),
    );
  });
});
