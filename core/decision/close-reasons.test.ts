import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { closeReason, closeReasons, isCloseCode, retiredCloseCodes, type CloseCode } from "./close-reasons.ts";
import { renderCatalogue } from "./render-catalogue.ts";

const codes = Object.keys(closeReasons) as CloseCode[];

test("every code is written alike and was never retired", () => {
  for (const code of codes) {
    assert.match(code, /^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$/);
    assert.ok(!retiredCloseCodes.includes(code), `${code} is retired`);
  }
  assert.equal(new Set(retiredCloseCodes).size, retiredCloseCodes.length);
});

test("every reason is a sentence of its own with a next step", () => {
  const sentences = codes.map((code) => closeReason(code).sentence);
  assert.equal(new Set(sentences).size, sentences.length);
  for (const code of codes) {
    const { sentence, nextStep } = closeReason(code);
    assert.match(sentence, /^[A-Z0-9].*\.$/, code);
    assert.match(nextStep, /^[A-Z].*\.$/, code);
  }
});

test("what a policy refuses is answered 401, labelled DENY and never tried again", () => {
  for (const code of codes.filter((one) => closeReason(one).side === "policy" || one.startsWith("POLICY_"))) {
    const { status, flag, retry } = closeReason(code);
    assert.equal(flag, "DENY", code);
    assert.equal(retry, "never", code);
    // PEER_DENIED is what the other end said: there is no CONNECT of ours to answer.
    assert.equal(status, code === "PEER_DENIED" ? undefined : 401, code);
  }
});

test("ends that an application chose are no failures", () => {
  for (const code of ["OK", "CLIENT_RESET", "UPSTREAM_RESET", "DRAINED", "POD_REMOVED"] as const) {
    assert.equal(closeReason(code).flag, "-");
    assert.equal(closeReason(code).level, "info");
  }
});

test("a text is known for a code only when it is one", () => {
  assert.equal(isCloseCode("OK"), true);
  for (const text of ["ok", "", "toString", "__proto__", "constructor"]) assert.equal(isCloseCode(text), false);
});

test("docs/close-reasons.md says what the catalogue says", () => {
  const page = readFileSync(new URL("../../docs/close-reasons.md", import.meta.url), "utf8");
  assert.equal(page, renderCatalogue(), "run `node scripts/write-close-reasons.ts`");
});
