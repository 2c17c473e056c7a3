/** A stream may be gone before its connection is joined: the 200 and a reset come in one breath. Nobody may wait for it then. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeEnd } from "../../test/support/fake-end.ts";
import { openStream, openTunnel, startServer } from "../../test/support/hbone-pair.ts";
import { until } from "../../test/support/until.ts";
import { TunnelError } from "../tunnel/tunnel.ts";
import { Relay, type RelayOutcome } from "./relay.ts";

test("a stream that was reset before it was joined is told as soon as it is, and the relay ends", async (t) => {
  const server = await startServer({ onStream: (stream) => stream.accept({}).reset() });
  t.after(() => server.close());
  const tunnel = await openTunnel(server.port);
  assert.ok(!(tunnel instanceof TunnelError));
  t.after(() => tunnel.destroy());
  const stream = await openStream(tunnel);
  assert.ok(!(stream instanceof TunnelError));
  await until("the stream has gone", 5_000, () => tunnel.streams === 0);
  const client = new ResetSoon();
  const outcome = await new Promise<RelayOutcome>((relayEnded) => new Relay(client, stream, { relayEnded }).start());
  assert.deepEqual(outcome, { kind: "reset", by: "second", cause: { kind: "stream", code: 10 } });
  assert.ok(client.wasReset);
});

/** Resets as TCP does: it is gone a moment later. */
class ResetSoon extends FakeEnd {
  override reset(): void {
    super.reset();
    queueMicrotask(() => this.listener.closed(this));
  }
}
