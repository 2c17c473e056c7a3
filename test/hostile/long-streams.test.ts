/** Connections that are long: by what they carry, by who speaks first, by how long nobody says anything. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { before, type TestContext } from "node:test";
import { alice } from "../support/hbone-pair.ts";
import { application, ownAddresses } from "../support/loopback-mesh.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { until } from "../support/until.ts";
import { aliceAddress, bobAddress, MeshScene } from "./mesh-scene.ts";
import { onEngines } from "./on-engines.ts";

const skip = enterNamespaces() ?? false;
before(() => (skip === false ? ownAddresses() : undefined));

onEngines(
  "H041 a gigabyte from a server that speaks first arrives octet by octet, and the end behind it",
  { skip },
  async (t, engine) => {
    const scene = await sceneOfBoth(t, engine);
    const piece = randomBytes(1 << 20);
    const hash = createHash("sha256");
    const port = await serve(t, (socket) => {
      socket.setNoDelay(true);
      let sent = 0;
      const pour = (): void => {
        while (sent < gigabyte) {
          // No two alike, so that a piece that is lost or swapped shows.
          piece.writeUInt32BE(sent >>> 0, 0);
          const next = Buffer.from(piece);
          hash.update(next);
          sent += next.length;
          if (!socket.write(next)) return;
        }
        socket.end();
        socket.removeListener("drain", pour);
      };
      socket.on("drain", pour);
      pour();
    });
    const number = await dial(scene, port);
    const { length, digest } = await until("the end", 60_000, async () => {
      const one = await scene.victim.call("dialled", { number });
      return one.state === "end" && one;
    });
    assert.deepEqual([length, digest], [gigabyte, hash.digest("hex")]);
    const { rssMb, cpuMs } = scene.victim.cost();
    t.diagnostic(`RSS +${rssMb.toFixed(1)} MB, CPU ${cpuMs} ms for both ends`);
    assert.ok(rssMb < 192, `the resident set grew by ${rssMb} MB`);
  },
);

onEngines(
  "H041 a connection that is half closed stays for five silent minutes, whichever half it is",
  { skip },
  async (t, engine) => {
    const scene = await sceneOfBoth(t, engine, true);
    const sockets: Socket[] = [];
    const heard: string[] = [];
    const port = await serve(t, (socket) => {
      sockets.push(socket);
      socket.on("data", (chunk: Buffer) => heard.push(chunk.toString()));
    });
    const [clientEnded, serverEnded] = [await dial(scene, port, "first"), await dial(scene, port, "second")];
    await until("both have been heard", 5_000, () => heard.length === 2);
    const [one, other] = heard[0] === "first" ? sockets : [sockets[1], sockets[0]];
    await scene.victim.call("end", { number: clientEnded });
    await until("the application has heard the end", 5_000, () => one?.readableEnded === true);
    other?.end();
    await until("the client has heard the end", 5_000, async () => {
      return (await scene.victim.call("dialled", { number: serverEnded })).state === "end";
    });
    for (let second = 0; second < 300; second++) await scene.victim.call("advanceMesh", { ms: 1_000 });
    one?.write("late words");
    await until("words against the end arrive", 5_000, async () => {
      return (await scene.victim.call("dialled", { number: clientEnded })).text === "late words";
    });
    await scene.victim.call("write", { number: serverEnded, text: "late, too" });
    await until("and the other way", 5_000, () => heard.includes("late, too"));
    await scene.victim.call("hangUp");
  },
);

async function sceneOfBoth(
  t: TestContext,
  engine: Parameters<typeof MeshScene.open>[1],
  manualClock = false,
): Promise<MeshScene> {
  const scene = await MeshScene.open(t, engine, { manualClock, withoutBystander: true });
  await scene.victim.call("servePod", { path: "default/alice", address: aliceAddress, identity: alice });
  return scene;
}

async function serve(t: TestContext, accepted: (socket: Socket) => void): Promise<number> {
  const app = await application(bobAddress, accepted);
  t.after(app.close);
  return app.port;
}

function dial(scene: MeshScene, port: number, text?: string): Promise<number> {
  const way = { kind: "outbound", pod: aliceAddress, to: bobAddress, port } as const;
  return scene.victim.call("dial", { way, ...(text !== undefined && { text }) });
}

const gigabyte = 1 << 30;
