import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { ManualClock } from "../../../core/base/clock.ts";
import { silentLog } from "../../../core/base/log.ts";
import { TokenError, verifyToken } from "../../../core/protocol/token/node-token.ts";
import { MemorySource } from "../../../test/support/memory-source.ts";
import type { ObjectDelta } from "../../sources/source.ts";
import { NodeTokens, publicHalf } from "./node-tokens.ts";

const hour = 3_600_000;

test("every node gets a token only it can read, with the claims a kubelet's would have", (t) => {
  const { directory, key, clock } = start(t);
  assert.deepEqual(readdirSync(directory).sort(), ["node1", "node2"]);
  const path = join(directory, "node1", "istio-token");
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(statSync(join(directory, "node1")).mode & 0o777, 0o700);
  const claims = verifyToken(readFileSync(path, "utf8"), publicHalf(key), "istio-ca", clock.wallMs());
  assert.ok(!(claims instanceof TokenError));
  assert.equal(claims.sub, "system:serviceaccount:istio-system:ztunnel");
  assert.deepEqual(claims["kubernetes.io"].node, { name: "node1", uid: "uid-node1" });
  assert.equal(claims["kubernetes.io"].pod?.name, "ztunnel-node1");
});

test("the file never holds a token that has ended", (t) => {
  const { directory, key, clock } = start(t);
  const seen = new Set<string>();
  for (let hours = 0; hours < 100; hours++) {
    clock.advance(hour);
    const token = readFileSync(join(directory, "node1", "istio-token"), "utf8");
    seen.add(token);
    assert.ok(!(verifyToken(token, publicHalf(key), "istio-ca", clock.wallMs() + hour) instanceof TokenError));
  }
  assert.ok(seen.size > 10);
});

test("a node that goes takes its token along, and one that is replaced under its name gets another", (t) => {
  const { directory, source, clock } = start(t);
  const before = readFileSync(join(directory, "node1", "istio-token"), "utf8");
  source.put("nodes", nodeYaml("node1", "uid-again"));
  assert.equal(existsSync(join(directory, "node2", "istio-token")), false);
  assert.notEqual(readFileSync(join(directory, "node1", "istio-token"), "utf8"), before);
  clock.advance(24 * hour);
  assert.equal(existsSync(join(directory, "node2", "istio-token")), false);
});

test("a node's directory that is there already is written into, not replaced", (t) => {
  const directory = scratch(t);
  mkdirSync(join(directory, "node1"));
  const { ino } = statSync(join(directory, "node1"));
  start(t, directory);
  assert.equal(statSync(join(directory, "node1")).ino, ino);
  assert.ok(existsSync(join(directory, "node1", "istio-token")));
});

test("a token that can't be written is tried again", (t) => {
  const directory = scratch(t);
  writeFileSync(join(directory, "node1"), "in the way");
  const { clock } = start(t, directory);
  rmSync(join(directory, "node1"));
  clock.advance(6_000);
  assert.ok(existsSync(join(directory, "node1", "istio-token")));
});

test("after close no timer is left", (t) => {
  const { tokens, clock } = start(t);
  tokens.close();
  assert.equal(clock.nextTimerMs(), undefined);
});

function start(t: TestContext, directory = scratch(t)) {
  const clock = new ManualClock();
  const { privateKey: key } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const tokens = new NodeTokens({ directory, key, clock, log: silentLog });
  const source = new MemorySource();
  source.put("nodes", `${nodeYaml("node1", "uid-node1")}---${nodeYaml("node2", "uid-node2")}`);
  tokens.apply([...source.list().objects()].map((object) => ({ op: "put", object })));
  source.subscribe((deltas: readonly ObjectDelta[]) => tokens.apply(deltas));
  return { directory, key, clock, source, tokens };
}

function nodeYaml(name: string, uid: string): string {
  return `
apiVersion: v1
kind: Node
metadata: { name: ${name}, uid: ${uid} }
`;
}

function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "ambientd-tokens-"));
  chmodSync(directory, 0o700);
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}
