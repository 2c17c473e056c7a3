/** Requests counted in passing, by agents as they run. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { useLab } from "../support/mesh-lab.ts";
import { idlePod, namespace, pod, service } from "../support/manifests.ts";
import { sumOf } from "../support/openmetrics.ts";
import { scrape } from "../support/scrape.ts";
import { until } from "../support/until.ts";

const lab = useLab(
  [
    namespace("shop", { ambient: true }),
    namespace("outside"),
    idlePod("shop/alice", { node: "node1" }),
    pod("shop/far", { node: "node2" }),
    service("shop/far"),
    idlePod("outside/prometheus", { node: "node1" }),
  ],
  { environment: { agent: { AMBIENTD_SNIFF: "http" } } },
);

test("requests over all workers of the server's agent count once each, and at the client's agent not at all", async () => {
  const url = `http://${await lab().addressOf("shop/far")}:8080/`;
  for (let round = 0; round < 5; round++) {
    const argv = ["curl", "-g", "--silent", "--fail", ...Array.from({ length: 20 }, () => url)];
    const { code, stderr } = await lab().run("shop/alice", argv);
    assert.equal(code, 0, stderr);
  }
  const asked = {
    source_workload: "alice",
    destination_workload: "far",
    response_code: "200",
    request_protocol: "http",
  };
  const families = await until("all are counted", 15_000, async () => {
    const found = await scrape(lab(), "node2");
    return sumOf(found, "istio_requests", asked) >= 100 && found;
  });
  assert.equal(sumOf(families, "istio_requests"), 100);
  assert.equal(sumOf(families, "istio_requests", { ...asked, connection_security_policy: "mutual_tls" }), 100);
  assert.equal(sumOf(families, "ambientd_sniffing_failures"), 0);
  assert.equal((await scrape(lab(), "node1")).has("istio_requests"), false);
});
