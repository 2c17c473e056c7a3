/** The same conversations in a mesh of IPv4 alone, of IPv6 alone, and of both: who reaches whom, and what agents say of it. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, test } from "node:test";
import type { Families } from "../../lab/addresses.ts";
import { servicesKnown } from "../support/agent-process.ts";
import { endpointText, isInboundOf, isOutboundOf, peerAddress, wentDirectly, type Asked } from "../support/answers.ts";
import { authorizationPolicy, idlePod, namespace, peerAuthentication, pod, service } from "../support/manifests.ts";
import { useLab, type TestLab } from "../support/mesh-lab.ts";
import { scrape, trafficBetween, type Traffic } from "../support/scrape.ts";
import { until } from "../support/until.ts";

const manifests = [
  namespace("shop", { ambient: true }),
  pod("shop/alice", { node: "node1" }),
  pod("shop/near", { node: "node1" }),
  pod("shop/far", { node: "node2", portNames: { web: 8080 } }),
  ...["shop/alice", "shop/near", "shop/far"].map((where) => service(where)),
  service("shop/headless", { app: "far", clusterIPs: ["None"] }),
  service("shop/named", { app: "far", webPort: "web" }),
  namespace("outside"),
  pod("outside/visitor", { node: "node1" }),
  pod("outside/plain", { node: "node2" }),
  service("outside/plain"),
  idlePod("outside/prometheus", { node: "node1" }),
];

type Line = Awaited<ReturnType<TestLab["accessLog"]>>[number];

/** Who asks whom; nodes and capture follow from the manifests above. */
type Pair = readonly [client: string, server: string];
const pairs: readonly Pair[] = [
  ["shop/alice", "shop/near"],
  ["shop/alice", "shop/far"],
  ["shop/far", "shop/alice"],
  ["shop/alice", "outside/plain"],
  ["shop/far", "outside/plain"],
  ["outside/visitor", "shop/near"],
  ["outside/visitor", "shop/far"],
  ["outside/visitor", "outside/plain"],
];
const nodeOf: Readonly<Record<string, string>> = {
  "shop/alice": "node1",
  "shop/near": "node1",
  "shop/far": "node2",
  "outside/visitor": "node1",
  "outside/plain": "node2",
};

