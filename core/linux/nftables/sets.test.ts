import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync } from "node:fs";
import { after, before, test } from "node:test";
import { enterNamespaces } from "../../../test/support/namespaced.ts";
import { createNetworkNamespace, inNamespace } from "../namespace.ts";
import { applyTransaction } from "./apply.ts";
import { putElements, removeTables, replaceTables, type NftOperation, type Table } from "./model.ts";
import { drift, readBack, readSet } from "./read-back.ts";

const skip = enterNamespaces() ?? false;
const noNft = skip === false && spawnSync("nft", ["--version"]).error ? "needs nft (Debian package nftables)" : skip;
const place = { family: "inet", table: "probes" } as const;
const v4 = { ...place, set: "v4" };
const v6 = { ...place, set: "v6" };

let netns = -1;
before(() => {
  if (skip === false) netns = createNetworkNamespace();
});
after(() => {
  if (netns >= 0) closeSync(netns);
});

test("a set keeps addresses with a word beside each, and putting one again replaces the word", { skip }, async () => {
  await apply(
    { kind: "add-table", ...place },
    { kind: "add-set", ...v4, keys: "ipv4" },
    { kind: "add-set", ...v6, keys: "ipv6" },
    ...putElements(v4, [
      { address: "10.0.0.1", comment: "first" },
      { address: "10.0.0.2", comment: "" },
    ]),
    ...putElements(v6, [{ address: "fd00::1", comment: "first" }]),
  );
  await apply(...putElements(v4, [{ address: "10.0.0.1", comment: "second" }]), ...putElements(v4, []));
  assert.deepEqual(elements("v4"), ["10.0.0.1 second", "10.0.0.2 "]);
  assert.deepEqual(elements("v6"), ["fd00::1 first"]);
  await apply({ kind: "delete-elements", ...v4, addresses: ["10.0.0.2"] });
  assert.deepEqual(elements("v4"), ["10.0.0.1 second"]);
  // Made again as it is, it keeps what it holds.
  await apply({ kind: "add-set", ...v4, keys: "ipv4" });
  assert.deepEqual(elements("v4"), ["10.0.0.1 second"]);
});

test("a set that isn't there reads as none, and an element that isn't there can't be deleted", { skip }, async () => {
  assert.equal(readSet(netns, "inet", "probes", "v5"), undefined);
  assert.equal(readSet(netns, "inet", "nothing", "v4"), undefined);
  const missing = await applyTransaction(netns, [{ kind: "delete-elements", ...v4, addresses: ["10.9.9.9"] }]);
  assert.equal(missing?.errno, "ENOENT");
  assert.match(missing?.message ?? "", /nft delete-elements/);
});

test("thousands of elements are put and read whole", { skip }, async () => {
  const many = Array.from({ length: 3000 }, (_, i) => `10.8.${i >> 8}.${i & 255}`);
  // A list of attributes is 64 KiB at most: in slices.
  for (let at = 0; at < many.length; at += 500) {
    const slice = many
      .slice(at, at + 500)
      .map((address) => ({ address, comment: "0123456789ab-pod-uid-0123456789abcdef" }));
    await apply(...putElements(v4, slice));
  }
  assert.equal(elements("v4").length, 3001);
});

test("a rule asks the set, and nft shows both as a person would write them", { skip: noNft }, async () => {
  const table: Table = {
    family: "inet",
    name: "probes",
    chains: [
      {
        name: "post",
        hook: { type: "nat", hook: "postrouting", priority: 90 },
        rules: [
          [
            { kind: "in-set", side: "destination", set: "v4", keys: "ipv4" },
            { kind: "snat", address: "169.254.7.127" },
          ],
          [{ kind: "in-set", side: "source", set: "v6", keys: "ipv6" }, { kind: "accept" }],
        ],
      },
    ],
  };
  await apply(...removeTables([table]), { kind: "add-table", ...place });
  await apply(
    { kind: "add-set", ...v4, keys: "ipv4" },
    { kind: "add-set", ...v6, keys: "ipv6" },
    ...replaceTables([table]),
    ...putElements(v6, [{ address: "fd00::1", comment: "uid-1" }]),
  );
  const text = inNamespace(netns, () =>
    spawnSync("nft", ["list", "table", "inet", "probes"], { encoding: "utf8" }),
  ).stdout;
  for (const line of [
    "ip daddr @v4 snat ip to 169.254.7.127",
    "ip6 saddr @v6 accept",
    "type ipv4_addr",
    "type ipv6_addr",
    'elements = { fd00::1 comment "uid-1" }',
  ])
    assert.ok(text.includes(line), `${line} in\n${text}`);
  const actual = readBack(netns, "inet", "probes");
  assert.ok(!(actual instanceof Error));
  assert.deepEqual(drift(table, actual), []);
});

async function apply(...operations: NftOperation[]): Promise<void> {
  assert.equal(await applyTransaction(netns, operations), undefined);
}

function elements(set: string): string[] {
  const read = readSet(netns, "inet", "probes", set);
  assert.ok(Array.isArray(read));
  return read.map(({ address, comment }) => `${address} ${comment}`).sort();
}
