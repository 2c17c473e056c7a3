import assert from "node:assert/strict";
import { fstatSync } from "node:fs";
import { test } from "node:test";
import { AccessLog } from "../access-log/access-log.ts";
import type { DnsDescriptor, FromWorker, PodDelivery } from "../worker-messages.ts";
import { systemClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { bindUdp } from "../../core/linux/udp-sockets.ts";
import { setUp } from "../../core/linux/netlink/links.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { listeningOn, podDelivery } from "../../test/support/pod-delivery.ts";
import { until } from "../../test/support/until.ts";
import { workerSettings } from "../../test/support/worker-settings.ts";
import { DataPlaneWorker } from "./worker.ts";

const skip = enterNamespaces() ?? false;

test(
  "a pod that is brought once more is refused, and every socket that came with it is closed, those for DNS too",
  { skip },
  async () => {
    await setUp("lo");
    const sent: FromWorker[] = [];
    const [clock, log] = [systemClock, silentLog];
    const accessLog = new AccessLog({ clock, worker: 0, node: "node1", write: () => true });
    const worker = new DataPlaneWorker(
      { index: 0, settings: workerSettings },
      { clock, log, accessLog, send: (message) => sent.push(message) },
    );
    worker.receive({ kind: "serve", pod: delivery() });
    await until("it is served", 5_000, () => sent.some(({ kind }) => kind === "pod-serving"));
    const again = delivery();
    const { outbound, plaintext, hbone, dns = [] } = again.descriptors;
    worker.receive({ kind: "serve", pod: again });
    assert.equal(sent.at(-1)?.kind, "pod-failed");
    for (const fd of [outbound, plaintext, hbone, ...dns.map((one) => one.fd)]) {
      assert.throws(() => fstatSync(fd), { code: "EBADF" });
    }
    worker.receive({ kind: "drain", deadlineMs: 0 });
    await until("it has left", 5_000, () => sent.some(({ kind }) => kind === "pod-gone"));
  },
);

function delivery(): PodDelivery {
  const [outbound = -1, plaintext = -1, hbone = -1, tcp = -1] = listeningOn("127.0.0.1", [0, 0, 0, 0]);
  const udp = bindUdp({ address: "127.0.0.1", port: 0 });
  if (udp instanceof LinuxError) throw udp;
  const dns: DnsDescriptor[] = [
    { protocol: "tcp", address: "127.0.0.1", fd: tcp },
    { protocol: "udp", address: "127.0.0.1", fd: udp },
  ];
  return podDelivery({ outbound, plaintext, hbone, dns });
}
