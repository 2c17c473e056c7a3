/** Run inside a pod by `--check --break redirect`: empties its redirect chain again and again, as root in a pod could. */
import { setTimeout as sleep } from "node:timers/promises";
import { openNamespace } from "../../core/linux/namespace.ts";
import { applyTransaction } from "../../core/linux/nftables/apply.ts";

const own = openNamespace("/proc/self/ns/net");
if (typeof own !== "number") throw own;
for (;;) {
  // A failure means that the table isn't there (yet): there is nothing to flush.
  await applyTransaction(own, [
    { kind: "flush-chain", family: "inet", table: "istio-ambient-nat", chain: "istio-output" },
  ]);
  process.stdout.write("flushed\n");
  await sleep(100);
}