for (const [families, title, agent] of [
  ["4", "a mesh of IPv4 alone", {}],
  ["4", "a mesh whose agents are told that there is no IPv6", { IPV6_ENABLED: "false" }],
  ["6", "a mesh of IPv6 alone", {}],
  ["46", "a mesh of both families", {}],
] as const)
  describe(title, () => {
    const lab = useLab(manifests, { families, environment: { agent } });
    const spoken = familiesOf(families);

    test("F-007 F-008 F-009 F-016 F-020 F-021 F-068 F-200 F-201 F-211 F-214 every pair talks by service and by pod, and both agents tell it to the octet", async () => {
      await servicesKnown(lab());
      const before = await trafficOfPairs(lab());
      const asked = new Map<Pair, Asked[]>();
      for (const client of new Set(pairs.map(([from]) => from))) {
        const plans = [];
        for (const pair of pairs.filter(([from]) => from === client))
          for (const url of await urlsOf(lab(), pair[1], spoken)) plans.push({ pair, url });
        const answers = await lab().client<Asked>(client, "get", plans.map(({ url }) => url).join(","));
        for (const [i, { pair, url }] of plans.entries()) {
          const answer = answers[i];
          assert.equal(answer?.status, 200, `${client} asked ${url}: ${JSON.stringify(answer)}`);
          asked.set(pair, [...(asked.get(pair) ?? []), answer]);
        }
      }
      for (const [pair, answers] of asked) for (const answer of answers) await assertTold(lab(), pair, answer);
      await until("both agents' counters agree with what the clients counted", 15_000, async () => {
        const after = await trafficOfPairs(lab());
        for (const pair of pairs) assert.deepEqual(grown(before, after, pair), expected(pair, asked.get(pair) ?? []));
        return true;
      });
    });

    test("a pod that calls itself is answered: by its own address without us, by its service's through a tunnel", async () => {
      for (const family of spoken) {
        const [own, vip] = [await lab().addressOf("shop/alice", family), await lab().vipOf("shop/alice", family)];
        const urls = [`http://${endpointText(own, 8080)}/`, `http://${endpointText(vip, 80)}/`];
        const [direct, tunnelled] = await lab().client<Asked>("shop/alice", "get", urls.join(","));
        assert.deepEqual([direct?.status, direct && wentDirectly(direct)], [200, true]);
        assert.deepEqual([tunnelled?.status, tunnelled?.answer.pod], [200, "shop/alice"]);
        const outbound = await lab().accessLine(
          "node1",
          "its way out",
          (line) => line.direction === "outbound" && line["src.addr"] === endpointText(own, tunnelled!.local),
        );
        const inbound = await lab().accessLine(
          "node1",
          "its way in",
          (line) => line.direction === "inbound" && line.trace === outbound.trace,
        );
        assert.deepEqual([outbound.reason, inbound.reason, outbound.protocol], ["OK", "OK", "hbone"]);
        assert.equal(inbound["src.identity"], inbound["dst.identity"]);
      }
    });

    test("F-032 F-048 a headless service, a port that goes by a name, and a service's name lead to the pod", async () => {
      const urls = ["http://headless.shop.svc:8080/", "http://named.shop.svc/", "http://far.shop.svc.cluster.local/"];
      for (const [i, asked] of (await lab().client<Asked>("shop/alice", "get", urls.join(","))).entries()) {
        assert.equal(asked.status, 200, `${urls[i]}: ${JSON.stringify(asked)}`);
        assert.equal(asked.answer.pod, "shop/far");
        const line = await lab().accessLine("node2", `inbound of ${urls[i]}`, (one) => isInboundOf(one, asked));
        assert.equal(line.protocol, "hbone");
      }
    });

    test(
      "F-016 F-017 F-018 every socket of the agent in a pod has its mark, and listens for the families that there are",
      { skip: withoutSs() },
      async () => {
        const { stdout } = await lab().run("shop/far", ["ss", "-tulnHe"]);
        const sockets = stdout.split("\n").filter((line) => line !== "");
        const at = (port: number): string[] => sockets.filter((line) => line.includes(`:${port} `));
        for (const port of [15_001, 15_006, 15_008]) {
          assert.equal(at(port).length, 1, `one socket on ${port}: ${stdout}`);
          const isForIpv4Alone = at(port)[0]?.includes(`0.0.0.0:${port}`);
          assert.equal(isForIpv4Alone, "IPV6_ENABLED" in agent);
        }
        for (const line of sockets)
          assert.equal(/fwmark:0x539/.test(line), /:150\d\d /.test(line), `ours, and ours alone, is marked: ${line}`);
      },
    );

    test(
      "F-018 F-022 every connection that the agent makes out of a pod has its mark, and is kept alive",
      { skip: withoutSs() },
      async () => {
        const held = await lab().start(
          "shop/alice",
          "hold",
          endpointText(await lab().addressOf("shop/far", spoken[0]), 9000),
        );
        held.send("hello");
        await held.result("an echo", ({ event }) => event === "echo");
        const [toServer, toApplication] = [
          await connectionsOf(lab(), "shop/alice", ({ remote }) => remote === 15_008),
          await connectionsOf(lab(), "shop/far", ({ remote, isMarked }) => remote === 9000 && isMarked),
        ];
        held.end();
        await held.ended;
        for (const [what, found] of Object.entries({ toServer, toApplication })) {
          assert.ok(found.length > 0, `there is one ${what}`);
          assert.ok(
            found.every(({ isMarked, isKeptAlive }) => isMarked && isKeptAlive),
            JSON.stringify(found),
          );
        }
      },
    );

    test("F-030 an address that nobody told of is connected to as it is", async () => {
      const { config } = await lab().askAgent<{ config: { instanceIp: string } }>("node2");
      const url = `http://${endpointText(config.instanceIp, 15_021)}/healthz/ready`;
      const [asked] = await lab().client<Asked>("shop/alice", "get", url);
      assert.equal(asked?.status, 200);
      const line = await lab().accessLine("node1", "the way out", (one) => one["src.addr"].endsWith(`:${asked.local}`));
      assert.deepEqual(
        [line.direction, line.protocol, line.reason, line["dst.addr"], line["dst.workload"], line["dst.identity"]],
        ["outbound", "tcp", "OK", endpointText(config.instanceIp, 15_021), undefined, undefined],
      );
    });

    for (const family of spoken)
      test(`F-069 F-160 F-161 F-163 F-166 F-172 F-174 over IPv${family} a caller is refused by account, by address and for lack of mutual TLS, and both ends say so`, async () => {
        const url = `http://${endpointText(await lab().vipOf("shop/far", family), 80)}/`;
        const visitor = await lab().addressOf("outside/visitor", family);
        const alice = await lab().addressOf("shop/alice", family);
        const width = family === 4 ? 32 : 128;
        const no = (name: string, source: object) =>
          authorizationPolicy(`shop/${name}-${family}`, { action: "DENY", rules: [{ from: [{ source }] }] });
        const cases = [
          ["shop/alice", "POLICY_DENIED", no("account", { principals: ["cluster.local/ns/shop/sa/alice"] })],
          ["shop/alice", "POLICY_DENIED", no("caller", { ipBlocks: [`${alice}/${width}`] })],
          ["outside/visitor", "POLICY_DENIED", no("stranger", { ipBlocks: [`${visitor}/${width}`] })],
          ["outside/visitor", "POLICY_MTLS_REQUIRED", peerAuthentication("shop/default", "STRICT")],
        ] as const;
        for (const [client, reason, manifest] of cases) {
          const { name } = manifest.metadata as { name: string };
          const source = client === "shop/alice" ? alice : visitor;
          await lab().apply("refusal.yaml", manifest);
          await comesTo(lab(), client, url, "ECONNRESET");
          if (reason === "POLICY_DENIED") {
            const other = client === "shop/alice" ? "shop/near" : "shop/alice";
            assert.equal((await lab().client<Asked>(other, "get", url))[0]?.status, 200, `${other} is not meant`);
          }
          // The one that heard of it first may have been open, and was cut; this one is refused.
          assert.equal((await lab().client<Asked>(client, "get", url))[0]?.error, "ECONNRESET");
          const isMeant = (line: Line): boolean =>
            line.reason === reason &&
            line["src.addr"].startsWith(endpointText(source, 0).slice(0, -1)) &&
            (reason !== "POLICY_DENIED" || line.policy === `shop/${name}`);
          const [inbound, outbound] = await until(`${client} is refused`, 15_000, async () => {
            const [told, refusals] = [await lab().accessLog("node1"), (await lab().accessLog("node2")).filter(isMeant)];
            const halves = refusals.map((line) => [line, told.find(({ trace }) => trace === line.trace)] as const);
            return halves.find(([, half]) => client !== "shop/alice" || half?.reason === "PEER_DENIED");
          });
          assert.deepEqual([inbound.direction, inbound["dst.workload"]], ["inbound", "far"]);
          if (client === "shop/alice") assert.match(String(outbound?.["error"]), /401/);
          await lab().remove("refusal.yaml");
          await comesTo(lab(), client, url, 200);
        }
      });
  });

