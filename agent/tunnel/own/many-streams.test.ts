import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { alice, openStream, openTunnel, startServer } from "../../../test/support/hbone-pair.ts";
import { until } from "../../../test/support/until.ts";
import { pauseReasons, type ByteEnd, type EndListener } from "../../relay/byte-end.ts";
import { TunnelError, type ClientTunnel } from "../tunnel.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

test("100,000 streams that came and went leave nothing behind in their tunnel", async (t) => {
  const server = await startServer({
    engine: "own",
    onStream: (stream) => {
      const end = stream.accept({});
      end.listener = new Echo();
      end.resume(pauseReasons.unjoined);
    },
  });
  t.after(server.close);
  const tunnel = await openTunnel(server.port, { as: alice, engine: "own" });
  assert.ok(!(tunnel instanceof TunnelError), "no tunnel");
  await streams(tunnel, 10_000);
  const before = left();
  await streams(tunnel, 90_000);
  const after = left();
  t.diagnostic(`heap ${before.heapUsed} -> ${after.heapUsed}, buffers ${before.arrayBuffers} -> ${after.arrayBuffers}`);
  assert.equal(tunnel.streams, 0);
  assert.ok(after.heapUsed - before.heapUsed < 1 << 20, `${after.heapUsed - before.heapUsed} octets more`);
  assert.ok(after.arrayBuffers - before.arrayBuffers < 1 << 20);
  assert.deepEqual(after.resources, before.resources);
  assert.equal(server.refusals.length, 0);
  tunnel.destroy();
  await until("the server has heard it", 5_000, () => server.hbone.tunnels === 0);
});

function left(): { heapUsed: number; arrayBuffers: number; resources: string[] } {
  collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  const resources = process.getActiveResourcesInfo().filter((name) => name !== "Immediate");
  return { heapUsed, arrayBuffers, resources: resources.sort() };
}

/** A hundred at a time, each ended in one of three ways. */
async function streams(tunnel: ClientTunnel, count: number): Promise<void> {
  let begun = 0;
  const one = async (): Promise<void> => {
    while (begun < count) {
      const number = begun++;
      const stream = await openStream(tunnel);
      if (stream instanceof TunnelError) throw stream;
      await new Promise<void>((resolve) => {
        stream.listener = new Asker(number, resolve);
        stream.resume(pauseReasons.unjoined);
        stream.write(words);
        if (number % 3 !== 0) stream.end();
      });
    }
  };
  await Promise.all(Array.from({ length: tunnel.room }, one));
}

class Echo implements EndListener {
  data(from: ByteEnd, chunk: Uint8Array): void {
    from.write(chunk);
  }

  ended(from: ByteEnd): void {
    from.end();
  }

  drained(): void {}

  reset(): void {}

  closed(): void {}
}

class Asker implements EndListener {
  readonly #number: number;
  readonly #closed: () => void;

  constructor(number: number, closed: () => void) {
    this.#number = number;
    this.#closed = closed;
  }

  data(from: ByteEnd): void {
    if (this.#number % 3 === 0) from.reset();
  }

  ended(): void {}

  drained(): void {}

  reset(): void {}

  closed(): void {
    this.#closed();
  }
}

const words = Buffer.from("words");
