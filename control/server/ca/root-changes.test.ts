import assert from "node:assert/strict";
import { test } from "node:test";
import { pino } from "pino";
import type { Issuer } from "../../../core/protocol/x509/certificate.ts";
import { newRoot } from "./authority.ts";
import { MeshAuthority, rootOnly } from "./mesh-authority.ts";
import { takeRootChange } from "./root-changes.ts";
import type { Secret } from "./root-secret.ts";

const now = Date.UTC(2030, 0, 1);

test("what is in force already is no change", () => {
  const { root, take, changes } = running();
  take(secretOf(root));
  assert.equal(changes(), 0);
});

test("a root that was added beside the one in force is given to everybody, and may then stand alone", () => {
  const { root, take, authority, lines } = running();
  const next = newRoot("next", now);
  take(secretOf(root, root.certificatePem + next.certificatePem));
  assert.equal(authority.chain.rootsPem, root.certificatePem + next.certificatePem);
  assert.equal(authority.chain.issuer.certificatePem, root.certificatePem);
  take(secretOf(next, root.certificatePem + next.certificatePem));
  assert.equal(authority.chain.issuer.certificatePem, next.certificatePem);
  take(secretOf(next));
  assert.equal(authority.chain.rootsPem, next.certificatePem);
  assert.equal(lines.length, 3);
});

for (const [what, secretFor, message] of [
  ["is gone", () => undefined, /is gone/],
  ["lacks its key", (root: Issuer) => ({ data: { "ca-cert.pem": base64(root.certificatePem) } }), /has become useless/],
  ["holds an unrelated root", () => secretOf(newRoot("other", now)), /unrelated/],
] as const) {
  test(`a Secret that ${what} changes nothing, and is said with what to do`, () => {
    const { root, take, changes, lines } = running();
    take(secretFor(root));
    assert.equal(changes(), 0);
    assert.equal(lines.length, 1);
    assert.match(lines[0]?.msg ?? "", message);
    assert.ok((lines[0]?.fix ?? "").length > 20);
  });
}

function running() {
  const root = newRoot("cluster.local", now);
  const authority = new MeshAuthority(rootOnly(root));
  const lines: { msg?: string; fix?: string }[] = [];
  const log = pino({}, { write: (line: string) => void lines.push(JSON.parse(line) as (typeof lines)[number]) });
  let count = 0;
  authority.onChange(() => (count += 1));
  const modules = { authority, namespace: "ambient-system", name: "istio-ca-secret", wallMs: () => now, log };
  return {
    root,
    authority,
    lines,
    changes: () => count,
    take: (secret: Secret | undefined) => takeRootChange(secret, modules),
  };
}

function secretOf(issuer: Issuer, roots = ""): Secret {
  const key = issuer.key.export({ type: "pkcs8", format: "pem" }) as string;
  const data = { "ca-cert.pem": base64(issuer.certificatePem), "ca-key.pem": base64(key) };
  return { data: roots === "" ? data : { ...data, "root-cert.pem": base64(roots) } };
}

function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}
