import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, readdirSync } from "node:fs";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { enterNamespaces } from "../../../test/support/namespaced.ts";
import { createNetworkNamespace, inNamespace } from "../namespace.ts";
import { attribute, attributeText, listAttributes, parseAttributes, textAttribute } from "../netlink-attributes.ts";
import { applyTransaction } from "./apply.ts";
import { compileRule } from "./compile.ts";
import { removeTables, replaceTables, type Expression, type NftOperation, type Rule, type Table } from "./model.ts";
import { canonical, drift, readBack } from "./read-back.ts";

const skip = enterNamespaces() ?? false;
const noNft = skip === false && spawnSync("nft", ["--version"]).error ? "needs nft (Debian package nftables)" : skip;
let netns = -1;
before(() => {
  if (skip === false) netns = createNetworkNamespace();
});
after(() => {
  if (netns >= 0) closeSync(netns);
});

test("nft reads every expression as a person would write it", { skip: noNft }, async () => {
  const rows: [rule: Rule, text: string][] = [
    [
      [{ kind: "random", modulus: 100, below: 5 }, { kind: "counter" }, { kind: "drop" }],
      "numgen random mod 100 < 5 counter drop",
    ],
    [[{ kind: "user", uid: 65534 }, { kind: "return" }], "meta skuid 65534 return"],
    [[{ kind: "user", uid: 0, not: true }, { kind: "accept" }], "meta skuid != 0 accept"],
    [[{ kind: "interface", side: "out", name: "eth0", not: true }, { kind: "accept" }], 'oifname != "eth0" accept'],
    [[to("10.96.0.0", 12), { kind: "drop" }], "ip daddr 10.96.0.0/12 drop"],
    [[to("10.244.3.77", 23), { kind: "drop" }], "ip daddr 10.244.2.0/23 drop"],
    [[to("fd00:244:1::", 64), { kind: "drop" }], "ip6 daddr fd00:244:1::/64 drop"],
    [[{ ...to("10.0.0.0", 8), not: true }, { kind: "drop" }], "ip daddr != 10.0.0.0/8 drop"],
    [[port("tcp", 443), { kind: "accept" }], "tcp dport 443 accept"],
    [[to("10.96.0.1"), port("udp", 53), { kind: "drop" }], "ip daddr 10.96.0.1 udp dport 53 drop"],
    [[{ kind: "tcp-flags", mask: 0x12, value: 0x02 }, { kind: "drop" }], "tcp flags syn / syn,ack drop"],
    [[{ kind: "mark", value: 7 }, { kind: "accept" }], "meta mark 0x00000007 accept"],
    [[{ kind: "connection-mark", value: 0xdeadbeef, not: true }, { kind: "accept" }], "ct mark != 0xdeadbeef accept"],
    [[{ kind: "set-mark", value: 3 }], "meta mark set 0x00000003"],
    [[{ kind: "jump", chain: "other" }], "jump other"],
  ];
  const nat: typeof rows = [
    [
      [to("10.96.0.1"), port("tcp", 80), { kind: "dnat", address: "10.244.1.2", port: 8080 }],
      "ip daddr 10.96.0.1 tcp dport 80 dnat to 10.244.1.2:8080",
    ],
    [
      [to("fd00:96::1"), port("tcp", 80), { kind: "dnat", address: "fd00::2", port: 80 }],
      "ip6 daddr fd00:96::1 tcp dport 80 dnat to [fd00::2]:80",
    ],
    [[to("10.96.0.2"), { kind: "dnat", address: "10.244.1.3" }], "ip daddr 10.96.0.2 dnat to 10.244.1.3"],
    [[port("tcp", 81), { kind: "redirect", port: 15001 }], "tcp dport 81 redirect to :15001"],
  ];
  const source: typeof rows = [
    [[to("10.1.1.1"), { kind: "snat", address: "10.2.2.2" }], "ip daddr 10.1.1.1 snat to 10.2.2.2"],
    [[{ kind: "masquerade" }], "masquerade"],
  ];
  // In inet and ip tables alike, so far as the rule's addresses allow.
  for (const family of ["inet", "ip"] as const) {
    const fits = ([rule]: (typeof rows)[number]): boolean =>
      family === "inet" || !JSON.stringify(rule).includes("fd00:");
    // Translations in an inet table name their family.
    const named = (text: string): string =>
      family === "ip"
        ? text
        : text.replace(/([ds]nat) to \[/, "$1 ip6 to [").replace(/([ds]nat) to (\d)/, "$1 ip to $2");
    const table: Table = {
      family,
      name: "every",
      chains: [
        { name: "other", rules: [] },
        { name: "rows", rules: rows.filter(fits).map(([rule]) => rule) },
        {
          name: "to",
          hook: { type: "nat", hook: "prerouting", priority: -100 },
          rules: nat.filter(fits).map(([rule]) => rule),
        },
        {
          name: "from",
          hook: { type: "nat", hook: "postrouting", priority: 100 },
          rules: source.map(([rule]) => rule),
        },
      ],
    };
    assert.equal(await applyTransaction(netns, replaceTables([table])), undefined);
    assert.deepEqual(
      listed(family, "rows"),
      rows.filter(fits).map(([, text]) => text),
    );
    assert.deepEqual(
      listed(family, "to").slice(1),
      nat.filter(fits).map(([, text]) => named(text)),
    );
    assert.deepEqual(
      listed(family, "from").slice(1),
      source.map(([, text]) => named(text)),
    );
    assert.deepEqual(drift(table, tableOf(family, "every")), []);
    assert.equal(await applyTransaction(netns, removeTables([table])), undefined);
  }
});

test("whatever rules are applied, they read back as what was sent", { skip }, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyRule, { maxLength: 20 }), async (rules) => {
      const table: Table = { family: "inet", name: "any", chains: [{ name: "chain", rules }] };
      assert.equal(await applyTransaction(netns, replaceTables([table])), undefined);
      assert.deepEqual(drift(table, tableOf("inet", "any")), []);
    }),
    { numRuns: 50 },
  );
  await applyTransaction(netns, removeTables([{ family: "inet", name: "any" }]));
});

