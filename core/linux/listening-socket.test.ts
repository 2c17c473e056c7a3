import assert from "node:assert/strict";
import { closeSync, openSync } from "node:fs";
import { test } from "node:test";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { AF_INET, libc, SOCK_STREAM } from "./libc.ts";
import { inspectListener, isSocketIn, markSocket } from "./listening-socket.ts";
import { createNetworkNamespace, ownNamespace } from "./namespace.ts";
import { setUp } from "./netlink/links.ts";
import { encodeSocketAddress } from "./socket-address.ts";
import { closeDescriptor, listenTcp, type ListenOptions } from "./sockets.ts";
import { bindUdp } from "./udp-sockets.ts";

const skip = enterNamespaces() ?? false;

function listening(options: ListenOptions): number {
  const listener = listenTcp(options);
  assert.ok("fd" in listener);
  return listener.fd;
}

test("a listening TCP socket tells its port, its transparency and its maker, in both families", { skip }, () => {
  for (const address of ["::", "0.0.0.0"]) {
    for (const transparent of [true, false]) {
      const fd = listening({ address, port: 15_008, transparent });
      const owner = process.getuid?.();
      const expected = { protocol: "tcp", address: undefined, port: 15_008, transparent, owner };
      assert.deepEqual(inspectListener(fd), expected);
      assert.equal(markSocket(fd, 1337), undefined);
      closeDescriptor(fd);
    }
  }
});

test("a bound UDP socket tells its address and port, a connected one is nobody's to serve", { skip }, async () => {
  await setUp("lo");
  for (const address of ["127.0.0.1", "::1"]) {
    const fd = bindUdp({ address, port: 15_053 });
    assert.ok(typeof fd === "number");
    const expected = { protocol: "udp", address, port: 15_053, transparent: false, owner: process.getuid?.() };
    assert.deepEqual(inspectListener(fd), expected);
    const somewhere = encodeSocketAddress(address, 9) ?? new Uint8Array();
    assert.equal(libc.connect(fd, somewhere, somewhere.length), 0);
    assert.equal(inspectListener(fd), undefined);
    closeDescriptor(fd);
  }
});

test("nothing else passes for one", { skip }, () => {
  const file = openSync("/dev/null", "r");
  const silent = libc.socket(AF_INET, SOCK_STREAM, 0);
  const datagrams = libc.socket(AF_INET, 2, 0);
  const unix = libc.socket(1, SOCK_STREAM, 0);
  for (const fd of [file, silent, datagrams, unix, ownNamespace()]) {
    assert.equal(inspectListener(fd), undefined);
    closeSync(fd);
  }
  assert.equal(inspectListener(-1), undefined);
});

test("a socket is in the namespace it was made in and in no other", { skip }, () => {
  const [here, there] = [ownNamespace(), createNetworkNamespace()];
  const fd = listening({ netns: there, address: "::", port: 15_008 });
  assert.equal(isSocketIn(fd, there), true);
  assert.equal(isSocketIn(fd, here), false);
  assert.equal(isSocketIn(here, here), false, "what is no socket is in none");
  [fd, here, there].forEach(closeDescriptor);
});
