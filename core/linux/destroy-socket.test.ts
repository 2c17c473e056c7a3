import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { before, test, type TestContext } from "node:test";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { setUp } from "./netlink/links.ts";
import { destroySocket, type ConnectionEnd } from "./destroy-socket.ts";

const skip = enterNamespaces() ?? false;
before(async () => {
  if (skip === false) assert.equal(await setUp("lo"), undefined);
});

for (const address of ["127.0.0.1", "::1"])
  test(`a connection over ${address} that is destroyed at one end is reset at the other`, { skip }, async (t) => {
    const { near, far } = await pair(t, "::", address);
    const end: ConnectionEnd = {
      local: { address, port: near.localPort! },
      remote: { address, port: near.remotePort! },
    };
    const [nearEnds, farEnds] = [failureOf(near), failureOf(far)];
    assert.equal(destroySocket(undefined, end), undefined);
    assert.equal(await nearEnds, "ECONNABORTED");
    assert.equal(await farEnds, "ECONNRESET");
    assert.equal(destroySocket(undefined, end), undefined, "one that is gone is no error");
  });

test("only what was meant ends", { skip }, async (t) => {
  const { near, far } = await pair(t, "127.0.0.1", "127.0.0.1");
  const [local, remote] = [near.localPort!, near.remotePort!];
  const other = { address: "127.0.0.1", port: remote === 1 ? 2 : 1 };
  assert.equal(destroySocket(undefined, { local: { address: "127.0.0.1", port: local }, remote: other }), undefined);
  far.write("still here");
  const [heard] = (await once(near, "data")) as [Buffer];
  assert.equal(heard.toString(), "still here");
});

async function pair(t: TestContext, listen: string, to: string): Promise<{ near: Socket; far: Socket }> {
  const server = createServer();
  server.listen(0, listen);
  await once(server, "listening");
  const accepted = once(server, "connection") as Promise<[Socket]>;
  const near = connect((server.address() as AddressInfo).port, to);
  await once(near, "connect");
  const [far] = await accepted;
  t.after(() => {
    near.destroy();
    far.destroy();
    server.close();
  });
  return { near, far };
}

async function failureOf(socket: Socket): Promise<string | undefined> {
  socket.resume();
  const [thrown] = (await once(socket, "error").catch((error: unknown) => [error])) as [NodeJS.ErrnoException];
  return thrown.code;
}
