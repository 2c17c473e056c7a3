/** A thread of its own with machines of core/tls that talk to each other; says how it went, and ends when told. */
import { parentPort } from "node:worker_threads";
import { alice, bob, contextOf, exchange, securedPair } from "./tls-machines.ts";

const client = contextOf("client", alice);
const server = contextOf("server", bob);
let octets = 0;
let handshakes = 0;
for (; handshakes < 50; handshakes++) {
  const [ours, theirs] = securedPair(client, server);
  ours.machine.write([Buffer.alloc(100_000)]);
  exchange(ours, theirs);
  octets += theirs.octets;
  ours.machine.free();
  theirs.machine.free();
}
client.release();
server.release();
parentPort?.postMessage({ handshakes, octets });
parentPort?.once("message", () => parentPort?.close());
