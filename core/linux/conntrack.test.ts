import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { forgetConnections, listConnections, type TrackedConnection } from "./conntrack.ts";
import { LinuxError } from "./errno.ts";
import { createNetworkNamespace } from "./namespace.ts";
import { setUp } from "./netlink/links.ts";
import { applyTransaction } from "./nftables/apply.ts";
import { replaceTables } from "./nftables/model.ts";
import { closeDescriptor, connectTcp, listenTcp } from "./sockets.ts";

const skip = enterNamespaces() ?? false;

test(
  "translated and plain connections are listed as they are, and only the chosen ones are forgotten",
  { skip },
  async () => {
    const netns = createNetworkNamespace();
    const listener = listenTcp({ netns, address: "::", port: 7000 });
    if (listener instanceof LinuxError) throw listener;
    const server = createServer((socket) => socket.on("error", () => undefined).resume());
    server.listen({ fd: listener.fd });
    try {
      assert.equal(await setUp("lo", { netns }), undefined);
      const redirected = [
        { kind: "port", protocol: "tcp", side: "destination", port: 80 },
        { kind: "redirect", port: 7000 },
      ] as const;
      const output = {
        name: "output",
        hook: { type: "nat", hook: "output", priority: -100 },
        rules: [redirected],
      } as const;
      const table = { family: "inet", name: "t", chains: [output] } as const;
      assert.equal(await applyTransaction(netns, replaceTables([table])), undefined);

      for (const address of ["127.0.0.1", "::1"])
        for (const port of [80, 7000]) {
          const socket = connectTcp({ netns, remote: { address, port } });
          await once(socket, "connect");
          socket.resetAndDestroy();
        }
      assert.deepEqual(seen(netns), ["127.0.0.1 7000", "127.0.0.1 80 by 7000", "::1 7000", "::1 80 by 7000"]);

      assert.equal((listConnections(netns, { destinationTranslated: true }) as unknown[]).length, 2);
      assert.deepEqual(listConnections(netns, { mark: { value: 7, mask: 0xff } }), []);

      assert.equal(forgetConnections(netns, {}, isTranslated), undefined);
      assert.deepEqual(seen(netns), ["127.0.0.1 7000", "::1 7000"]);
    } finally {
      server.close();
      closeDescriptor(netns);
    }
  },
);

function seen(netns: number): string[] {
  const found = listConnections(netns);
  if (found instanceof LinuxError) throw found;
  return found
    .map((one) => {
      const { address, port } = one.original.destination;
      return `${address} ${port}${isTranslated(one) ? ` by ${one.reply.source.port}` : ""}`;
    })
    .sort();
}

function isTranslated({ original, reply }: TrackedConnection): boolean {
  return original.destination.port !== reply.source.port;
}
