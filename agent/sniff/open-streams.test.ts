import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { mostStreams, OpenStreams } from "./open-streams.ts";

interface Stream {
  status: number;
  grpcStatus: number;
  readonly isGrpc: boolean;
  readonly startMs: number;
}

test("streams are what a plain map would say of them, whatever is opened, answered and ended", () => {
  const step = fc.record({
    kind: fc.constantFrom("add", "add", "status", "grpc", "remove"),
    pick: fc.nat(),
    value: fc.integer({ min: 0, max: 16 }),
    isGrpc: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const streams = new OpenStreams();
      const model = new Map<number, Stream>();
      let lastId = -1;
      for (const [nowMs, { kind, pick, value, isGrpc }] of steps.entries()) {
        const id = [...model.keys()][pick % Math.max(1, model.size)] ?? -1;
        const slot = streams.find(id);
        assert.equal(slot >= 0, model.has(id));
        const known = model.get(id);
        if (kind === "add") {
          lastId += 2 + (pick % 5) * 2;
          assert.ok(streams.add(lastId, nowMs, isGrpc));
          model.set(lastId, { status: 0, grpcStatus: -1, isGrpc, startMs: nowMs });
        } else if (known === undefined) continue;
        else if (kind === "remove") {
          streams.remove(slot);
          model.delete(id);
        } else if (kind === "status") streams.setStatus(slot, (known.status = 200 + value));
        else streams.setGrpcStatus(slot, (known.grpcStatus = value));
        assert.equal(streams.size, model.size);
        for (const [each, stream] of model) {
          const at = streams.find(each);
          assert.deepEqual(
            [streams.status(at), streams.grpcStatus(at), streams.isGrpc(at), streams.durationMs(at, nowMs)],
            [stream.status, stream.grpcStatus, stream.isGrpc, nowMs - stream.startMs],
          );
        }
      }
    }),
    { numRuns: 200 },
  );
});

test("no more than a thousand are followed, and their memory goes with the last one", () => {
  const streams = new OpenStreams();
  const empty = streams.held;
  for (let i = 0; i < mostStreams; i++) assert.ok(streams.add(2 * i + 1, 0, false));
  assert.equal(streams.add(2_001, 0, false), false);
  assert.ok(streams.held <= 12_288);
  while (streams.size > 0) streams.remove(streams.size - 1);
  assert.equal(streams.held, empty);
});

test("a start long after the machine's is told to a 16th of a millisecond", () => {
  const streams = new OpenStreams();
  const [startMs, endMs] = [4_000_000_000.25, 4_000_000_123.5];
  streams.add(1, startMs, false);
  assert.ok(Math.abs(streams.durationMs(0, endMs) - 123.25) <= 1 / 16);
});
