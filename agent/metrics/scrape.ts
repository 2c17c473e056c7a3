/** Everything there is, as text in pieces: the workers are asked first, then each family is written while traffic goes on. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { metricFamily, metrics, type MetricName } from "./catalogue.ts";
import { endOfFile, heading, histogramSamples, labelText, sampleLine, type Format, type Sample } from "./exposition.ts";
import type { Ledger, Total } from "./ledger.ts";

/** Pieces of about 64 KiB. Families without samples are left out. */
export async function* render(ledger: Ledger, format: Format): AsyncGenerator<string> {
  let piece = "";
  for (const name of Object.keys(metrics) as MetricName[]) {
    let begun = false;
    for (const sample of samplesOf(ledger, name)) {
      if (!begun) piece += heading(name, format);
      begun = true;
      piece += sampleLine(name, sample);
      if (piece.length < pieceLength) continue;
      yield piece;
      piece = "";
      await nextTurn();
    }
  }
  yield piece + endOfFile[format];
}

function* samplesOf(ledger: Ledger, name: MetricName): Generator<Sample> {
  const of = traffic[name];
  if (of !== undefined) {
    for (const total of ledger.traffic.values()) {
      const value = of(total);
      // A series says nothing of what has never happened to it.
      if (value !== 0 || isHome(name, total)) yield ["_total", total.text, value];
    }
    return;
  }
  const { type, labels, buckets } = metricFamily(name);
  if (name === "istio_requests") {
    yield* requestSamples(ledger, labels);
    return;
  }
  switch (type) {
    case "counter":
      for (const { text, value } of ledger.counter(name)) yield ["_total", text, value];
      return;
    case "gauge":
      for (const { text, value } of ledger.gauge(name)) yield ["", text, value];
      return;
    case "histogram":
      for (const histogram of ledger.histogram(name)) yield* histogramSamples(buckets ?? [], labels, histogram);
      return;
    case "summary":
      for (const row of ledger.summary(name))
        for (const [quantile, value] of row.quantiles)
          yield ["", labelText([...labels, "quantile"], [...row.labels, quantile]), value];
  }
}

/** Each has a duration: where those are counted, requests are. */
function* requestSamples(ledger: Ledger, names: readonly string[]): Generator<Sample> {
  for (const { labels, buckets } of ledger.histogram("istio_request_duration_milliseconds")) {
    const requests = buckets.reduce((sum, count) => sum + count, 0);
    yield ["_total", labelText(names, labels), requests];
  }
}

const traffic: { readonly [Name in MetricName]?: (total: Total) => number } = {
  istio_tcp_connections_opened: ({ opened }) => opened,
  istio_tcp_connections_closed: ({ closed }) => closed,
  istio_tcp_connections_failed: ({ failed }) => failed,
  istio_tcp_received_bytes: ({ received }) => received,
  istio_tcp_sent_bytes: ({ sent }) => sent,
};

/** A connection that was opened has a number of bytes, and of ends, even where that is none. */
function isHome(name: MetricName, { opened }: Total): boolean {
  return opened > 0 && name !== "istio_tcp_connections_failed";
}

const pieceLength = 65_536;
