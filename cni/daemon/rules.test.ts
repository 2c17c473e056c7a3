import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { closeSync } from "node:fs";
import { after, before, test } from "node:test";
import { createNetworkNamespace, inNamespace } from "../../core/linux/namespace.ts";
import { applyTransaction } from "../../core/linux/nftables/apply.ts";
import { drift, readBack } from "../../core/linux/nftables/read-back.ts";
import { addRoute, deleteRoute, listRoutes } from "../../core/linux/netlink/routes.ts";
import { addRule, deleteRule, listRules } from "../../core/linux/netlink/rules.ts";
import { setUp } from "../../core/linux/netlink/links.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { enrolRules, podRouting, podRules, releaseRules, removeRules, type PodRuleOptions } from "./rules.ts";

const skip = enterNamespaces() ?? false;
const noNft = skip === false && spawnSync("nft", ["--version"]).error ? "needs nft (Debian package nftables)" : skip;

let pod = -1;
before(() => {
  if (skip === false) pod = createNetworkNamespace();
});
after(() => {
  if (pod >= 0) closeSync(pod);
});

test("both nat chains begin by leaving alone what is not a bare SYN, in every variant", () => {
  for (const options of variants) {
    const nat = podRules(options)[0]!;
    for (const name of ["istio-prerouting", "istio-output"]) {
      const [first] = nat.chains.find((chain) => chain.name === name)!.rules;
      assert.deepEqual(first, [
        { kind: "tcp-flags", mask: 0x17, value: 0x02, not: true },
        { kind: "counter" },
        { kind: "accept" },
      ]);
    }
  }
});

test("the real nft reads back exactly the rule set of cni.md", { skip: noNft }, async () => {
  assert.equal(await applyTransaction(pod, enrolRules(full)), undefined);
  assert.deepEqual(listedRules(), expectedFull);
});

test("ingress mode captures outbound only; without IPv6 and DNS nothing speaks of them", { skip: noNft }, async () => {
  const options = { dnsCapture: false, ipv6: false, ingressMode: true };
  assert.equal(await applyTransaction(pod, enrolRules(options)), undefined);
  const listed = listedRules();
  assert.deepEqual(Object.keys(listed).sort(), ["istio-ambient-mangle", "istio-ambient-nat"]);
  assert.deepEqual(listed["istio-ambient-nat"], {
    prerouting: [hooks.nat[0], "jump istio-prerouting"],
    output: [hooks.nat[1], "jump istio-output"],
    "istio-prerouting": [notBareSyn],
    "istio-output": [
      notBareSyn,
      "meta l4proto tcp ip daddr 169.254.7.127 counter accept",
      "meta l4proto tcp meta mark & 0x00000fff == 0x00000111 counter accept",
      'oifname "lo" ip daddr != 127.0.0.1 counter accept',
      "meta l4proto tcp ip daddr != 127.0.0.1 meta mark & 0x00000fff != 0x00000539 counter redirect to :15001",
    ],
  });
});

test("applied twice is applied once, and read back it has not drifted", { skip }, async () => {
  for (const options of variants) {
    assert.equal(await applyTransaction(pod, enrolRules(options)), undefined);
    assert.equal(await applyTransaction(pod, enrolRules(options)), undefined);
    for (const table of podRules(options)) assert.deepEqual(drift(table, read(table.name)), []);
  }
  // The last variant has no DNS capture, the first had: its table is gone.
  assert.equal(read("istio-ambient-raw"), undefined);
});

test("a rule that somebody took out is drift, and so is a chain put in", { skip }, async () => {
  const nat = podRules(full)[0]!;
  await applyTransaction(pod, enrolRules(full));
  const place = { family: "inet", table: nat.name } as const;
  assert.equal(
    await applyTransaction(pod, [
      { kind: "flush-chain", ...place, chain: "istio-output" },
      { kind: "add-chain", ...place, chain: "bypass" },
      { kind: "add-rule", ...place, chain: "istio-prerouting", rule: [{ kind: "accept" }] },
    ]),
    undefined,
  );
  const found = drift(nat, read(nat.name));
  const lost = nat.chains.find(({ name }) => name === "istio-output")!.rules.length;
  assert.equal(found.length, lost + 2);
  assert.ok(found.includes("chain bypass does not belong"));
  assert.ok(found.some((line) => line.includes('chain istio-prerouting is "accept" and should be "no rule"')));
  assert.equal(await applyTransaction(pod, [{ kind: "delete-chain", ...place, chain: "bypass" }]), undefined);
  await applyTransaction(pod, enrolRules(full));
  assert.deepEqual(drift(nat, read(nat.name)), []);
});

