import assert from "node:assert/strict";
import { test } from "node:test";
import { podRules } from "../../cni/daemon/rules.ts";
import { redirectTables } from "./redirect.ts";

test("a proxy that marks its sockets gets the rules that ours has, and nothing else", () => {
  assert.deepEqual(redirectTables({}), podRules({ dnsCapture: false, ipv6: true }));
});

test("a proxy that can't mark is marked by its user, and the rules beside it are ours but for the tunnels' ports", () => {
  const ours = podRules({ dnsCapture: false, ipv6: true });
  const theirs = redirectTables({ uid: 7, tunnelPorts: [28_080, 25_201] });
  assert.deepEqual(
    theirs.map(({ name }) => name),
    [...ours.map(({ name }) => name), "bench-mark"],
  );
  const [mine = [], other = []] = [ours, theirs].map(
    ([nat]) => nat?.chains.find(({ name }) => name === "istio-prerouting")?.rules,
  );
  const added = other.filter((rule) => !mine.some((one) => JSON.stringify(one) === JSON.stringify(rule)));
  assert.deepEqual(
    added.map(([port]) => port),
    [28_080, 25_201].map((port) => ({ kind: "port", protocol: "tcp", side: "destination", port })),
  );
  assert.equal(other.length, mine.length + added.length);
  // Before anything redirects.
  assert.ok(other.indexOf(added[1] ?? []) < other.findIndex((rule) => rule.some(({ kind }) => kind === "redirect")));
});
