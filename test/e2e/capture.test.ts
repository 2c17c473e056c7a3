/** Pods of a labelled namespace reach each other, and the outside, by way of their nodes' agents. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { endpointText, isInboundOf, isOutboundOf, peerAddress, type Asked } from "../support/answers.ts";
import { useLab } from "../support/mesh-lab.ts";
import { idlePod, namespace, pod, service } from "../support/manifests.ts";
import { until } from "../support/until.ts";

const lab = useLab([
  namespace("shop", { ambient: true }),
  idlePod("shop/alice", { node: "node1" }),
  pod("shop/near", { node: "node1" }),
  pod("shop/far", { node: "node2" }),
  service("shop/near"),
  service("shop/far"),
  namespace("outside"),
  idlePod("outside/visitor", { node: "node1" }),
  pod("outside/plain", { node: "node2" }),
  service("outside/plain"),
]);

const alice = "spiffe://cluster.local/ns/shop/sa/alice";

for (const family of [4, 6] as const) {
  for (const server of ["far", "near"] as const) {
    const where = server === "far" ? "of another node" : "of the same node";
    const node = server === "far" ? "node2" : "node1";

    test(`F-032 a service with a pod ${where} is reached by its virtual IPv${family} address, as the caller that it is`, async () => {
      await reachesAs(`http://${host(await lab().vipOf(`shop/${server}`, family))}/`, server, node);
    });

    test(`F-021 F-031 a pod ${where} is reached by its own IPv${family} address, as the caller that it is`, async () => {
      await reachesAs(`http://${host(await lab().addressOf(`shop/${server}`, family))}:8080/`, server, node);
    });
  }

  test(`F-031 a pod outside the mesh is reached in plaintext over IPv${family}, by either address`, async () => {
    const urls = [
      `http://${host(await lab().vipOf("outside/plain", family))}/`,
      `http://${host(await lab().addressOf("outside/plain", family))}:8080/`,
    ];
    for (const url of urls) {
      const asked = await ask("shop/alice", url);
      assert.equal(asked.answer.pod, "outside/plain");
      assert.equal(peerAddress(asked), await lab().addressOf("shop/alice", family));
      const line = await lab().accessLine("node1", `outbound of ${url}`, (record) => isOutboundOf(record, asked));
      assert.equal(line.protocol, "tcp");
      assert.equal(line.reason, "OK");
      assert.equal(line["src.identity"], undefined, "nobody was shown a certificate");
    }
  });

  test(`F-068 a caller outside the mesh is let in over IPv${family}, without an identity`, async () => {
    const asked = await ask("outside/visitor", `http://${host(await lab().vipOf("shop/far", family))}/`);
    assert.equal(peerAddress(asked), await lab().addressOf("outside/visitor", family));
    const line = await lab().accessLine("node2", "inbound, plaintext", (record) => isInboundOf(record, asked));
    assert.equal(line.protocol, "tcp");
    assert.equal(line["src.identity"], undefined);
  });
}

test("2,000 connections at once from outside the mesh all talk: ours to the application take no port of theirs", async (t) => {
  const started = performance.now();
  const far = endpointText(await lab().addressOf("shop/far"), 9000);
  const [result] = await lab().client("outside/visitor", "crowd", far, 2_000);
  t.diagnostic(`2,000 connections in ${Math.round(performance.now() - started)} ms`);
  assert.deepEqual(result, { good: 2_000 });
});

test("curl is served like any other client", { skip: withoutCurl() }, async () => {
  for (const family of [4, 6] as const) {
    const url = `http://${host(await lab().vipOf("shop/far", family))}/curl`;
    const { code, stdout, stderr } = await lab().run("shop/alice", ["curl", "-sS", "--max-time", "20", "-g", url]);
    assert.equal(code, 0, stderr);
    const answer = JSON.parse(stdout) as Asked["answer"];
    assert.equal(answer.pod, "shop/far");
    assert.equal(answer.peer.replace(/^::ffff:/, ""), await lab().addressOf("shop/alice", family));
  }
});

test("between pods only port 15008 is seen on the link, and nothing of what they say; without the label both are seen", async (t) => {
  const secret = "marker-7f3a91c2-of-the-meshed";
  const open = "marker-b80d44e5-of-the-unlabelled";
  for (const node of ["node1", "node2"]) await lab().sniff(node, secret, open);
  const urls = await urlsOfFar();
  for (const url of urls) for (let i = 0; i < 5; i++) await ask("shop/alice", `${url}${secret}`);
  await talk("shop/alice", secret);
  for (const node of ["node1", "node2"]) {
    const counts = await lab().sniffed(node);
    t.diagnostic(`${node}: ${counts.frames} frames, between pods by port ${JSON.stringify(counts.podSegments)}`);
    assert.equal(counts.dropped, 0, "frames that the sniffer had no room for");
    assert.equal(counts.marked[secret], 0, "frames with the marker");
    assert.deepEqual(Object.keys(counts.podSegments), ["15008"]);
    assert.ok((counts.podSegments["15008"] ?? 0) > 20, "segments of tunnels");
    assert.deepEqual(counts.podOther, {}, "packets between pods that are not TCP");
  }

  for (const url of urls) await ask("outside/visitor", `${url}${open}`);
  await talk("outside/visitor", open);
  for (const node of ["node1", "node2"]) {
    const counts = await lab().sniffed(node);
    t.diagnostic(`${node}: ${counts.marked[open]} frames show the unlabelled caller's marker`);
    assert.equal(counts.dropped, 0);
    assert.ok((counts.marked[open] ?? 0) >= urls.length, "frames with the marker");
    assert.equal(counts.marked[secret], 0);
    assert.ok((counts.podSegments["8080"] ?? 0) > 0);
  }
});

test("every data-plane worker of every agent serves", async (t) => {
  const seen = new Set<string>();
  const wanted = ["node1/0", "node1/1", "node2/0", "node2/1"];
  const far = endpointText(await lab().vipOf("shop/far"), 9000);
  const near = endpointText(await lab().vipOf("shop/near"), 9000);
  await until(`connections served by each of ${wanted.join(", ")}`, 60_000, async () => {
    await Promise.all([lab().client("shop/alice", "crowd", far, 20), lab().client("shop/far", "crowd", near, 20)]);
    for (const node of ["node1", "node2"])
      for (const { worker, reason } of await lab().accessLog(node)) if (reason === "OK") seen.add(`${node}/${worker}`);
    return wanted.every((worker) => seen.has(worker));
  });
  t.diagnostic(`seen serving: ${[...seen].sort().join(" ")}`);
});

/** One request of alice, and both agents' lines of it. */
async function reachesAs(url: string, server: string, node: string): Promise<void> {
  const asked = await ask("shop/alice", url);
  assert.equal(asked.answer.pod, `shop/${server}`);
  const family = peerAddress(asked).includes(":") ? 6 : 4;
  assert.equal(peerAddress(asked), await lab().addressOf("shop/alice", family));

  const inbound = await lab().accessLine(node, `inbound of ${url}`, (record) => isInboundOf(record, asked));
  assert.equal(inbound.protocol, "hbone");
  assert.equal(inbound["src.identity"], alice);
  assert.equal(inbound["dst.identity"], `spiffe://cluster.local/ns/shop/sa/${server}`);
  assert.equal(inbound.reason, "OK");

  const outbound = await lab().accessLine("node1", `outbound of ${url}`, (record) => isOutboundOf(record, asked));
  assert.equal(outbound.protocol, "hbone");
  assert.equal(outbound.trace, inbound.trace);
  assert.equal(outbound["src.identity"], alice);
  assert.equal(outbound["dst.identity"], inbound["dst.identity"]);
  assert.equal(outbound.reason, "OK");
}

async function ask(from: string, url: string): Promise<Asked> {
  const [asked] = await lab().client<Asked>(from, "get", url);
  assert.equal(asked?.status, 200, `${from} asked ${url}: ${JSON.stringify(asked)}`);
  return asked;
}

/** Says something over a connection that is not HTTP, and hears it back. */
async function talk(from: string, text: string): Promise<void> {
  const client = await lab().start(from, "hold", endpointText(await lab().addressOf("shop/far"), 9000));
  client.send(text);
  await client.result(text, (result) => result["text"] === text);
  client.end();
  await client.ended;
}

async function urlsOfFar(): Promise<string[]> {
  const urls = [];
  for (const family of [4, 6] as const) {
    urls.push(`http://${host(await lab().vipOf("shop/far", family))}/`);
    urls.push(`http://${host(await lab().addressOf("shop/far", family))}:8080/`);
  }
  return urls;
}

function host(address: string): string {
  return address.includes(":") ? `[${address}]` : address;
}

function withoutCurl(): string | false {
  return spawnSync("curl", ["--version"]).error === undefined ? false : "curl is not installed here";
}