test("released, nothing is captured and the hooks stay; removed, nothing is left", { skip }, async () => {
  await applyTransaction(pod, enrolRules(full));
  assert.equal(await applyTransaction(pod, releaseRules()), undefined);
  const nat = read("istio-ambient-nat")!;
  assert.deepEqual(
    nat.chains.map(({ name, rules, hook }) => [name, rules.length, hook?.hook]),
    [
      ["prerouting", 1, "prerouting"],
      ["output", 1, "output"],
      ["istio-prerouting", 0, undefined],
      ["istio-output", 0, undefined],
    ],
  );
  assert.deepEqual(drift(podRules(full)[1]!, read("istio-ambient-mangle")), [], "connection marks stay");
  assert.equal(await applyTransaction(pod, removeRules()), undefined);
  assert.equal(await applyTransaction(pod, removeRules()), undefined, "removing nothing is fine");
  for (const name of ["nat", "mangle", "raw"]) assert.equal(read(`istio-ambient-${name}`), undefined);
});

test("releasing a pod whose tables somebody deleted is no error", { skip }, async () => {
  await applyTransaction(pod, removeRules());
  assert.equal(await applyTransaction(pod, releaseRules()), undefined);
  assert.equal(await applyTransaction(pod, removeRules()), undefined);
});

test("a transaction that fails changes nothing and names the step", { skip }, async () => {
  await applyTransaction(pod, enrolRules(full));
  const place = { family: "inet", table: "istio-ambient-nat" } as const;
  const failure = await applyTransaction(pod, [
    { kind: "flush-table", ...place },
    { kind: "add-rule", ...place, chain: "nowhere", rule: [{ kind: "accept" }] },
  ]);
  assert.deepEqual(failure?.type, {
    code: "linux.syscall",
    call: "nft add-rule",
    errno: "ENOENT",
    detail: "inet istio-ambient-nat nowhere",
  });
  assert.deepEqual(drift(podRules(full)[0]!, read(place.table)), []);
});

test("rule and routes come and go without residue", { skip }, async () => {
  assert.equal(await setUp("lo", { netns: pod }), undefined);
  const { rules, routes } = podRouting(true);
  for (const round of [1, 2]) {
    for (const rule of rules) assert.equal(await addRule({ ...rule, netns: pod }), undefined, `round ${round}`);
    for (const route of routes) assert.equal(await addRoute({ ...route, netns: pod }), undefined, `round ${round}`);
  }
  assert.deepEqual(await listRules({ netns: pod }), rules);
  const inTable = await listRoutes({ netns: pod, table: 100 });
  assert.deepEqual(
    (inTable as { family: string; type: string }[]).map(({ family, type }) => [family, type]),
    [
      ["ipv4", "local"],
      ["ipv6", "local"],
    ],
  );
  for (const rule of rules) assert.equal(await deleteRule({ ...rule, netns: pod }), undefined);
  for (const route of routes) assert.equal(await deleteRoute({ ...route, netns: pod }), undefined);
  assert.deepEqual(await listRules({ netns: pod }), []);
  assert.deepEqual(await listRoutes({ netns: pod, table: 100 }), []);
});

function read(table: string): Exclude<ReturnType<typeof readBack>, Error> {
  const answer = readBack(pod, "inet", table);
  if (answer instanceof Error) throw answer;
  return answer;
}

/** What nft lists, by table and chain, each rule without its counts. */
function listedRules(): Record<string, Record<string, string[]>> {
  const text = inNamespace(pod, () => execFileSync("nft", ["list", "ruleset"], { encoding: "utf8" }));
  const tables: Record<string, Record<string, string[]>> = {};
  let table: Record<string, string[]> = {};
  let chain: string[] = [];
  for (const line of text.split("\n").map((each) => each.trim())) {
    const [word = "", first = "", second = ""] = line.split(" ");
    if (word === "table") table = tables[second] = {};
    else if (word === "chain") chain = table[first] = [];
    else if (word === "type") chain.push(line);
    else if (line !== "" && line !== "}") chain.push(line.replace(/ packets \d+ bytes \d+/, ""));
  }
  return tables;
}