function familiesOf(families: Families): (4 | 6)[] {
  return ([4, 6] as const).filter((family) => families.includes(String(family)));
}

/** Both ways to address a pod, in each family. */
async function urlsOf(lab: TestLab, server: string, spoken: readonly (4 | 6)[]): Promise<string[]> {
  const urls = [];
  for (const family of spoken) {
    urls.push(`http://${endpointText(await lab.vipOf(server, family), 80)}/`);
    urls.push(`http://${endpointText(await lab.addressOf(server, family), 8080)}/`);
  }
  return urls;
}

/** Both agents' lines of one request, to the last field; and none where there is no agent. */
async function assertTold(lab: TestLab, [client, server]: Pair, asked: Asked): Promise<void> {
  const family = peerAddress(asked).includes(":") ? 6 : 4;
  assert.equal(asked.answer.pod, server);
  assert.equal(peerAddress(asked), await lab.addressOf(client, family), "the server sees its client's address");
  const [isLeaving, isArriving] = [isCaptured(client), isCaptured(server)];
  if (!isLeaving && !isArriving) return assert.ok(wentDirectly(asked));
  const address = await lab.addressOf(server, family);
  const isService = asked.target.endsWith(":80/");
  const identities = isLeaving && isArriving && { "src.identity": spiffe(client), "dst.identity": spiffe(server) };
  const common = {
    protocol: identities === false ? "tcp" : "hbone",
    reason: "OK",
    ...ends(client, "src"),
    ...ends(server, "dst"),
    ...identities,
    "dst.hbone_addr": identities === false ? undefined : endpointText(address, 8080),
    error: undefined,
  };
  const outbound = isLeaving
    ? await lab.accessLine(nodeOf[client]!, `outbound of ${asked.target}`, (one) => isOutboundOf(one, asked))
    : undefined;
  if (outbound !== undefined)
    assertFields(outbound, {
      ...common,
      direction: "outbound",
      "src.addr": endpointText(peerAddress(asked), asked.local),
      "dst.addr": endpointText(address, identities === false ? 8080 : 15_008),
      bytes_sent: asked.sent,
      bytes_recv: asked.received,
    });
  if (!isArriving) return;
  const inbound = await lab.accessLine(nodeOf[server]!, `inbound of ${asked.target}`, (one) => isInboundOf(one, asked));
  assertFields(inbound, {
    ...common,
    direction: "inbound",
    "app.local": endpointText(peerAddress(asked), asked.answer.peerPort),
    bytes_sent: asked.received,
    bytes_recv: asked.sent,
  });
  if (identities === false) assert.equal(inbound["src.addr"], endpointText(peerAddress(asked), asked.local));
  if (outbound !== undefined && isService)
    assert.equal(outbound["dst.service"], `${server.split("/")[1]}.shop.svc.cluster.local`);
  if (outbound !== undefined) assert.equal(outbound.trace, inbound.trace);
}

