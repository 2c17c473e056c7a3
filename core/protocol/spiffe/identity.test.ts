import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { formatIdentity, parseIdentity, principalOf, SpiffeError } from "./identity.ts";

suite("a SPIFFE id", () => {
  test("of a workload is read and written", () => {
    const identity = { trustDomain: "cluster.local", namespace: "shop", serviceAccount: "bookinfo-reviews" };
    assert.deepEqual(parseIdentity("spiffe://cluster.local/ns/shop/sa/bookinfo-reviews"), identity);
    assert.equal(formatIdentity(identity), "spiffe://cluster.local/ns/shop/sa/bookinfo-reviews");
    assert.equal(principalOf(identity), "cluster.local/ns/shop/sa/bookinfo-reviews");
  });

  const refused: [string, string, string][] = [
    ["upper case in the scheme", "SPIFFE://td/ns/a/sa/b", "spiffe.scheme"],
    ["another scheme", "https://td/ns/a/sa/b", "spiffe.scheme"],
    ["nothing at all", "", "spiffe.scheme"],
    ["upper case in the trust domain", "spiffe://TD/ns/a/sa/b", "spiffe.trust-domain"],
    ["no trust domain", "spiffe:///ns/a/sa/b", "spiffe.trust-domain"],
    ["a port", "spiffe://td:1/ns/a/sa/b", "spiffe.trust-domain"],
    ["a user", "spiffe://u@td/ns/a/sa/b", "spiffe.trust-domain"],
    ["a parent directory", "spiffe://td/ns/a/sa/..", "spiffe.path"],
    ["its own directory", "spiffe://td/ns/./sa/b", "spiffe.path"],
    ["percent encoding", "spiffe://td/ns/a%2fb/sa/c", "spiffe.path"],
    ["an empty segment", "spiffe://td/ns//sa/b", "spiffe.path"],
    ["a slash at the end", "spiffe://td/ns/a/sa/b/", "spiffe.path"],
    ["a further segment", "spiffe://td/ns/a/sa/b/c", "spiffe.path"],
    ["a missing segment", "spiffe://td/ns/a/sa", "spiffe.path"],
    ["other words", "spiffe://td/NS/a/SA/b", "spiffe.path"],
    ["a query", "spiffe://td/ns/a/sa/b?c", "spiffe.path"],
    ["a fragment", "spiffe://td/ns/a/sa/b#c", "spiffe.path"],
    ["a NUL", "spiffe://td/ns/a/sa/b\0", "spiffe.path"],
    ["a line end", "spiffe://td/ns/a/sa/b\n", "spiffe.path"],
    ["a letter that looks like another", "spiffe://td/ns/\u0430/sa/b", "spiffe.path"],
    ["more than 2,048 characters", `spiffe://td/ns/a/sa/${"b".repeat(2048)}`, "spiffe.too-long"],
  ];
  for (const [what, uri, code] of refused) {
    test(`H046 is refused with ${what}`, () => {
      const error = parseIdentity(uri);
      assert.ok(error instanceof SpiffeError);
      assert.equal(error.type.code, code);
    });
  }

  test("that is accepted is written as it was read", () => {
    const segment = fc.stringMatching(/^[A-Za-z0-9._%/-]{0,6}$/);
    fc.assert(
      fc.property(segment, segment, segment, (trustDomain, namespace, serviceAccount) => {
        const uri = `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`;
        const identity = parseIdentity(uri);
        if (!(identity instanceof SpiffeError)) assert.equal(formatIdentity(identity), uri);
      }),
    );
  });

  test("from any text whatever never throws", () => {
    fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => void parseIdentity(text)));
    fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => void parseIdentity(`spiffe://${text}`)));
  });
});