function hookLines(incoming: string, outgoing: string, first: string, second: string): [string, string] {
  return [
    `type ${incoming} hook prerouting priority ${first}; policy accept;`,
    `type ${outgoing} hook output priority ${second}; policy accept;`,
  ];
}

const full: PodRuleOptions = { dnsCapture: true, ipv6: true, virtualInterfaces: ["tap0"] };
const variants: PodRuleOptions[] = [
  full,
  { dnsCapture: true, ipv6: false },
  { dnsCapture: false, ipv6: true, ingressMode: true },
  { dnsCapture: false, ipv6: true, ingressMode: true, virtualInterfaces: ["tap0", "tap1"] },
  { dnsCapture: false, ipv6: true, probeAddresses: { ipv4: "169.254.7.128", ipv6: "fd16::1" } },
];

const hooks = {
  nat: hookLines("nat", "nat", "dstnat", "-100"),
  mangle: hookLines("filter", "route", "mangle", "mangle"),
  raw: hookLines("filter", "filter", "raw", "raw"),
};
const notBareSyn = "tcp flags != syn / fin,syn,rst,ack counter accept";
const notProxy = "meta mark & 0x00000fff != 0x00000539";
const expectedFull = {
  "istio-ambient-nat": {
    prerouting: [hooks.nat[0], "jump istio-prerouting"],
    output: [hooks.nat[1], "jump istio-output"],
    "istio-prerouting": [
      notBareSyn,
      'iifname "tap0" meta l4proto tcp counter redirect to :15001',
      'iifname "tap0" meta l4proto tcp counter return',
      "meta l4proto tcp ip saddr 169.254.7.127 counter accept",
      "meta l4proto tcp ip6 saddr fd16:9254:7127:1337:ffff:ffff:ffff:ffff counter accept",
      `ip daddr != 127.0.0.1 tcp dport != 15008 ${notProxy} counter redirect to :15006`,
      `ip6 daddr != ::1 tcp dport != 15008 ${notProxy} counter redirect to :15006`,
    ],
    "istio-output": [
      notBareSyn,
      "meta l4proto tcp ip daddr 169.254.7.127 counter accept",
      "meta l4proto tcp ip6 daddr fd16:9254:7127:1337:ffff:ffff:ffff:ffff counter accept",
      `oifname != "lo" ${notProxy} udp dport 53 counter redirect to :15053`,
      `ip daddr != 127.0.0.1 tcp dport 53 ${notProxy} counter redirect to :15053`,
      `ip6 daddr != ::1 tcp dport 53 ${notProxy} counter redirect to :15053`,
      "meta l4proto tcp meta mark & 0x00000fff == 0x00000111 counter accept",
      'oifname "lo" ip daddr != 127.0.0.1 counter accept',
      'oifname "lo" ip6 daddr != ::1 counter accept',
      `meta l4proto tcp ip daddr != 127.0.0.1 ${notProxy} counter redirect to :15001`,
      `meta l4proto tcp ip6 daddr != ::1 ${notProxy} counter redirect to :15001`,
    ],
  },
  "istio-ambient-mangle": {
    prerouting: [hooks.mangle[0], "jump istio-prerouting"],
    output: [hooks.mangle[1], "jump istio-output"],
    "istio-prerouting": [
      // nft's way of writing "keep all but the low twelve bits, then set 0x111".
      "meta mark & 0x00000fff == 0x00000539 counter ct mark set ct mark & 0xfffff111 | 0x00000111",
    ],
    "istio-output": ["ct mark & 0x00000fff == 0x00000111 counter meta mark set ct mark"],
  },
  "istio-ambient-raw": {
    prerouting: [hooks.raw[0], "jump istio-prerouting"],
    output: [hooks.raw[1], "jump istio-output"],
    "istio-prerouting": [`udp sport 53 ${notProxy} counter ct zone set 1`],
    "istio-output": ["udp dport 53 meta mark & 0x00000fff == 0x00000539 counter ct zone set 1"],
  },
};
