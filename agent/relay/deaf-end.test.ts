import assert from "node:assert/strict";
import { test } from "node:test";
import { nobody, type ByteEnd, type EndListener } from "./byte-end.ts";
import { Relay, type RelayOutcome } from "./relay.ts";

/** An end that writes down what is done to it. */
class Noted implements ByteEnd {
  listener: EndListener = nobody;
  readonly done: string[] = [];
  write(chunk: Uint8Array): boolean {
    this.done.push(`write ${chunk.length}`);
    return true;
  }
  end(): void {
    this.done.push("end");
  }
  reset(): void {
    this.done.push("reset");
  }
  pause(): void {}
  resume(): void {}
}

const complete = { kind: "stream", code: 0 } as const;

function joined(): { relay: Relay; client: Noted; stream: Noted; outcomes: RelayOutcome[] } {
  const [client, stream] = [new Noted(), new Noted()];
  const outcomes: RelayOutcome[] = [];
  const relay = new Relay(client, stream, { relayEnded: (outcome) => outcomes.push(outcome) });
  return { relay, client, stream, outcomes };
}

test("a stream that ended and is then reset with NO_ERROR ends in order, if nothing more was said to it", () => {
  const { relay, client, stream, outcomes } = joined();
  relay.data(stream, Buffer.from("all"));
  relay.ended(stream);
  relay.reset(stream, complete);
  relay.closed();
  assert.deepEqual(client.done, ["write 3", "end"], "what was said is not taken back");
  relay.ended(client);
  relay.closed();
  assert.deepEqual(outcomes, [{ kind: "orderly" }]);
});

test("who goes on talking to a stream that reads no more is reset, and told by whom", () => {
  const { relay, client, stream, outcomes } = joined();
  relay.ended(stream);
  relay.reset(stream, complete);
  relay.closed();
  relay.data(client, Buffer.from("more"));
  assert.deepEqual([client.done, stream.done], [["end", "reset"], []]);
  relay.closed();
  assert.deepEqual(outcomes, [{ kind: "reset", by: "second", cause: complete }]);
  assert.equal(relay.forward, 0);
});

test("RST_STREAM(NO_ERROR) without an end before it is a reset, and so is any other code after one", () => {
  for (const [hasEnded, code] of [
    [false, 0],
    [true, 8],
  ] as const) {
    const { relay, client, stream } = joined();
    if (hasEnded) relay.ended(stream);
    relay.reset(stream, { kind: "stream", code });
    assert.equal(client.done.at(-1), "reset");
  }
});
