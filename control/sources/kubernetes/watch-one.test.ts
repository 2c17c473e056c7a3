import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLog } from "../../../core/base/log.ts";
import { until } from "../../../test/support/until.ts";
import { KubernetesClient } from "./client.ts";
import { collectionPath } from "./paths.ts";
import { FakeApiServer } from "./test-support/fake-api-server.ts";
import { watchObject } from "./watch-one.ts";

test("one object is followed from before it exists until after it is gone, and no other", async (t) => {
  const server = await new FakeApiServer().start();
  const client = new KubernetesClient({ connection: server.connection(), log: silentLog, userAgent: "test" });
  const daemonSets = collectionPath("DaemonSet");
  const seen: unknown[] = [];
  const watch = watchObject({
    client,
    log: silentLog,
    kind: "DaemonSet",
    namespace: "ambient-system",
    name: "ambientd-cni",
    onChange: (object) => seen.push((object?.["metadata"] as { annotations?: unknown } | undefined)?.annotations),
  });
  t.after(async () => {
    watch.close();
    client.close();
    await server.stop();
  });
  await watch.synced;
  assert.deepEqual(seen, [undefined]);
  const put = (name: string, annotations: object) =>
    server.cluster.put(daemonSets, { metadata: { namespace: "ambient-system", name, annotations } });
  put("another", { x: "1" });
  put("ambientd-cni", { release: "false" });
  await until("it is there", 5_000, () => seen.length === 2);
  server.cutWatches();
  put("ambientd-cni", { release: "true" });
  await until("it was changed", 5_000, () => seen.length === 3);
  server.cluster.remove(daemonSets, "ambient-system/ambientd-cni");
  await until("it is gone", 5_000, () => seen.length === 4);
  assert.deepEqual(seen, [undefined, { release: "false" }, { release: "true" }, undefined]);
  for (const { query } of server.requests) assert.equal(query.get("fieldSelector"), "metadata.name=ambientd-cni");
});
