import assert from "node:assert/strict";
import { connect, createServer, Socket } from "node:net";
import { once } from "node:events";
import { readlinkSync } from "node:fs";
import { test } from "node:test";
import { LinuxError } from "../../core/linux/errno.ts";
import { BareSocket } from "../../core/linux/bare-socket.ts";
import { BareStream } from "../../core/linux/bare-stream.ts";
import { libc } from "../../core/linux/libc.ts";
import { localOf, peerOf, type AnySocket } from "../../core/linux/socket-ends.ts";
import { descriptorOf, duplicateDescriptor, listenTcp } from "../../core/linux/sockets.ts";
import { tested } from "../../test/support/socket-kinds.ts";
import { Listeners, type AcceptHandlers } from "./listeners.ts";

const kinds = tested.kind === "bare" ? "all" : "none";

/** A listening socket on a port of its own, and the port. */
async function socketOf(): Promise<{ fd: number; port: number }> {
  const finder = createServer().listen(0, "127.0.0.1");
  await once(finder, "listening");
  const { port } = finder.address() as { port: number };
  await new Promise((resolve) => finder.close(resolve));
  const listened = listenTcp({ address: "127.0.0.1", port });
  assert.ok(!(listened instanceof LinuxError));
  return { fd: listened.fd, port };
}

function copyOf(fd: number): number {
  const copy = duplicateDescriptor(fd);
  assert.ok(!(copy instanceof LinuxError));
  return copy;
}

test("sockets that are held leave every connection to whoever else accepts, and take part once they are opened", async () => {
  const [outbound, plaintext, hbone] = [await socketOf(), await socketOf(), await socketOf()];
  const { promise: opening, resolve: open } = Promise.withResolvers<void>();
  const ours: AnySocket[] = [];
  const accepted = (socket: AnySocket): void => void ours.push(socket);
  const predecessor = createServer((socket) => socket.end("predecessor")).listen({ fd: copyOf(outbound.fd) });
  await once(predecessor, "listening");
  const listeners = new Listeners(
    { outbound: outbound.fd, plaintext: plaintext.fd, hbone: hbone.fd },
    { outbound: accepted, plaintext: accepted, hbone: accepted },
    { bare: kinds, opening },
  );
  for (let round = 0; round < 50; round++) {
    const [answer] = (await once(connect(outbound.port, "127.0.0.1"), "data")) as [Buffer];
    assert.equal(String(answer), "predecessor");
  }
  assert.equal(ours.length, 0);
  // It connects all the same: the kernel keeps it.
  const waiting = connect(hbone.port, "127.0.0.1");
  await once(waiting, "connect");
  predecessor.close();
  open();
  await listeners.listening;
  const ends = [waiting, connect(outbound.port, "127.0.0.1")];
  while (ours.length < 2) await new Promise((resolve) => setImmediate(resolve));
  await listeners.closeCaptures();
  await listeners.closeHbone();
  for (const socket of [...ours, ...ends]) socket.destroy();
});

test("sockets that were never opened are closed, and opening comes too late", async () => {
  const [outbound, plaintext, hbone] = [await socketOf(), await socketOf(), await socketOf()];
  const { promise: opening, resolve: open } = Promise.withResolvers<void>();
  const descriptors = { outbound: outbound.fd, plaintext: plaintext.fd, hbone: hbone.fd };
  const nobody = (): void => assert.fail("nothing may be accepted");
  const listeners = new Listeners(
    descriptors,
    { outbound: nobody, plaintext: nobody, hbone: nobody },
    { bare: kinds, opening },
  );
  await listeners.closeCaptures();
  await listeners.closeHbone();
  open();
  await listeners.listening;
  for (const fd of Object.values(descriptors)) assert.throws(() => readlinkSync(`/proc/self/fd/${fd}`));
  for (const { port } of [outbound, plaintext, hbone]) {
    const [error] = (await once(connect(port, "127.0.0.1"), "error")) as [NodeJS.ErrnoException];
    assert.equal(error.code, "ECONNREFUSED");
  }
});

test("what comes is of the kind that was asked for, knows its ends, and sends without delay", async () => {
  const [outbound, plaintext, hbone] = [await socketOf(), await socketOf(), await socketOf()];
  const came: { port: keyof AcceptHandlers; socket: AnySocket }[] = [];
  const listeners = new Listeners(
    { outbound: outbound.fd, plaintext: plaintext.fd, hbone: hbone.fd },
    {
      outbound: (socket) => came.push({ port: "outbound", socket }),
      plaintext: (socket) => came.push({ port: "plaintext", socket }),
      hbone: (socket) => came.push({ port: "hbone", socket }),
    },
    { bare: kinds },
  );
  await listeners.listening;
  for (const [name, { port }] of Object.entries({ outbound, plaintext, hbone })) {
    const client = connect({ port, host: "127.0.0.1" });
    await once(client, "connect");
    while (came.length === 0) await new Promise((resolve) => setImmediate(resolve));
    const { port: at, socket } = came.pop()!;
    assert.equal(at, name);
    const kind = tested.kind === "node" ? Socket : name === "hbone" ? BareStream : BareSocket;
    assert.ok(socket instanceof kind);
    assert.deepEqual(peerOf(socket), { address: "127.0.0.1", port: client.localPort });
    assert.deepEqual(localOf(socket), { address: "127.0.0.1", port });
    const noDelay = new Int32Array(1);
    const [SOL_TCP, TCP_NODELAY] = [6, 1];
    assert.equal(libc.getsockopt(descriptorOf(socket) ?? -1, SOL_TCP, TCP_NODELAY, noDelay, Int32Array.of(4)), 0);
    assert.equal(noDelay[0], 1);
    client.on("error", () => {});
    socket.destroy();
  }
  await listeners.closeCaptures();
  await listeners.closeHbone();
});

test("H101 what is paused refuses nobody: it waits, for another worker or for the end of the pause", async () => {
  const [outbound, plaintext, hbone] = [await socketOf(), await socketOf(), await socketOf()];
  const ours: AnySocket[] = [];
  const accepted = (socket: AnySocket): void => void ours.push(socket);
  const descriptors = { outbound: outbound.fd, plaintext: plaintext.fd, hbone: hbone.fd };
  const listeners = new Listeners(
    descriptors,
    { outbound: accepted, plaintext: accepted, hbone: accepted },
    { bare: kinds },
  );
  await listeners.listening;
  for (let round = 1; round <= 3; round++) {
    listeners.pause();
    listeners.pause();
    const waiting = [outbound, plaintext, hbone].map(({ port }) => connect(port, "127.0.0.1"));
    await Promise.all(waiting.map((socket) => once(socket, "connect")));
    assert.equal(ours.length, 3 * (round - 1));
    listeners.resume();
    while (ours.length < 3 * round) await new Promise((resolve) => setImmediate(resolve));
  }
  listeners.pause();
  await listeners.closeCaptures();
  await listeners.closeHbone();
  listeners.resume();
  for (const { port } of [outbound, plaintext, hbone]) {
    const [error] = (await once(connect(port, "127.0.0.1"), "error")) as [NodeJS.ErrnoException];
    assert.equal(error.code, "ECONNREFUSED");
  }
  for (const socket of ours) socket.destroy();
});
