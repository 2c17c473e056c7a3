import assert from "node:assert/strict";
import { test } from "node:test";
import { errnoOf } from "../../../core/linux/errno.ts";
import { nobody, pauseReasons, type ByteEnd, type EndListener, type PauseReason } from "../../relay/byte-end.ts";
import { StreamDuplex } from "./stream-duplex.ts";

/** A stream that notes what becomes of it. */
class FakeEnd implements ByteEnd {
  listener: EndListener = nobody;
  pauses: number = pauseReasons.unjoined;
  takes = true;
  readonly heard: string[] = [];

  write(chunk: Uint8Array): boolean {
    this.heard.push(Buffer.from(chunk).toString());
    return this.takes;
  }

  end(): void {
    this.heard.push("<end>");
  }

  reset(): void {
    this.heard.push("<reset>");
  }

  pause(reason: PauseReason): void {
    this.pauses |= reason;
  }

  resume(reason: PauseReason): void {
    this.pauses &= ~reason;
  }
}

function pair(): { end: FakeEnd; duplex: StreamDuplex } {
  const end = new FakeEnd();
  const duplex = new StreamDuplex(end);
  duplex.on("error", () => {});
  return { end, duplex };
}

test("F-042 the outer stream is read only as far as the inner one is", () => {
  const { end, duplex } = pair();
  assert.equal(end.pauses, pauseReasons.full, "joined, and nobody asks for bytes yet");
  duplex.read(0);
  assert.equal(end.pauses, 0);
  const much = Buffer.alloc(duplex.readableHighWaterMark);
  end.listener.data(end, much);
  assert.equal(end.pauses, pauseReasons.full);
  assert.equal(duplex.bytesRead, much.length);
  assert.equal((duplex.read() as Buffer).length, much.length);
  duplex.read(0);
  assert.equal(end.pauses, 0);
});

test("F-042 what the outer stream does not take holds the inner one back", () => {
  const { end, duplex } = pair();
  end.takes = false;
  let written = 0;
  duplex.write("one", () => (written += 1));
  duplex.write("two", () => (written += 1));
  assert.deepEqual(end.heard, ["one"]);
  end.takes = true;
  end.listener.drained(end);
  assert.deepEqual(end.heard, ["one", "two"]);
});

test("F-042 ends pass in each direction, and a stream that has ended in both is not reset", async () => {
  const { end, duplex } = pair();
  duplex.resume();
  duplex.end("last");
  end.listener.ended(end);
  await new Promise((resolve) => duplex.once("close", resolve));
  assert.deepEqual(end.heard, ["last", "<end>"]);
});

test("F-042 a duplex that is destroyed resets its stream, once", async () => {
  const { end, duplex } = pair();
  duplex.destroy();
  await new Promise((resolve) => duplex.once("close", resolve));
  end.listener.closed(end);
  assert.deepEqual(end.heard, ["<reset>"]);
});

test("F-042 a stream that is reset, or gone, is the duplex's error, or its end, and is not reset again", async () => {
  const [reset, gone] = [pair(), pair()];
  const failed = new Promise<Error>((resolve) => reset.duplex.once("error", resolve));
  reset.end.listener.reset(reset.end, { kind: "stream", code: 10 });
  assert.equal(errnoOf(await failed), "ECONNRESET");
  const closed = new Promise((resolve) => gone.duplex.once("close", resolve));
  gone.end.listener.closed(gone.end);
  await closed;
  assert.deepEqual([reset.end.heard, gone.end.heard], [[], []]);
});
