/** Pods that leave themselves no room: few local ports, no buffers, no IPv6, no backlog, a full table of connections. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { enterNamespaces } from "../support/namespaced.ts";
import { until } from "../support/until.ts";
import { CapturedPods, type Dialled, type Sysctls } from "./captured-pods.ts";

const skip = enterNamespaces() ?? false;

const onePort: Sysctls = {
  "ipv4/ip_local_port_range": "40000 40000",
  "ipv4/tcp_rmem": "4096 4096 4096",
  "ipv4/tcp_wmem": "4096 4096 4096",
  "ipv6/conf/all/disable_ipv6": "1",
  "core/somaxconn": "0",
};

test(
  "H084 a pod with one local port, no buffers, no IPv6 and no backlog is served, and fails by itself alone",
  { skip },
  async (t) => {
    const world = await open(t, onePort);
    await world.application("alice", 80);
    for (const port of [80, 81]) await world.application("bob", port);
    await world.application("outside", 80);

    // Others reach it, several at a time.
    const inward = Array.from({ length: 5 }, () => world.connect("bob", "alice", 80));
    for (const one of inward) assert.equal(await one.echo("x".repeat(50_000)), true);

    // Its only port leads once to each destination: two of them by one tunnel.
    const outward = [world.connect("alice", "bob", 80), world.connect("alice", "bob", 81)];
    for (const one of outward) assert.equal(await one.echo("y".repeat(50_000)), true);
    assert.deepEqual(world.lines, []);

    // Outside of the mesh we would need the port that the application has taken itself.
    const outside = world.connect("alice", "outside", 80);
    assert.equal(await outside.echo("z"), "ECONNRESET");
    const [line] = await world.refused("EPHEMERAL_EXHAUSTED", 1);
    assert.deepEqual([line?.["src.workload"], line?.["detail"]], ["alice", "EADDRNOTAVAIL"]);

    for (const one of [...inward, ...outward]) assert.equal(await one.echo("still here"), true);
    assert.equal(await world.connect("bob", "alice", 80).echo("and new"), true);
    assert.equal(world.lines.length, 1);
  },
);

test(
  "H102 when all local ports lead to one destination already, others are reached, and the reason names the limit",
  { skip },
  async (t) => {
    const world = await open(t, { "ipv4/ip_local_port_range": "40000 40063" });
    for (const port of [80, 81]) await world.application("outside", port);
    await world.application("bob", 80);
    const many: Dialled[] = [];
    // Applications choose theirs elsewhere: the ports between 40000 and 40063 are the agent's alone.
    for (let at = 0; at < 80; at++) many.push(world.connect("alice", "outside", 80, 50_000 + at));
    const answers = await Promise.all(many.map((one) => one.echo("hello")));
    const served = many.filter((_, at) => answers[at] === true);
    t.diagnostic(`${served.length} of ${many.length} were served`);
    assert.equal(served.length, 64);
    assert.deepEqual(new Set(answers), new Set([true, "ECONNRESET"]));
    const lines = await world.refused("EPHEMERAL_EXHAUSTED", 16);
    assert.equal(lines.length, 16);
    assert.ok(lines.every((line) => line["dst.addr"] === "10.99.2.3:80" && line["detail"] === "EADDRNOTAVAIL"));
    assert.equal(await world.connect("alice", "outside", 81, 51_000).echo("another port there"), true);
    assert.equal(await world.connect("alice", "bob", 80, 51_000).echo("another place"), true);
    assert.equal(await served[0]?.echo("still here"), true);
    served[1]?.socket.resetAndDestroy();
    await until("there is room for one again", 5_000, async () => {
      return (await world.connect("alice", "outside", 80, 51_001).echo("again")) === true;
    });
  },
);

test(
  "H102 where the kernel drops what it cannot track, that connection times out, and no other is harmed",
  { skip },
  async (t) => {
    const world = await open(t, {}, 1_000);
    for (const port of [80, 81]) await world.application("outside", port);
    await world.application("bob", 80);
    await world.application("alice", 80);
    // A full table (nf_conntrack_max) is the whole machine's, and not a test's to fill: this drops the same packets at the same place.
    world.nft("alice", fullTable);
    const first = Array.from({ length: 4 }, (_, at) => world.connect("alice", "outside", 80, 50_000 + at));
    for (const one of first) assert.equal(await one.echo("hello"), true);
    assert.equal(await world.connect("alice", "outside", 80, 51_000).echo("one too many"), "ECONNRESET");
    const [line] = await world.refused("CONNECT_TIMEOUT", 1);
    // connect() hears nothing of it: the SYN is dropped and sent again.
    assert.equal(line?.["detail"], "ETIMEDOUT");
    for (const one of first) assert.equal(await one.echo("still here"), true);
    assert.equal(await world.connect("bob", "alice", 80).echo("from elsewhere"), true);
  },
);

async function open(t: TestContext, cramped: Sysctls, connectDeadlineMs = 5_000): Promise<CapturedPods> {
  const world = await CapturedPods.open(cramped, { connectDeadlineMs });
  t.after(() => world.close());
  return world;
}

/** Of the agent's own connections to the outside, the fifth and all that follow. */
const fullTable = `
  table inet full {
    chain output {
      type filter hook output priority filter;
      meta mark & 0x00000fff == 0x00000539 ip daddr 10.99.2.3 ct state new ct count over 4 drop
    }
  }`;
