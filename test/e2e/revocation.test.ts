/** An account's certificate is revoked while it has connections open: agents of both nodes read the list from a volume. */
import assert from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import { mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, it } from "node:test";
import { certificatesOf } from "../../core/protocol/x509/pem.ts";
import { openIssuer, type Issuer } from "../../core/protocol/x509/certificate.ts";
import { X509Error } from "../../core/protocol/x509/x509-error.ts";
import { idlePod, namespace, pod, service } from "../support/manifests.ts";
import { useLab } from "../support/mesh-lab.ts";
import { crlPem } from "../support/revocation.ts";
import { until } from "../support/until.ts";

const volume = mkdtempSync(join(tmpdir(), "ambientd-crl-"));
after(() => rmSync(volume, { recursive: true }));
mount("");
symlinkSync(join("..data", "ca.crl"), join(volume, "ca.crl"));

const lab = useLab(
  [
    namespace("mesh", { ambient: true }),
    idlePod("mesh/lost", { node: "node1" }),
    idlePod("mesh/kept", { node: "node1" }),
    pod("mesh/server", { node: "node2" }),
    service("mesh/server"),
  ],
  { environment: { agent: { CRL_PATH: join(volume, "ca.crl") } } },
);

it("F-098 F-099 H054 a revoked account's connections are cut, its new ones refused, and nobody else's are touched", async (t) => {
  const [doomed, kept] = await Promise.all([hold("mesh/lost"), hold("mesh/kept")]);
  // Whoever is neither of the two: the list is believed, and says nothing about them.
  mount(crlPem(meshRoot(), [Buffer.from([1, 2, 3])]));
  await agentsSay("revocation lists are in force", 2);
  kept.send("after a list of others");
  await kept.result("an echo", ({ event }) => event === "echo", 1);

  const serial = await serialOf("spiffe://cluster.local/ns/mesh/sa/lost");
  const revokedAt = performance.now();
  mount(crlPem(meshRoot(), [serial]));
  const line = await lab().accessLine(
    "node2",
    "the connection that is cut",
    ({ reason }) => reason === "PEER_CERT_REVOKED",
  );
  t.diagnostic(`cut ${Math.round(performance.now() - revokedAt)} ms after the volume's change`);
  assert.match(JSON.stringify(line), /sa\/lost/);
  await doomed.result("the reset", ({ event }) => event === "error");
  doomed.end();
  const before = (await revocations("node2")).length;
  const [refused] = await lab().client("mesh/lost", "get", "http://server.mesh.svc/");
  assert.notEqual(refused?.["status"], 200);
  await until("refused by whoever reads the list", 10_000, async () => (await revocations("node2")).length > before);
  kept.send("still here");
  await kept.result("an echo", ({ event }) => event === "echo", 2);
  const [served] = await lab().client("mesh/kept", "get", "http://server.mesh.svc/");
  assert.equal(served?.["status"], 200);

  mount("-----BEGIN X509 CRL-----\nbroken");
  await agentsSay("the last good lists stay in force", 1);
  const [still] = await lab().client("mesh/lost", "get", "http://server.mesh.svc/");
  assert.notEqual(still?.["status"], 200);
  kept.end();
  await kept.ended;
});

async function hold(client: string): ReturnType<ReturnType<typeof lab>["start"]> {
  const held = await lab().start(client, "hold", "server.mesh.svc:9000");
  held.send("first");
  await held.result("the first echo", ({ event }) => event === "echo");
  return held;
}

/** Both agents have written a line with this text so many times at least. */
async function agentsSay(text: string, times: number): Promise<void> {
  for (const node of ["node1", "node2"]) {
    await until(`${node}: ${text}`, 10_000, async () => (await lab().log(`${node}.agent`)).split(text).length > times);
  }
}

async function revocations(node: string): Promise<unknown[]> {
  return (await lab().accessLog(node)).filter(({ reason }) => reason === "PEER_CERT_REVOKED");
}

async function serialOf(identity: string): Promise<Buffer> {
  const { certificates } = await lab().askAgent<{
    certificates: { identity: string; certChain: { serialNumber: string }[] }[];
  }>("node1");
  const found = certificates.find((one) => one.identity === identity)?.certChain[0]?.serialNumber;
  assert.ok(found !== undefined, "its agent has a certificate");
  const digits = BigInt(found).toString(16);
  return Buffer.from(digits.padStart(digits.length + (digits.length % 2), "0"), "hex");
}

/** The lab's own authority, with its key. */
function meshRoot(): Issuer {
  const text = readFileSync(`/proc/${lab().handle.pid}/root/run/lab/control/root.pem`, "utf8");
  const certificates = certificatesOf(text);
  assert.ok(!(certificates instanceof X509Error));
  const issuer = openIssuer(certificates[0] ?? "", createPrivateKey(text));
  assert.ok(!(issuer instanceof X509Error));
  return issuer;
}

/** Swaps the volume's content as a kubelet does. */
function mount(text: string): void {
  const version = mkdtempSync(join(volume, "..v"));
  writeFileSync(join(version, "ca.crl"), text);
  symlinkSync(version, join(volume, "..new"));
  renameSync(join(volume, "..new"), join(volume, "..data"));
}