function assertFields(line: Record<string, unknown>, fields: Record<string, unknown>): void {
  const told = Object.fromEntries(Object.keys(fields).map((name) => [name, line[name]]));
  assert.deepEqual(told, fields);
  assert.match(String(line["duration"]), /^\d+ms$/);
  assert.match(String(line["trace"]), /^[0-9a-f]{32}$/);
}

function ends(where: string, end: "src" | "dst"): Record<string, string | undefined> {
  const [ns, name] = where.split("/");
  return { [`${end}.workload`]: name, [`${end}.namespace`]: ns, [`${end}.cluster`]: "Kubernetes" };
}

function isCaptured(where: string): boolean {
  return where.startsWith("shop/");
}

function spiffe(where: string): string {
  return `spiffe://cluster.local/ns/${where.replace("/", "/sa/")}`;
}

/** Of each captured end's agent, in the order client, server. */
type PairTraffic = ReadonlyMap<Pair, readonly Traffic[]>;

async function trafficOfPairs(lab: TestLab): Promise<PairTraffic> {
  const metrics = { node1: await scrape(lab, "node1"), node2: await scrape(lab, "node2") } as const;
  const at = (where: string) => metrics[nodeOf[where] as keyof typeof metrics];
  return new Map(
    pairs.map((pair) => [
      pair,
      [
        ...(isCaptured(pair[0]) ? [trafficBetween(at(pair[0]), "source", ...pair)] : []),
        ...(isCaptured(pair[1]) ? [trafficBetween(at(pair[1]), "destination", ...pair)] : []),
      ],
    ]),
  );
}

function grown(before: PairTraffic, after: PairTraffic, pair: Pair): Traffic[] {
  return (after.get(pair) ?? []).map((now, i) => {
    const then = before.get(pair)![i]!;
    return {
      opened: now.opened - then.opened,
      closed: now.closed - then.closed,
      received: now.received - then.received,
      sent: now.sent - then.sent,
    };
  });
}

function expected(pair: Pair, asked: readonly Asked[]): Traffic[] {
  const sum = (of: (one: Asked) => number): number => asked.reduce((total, one) => total + of(one), 0);
  const traffic: Traffic = {
    opened: asked.length,
    closed: asked.length,
    received: sum(({ sent }) => sent),
    sent: sum(({ received }) => received),
  };
  return pair.filter(isCaptured).map(() => traffic);
}

interface SeenConnection {
  readonly remote: number;
  readonly isMarked: boolean;
  readonly isKeptAlive: boolean;
}

/** Those of a pod's established connections, as the kernel lists them, that match. */
async function connectionsOf(
  lab: TestLab,
  pod: string,
  matches: (one: SeenConnection) => boolean,
): Promise<SeenConnection[]> {
  const { stdout } = await lab.run(pod, ["ss", "-tnHeo", "state", "established"]);
  return stdout
    .split("\n")
    .flatMap((line) => {
      const remote = /^\s*\d+\s+\d+\s+\S+\s+\S+:(\d+)\s/.exec(line)?.[1];
      const [isMarked, isKeptAlive] = [line.includes("fwmark:0x539"), line.includes("timer:(keepalive,")];
      return remote === undefined ? [] : [{ remote: Number(remote), isMarked, isKeptAlive }];
    })
    .filter(matches);
}

function withoutSs(): string | false {
  return spawnSync("ss", ["-V"]).error === undefined ? false : "ss (iproute2) is not installed here";
}

/** Waits until a client's requests, one after another, come to this. */
async function comesTo(lab: TestLab, client: string, url: string, wanted: number | string): Promise<void> {
  const looping = await lab.start(client, "loop", url);
  await looping.result(`${client} gets ${wanted}`, ({ status, error }) => (status ?? error) === wanted);
  looping.end();
  await looping.ended;
}
