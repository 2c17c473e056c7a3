import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { Worker } from "node:worker_threads";
import type { Issuer } from "../../../core/protocol/x509/certificate.ts";
import { FileError, privateDirectory, replaceFile } from "../private-files.ts";
import { openAuthority } from "./authority.ts";
import { openTokenKey } from "./node-tokens.ts";

const year = 365 * 86_400_000;

test("a root is made once, readable by us alone, and is the same ever after", (t) => {
  const directory = scratch(t);
  const first = open(directory);
  assert.equal(statSync(join(directory, "root.pem")).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(directory), ["root.pem"]);
  assert.equal(open(directory).certificatePem, first.certificatePem);
  assert.ok(first.key.equals(open(directory).key));
});

test("of eight that start at once all have the same root, and no half-made file is left", async (t) => {
  const directory = scratch(t);
  const code = `
    const { parentPort, workerData } = require("node:worker_threads");
    import(workerData.module).then(({ openAuthority }) => {
      parentPort.once("message", () => {
        const { certificatePem } = openAuthority({ directory: workerData.directory, trustDomain: "cluster.local", wallMs: Date.now() });
        parentPort.postMessage(certificatePem);
      });
      parentPort.postMessage("ready");
    });`;
  const module = new URL("authority.ts", import.meta.url).href;
  const workers = Array.from({ length: 8 }, () => new Worker(code, { eval: true, workerData: { module, directory } }));
  const next = (worker: Worker): Promise<unknown> => new Promise((resolve) => worker.once("message", resolve));
  await Promise.all(workers.map(next));
  const answers = workers.map(next);
  for (const worker of workers) worker.postMessage("go");
  const roots = await Promise.all(answers);
  await Promise.all(workers.map((worker) => worker.terminate()));
  assert.equal(new Set(roots).size, 1);
  assert.deepEqual(readdirSync(directory), ["root.pem"]);
});

for (const [what, damage] of [
  ["empty", () => ""],
  ["cut off in the middle", (text: string) => text.slice(0, text.length / 2)],
  ["without its key", (text: string) => text.slice(text.indexOf("-----BEGIN CERTIFICATE"))],
  ["without its certificate", (text: string) => text.slice(0, text.indexOf("-----BEGIN CERTIFICATE"))],
  ["with somebody else's key", (text: string) => otherKey() + text.slice(text.indexOf("-----BEGIN CERTIFICATE"))],
  [
    "with one letter changed",
    (text: string) =>
      text.replace(
        /(BEGIN CERTIFICATE-----\n.{200})(.)/s,
        (_, head: string, c: string) => head + (c === "A" ? "B" : "A"),
      ),
  ],
  ["not PEM at all", () => "hello"],
] as const) {
  test(`a root file that is ${what} stops the start, says what to do, and is left as it was`, (t) => {
    const directory = scratch(t);
    open(directory);
    const path = join(directory, "root.pem");
    const damaged = damage(readFileSync(path, "utf8"));
    writeFileSync(path, damaged);
    const error = openAuthority({ directory, trustDomain: "cluster.local", wallMs: Date.now() });
    assert.ok(error instanceof FileError);
    assert.ok(error.type.code === "file.damaged");
    assert.match(error.type.fix, /restore it from a backup/);
    assert.doesNotMatch(error.message, /BEGIN|MII|MHc/);
    assert.equal(readFileSync(path, "utf8"), damaged);
  });
}

test("a root that has ended stops the start", (t) => {
  const directory = scratch(t);
  open(directory);
  const error = openAuthority({ directory, trustDomain: "cluster.local", wallMs: Date.now() + 11 * year });
  assert.ok(error instanceof FileError && error.type.code === "file.damaged");
});

test("a root or token key that others may read, or that is a symbolic link, is not used", (t) => {
  const directory = scratch(t);
  open(directory);
  openTokenKey(directory);
  for (const name of ["root.pem", "token-key.pem"]) chmodSync(join(directory, name), 0o640);
  const errors = [openAuthority({ directory, trustDomain: "x", wallMs: Date.now() }), openTokenKey(directory)];
  for (const error of errors) {
    assert.ok(error instanceof FileError && error.type.code === "file.not-private");
    assert.match(error.type.fix, /^chmod 600 /);
  }
  const linked = scratch(t);
  chmodSync(join(directory, "root.pem"), 0o600);
  symlinkSync(join(directory, "root.pem"), join(linked, "root.pem"));
  const error = openAuthority({ directory: linked, trustDomain: "x", wallMs: Date.now() });
  assert.ok(error instanceof FileError && error.type.code === "file.unreadable");
});

test("a token key that is none stops the start", (t) => {
  const directory = scratch(t);
  writeFileSync(join(directory, "token-key.pem"), "hello", { mode: 0o600 });
  const error = openTokenKey(directory);
  assert.ok(error instanceof FileError && error.type.code === "file.damaged");
});

test("a data directory of ours that others may enter is closed to them", (t) => {
  const directory = scratch(t);
  chmodSync(directory, 0o755);
  assert.equal(privateDirectory(directory), undefined);
  assert.equal(statSync(directory).mode & 0o777, 0o700);
});

test("a file that can't be written is an error with its path, and leaves nothing behind", (t) => {
  const directory = scratch(t);
  const error = replaceFile(join(directory, "none", "root-cert.pem"), "x", 0o644);
  assert.ok(error instanceof FileError && error.type.code === "file.unwritable");
  assert.deepEqual(readdirSync(directory), []);
});

function open(directory: string): Issuer {
  const issuer = openAuthority({ directory, trustDomain: "cluster.local", wallMs: Date.now() });
  assert.ok(!(issuer instanceof FileError), issuer instanceof FileError ? issuer.message : "");
  return issuer;
}

function otherKey(): string {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return privateKey.export({ type: "pkcs8", format: "pem" }) as string;
}

function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "ambientd-authority-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}
