import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomBytes, X509Certificate } from "node:crypto";
import { test, type TestContext } from "node:test";
import { ManualClock, systemClock } from "../../core/base/clock.ts";
import { silentLog, type Log } from "../../core/base/log.ts";
import { certificateId } from "../../core/protocol/x509/certificate-id.ts";
import { formatPem } from "../../core/protocol/x509/pem.ts";
import { bob, openTunnel, root, startServer } from "../../test/support/hbone-pair.ts";
import { identityOf, testIdentity, testRoot } from "../../test/support/identities.ts";
import { crlDer, crlPem, largeCrlDer } from "../../test/support/revocation.ts";
import { until } from "../../test/support/until.ts";
import { TunnelError } from "../tunnel/tunnel.ts";
import { CrlFile } from "./crl-file.ts";
import type { CrlBytes, CrlFiles } from "./crl-files.ts";
import { Revocations, type RevokedSerials } from "./revocations.ts";

const alice = testIdentity(root, identityOf("alice"));
const carol = testIdentity(root, identityOf("carol"));

/** One file that is what the test says. */
class FileOfTest implements CrlFiles {
  #content: CrlBytes = { failed: "missing", detail: "ENOENT" };
  #version = 0;
  changed = (): void => {};
  reads = 0;
  readonly watched: string[] = [];

  /** @param told whether the system tells of it. */
  put(content: string | Uint8Array | undefined, told = true): void {
    this.#version += 1;
    this.#content =
      content === undefined
        ? { failed: "missing", detail: "ENOENT" }
        : { bytes: typeof content === "string" ? Buffer.from(content) : content };
    if (told) this.changed();
  }