test("a large transaction is one: thousands of rules, or none when the last is wrong", { skip }, async () => {
  const place = { family: "inet", table: "large" } as const;
  const rule: Rule = [to("10.0.0.1"), port("tcp", 80), { kind: "counter" }, { kind: "accept" }];
  const chain = "chain";
  const many: NftOperation[] = [
    { kind: "add-table", ...place },
    { kind: "add-chain", ...place, chain },
    ...Array.from({ length: 400 }, (): NftOperation => ({ kind: "add-rule", ...place, chain, rule })),
  ];
  const wrong: NftOperation = { kind: "delete-chain", ...place, chain: "nowhere" };
  const failure = await applyTransaction(netns, [...many, wrong]);
  assert.deepEqual(failure?.type, {
    code: "linux.syscall",
    call: "nft delete-chain",
    errno: "ENOENT",
    detail: "inet large nowhere",
  });
  assert.equal(tableOf("inet", "large"), undefined);
  assert.equal(await applyTransaction(netns, many), undefined);
  assert.equal(tableOf("inet", "large")?.chains[0]?.rules.length, 400);
  await applyTransaction(netns, [{ kind: "delete-table", ...place }]);
});

test("each refusal is an error with the step's name, and no exception", { skip }, async () => {
  const place = { family: "inet", table: "errors" } as const;
  const rows: [NftOperation[], string, string][] = [
    [[{ kind: "delete-table", ...place }], "nft delete-table", "ENOENT"],
    [[{ kind: "flush-chain", ...place, chain: "x" }], "nft flush-chain", "ENOENT"],
    [[{ kind: "add-chain", ...place, chain: "x" }], "nft add-chain", "ENOENT"],
    [
      [
        { kind: "add-table", ...place },
        { kind: "add-chain", ...place, chain: "x" },
        { kind: "add-chain", ...place, chain: "in", hook: { type: "filter", hook: "input", priority: 0 } },
        { kind: "add-rule", ...place, chain: "x", rule: [{ kind: "jump", chain: "x" }] },
        { kind: "add-rule", ...place, chain: "in", rule: [{ kind: "jump", chain: "x" }] },
      ],
      "nft add-rule",
      "ELOOP",
    ],
    [
      [
        { kind: "add-table", ...place },
        { kind: "add-chain", ...place, chain: "filter", hook: { type: "filter", hook: "input", priority: 0 } },
        { kind: "add-rule", ...place, chain: "filter", rule: [{ kind: "redirect", port: 1 }] },
      ],
      "nft add-rule",
      "EOPNOTSUPP",
    ],
  ];
  for (const [operations, call, errno] of rows) {
    const type = (await applyTransaction(netns, operations))?.type;
    assert.ok(type?.code === "linux.syscall", JSON.stringify(operations));
    // A loop is found by some kernels at the rule and by others at the commit.
    assert.match(type.call, errno === "ELOOP" ? /^nft (add-rule|commit)$/ : new RegExp(`^${call}$`));
    assert.match(type.errno, errno === "ELOOP" ? /ELOOP|EMLINK/ : new RegExp(`^${errno}$`));
  }
  assert.equal(tableOf("inet", "errors"), undefined);
});

