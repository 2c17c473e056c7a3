/** CONNECTs that ask for what they may not, in ways that are not allowed, or with their bytes too early. */
import assert from "node:assert/strict";
import { before } from "node:test";
import { ownAddresses } from "../support/loopback-mesh.ts";
import { policy, ruleOf } from "../support/mesh.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { until } from "../support/until.ts";
import { block, connect, connectBlock, continuation, data, flags, frameTypes, headers } from "./frames.ts";
import { mostRssMb } from "./engine-scene.ts";
import { bobAddress, MeshScene } from "./mesh-scene.ts";
import { onEngines, ownOnly } from "./on-engines.ts";

const skip = enterNamespaces() ?? false;
before(() => (skip === false ? ownAddresses() : undefined));

/** Authorities that are none. */
const badAuthorities = [
  `${bobAddress}:0`,
  `${bobAddress}:65536`,
  `${bobAddress}:+80`,
  `${bobAddress}:80 `.trim() + "x",
  bobAddress,
  "[fe80::1%eth0]:80",
  "[10.99.0.3]x:80",
  "0x0a630003:80",
  "10.99.3:80",
  "[::ffff:10.99.0.3:80",
  `${"a".repeat(60_000)}:80`,
];

onEngines(
  "H016 an authority that names no place is answered with 400 each time, and the tunnel lives",
  { skip },
  async (t, engine) => {
    const scene = await MeshScene.open(t, engine);
    const attacker = await scene.attacker();
    const rounds = 1_100;
    for (let index = 0; index < rounds; index++) {
      const stream = 1 + 2 * index;
      send(attacker, stream, connectBlock(badAuthorities[index % 10]!));
      assert.equal(await attacker.answer(stream), 400, badAuthorities[index % 10]);
      attacker.frames.length = 0;
    }
    send(attacker, 2 * rounds + 1, connectBlock(badAuthorities[10]!));
    assert.equal(await attacker.answer(2 * rounds + 1), 400);
    await attacker.open(2 * rounds + 3, scene.authority);
    attacker.destroy();
    await scene.lines("BAD_AUTHORITY", rounds + 1);
    await scene.unharmed(t);
  },
);

/** What nghttp2 resets by itself, and ends the tunnel for after a thousand. */
const oddRequests = (authority: string): readonly (readonly [string, Buffer])[] => [
  [
    ":path and :scheme",
    connectBlock(authority, [
      [":scheme", "https"],
      [":path", "/"],
    ]),
  ],
  [":scheme", connectBlock(authority, [[":scheme", "https"]])],
  [":protocol", connectBlock(authority, [[":protocol", "websocket"]])],
  ["no authority", block([[":method", "CONNECT"]])],
  ["a user", connectBlock(`user@${authority}`)],
];

onEngines(
  "H016 a CONNECT that says more than it may, or less, is answered with 400 each time, and the tunnel lives",
  { skip, only: ownOnly },
  async (t, engine) => {
    const scene = await MeshScene.open(t, engine);
    const attacker = await scene.attacker();
    let stream = -1;
    for (let round = 0; round < 300; round++) {
      for (const [what, bytes] of oddRequests(scene.authority)) {
        attacker.send(headers((stream += 2), bytes));
        assert.equal(await attacker.answer(stream), 400, what);
        attacker.frames.length = 0;
      }
    }
    await attacker.open((stream += 2), scene.authority);
    attacker.destroy();
    // Fifteen hundred refusals leave garbage, and a busy machine collects it late.
    await scene.unharmed(t, { rssMb: 2 * mostRssMb });
  },
);

onEngines("H016 a name of 64 KB is refused, and the tunnel lives", { skip, only: ownOnly }, async (t, engine) => {
  const scene = await MeshScene.open(t, engine);
  const attacker = await scene.attacker();
  send(attacker, 1, connectBlock(`${"a".repeat(64 << 10)}:80`));
  assert.notEqual(await attacker.answer(1), 200);
  await attacker.open(3, scene.authority);
  attacker.destroy();
  await scene.unharmed(t);
});

const elsewhere = ["10.99.0.2:80", "127.0.0.1:80", "[::1]:80", "10.99.0.1:80", "169.254.169.254:80", "0.0.0.0:80"];