  stamp(): Promise<string | undefined> {
    return Promise.resolve("bytes" in this.#content ? String(this.#version) : undefined);
  }

  read(): Promise<CrlBytes> {
    this.reads += 1;
    return Promise.resolve(this.#content);
  }

  watch(directory: string, changed: () => void): () => void {
    this.watched.push(directory);
    this.changed = changed;
    return () => (this.changed = () => {});
  }
}

interface Scene {
  readonly clock: ManualClock;
  readonly file: FileOfTest;
  readonly crl: CrlFile;
  readonly problems: string[];
  /** What is in force says that it is revoked. */
  readonly isRevoked: (pem: string) => boolean;
  /** Lets so much time pass, and what is done in it. */
  readonly pass: (ms: number) => Promise<void>;
}

async function scene(
  content?: string | Uint8Array,
  authorities: readonly string[] = [root.certificatePem],
): Promise<Scene> {
  const clock = new ManualClock(Date.now());
  const file = new FileOfTest();
  file.put(content);
  const problems: string[] = [];
  const log: Log = Object.assign(Object.create(silentLog) as Log, {
    warn: (_fields: object, text: string) => problems.push(text),
    error: (_fields: object, text: string) => problems.push(text),
  });
  let lists: readonly RevokedSerials[] = [];
  const crl = new CrlFile({ path: "/etc/crl/ca.crl", clock, log, files: file, onLists: (all) => (lists = all) });
  crl.learn(authorities);
  await crl.start();
  return {
    clock,
    file,
    crl,
    problems,
    isRevoked: (pem) => {
      const revocations = new Revocations();
      revocations.use(lists);
      const id = certificateId(new X509Certificate(pem).raw);
      return id !== undefined && revocations.revoked([id]) !== undefined;
    },
    pass: async (ms) => {
      for (let passed = 0; passed < ms; passed += 100) {
        clock.advance(100);
        for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
      }
    },
  };
}

test("F-099 a list that changes is in force two seconds later, and the folder is watched for it", async () => {
  const { file, isRevoked, pass } = await scene(crlPem(root, [alice.chain]));
  assert.deepEqual(file.watched, ["/etc/crl"]);
  assert.deepEqual([isRevoked(alice.chain), isRevoked(carol.chain)], [true, false]);
  file.put(crlPem(root, [alice.chain, carol.chain]));
  await pass(1_900);
  assert.equal(isRevoked(carol.chain), false);
  await pass(200);
  assert.deepEqual([isRevoked(alice.chain), isRevoked(carol.chain)], [true, true]);
  file.put(crlPem(root, [carol.chain]));
  await pass(2_100);
  assert.deepEqual([isRevoked(alice.chain), isRevoked(carol.chain)], [false, true]);
});

test("F-099 many changes in a short time are read once, and the last of them counts", async () => {
  const { file, isRevoked, pass } = await scene(crlPem(root, []));
  const reads = file.reads;
  for (let i = 0; i < 50; i++) file.put(crlPem(root, i === 49 ? [alice.chain] : []));
  await pass(2_100);
  assert.equal(file.reads, reads + 1);
  assert.equal(isRevoked(alice.chain), true);
});

test("F-099 H054 a change that nobody tells of is found within five seconds", async () => {
  const { file, isRevoked, pass } = await scene(crlPem(root, []));
  for (let round = 0; round < 4; round++) {
    await pass(700);
    file.put(crlPem(root, [alice.chain]), false);
    await pass(5_000);
    assert.equal(isRevoked(alice.chain), true);
    file.put(crlPem(root, []), false);
    await pass(5_000);
    assert.equal(isRevoked(alice.chain), false);
  }
});

test("F-098 a file that is not there at first is waited for, and one that is empty revokes nobody", async () => {
  const { file, crl, problems, isRevoked, pass } = await scene();
  assert.equal(crl.lists, undefined);
  assert.equal(crl.status.problem, "missing");
  await pass(30_000);
  assert.equal(problems.length, 1, "it is said once");
  file.put("", false);
  await pass(5_000);
  assert.deepEqual([crl.lists, crl.status.problem], [[], undefined]);
  file.put(crlPem(root, [alice.chain]), false);
  await pass(5_000);
  assert.equal(isRevoked(alice.chain), true);
});

const unusable: Readonly<Record<string, string | Uint8Array | undefined>> = {
  "is malformed": "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
  "is cut": crlPem(root, []).slice(0, -30),
  "has one bad list behind a good one": `${crlPem(root, [])}-----BEGIN X509 CRL-----\n`,
  "is no list at all": "hello",
  "is too large": Buffer.alloc((32 << 20) + 1, 0x30),
  "is forged": crlPem(root, [], { signer: testRoot("test") }),
  "goes away": undefined,
};

for (const [what, content] of Object.entries(unusable)) {
  test(`H054 a file that ${what} leaves the last good list in force, and is loudly said`, async () => {
    const { file, crl, problems, isRevoked, pass } = await scene(crlPem(root, [alice.chain]));
    file.put(content);
    await pass(2_100);
    assert.equal(isRevoked(alice.chain), true);
    assert.notEqual(crl.status.problem, undefined);
    assert.deepEqual(problems, ["the file of revocation lists cannot be used: the last good lists stay in force"]);
    file.put(crlPem(root, [carol.chain]));
    await pass(2_100);
    assert.deepEqual([crl.status.problem, isRevoked(alice.chain), isRevoked(carol.chain)], [undefined, false, true]);
  });
}

test("H054 a list that is out of date stays in force, and is loudly said", async () => {
  const end = Date.now() + 60_000;
  const { crl, problems, isRevoked, pass } = await scene(crlPem(root, [alice.chain], { nextUpdateMs: end }));
  assert.deepEqual(problems, []);
  await pass(62_000);
  assert.equal(isRevoked(alice.chain), true);
  assert.deepEqual(problems, ["a revocation list is out of date; it stays in force"]);
  assert.equal(crl.status.nextUpdateMs, Math.floor(end / 1_000) * 1_000);
});

test("F-098 a list is believed until its authority is known, and not after that if it is forged", async () => {
  const other = testRoot("other");
  const forged = crlPem(root, [alice.chain], { signer: other });
  const { crl, isRevoked, pass } = await scene(forged, []);
  assert.deepEqual([isRevoked(alice.chain), crl.status.unverified], [true, 1]);
  crl.learn([other.certificatePem]);
  await pass(2_100);
  assert.deepEqual([isRevoked(alice.chain), crl.status.unverified], [true, 1]);
  crl.learn([alice.chain, `${other.certificatePem}${root.certificatePem}`]);
  await pass(2_100);
  assert.deepEqual([isRevoked(alice.chain), crl.status.problem], [false, "forged"]);
});

test("H054 a list of ten megabytes is read in slices, and its last entry counts like its first", async () => {
  const serials = Array.from({ length: 290_000 }, () => {
    const serial = randomBytes(16);
    serial[0] = 1 + (serial[0]! % 0x7f);
    return serial;
  });
  const der = largeCrlDer(root, serials);
  assert.ok(der.length > 10_000_000);
  const revocations = new Revocations();
  let turns = 0;
  const file = new FileOfTest();
  file.put(Buffer.from(formatPem("X509 CRL", der)));
  const crl = new CrlFile({
    path: "/etc/crl/ca.crl",
    clock: systemClock,
    log: silentLog,
    files: file,
    onLists: (lists) => void revocations.use(lists),
  });
  crl.learn([root.certificatePem]);
  let isDone = false;
  const look = (): void => {
    turns += 1;
    if (!isDone) setImmediate(look);
  };
  setImmediate(look);
  await crl.start();
  isDone = true;
  crl.close();
  assert.ok(turns > 10, `the loop turned ${turns} times meanwhile`);
  assert.deepEqual([crl.status.revoked, crl.status.unverified], [290_000, 0]);
  const issuer = crl.lists?.[0]?.issuer ?? "";
  for (const serial of [serials[0], serials.at(-1)]) assert.ok(revocations.revoked([{ issuer, serial: serial! }]));
  assert.equal(revocations.revoked([{ issuer, serial: randomBytes(16) }]), undefined);
});

test("F-099 H054 a volume whose symlink is swapped, as a kubelet does it, cuts the tunnels of who is revoked", async (t) => {
  const volume = volumeOf(t);
  const mount = (text: string): void => volume.mount({ "ca.crl": text });
  mount(crlPem(root, []));
  const revocations = new Revocations();
  const onLists = (lists: readonly RevokedSerials[]): void => void revocations.use(lists);
  const path = join(volume.folder, "ca.crl");
  symlinkSync(join("..data", "ca.crl"), path);
  const crl = new CrlFile({ path, clock: systemClock, log: silentLog, onLists });
  t.after(() => crl.close());
  crl.learn([root.certificatePem]);
  await crl.start();
  const { port, close, hbone } = await startServer({ revocations });
  t.after(close);
  const [doomed, kept] = await Promise.all([openTunnel(port, { as: alice }), openTunnel(port, { as: carol })]);
  assert.ok(!(doomed instanceof TunnelError) && !(kept instanceof TunnelError));
  t.after(() => kept.destroy());
  mount(crlPem(root, [alice.chain]));
  await until("alice's tunnel is cut", 10_000, () => doomed.phase === "closed");
  assert.equal(kept.phase, "open");
  await until("one is left", 5_000, () => hbone.tunnels === 1);
});

test("F-098 H054 files on a disk: one that is none, one that is not to be read, and one that is", async (t) => {
  const volume = volumeOf(t);
  mkdirSync(join(volume.folder, "sub"));
  const status = async (path: string): Promise<string | undefined> => {
    const crl = new CrlFile({ path, clock: systemClock, log: silentLog, onLists: () => {} });
    await crl.start();
    crl.close();
    return crl.status.problem;
  };
  assert.equal(await status(join(volume.folder, "sub")), "unreadable");
  assert.equal(await status(join(volume.folder, "none", "ca.crl")), "missing");
  writeFileSync(join(volume.folder, "large"), Buffer.alloc((32 << 20) + 1));
  assert.equal(await status(join(volume.folder, "large")), "malformed");
  writeFileSync(join(volume.folder, "good"), crlDer(root, [bob.chain]));
  assert.equal(await status(join(volume.folder, "good")), undefined);
});

/** A folder as a kubelet makes it: files behind a symlink that is swapped. */
function volumeOf(t: TestContext): { readonly folder: string; mount(files: Record<string, string>): void } {
  const folder = mkdtempSync(join(tmpdir(), "ambientd-crl-"));
  t.after(() => rmSync(folder, { recursive: true }));
  let version = 0;
  return {
    folder,
    mount: (files) => {
      version += 1;
      mkdirSync(join(folder, `..v${version}`));
      for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, `..v${version}`, name), text);
      symlinkSync(`..v${version}`, join(folder, "..new"));
      renameSync(join(folder, "..new"), join(folder, "..data"));
    },
  };
}
