import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import { after, before, test } from "node:test";
import { relayedPath, type RelayedConnection, type RelayedPath } from "../../test/support/relayed-path.ts";
import { until } from "../../test/support/until.ts";

let path: RelayedPath;
before(async () => {
  path = await relayedPath();
});
after(() => path.close());

type Side = "client" | "application";
type Action = "end" | "reset";

for (const first of ["client", "application"] as const) {
  for (const action of ["end", "reset"] as const) {
    for (const answer of ["end", "reset"] as const) {
      for (const bytes of [0, 300_000]) {
        const title = `${first} ${says(action)} after ${bytes} bytes, the other side then ${says(answer)}`;
        test(`close order: ${title}`, () => closeOrder(first, action, answer, bytes));
      }
    }
  }
}

/** The first action must arrive as what it was; the answer too, unless the first was a reset, which ends both directions. */
async function closeOrder(first: Side, action: Action, answer: Action, bytes: number): Promise<void> {
  const connection = await path.open();
  const other: Side = first === "client" ? "application" : "client";
  const near = connection[first];
  const far = connection[other];
  const [atNear, atFar] = [observe(near), observe(far)];
  if (bytes > 0) near.write(Buffer.alloc(bytes, "x"));
  await until("the bytes have arrived", 5_000, () => atFar.bytes === bytes);
  act(near, action);
  if (action === "reset") {
    await until("the reset arrives", 5_000, () => atFar.end !== undefined);
    assert.equal(atFar.end, "ECONNRESET");
    far.destroy();
  } else {
    await until("the end arrives", 5_000, () => atFar.end !== undefined);
    assert.equal(atFar.end, "end");
    assert.equal(atNear.end, undefined, "half of the connection is still open");
    far.write(Buffer.alloc(bytes, "y"));
    await until("the answer's bytes arrive", 5_000, () => atNear.bytes === bytes);
    act(far, answer);
    await until("the answer's end arrives", 5_000, () => atNear.end !== undefined);
    assert.equal(atNear.end, answer === "end" ? "end" : "ECONNRESET");
  }
  const [outbound, inbound] = await connection.outcomes;
  const resetBy = action === "reset" ? first : answer === "reset" ? other : undefined;
  if (resetBy === undefined) {
    assert.deepEqual([outbound.kind, inbound.kind], ["orderly", "orderly"]);
    return;
  }
  const by = resetBy === "client" ? "first" : "second";
  assert.deepEqual([outbound.kind, inbound.kind], ["reset", "reset"]);
  assert.deepEqual([outbound.kind === "reset" && outbound.by, inbound.kind === "reset" && inbound.by], [by, by]);
  // What crossed the tunnel says CONNECT_ERROR (RFC 9113 8.5).
  const crossed = resetBy === "client" ? inbound : outbound;
  assert.deepEqual(crossed.kind === "reset" && crossed.cause, { kind: "stream", code: 10 });
}

test("every byte before an end is delivered, however slowly it is read", async () => {
  const { client, application } = await path.open();
  const total = 24 << 20;
  const sent = createHash("sha256");
  const got = createHash("sha256");
  const block = Buffer.alloc(1 << 20);
  for (let i = 0; i < total >> 20; i++) {
    block.fill(i);
    const copy = Buffer.from(block);
    sent.update(copy);
    client.write(copy);
  }
  client.end();
  await until("the path is full", 5_000, () => path.tunnel.streams > 0 && client.bytesWritten > 4 << 20);
  let received = 0;
  for await (const chunk of application as AsyncIterable<Buffer>) {
    got.update(chunk);
    received += chunk.length;
  }
  assert.equal(received, total);
  assert.equal(got.digest("hex"), sent.digest("hex"));
  application.end();
  await new Promise((resolve) => client.resume().once("close", resolve));
});

test("a reader that stalls bounds what is taken from its writer, and another stream of the tunnel goes on", async () => {
  const stalled = await path.open();
  stalled.application.pause();
  const block = Buffer.alloc(1 << 20, "z");
  const pump = (): void => {
    while (stalled.client.write(block)) if (stalled.client.destroyed) return;
  };
  stalled.client.on("drain", pump);
  pump();
  let before = -1;
  await until("no more is taken", 10_000, async () => {
    const now = stalled.relay.forward;
    await new Promise((resolve) => setImmediate(resolve));
    if (now !== before || now === 0) {
      before = now;
      return false;
    }
    return true;
  });
  // A stream's window, its buffers and the kernel's: nowhere near what is offered.
  assert.ok(stalled.relay.forward < 16 << 20, `${stalled.relay.forward} bytes were taken`);
  const lively = await path.open();
  const atApplication = observe(lively.application);
  lively.client.end(Buffer.alloc(8 << 20));
  await until("the other stream is done", 10_000, () => atApplication.end === "end");
  assert.equal(atApplication.bytes, 8 << 20);
  stalled.client.destroy();
  stalled.application.destroy();
  lively.application.end();
});

test("a relay that is cut resets both applications", async () => {
  const connection = await path.open();
  const [atClient, atApplication] = [observe(connection.client), observe(connection.application)];
  connection.relay.cut();
  await until("both see it", 5_000, () => atClient.end !== undefined && atApplication.end !== undefined);
  assert.deepEqual([atClient.end, atApplication.end], ["ECONNRESET", "ECONNRESET"]);
  assert.equal((await connection.outcomes)[0].kind, "cut");
});

test("a tunnel that breaks resets both applications", async () => {
  const own = await relayedPath();
  const connection: RelayedConnection = await own.open();
  const [atClient, atApplication] = [observe(connection.client), observe(connection.application)];
  connection.client.write("x");
  await until("it works", 5_000, () => atApplication.bytes === 1);
  own.tunnel.destroy();
  await until("both see it", 5_000, () => atClient.end !== undefined && atApplication.end !== undefined);
  assert.deepEqual([atClient.end, atApplication.end], ["ECONNRESET", "ECONNRESET"]);
  const [outbound, inbound] = await connection.outcomes;
  assert.equal(outbound.kind === "reset" && outbound.cause.kind, "tunnel");
  assert.equal(inbound.kind === "reset" && inbound.cause.kind, "tunnel");
  await own.close();
});

interface Observed {
  bytes: number;
  end: string | undefined;
}

function observe(socket: Socket): Observed {
  const seen: Observed = { bytes: 0, end: undefined };
  socket.on("data", (chunk: Buffer) => (seen.bytes += chunk.length));
  socket.on("end", () => (seen.end ??= "end"));
  socket.on("error", (error: NodeJS.ErrnoException) => {
    if (seen.end === undefined || error.code === "ECONNRESET") seen.end = error.code;
  });
  return seen;
}

function act(socket: Socket, action: Action): void {
  if (action === "end") socket.end();
  else socket.resetAndDestroy();
}

function says(action: Action): string {
  return action === "end" ? "ends" : "resets";
}
