import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { after, before, test } from "node:test";
import { until } from "../../test/support/until.ts";
import { socketErrors } from "./socket-errors.ts";
import { descriptorOf } from "./sockets.ts";

const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
const sockets: Socket[] = [];
before(async () => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});
after(() => {
  server.close();
  for (const socket of sockets) socket.destroy();
});

/** Neither is read from. */
async function pair(): Promise<[ours: Socket, theirs: Socket]> {
  const accepted = once(server, "connection") as Promise<[Socket]>;
  const theirs = connect({ port: (server.address() as AddressInfo).port, host: "127.0.0.1", allowHalfOpen: true });
  theirs.on("error", () => {});
  const [ours] = await accepted;
  sockets.push(ours, theirs);
  return [ours, theirs];
}

const descriptor = (socket: Socket): number => descriptorOf(socket) ?? -1;

test("a reset of a socket that nobody reads from is told, and of the others nothing", async () => {
  const [resetOurs, resetTheirs] = await pair();
  const [endedOurs, endedTheirs] = await pair();
  const [openOurs] = await pair();
  const asked = [openOurs, resetOurs, endedOurs].map(descriptor);
  assert.deepEqual(socketErrors(asked), [undefined, undefined, undefined]);
  endedTheirs.end("what nobody has read yet");
  resetTheirs.resetAndDestroy();
  const told = await until("the kernel has it", 5_000, () => {
    const errors = socketErrors(asked);
    return errors.some((error) => error !== undefined) && errors;
  });
  assert.deepEqual(told, [undefined, "ECONNRESET", undefined]);
});

test("a reset after a half-close is told as the broken pipe that it is to the kernel", async () => {
  const [ours, theirs] = await pair();
  theirs.end();
  await once(theirs, "finish");
  theirs.resetAndDestroy();
  const told = await until("the kernel has it", 5_000, () => socketErrors([descriptor(ours)])[0]);
  assert.equal(told, "EPIPE");
});

test("no descriptors, and one that is closed, have no error", () => {
  assert.deepEqual(socketErrors([]), []);
  assert.deepEqual(socketErrors([-1, 1_000_000]), [undefined, undefined]);
});