test("without the right to change rules it is EPERM", { skip }, async () => {
  const script = `
    import { applyTransaction } from ${JSON.stringify(import.meta.resolve("./apply.ts"))};
    const failure = await applyTransaction(undefined, [{ kind: "add-table", family: "inet", table: "x" }]);
    console.log(failure?.type.errno);`;
  const node = [process.execPath, "--input-type=module", "-e", script];
  const output = execFileSync("setpriv", ["--bounding-set", "-net_admin", "--inh-caps", "-net_admin", ...node], {
    encoding: "utf8",
  });
  assert.equal(output.trim(), "EPERM");
});

test("applying and reading leave no descriptor behind", { skip }, async () => {
  const before = readdirSync("/proc/self/fd").length;
  for (let i = 0; i < 20; i++) {
    await applyTransaction(netns, removeTables([{ family: "inet", name: "nothing" }]));
    readBack(netns, "inet", "nothing");
  }
  assert.equal(readdirSync("/proc/self/fd").length, before);
});

test("an empty transaction needs no kernel", async () => {
  assert.equal(await applyTransaction(-1, []), undefined);
});

test("counters tell how many packets came", { skip }, async () => {
  const table: Table = {
    family: "inet",
    name: "count",
    chains: [
      {
        name: "out",
        hook: { type: "filter", hook: "output", priority: 0 },
        rules: [[port("udp", 9), { kind: "counter" }, { kind: "drop" }]],
      },
    ],
  };
  await applyTransaction(netns, replaceTables([table]));
  const { setUp } = await import("../netlink/links.ts");
  await setUp("lo", { netns });
  const script = `
    const socket = require("node:dgram").createSocket("udp4");
    let left = 3;
    for (let i = 0; i < 3; i++) socket.send("x", 9, "127.0.0.1", () => --left === 0 && socket.close());`;
  inNamespace(netns, () => execFileSync(process.execPath, ["-e", script]));
  const rule = tableOf("inet", "count")!.chains[0]!.rules[0]!;
  assert.equal(rule.packets, 3);
  assert.equal(rule.bytes, 3 * 29);
  assert.deepEqual(drift(table, tableOf("inet", "count")), [], "counts are no drift");
  await applyTransaction(netns, removeTables([table]));
});

test("rules that cannot be are our own bugs", () => {
  assert.throws(() => compileRule([to("fd00::1")], "ip"), /cannot match/);
  assert.throws(() => compileRule([to("10.0.0.1"), to("fd00::1")], "inet"), /cannot match/);
  assert.throws(() => compileRule([port("udp", 53), port("tcp", 53)], "inet"), /cannot match/);
  assert.throws(() => compileRule([to("10.0.0")], "inet"), /no IP address/);
  assert.throws(() => compileRule([{ kind: "interface", side: "in", name: "sixteen-letters-" }], "inet"), /too long/);
});

