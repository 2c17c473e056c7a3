/** Header blocks that never end, that are cut, that unfold into far more than they weigh, or that are broken. */
import assert from "node:assert/strict";
import { before } from "node:test";
import { ownAddresses } from "../support/loopback-mesh.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { until } from "../support/until.ts";
import { ServerScene, echoes } from "./engine-scene.ts";
import { dialPeer } from "./frame-peer.ts";
import {
  block,
  connectBlock,
  continuation,
  errorCodeOf,
  flags,
  frame,
  frameTypes,
  h2Errors,
  headers,
} from "./frames.ts";
import { integer, text } from "./frames.ts";
import { MeshScene } from "./mesh-scene.ts";
import { onEngines, ownOnly } from "./on-engines.ts";

const skip = enterNamespaces() ?? false;
before(() => (skip === false ? ownAddresses() : undefined));

for (const size of [1, 16 << 10]) {
  onEngines(
    `H003 a header block whose CONTINUATIONs of ${size} octets never end ends its tunnel`,
    { skip },
    async (t, engine) => {
      const scene = await MeshScene.open(t, engine);
      const attacker = await scene.attacker();
      attacker.send(headers(1, connectBlock(scene.authority), flags.none));
      await attacker.repeat(10_000, continuation(1, Buffer.alloc(size)));
      await attacker.closed;
      await scene.unharmed(t);
    },
  );
}

onEngines("H003 nine CONTINUATIONs of an octet are too many", { skip }, async (t, engine) => {
  const scene = await MeshScene.open(t, engine);
  const attacker = await scene.attacker();
  attacker.send(headers(1, connectBlock(scene.authority), flags.none));
  await attacker.repeat(9, continuation(1, block([["a", ""]])));
  await attacker.closed;
  await scene.unharmed(t);
});

onEngines(
  "H004 a TCP connection that is reset in the middle of a header block, again and again, ends nothing but itself",
  {},
  async (t, engine) => {
    const scene = await ServerScene.open(t, engine);
    await scene.victim.mark();
    for (let round = 0; round < resets; round += 20) {
      const peers = await Promise.all(Array.from({ length: 20 }, () => dialPeer({ port: scene.port })));
      for (const peer of peers) {
        peer.send(headers(1, connectBlock(echoes), flags.none), continuation(1, Buffer.alloc(10)).subarray(0, 12));
        peer.socket.resetAndDestroy();
      }
    }
    await scene.unharmed(t, { rssMb: 64 });
  },
);

onEngines(
  "H005 requests that unfold a table entry 8,000 times are refused, and end the tunnel by the hundredth",
  { skip, only: ownOnly },
  async (t, engine) => {
    const scene = await MeshScene.open(t, engine);
    const attacker = await scene.attacker();
    await attacker.flood(150, (index) => bomb(1 + 2 * index, scene.authority, index === 0));
    await attacker.closed;
    assert.equal(scene.openSockets, 1, "nothing was connected to");
    await scene.unharmed(t);
  },
);

onEngines("H005 a request that unfolds to 32 MB is refused", {}, async (t, engine) => {
  const scene = await ServerScene.open(t, engine);
  const attacker = await scene.attacker();
  attacker.send(bomb(1, echoes, true));
  const answer = await until("a refusal", 10_000, async () => attacker.ending ?? attacker.answer(1));
  assert.notEqual(answer, 200);
  attacker.destroy();
  await scene.unharmed(t);
});

/** Blocks that break RFC 7541, each in its own way. */
const broken: readonly (readonly [string, Buffer])[] = [
  ["an index beyond both tables", Buffer.from([0xff, 0xff, 0x03])],
  ["index zero", Buffer.from([0x80])],
  ["an integer without end", Buffer.alloc(32, 0xff)],
  ["a string longer than its block", Buffer.concat([Buffer.from([0]), integer(5_000, 7), Buffer.from("short")])],
  ["a table size beyond what was offered", integer(1 << 20, 5, 0x20)],
  ["Huffman padding that is too long", Buffer.concat([Buffer.from([0]), text("a"), Buffer.from([0x82, 0xff, 0xff])])],
];

onEngines("H006 a header block that breaks HPACK ends its tunnel and nothing else", {}, async (t, engine) => {
  const scene = await ServerScene.open(t, engine);
  for (const [what, bytes] of broken) {
    const attacker = await scene.attacker();
    attacker.send(headers(1, bytes));
    await attacker.closed;
    assert.equal(attacker.goaway() && errorCodeOf(attacker.goaway()!), h2Errors.compressionError, what);
  }
  await scene.unharmed(t);
});

onEngines("H006 a HEADERS frame beyond the frame size ends its tunnel and nothing else", {}, async (t, engine) => {
  const scene = await ServerScene.open(t, engine);
  const attacker = await scene.attacker();
  attacker.send(frame(frameTypes.headers, flags.endHeaders, 1, Buffer.alloc(4 << 20)));
  await attacker.closed;
  await scene.unharmed(t);
});

onEngines("H006 request after request whose headers are too many costs nobody else anything", {}, async (t, engine) => {
  const scene = await ServerScene.open(t, engine);
  for (let round = 0; round < 20; round++) {
    const attacker = round === 0 ? await scene.attacker() : await dialPeer({ port: scene.port });
    const many = block(Array.from({ length: 400 }, (_, index) => [`x-${index}`, "y".repeat(200)] as const));
    const bytes = Buffer.concat([connectBlock(echoes), many]);
    const cut = 60 << 10;
    attacker.send(
      headers(1, bytes.subarray(0, cut), flags.none),
      continuation(1, bytes.subarray(cut), flags.endHeaders),
    );
    const answer = await until("a refusal", 10_000, async () => attacker.ending ?? attacker.answer(1));
    assert.notEqual(answer, 200);
    attacker.destroy();
  }
  await scene.unharmed(t);
});

/** CONNECT with a 4 KB field put into the table (RFC 7541 6.2.1) the first time, and 8,000 references to it. */
function bomb(stream: number, authority: string, isFirst: boolean): Buffer {
  const entry = Buffer.concat([Buffer.from([0x40]), text("x"), text("v".repeat(4_000))]);
  const references = Buffer.alloc(8_000, 0x80 | 62);
  const bytes = Buffer.concat([connectBlock(authority), ...(isFirst ? [entry] : []), references]);
  return headers(stream, bytes);
}

const resets = 400;
