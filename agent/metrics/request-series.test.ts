import assert from "node:assert/strict";
import { test } from "node:test";
import { pod } from "../../test/support/mesh.ts";
import { parseMetrics, sumOf } from "../../test/support/openmetrics.ts";
import type { ConnectionFacts } from "../connection/close-record.ts";
import { Gone } from "./gone.ts";
import { Ledger } from "./ledger.ts";
import { RequestSeries } from "./request-series.ts";
import { noRows } from "./rows.ts";
import { render } from "./scrape.ts";

test("requests and their durations are one series by ends, protocol and outcome, whoever carried them", async () => {
  const series = new RequestSeries();
  const ledger = new Ledger();
  const [one, other, same] = ["a", "b", "a"].map((claim) => series.use(from(claim)));
  one?.observe("http", 200, -1, 0.5);
  same?.observe("http", 200, -1, 0.6);
  one?.observe("http", 500, -1, 3_600_001);
  one?.observe("http", 200, -1, 100);
  one?.observe("http2", 200, -1, 7);
  other?.observe("grpc", 200, 0, 7);
  other?.observe("grpc", 200, 14, 7);
  other?.observe("grpc", 0, -1, 7);
  assert.equal(series.size, 6);
  report(series, ledger);
  one?.observe("http", 200, -1, 20);
  report(series, ledger);
  report(series, ledger);
  const families = await scraped(ledger);
  const count = (labels: Record<string, string>): number => sumOf(families, "istio_requests_total", labels);
  assert.equal(count({}), 9);
  assert.equal(count({ request_protocol: "http", response_code: "200", grpc_response_status: "" }), 4);
  assert.equal(count({ source_app: "a" }), 6);
  assert.equal(count({ response_code: "0", request_protocol: "grpc", grpc_response_status: "" }), 1);
  assert.equal(count({ grpc_response_status: "14", response_code: "200", response_flags: "-" }), 1);
  const samples = families.get("istio_request_duration_milliseconds")?.samples ?? [];
  const buckets = samples.filter(
    ({ name, labels }) =>
      name.endsWith("_bucket") && labels["request_protocol"] === "http" && labels["response_code"] === "200",
  );
  assert.deepEqual(
    buckets.slice(0, 8).map(({ labels, value }) => [labels["le"], value]),
    [
      ["0.5", 1],
      ["1.0", 2],
      ["5.0", 2],
      ["10.0", 2],
      ["25.0", 3],
      ["50.0", 3],
      ["100.0", 4],
      ["250.0", 4],
    ],
  );
});

test("H091 a server that answers with every code there is has them put together by hundreds", async () => {
  const series = new RequestSeries();
  const ledger = new Ledger();
  const [wild, sane] = [series.use(from("wild")), series.use(from("sane"))];
  for (let code = 100; code < 1_000; code++) for (let times = 0; times < 2; times++) wild.observe("http", code, -1, 1);
  sane.observe("http", 503, -1, 1);
  assert.equal(series.size, 101);
  report(series, ledger);
  const families = await scraped(ledger);
  assert.equal(sumOf(families, "istio_requests", {}), 1_801);
  assert.equal(sumOf(families, "istio_requests", { response_code: "5xx", source_app: "wild" }), 200);
  assert.equal(sumOf(families, "istio_requests", { response_code: "503", source_app: "sane" }), 1);
  assert.equal(families.get("istio_requests")?.samples.length, 100 + 8 + 1);
});

test("H091 where there is no room requests count under the unknown, in a worker and over all of them, and none is lost", async () => {
  const ledger = new Ledger(undefined, 30);
  for (let worker = 0; worker < 4; worker++) {
    const series = new RequestSeries(20);
    for (let i = 0; i < 50; i++) series.use(from(`claim ${worker} ${i}`)).observe("http", 500, -1, 1);
    assert.equal(series.size, 20);
    assert.ok(series.overflows >= 30);
    report(series, ledger);
  }
  const families = await scraped(ledger);
  assert.equal(sumOf(families, "istio_requests", {}), 200);
  assert.ok((families.get("istio_requests")?.samples.length ?? 0) <= 32);
  assert.equal(sumOf(families, "istio_requests", { source_app: "unknown", response_code: "500" }) > 0, true);
  assert.equal(sumOf(families, "istio_requests", { source_app: "unknown", response_code: "5xx" }), 120);
});

test("what nobody uses is forgotten by the worker, and by the agent once its workload has left the mesh", async () => {
  const [stays, goes] = [pod("shop/stays", "10.0.0.1"), pod("shop/goes", "10.0.0.2")];
  const series = new RequestSeries();
  const ledger = new Ledger();
  const groups = [stays, goes].map((sourceWorkload) => series.use({ ...from(undefined), sourceWorkload }));
  for (const group of groups) group.observe("http", 200, -1, 1);
  series.sweep(10_000_000);
  assert.equal(series.size, 2, "they are in use");
  for (const group of groups) group.release(0);
  series.sweep(10_000_000);
  assert.equal(series.size, 2, "nobody has been told");
  report(series, ledger);
  series.sweep(599_999);
  assert.equal(series.size, 2, "they may be used again");
  series.sweep(600_000);
  assert.equal(series.size, 0);
  const gone = new Gone();
  const kept = (): number => [...ledger.histogram("istio_request_duration_milliseconds")].length;
  await gone.sweep(ledger, [stays]);
  assert.equal(kept(), 2, "there have been requests since the last time");
  await gone.sweep(ledger, [stays, goes]);
  assert.equal(kept(), 2, "both are in the mesh");
  await gone.sweep(ledger, [stays]);
  assert.equal(kept(), 1);
});

function report(series: RequestSeries, ledger: Ledger): void {
  for (const histograms of series.take()) ledger.add(0, { ...noRows, histograms });
}

async function scraped(ledger: Ledger): Promise<ReturnType<typeof parseMetrics>> {
  let text = "";
  for await (const piece of render(ledger, "openmetrics")) text += piece;
  return parseMetrics(text, "openmetrics");
}

function from(claim: string | undefined): ConnectionFacts {
  return {
    direction: "inbound",
    protocol: "hbone",
    trace: "",
    source: { address: "10.0.0.9", port: 1 },
    sourceBaggage: claim === undefined ? undefined : { serviceName: claim },
  };
}