test("dependencies are matched once", () => {
  const rule: Rule = [{ kind: "protocol", protocol: "tcp" }, to("10.0.0.1"), to("10.0.0.2"), port("tcp", 80)];
  const [chain] = canonical({ family: "inet", name: "x", chains: [{ name: "x", rules: [rule] }] }).chains;
  const loads = chain!.rules[0]!.instructions.filter((text) => text.startsWith("meta"));
  assert.deepEqual(loads, ["meta l4proto -> r1", "meta nfproto -> r1"]);
});

test("attributes survive the way to bytes and back, and any bytes can be read", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 0x3fff }), fc.uint8Array({ maxLength: 40 }))), (list) => {
      const bytes = Buffer.concat(list.map(([type, payload]) => attribute(type, payload)));
      assert.deepEqual(
        listAttributes(bytes).map(([type, payload]) => [type, [...payload]]),
        list.map(([type, payload]) => [type, [...payload]]),
      );
    }),
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void listAttributes(bytes)));
  assert.equal(attributeText(parseAttributes(textAttribute(1, "name")).get(1)), "name");
});

function to(address: string, prefix?: number): Expression & { kind: "address" } {
  return { kind: "address", side: "destination", address, ...(prefix === undefined ? {} : { prefix }) };
}

function port(protocol: "tcp" | "udp", number: number): Expression {
  return { kind: "port", protocol, side: "destination", port: number };
}

function tableOf(family: Table["family"], name: string): Exclude<ReturnType<typeof readBack>, Error> {
  const answer = readBack(netns, family, name);
  if (answer instanceof Error) throw answer;
  return answer;
}

/** The lines of one chain in `nft list chain`, counts left out. */
function listed(family: string, chain: string): string[] {
  const text = inNamespace(netns, () =>
    execFileSync("nft", ["list", "chain", family, "every", chain], { encoding: "utf8" }),
  );
  const lines = text.split("\n").map((line) => line.trim().replace(/ packets \d+ bytes \d+/, ""));
  return lines.slice(2).filter((line) => line !== "" && line !== "}");
}

const byte = fc.integer({ min: 0, max: 255 });
const number32 = fc.integer({ min: 0, max: 0xffff_ffff });
const number16 = fc.integer({ min: 1, max: 0xffff });
const not = fc.boolean();
const anyMatch: fc.Arbitrary<Expression> = fc.oneof(
  fc.record({ kind: fc.constant("mark"), mask: number32, value: number32, not }),
  fc.record({ kind: fc.constant("connection-mark"), mask: number32, value: number32, not }),
  fc.record({ kind: fc.constant("user"), uid: number32, not }),
  fc.record({ kind: fc.constant("tcp-flags"), mask: byte, value: byte, not }),
  fc.record({ kind: fc.constant("random"), modulus: number16, below: number32 }),
  fc.record({
    kind: fc.constant("interface"),
    side: fc.constantFrom("in", "out"),
    name: fc.stringMatching(/^[a-z][a-z0-9]{0,14}$/),
    not,
  }),
  fc.record({
    kind: fc.constant("address"),
    side: fc.constantFrom("source", "destination"),
    address: fc.ipV4(),
    prefix: fc.integer({ min: 1, max: 32 }),
    not,
  }),
  fc.record({
    kind: fc.constant("port"),
    protocol: fc.constant("tcp"),
    side: fc.constantFrom("source", "destination"),
    port: number16,
    not,
  }),
);
const anyAction: fc.Arbitrary<Expression> = fc.oneof(
  fc.constantFrom(
    { kind: "counter" },
    { kind: "accept" },
    { kind: "drop" },
    { kind: "return" },
    { kind: "restore-mark" },
  ),
  fc.record({ kind: fc.constant("set-mark"), value: number32 }),
  fc.record({ kind: fc.constant("set-connection-mark"), keep: number32, value: number32 }),
);
const anyRule = fc
  .tuple(fc.array(anyMatch, { maxLength: 4 }), anyAction)
  .map(([matches, action]): Rule => [...matches, action]);
