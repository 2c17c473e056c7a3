import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { factOf, type Fact } from "./facts.ts";
import { Ledger } from "./ledger.ts";
import { outcomeOf, renderOutcome } from "./outcome.ts";

const attempt = (more: object = {}): Fact => ({
  kind: "attempt",
  attempt: {
    event: "attempt",
    id: "1",
    from: "shop/client",
    target: "server.shop:80",
    remote: "10.96.0.1:80",
    local: "10.244.1.2:4000",
    status: 200,
    ms: 2,
    ...more,
  },
});
const served: Fact = {
  kind: "served",
  served: { event: "served", id: "1", pod: "shop/server", peer: "10.244.1.2:5000" },
};
const outbound = (more: object = {}): Fact => ({
  kind: "closed",
  record: {
    direction: "outbound",
    protocol: "hbone",
    reason: "OK",
    "src.addr": "10.244.1.2:4000",
    trace: "abc",
    ...more,
  },
});
const inbound = (more: object = {}): Fact => ({
  kind: "closed",
  record: {
    direction: "inbound",
    protocol: "hbone",
    reason: "OK",
    "src.addr": "10.244.1.2:9",
    "src.identity": "spiffe://td/ns/shop/sa/client",
    trace: "abc",
    ...more,
  },
});

function outcome(facts: Fact[], nowMs = 10_000): string | undefined {
  const ledger = new Ledger();
  for (const fact of facts) ledger.add(fact, 0);
  const observed = outcomeOf([...ledger.observations().values()][0]![0]!, nowMs);
  return observed === undefined ? undefined : renderOutcome(observed);
}

test("a request that both agents tunnelled is HBONE under the identity the far end saw, whatever order the lines came in", () => {
  fc.assert(
    fc.property(fc.shuffledSubarray([attempt(), served, outbound(), inbound()], { minLength: 4 }), (facts) => {
      assert.equal(outcome(facts), "HBONE as spiffe://td/ns/shop/sa/client");
    }),
  );
});

test("a request is not judged before the far agent has spoken", () => {
  assert.equal(outcome([attempt(), served, outbound()]), undefined);
  assert.equal(outcome([attempt()]), undefined);
  assert.equal(outcome([attempt({ status: undefined, error: "ECONNRESET" })], 100), undefined);
});

test("a request that no agent tunnelled is plaintext: at once where the server saw the client's own end, else when agents would have spoken", () => {
  assert.equal(outcome([attempt({ local: "10.244.1.2:5000" }), served], 0), "plaintext");
  assert.equal(outcome([attempt(), served], 100), undefined);
  assert.equal(outcome([attempt(), served]), "plaintext");
});

test("a refusal names the reason of the end that refused, and its policy", () => {
  const refused = attempt({ status: undefined, error: "ECONNRESET" });
  const facts = [
    refused,
    outbound({ reason: "PEER_DENIED" }),
    inbound({ reason: "POLICY_DENIED", policy: "shop/deny" }),
  ];
  assert.equal(outcome(facts), "denied: POLICY_DENIED by shop/deny");
});

test("what no agent explains is a failure with the client's own error", () => {
  assert.equal(outcome([attempt({ status: undefined, error: "ECONNREFUSED" })]), "failed: ECONNREFUSED");
});

test("lines that are no facts are passed over", () => {
  for (const line of ["", "plain text", "{broken", '{"event":"else"}', '{"scope":"zds","message":"hello"}'])
    assert.equal(factOf(line), undefined);
});
