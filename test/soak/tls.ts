/**
 * `node test/soak/tls.ts [connections] [seed]`: machines of core/tls that are opened, broken at any point and freed, 100,000 unless told
 * otherwise, with contexts that come and go. Exit code 0: nothing is left of them. To be run with
 * `LD_PRELOAD=libc_malloc_debug.so.0 GLIBC_TUNABLES=glibc.malloc.check=3:glibc.malloc.perturb=165` as well: glibc then ends the process
 * where anything is freed twice, and what is used after it was freed is nonsense.
 */
import { allocated, breakSomewhere, drawFrom } from "../support/broken-tls.ts";
import { alice, bob, contextOf, openssl } from "../support/tls-machines.ts";

const connections = Number(process.argv[2] ?? 100_000);
const seed = Number(process.argv[3] ?? 1);
const heapOctets = allocated() ?? ((): number => process.memoryUsage.rss());
const random = drawFrom(seed);
let [client, server] = [contextOf("client", alice), contextOf("server", bob)];

run(connections / 20);
const first = heapOctets();
for (let part = 1; part <= 10; part++) {
  run(connections / 10);
  const grown = heapOctets() - first;
  const rss = Math.round(process.memoryUsage.rss() / 1e6);
  process.stdout.write(`${(part * connections) / 10} connections, ${grown} octets more, RSS ${rss} MB\n`);
}
const grown = heapOctets() - first;
// V8 itself takes some ten octets for each; a connection that is left has 34,000.
if (grown > Math.max(connections * 50, 1_000_000) || openssl().calls.peekError() !== 0) process.exitCode = 1;

function run(count: number): void {
  for (let made = 0; made < count; made++) {
    if (random(200) === 0) {
      client.release();
      server.release();
      [client, server] = [contextOf("client", alice), contextOf("server", bob)];
    }
    breakSomewhere(client, server, random);
  }
}