onEngines(
  "H017 H039 a place that is not the pod is answered with 400, and nobody is connected to",
  { skip },
  async (t, engine) => {
    const scene = await MeshScene.open(t, engine);
    const attacker = await scene.attacker();
    const { connects } = await scene.victim.call("meshCounts");
    const mapped = elsewhere.slice(0, 2).map((authority) => `[::ffff:${authority.split(":")[0]}]:80`);
    for (const [index, authority] of [...elsewhere, ...mapped].entries()) {
      attacker.send(connect(1 + 2 * index, authority));
      assert.equal(await attacker.answer(1 + 2 * index), 400, authority);
    }
    assert.equal((await scene.victim.call("meshCounts")).connects, connects);
    await scene.lines("DEST_NOT_LOCAL", elsewhere.length + mapped.length);
    attacker.destroy();
    await scene.unharmed(t);
  },
);

onEngines(
  "H018 the agent's own ports are answered with 503, and nobody is connected to",
  { skip },
  async (t, engine) => {
    const scene = await MeshScene.open(t, engine);
    const attacker = await scene.attacker();
    const { connects } = await scene.victim.call("meshCounts");
    for (const [index, port] of [15_001, 15_006, 15_008, 15_053].entries()) {
      attacker.send(connect(1 + 2 * index, `${bobAddress}:${port}`));
      assert.equal(await attacker.answer(1 + 2 * index), 503);
    }
    assert.equal((await scene.victim.call("meshCounts")).connects, connects);
    await scene.lines("RECURSIVE_CALL", 4);
    attacker.destroy();
    await scene.unharmed(t);
  },
);

onEngines(
  "H039 an address has one form before a rule is asked: a mapped one evades none",
  { skip },
  async (t, engine) => {
    const ip = { prefix: Uint8Array.of(10, 99, 0, 3), length: 32 };
    const deny = policy("default/not-there", { action: "deny", rules: [ruleOf({ destinationIps: [ip] })] });
    const scene = await MeshScene.open(t, engine, { update: { policies: [deny] }, withoutBystander: true });
    const attacker = await scene.attacker();
    const forms = [bobAddress, "[::ffff:10.99.0.3]", "[::ffff:a63:3]", "[0:0:0:0:0:FFFF:0A63:0003]"];
    for (const [index, form] of forms.entries()) {
      attacker.send(connect(1 + 2 * index, `${form}:${scene.appPort}`));
      assert.equal(await attacker.answer(1 + 2 * index), 401, form);
    }
    await scene.lines("POLICY_DENIED", forms.length);
    assert.equal(scene.accepted.length, 0);
    attacker.destroy();
    await scene.unharmed(t);
  },
);

onEngines("H019 what a denied peer sends before the answer reaches nobody", { skip }, async (t, engine) => {
  const deny = policy("default/nobody", { action: "deny", rules: [ruleOf({ principals: [{ kind: "presence" }] })] });
  const scene = await MeshScene.open(t, engine, { update: { policies: [deny] }, withoutBystander: true });
  const attacker = await scene.attacker();
  attacker.send(connect(1, scene.authority), data(1, "let me in"), data(1, "quickly", flags.endStream));
  assert.equal(await attacker.answer(1), 401);
  assert.equal(scene.accepted.length, 0);
  await scene.lineOf("POLICY_DENIED");
  attacker.destroy();
  await scene.unharmed(t);
});

onEngines(
  "H019 what an allowed peer sends before the answer reaches the application whole, once it has accepted",
  { skip },
  async (t, engine) => {
    const scene = await MeshScene.open(t, engine);
    const attacker = await scene.attacker();
    attacker.send(connect(1, scene.authority), data(1, "early "), data(1, "words"));
    assert.equal(await attacker.answer(1), 200);
    await until("all has come back", 5_000, () => attacker.received(1).toString() === "early words");
    assert.ok(attacker.frames.findIndex(({ type }) => type === frameTypes.headers) >= 0);
    attacker.destroy();
    await scene.unharmed(t);
  },
);

type Peer = Awaited<ReturnType<MeshScene["attacker"]>>;

/** HEADERS and as many CONTINUATIONs as the block needs. */
function send(peer: Peer, stream: number, bytes: Buffer): void {
  const most = 16_384;
  const isWhole = bytes.length <= most;
  peer.send(headers(stream, bytes.subarray(0, most), isWhole ? flags.endHeaders : flags.none));
  for (let at = most; at < bytes.length; at += most) {
    const isLast = at + most >= bytes.length;
    peer.send(continuation(stream, bytes.subarray(at, at + most), isLast ? flags.endHeaders : flags.none));
  }
}
