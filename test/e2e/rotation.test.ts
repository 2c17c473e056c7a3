/** Certificates of a short life, renewed while they are used. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { idlePod, namespace, pod, service } from "../support/manifests.ts";
import { useLab } from "../support/mesh-lab.ts";
import { until } from "../support/until.ts";

/** Renewed at half of its life. */
const ttlSeconds = 6;

const lab = useLab(
  [
    namespace("mesh", { ambient: true }),
    namespace("plain"),
    idlePod("mesh/client", { node: "node1" }),
    pod("mesh/server", { node: "node2" }),
    service("mesh/server"),
    idlePod("plain/probe", { node: "node1" }),
  ],
  // Idle tunnels are let go within a second, so that handshakes go on all the time, under the certificates of that moment.
  { certTtlSeconds: ttlSeconds, environment: { agent: { POOL_UNUSED_RELEASE_TIMEOUT: "1ms" } } },
);

it("F-133 certificates are renewed under a client in a loop, and under an open connection, without a lost request", async (t) => {
  const address = await lab().addressOf("mesh/server");
  // Comes as the client would, so that it is the server's port that shows its certificate.
  const probe = await lab().startControlClient(
    "plain/probe",
    "serial",
    "spiffe://cluster.local/ns/mesh/sa/client",
    `${address}:15008`,
  );
  const held = await lab().start("mesh/client", "hold", "server.mesh.svc:9000");
  held.send("first");
  await held.result("the first echo", ({ event }) => event === "echo");
  const loop = await lab().start("mesh/client", "loop", "http://server.mesh.svc/");
  const before = await serialsHeld();
  const handshakesBefore = await handshakesOf("node1");

  const started = performance.now();
  await until("the second new serial number on port 15008", 5 * 1_000 * ttlSeconds, () => probe.results.length >= 3);
  const took = Math.round(performance.now() - started);
  await until("new serial numbers of all identities at both agents", 5 * 1_000 * ttlSeconds, async () => {
    const now = await serialsHeld();
    return before.size > 0 && [...before].every(([identity, serial]) => now.get(identity) !== serial);
  });
  const handshakesWhenNew = await handshakesOf("node1");
  await until(
    "a handshake in which both ends show a new certificate",
    5 * 1_000 * ttlSeconds,
    async () => (await handshakesOf("node1")) > handshakesWhenNew,
  );
  const sofar = loop.results.length;
  await loop.result("a request after all that", () => true, sofar);
  held.send("last");
  await until("the last echo", 5_000, () => held.results.filter(({ event }) => event === "echo").length === 2);
  for (const client of [probe, held, loop]) client.end();
  await Promise.all([probe.ended, held.ended, loop.ended]);

  const handshakes = (await handshakesOf("node1")) - handshakesBefore;
  const serials = probe.results.map(({ serial }) => serial);
  assert.equal(new Set(serials).size, serials.length, "each is new");
  const lost = loop.results.filter(({ status }) => status !== 200);
  assert.deepEqual(lost, []);
  t.diagnostic(
    `${serials.length} serial numbers in ${took} ms; ${loop.results.length} requests over ${handshakes} handshakes, ${lost.length} lost`,
  );
});

/** Serial numbers by node and identity. */
async function serialsHeld(): Promise<Map<string, string>> {
  const serials = new Map<string, string>();
  for (const node of ["node1", "node2"]) {
    const { certificates } = await lab().askAgent<{
      certificates: { identity: string; certChain: { serialNumber: string }[] }[];
    }>(node);
    for (const { identity, certChain } of certificates)
      if (certChain[0] !== undefined) serials.set(`${node} ${identity}`, certChain[0].serialNumber);
  }
  return serials;
}

/** Handshakes of client tunnels that a node's agent has made. */
async function handshakesOf(node: string): Promise<number> {
  const { workers } = await lab().askAgent<{ workers: { tunnels: { outbound: { handshakes: number } }[] } }>(node);
  return workers.tunnels.reduce((sum, { outbound }) => sum + outbound.handshakes, 0);
}
