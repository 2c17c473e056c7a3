import assert from "node:assert/strict";
import { closeSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { after, before, test } from "node:test";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { until } from "../../test/support/until.ts";
import { LinuxError } from "./errno.ts";
import { createNetworkNamespace } from "./namespace.ts";
import { addAddress } from "./netlink/addresses.ts";
import { createVeth, setUp } from "./netlink/links.ts";
import { disableOffloads } from "./offloads.ts";
import { openPacketSocket, type Direction, type PacketSocket, type PacketSocketOptions } from "./packet-socket.ts";
import { connectTcp, listenTcp, type Listener } from "./sockets.ts";

const skip = enterNamespaces() ?? false;
const [left, right] = ["10.0.0.1", "10.0.0.2"];
let a = -1;
let b = -1;
let middle = -1;

before(async () => {
  if (skip !== false) return;
  // Two hosts with a machine between them that only carries frames: a wire.
  [a, b, middle] = [createNetworkNamespace(), createNetworkNamespace(), createNetworkNamespace()];
  await createVeth({ name: "eth0", netns: a, peer: { name: "wire0", netns: middle } });
  await createVeth({ name: "eth0", netns: b, peer: { name: "wire1", netns: middle } });
  for (const [name, netns] of [
    ["eth0", a],
    ["eth0", b],
    ["wire0", middle],
    ["wire1", middle],
  ] as const) {
    assert.equal(disableOffloads(name, netns), undefined);
    await setUp(name, { netns });
  }
  await addAddress({ interface: "eth0", address: left, prefix: 24, netns: a });
  await addAddress({ interface: "eth0", address: right, prefix: 24, netns: b });
});
after(() => [a, b, middle].forEach((fd) => fd >= 0 && closeSync(fd)));

test("frames carried by hand make a link, whole segments with right checksums", { skip }, async () => {
  const [one, two] = [
    open({ interface: "wire0", netns: middle, outgoing: false }),
    open({ interface: "wire1", netns: middle, outgoing: false }),
  ];
  const watcher = open({ interface: "eth0", netns: a });
  const seen: { direction: Direction; length: number; marker: boolean }[] = [];
  watcher.onFrame((frame, direction) => {
    seen.push({ direction, length: frame.length, marker: Buffer.from(frame).includes("a known marker") });
  });
  let carried = 0;
  const carry = (to: PacketSocket) => (frame: Uint8Array) => {
    carried++;
    assert.equal(to.send(frame), undefined);
  };
  one.onFrame(carry(two));
  two.onFrame(carry(one));

  const listener = listenTcp({ netns: b, address: right, port: 80 }) as Listener;
  const served: Socket[] = [];
  const server = createServer((socket) => {
    served.push(socket);
    socket.end(Buffer.alloc(1_000_000, "a known marker "));
  }).listen({ fd: listener.fd });
  const client = connectTcp({ netns: a, remote: { address: right, port: 80 } });
  const bytes = Buffer.concat((await client.toArray()) as Buffer[]);
  assert.equal(bytes.length, 1_000_000);
  assert.ok(carried > 600, `${carried} frames`);
  watcher.flush();
  assert.ok(
    seen.every(({ length }) => length <= 1514),
    "no frame is longer than the MTU",
  );
  assert.ok(seen.some(({ direction, marker }) => direction === "in" && marker));
  assert.ok(seen.some(({ direction }) => direction === "out"));
  assert.equal(watcher.dropped(), 0);
  // Their wire goes before they can say goodbye.
  for (const socket of [client, ...served]) socket.destroy();
  server.close();
  [one, two, watcher].forEach((socket) => socket.close());
});

test("a frame that the watcher has no room for is counted", { skip }, async () => {
  const sender = open({ interface: "wire0", netns: middle, outgoing: false });
  const watcher = open({ interface: "eth0", netns: a });
  const frame = Buffer.alloc(1000, 0xff);
  frame.writeUInt16BE(0x88b5, 12); // local experimental
  let got = 0;
  watcher.onFrame(() => got++);
  let sent = 0;
  // Nobody reads while this loop runs.
  for (; sent < 100_000; sent++) if (sender.send(frame) !== undefined) break;
  watcher.flush();
  const dropped = watcher.dropped();
  assert.ok(dropped > 0, `${sent} sent, ${got} seen`);
  assert.equal(got + dropped >= sent, true);
  assert.equal(watcher.dropped(), 0, "counted from the last time");
  [sender, watcher].forEach((socket) => socket.close());
  assert.equal(watcher.dropped(), 0);
});

test("an interface that isn't there cannot be opened", { skip }, () => {
  const failure = openPacketSocket({ interface: "eth9", netns: a });
  assert.deepEqual((failure as LinuxError).type, { code: "linux.no-interface", name: "eth9" });
  assert.equal(disableOffloads("eth9", a)?.errno, "ENODEV");
});

test("frames of a closed socket reach nobody", { skip }, async () => {
  const sender = open({ interface: "wire0", netns: middle });
  const first = open({ interface: "eth0", netns: a });
  const second = open({ interface: "eth0", netns: a });
  let [firstGot, secondGot] = [0, 0];
  first.onFrame(() => {
    firstGot++;
    first.close();
  });
  second.onFrame(() => secondGot++);
  const frame = Buffer.alloc(60, 0xff);
  for (let i = 0; i < 10; i++) sender.send(frame);
  await until("ten frames", 5_000, () => secondGot >= 10);
  assert.equal(firstGot, 1);
  [sender, second].forEach((socket) => socket.close());
});

function open(options: PacketSocketOptions): PacketSocket {
  const socket = openPacketSocket(options);
  if (socket instanceof LinuxError) throw socket;
  return socket;
}
