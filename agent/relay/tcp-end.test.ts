import assert from "node:assert/strict";
import { once } from "node:events";
import { fstatSync } from "node:fs";
import type { Socket } from "node:net";
import { describe, test } from "node:test";
import { socketKinds, socketPair, type SocketKind } from "../../test/support/socket-kinds.ts";
import { until } from "../../test/support/until.ts";
import { BareSocket } from "../../core/linux/bare-socket.ts";
import { descriptorOf } from "../../core/linux/sockets.ts";
import { pauseReasons, type ByteEnd, type EndListener, type ResetCause } from "./byte-end.ts";
import { ResetWatch } from "./reset-watch.ts";
import { TcpEnd } from "./tcp-end.ts";

type Pair = { readonly end: TcpEnd; readonly heard: Heard; readonly other: Socket; readonly watch: ResetWatch };

/** A socket that is made an end of a relay, and the other side of it. */
async function pairOf(kind: SocketKind, isAccepted: boolean): Promise<Pair> {
  const [socket, other] = await socketPair(kind, isAccepted);
  const watch = new ResetWatch();
  const end = new TcpEnd(socket, watch);
  const heard = new Heard();
  end.listener = heard;
  end.resume(pauseReasons.unjoined);
  return { end, heard, other, watch };
}

/** What an end told, and a promise of its last word. */
class Heard implements EndListener {
  readonly told: string[] = [];
  readonly #closed = Promise.withResolvers<void>();
  readonly closing = this.#closed.promise;

  data(_from: ByteEnd, chunk: Uint8Array): void {
    this.told.push(`data ${chunk.length}`);
  }
  ended(): void {
    this.told.push("ended");
  }
  drained(): void {
    this.told.push("drained");
  }
  reset(_from: ByteEnd, cause: ResetCause): void {
    this.told.push(cause.kind === "tcp" ? cause.errno : cause.kind);
  }
  closed(): void {
    this.told.push("closed");
    this.#closed.resolve();
  }
}

const bothWays: Readonly<Record<string, (end: TcpEnd) => void>> = {
  "in the same turn": (end) => {
    end.end();
    end.reset();
  },
  "with bytes before the end": (end) => {
    end.write(Buffer.from("x"));
    end.end();
    end.reset();
  },
  "a turn later": (end) => {
    end.end();
    setImmediate(() => end.reset());
  },
  "when the end has left": (end) => {
    end.end();
    if (end.socket instanceof BareSocket) setImmediate(() => setImmediate(() => end.reset()));
    else end.socket.once("finish", () => end.reset());
  },
};

for (const kind of socketKinds) {
  for (const isAccepted of [false, true]) {
    describe(`over a ${kind} socket that was ${isAccepted ? "accepted" : "connected"}`, () => {
      holds(() => pairOf(kind, isAccepted));
    });
  }
}

function holds(pair: () => Promise<Pair>): void {
  for (const [when, act] of Object.entries(bothWays)) {
    test(`an end that is reset ${when} is closed, and its descriptor with it`, { timeout: 5_000 }, async () => {
      const { end, heard, other } = await pair();
      other.resume();
      const descriptor = descriptorOf(end.socket) ?? -1;
      act(end);
      await heard.closing;
      assert.throws(() => fstatSync(descriptor), { code: "EBADF" });
      assert.deepEqual(heard.told, ["closed"], "a reset of ours is no news");
      const refused = once(other, "error");
      other.write("anybody there?");
      const [{ code }] = (await refused) as [NodeJS.ErrnoException];
      assert.match(code ?? "", /^(ECONNRESET|EPIPE)$/);
    });
  }

  test("a reset drops what has not been taken, however much that is", { timeout: 5_000 }, async () => {
    const { end, heard, other } = await pair();
    other.pause();
    end.write(Buffer.alloc(16 << 20));
    end.end();
    end.reset();
    await heard.closing;
    assert.deepEqual(heard.told, ["closed"]);
    const error = once(other.resume(), "error");
    const [{ code }] = (await error) as [NodeJS.ErrnoException];
    assert.equal(code, "ECONNRESET");
  });

  test("the other side's reset is told once, with its errno, before the close", { timeout: 5_000 }, async () => {
    const { heard, other } = await pair();
    other.resetAndDestroy();
    await heard.closing;
    assert.deepEqual(heard.told, ["ECONNRESET", "closed"]);
  });

  test("a reset is heard of while nobody reads, at the next look", { timeout: 5_000 }, async () => {
    const { end, heard, other, watch } = await pair();
    end.pause(pauseReasons.full);
    other.resetAndDestroy();
    await heardOf(heard, watch);
    assert.deepEqual(heard.told, ["ECONNRESET", "closed"]);
  });

  test("a reset is heard of after a half-close, at the next look", { timeout: 5_000 }, async () => {
    const { heard, other, watch } = await pair();
    other.end("x");
    await until("the end is heard", 5_000, () => heard.told.includes("ended"));
    other.resetAndDestroy();
    await heardOf(heard, watch);
    assert.deepEqual(heard.told, ["data 1", "ended", "EPIPE", "closed"]);
  });

  test("a look at a connection that only stands still leaves it alone", { timeout: 5_000 }, async () => {
    const { end, heard, other, watch } = await pair();
    end.pause(pauseReasons.full);
    other.end("x");
    await once(other, "finish");
    watch.tick();
    end.resume(pauseReasons.full);
    await until("all is heard", 5_000, () => heard.told.includes("ended"));
    assert.deepEqual(heard.told, ["data 1", "ended"]);
    other.on("error", () => {});
    end.reset();
    await heard.closing;
  });

  test("an end that reads is not looked at, however long it is silent", { timeout: 5_000 }, async () => {
    const { end, heard, other, watch } = await pair();
    assert.equal(watch.size, 0);
    end.pause(pauseReasons.full);
    end.resume(pauseReasons.full);
    watch.tick();
    assert.equal(watch.size, 0);
    end.pause(pauseReasons.full);
    watch.tick();
    watch.tick();
    assert.equal(watch.size, 1);
    other.resetAndDestroy();
    await heardOf(heard, watch);
    assert.equal(watch.size, 0);
  });
}

/** Looks until the end is closed. */
function heardOf(heard: Heard, watch: ResetWatch): Promise<unknown> {
  return until("the end is closed", 5_000, () => {
    watch.tick();
    return heard.told.includes("closed");
  });
}
