import assert from "node:assert/strict";
import { test } from "node:test";
import { ControlError } from "../../control/client/grpc-errors.ts";
import { agentTypes, runXdsSession } from "../../control/client/xds-session.ts";
import { ManualClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import type { DeltaDiscoveryResponse } from "../../core/protocol/generated/discovery.ts";
import { until } from "../../test/support/until.ts";
import { Counters } from "./counters.ts";
import { xdsCounts } from "./xds-counts.ts";

const [typeUrl = ""] = agentTypes;

test("F-207 messages from control, their bytes, and the ends of its streams are counted by type and reason", async () => {
  const counters = new Counters();
  const clock = new ManualClock();
  const waiting: ((answer: DeltaDiscoveryResponse | ControlError) => void)[] = [];
  const session = runXdsSession(
    {
      node: { id: "me", cluster: "", metadata: undefined },
      onUpdate: () => Promise.resolve([]),
      ...xdsCounts(counters),
    },
    {
      clock,
      log: silentLog,
      open: () => ({
        send: () => {},
        receive: () => new Promise((resolve) => waiting.push(resolve)),
        close: () => waiting.shift()?.(new ControlError({ code: "control.closed" })),
      }),
    },
  );
  const next = async (answer: DeltaDiscoveryResponse | ControlError): Promise<void> => {
    await until("control is listened to", 5_000, () => {
      clock.advance(1_000);
      return waiting.length > 0;
    });
    waiting.shift()?.(answer);
  };
  await next(responseOf(100));
  await next(responseOf(23));
  await next(new ControlError({ code: "control.unreachable", address: "x", detail: "" }));
  await next(new ControlError({ code: "control.failed", address: "x", status: "INTERNAL", detail: "" }));
  await next(new ControlError({ code: "control.stream-ended", address: "x" }));
  await until("control is listened to", 5_000, () => {
    clock.advance(1_000);
    return waiting.length > 0;
  });
  session.close();
  const counted = await until("the last end is counted", 5_000, () => {
    const taken = counters.take().counters;
    rows.push(...taken.map(({ name, labels, value }) => `${name} ${labels.join()} ${value}`));
    return rows.length === 6 && rows;
  });
  assert.deepEqual(counted.sort(), [
    "istio_xds_connection_terminations Complete 1",
    "istio_xds_connection_terminations ConnectionError 1",
    "istio_xds_connection_terminations Error 1",
    "istio_xds_connection_terminations Reconnect 1",
    `istio_xds_message ${typeUrl} 2`,
    `istio_xds_message_bytes ${typeUrl} 123`,
  ]);
});

const rows: string[] = [];
let nonce = 0;

function responseOf(bytes: number): DeltaDiscoveryResponse {
  nonce += 1;
  const resource = { typeUrl, value: Buffer.alloc(bytes) };
  const resources = [{ name: `a${nonce}`, version: "1", aliases: [], ttl: undefined, resource }];
  return { typeUrl, nonce: String(nonce), resources, removedResources: [], systemVersionInfo: "" };
}
