/** The linter knows the floors of ARCHITECTURE.md: what it must refuse, and what it must let pass. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { ESLint, Linter } from "eslint";
import tseslint from "typescript-eslint";

const root = join(import.meta.dirname, "..");
const eslint = new ESLint({ cwd: root });

const refused: readonly (readonly [file: string, imported: string])[] = [
  ["core/base/x.ts", "../protocol/spiffe/identity.ts"],
  ["core/protocol/hbone/x.ts", "../../linux/sockets.ts"],
  ["core/linux/x.ts", "../protocol/zds/messages.ts"],
  ["core/decision/x.ts", "../linux/sockets.ts"],
  ["core/decision/x.ts", "../../agent/config.ts"],
  ["control/client/x.ts", "../server/plane.ts"],
  ["control/client/certificates/x.ts", "../../sources/source.ts"],
  ["control/sources/x.ts", "../server/model/model.ts"],
  ["agent/worker/x.ts", "../../cni/daemon/rules.ts"],
  ["agent/x.ts", "../core/linux/netlink/links.ts"],
  ["agent/x.ts", "netlink"],
  ["agent/x.ts", "koffi"],
  ["cni/daemon/x.ts", "../../agent/config.ts"],
  ["cni/daemon/x.ts", "../../control/server/plane.ts"],
  ["cni/plugin/x.ts", "../daemon/rules.ts"],
  ["cni/plugin/x.ts", "../../core/linux/namespace.ts"],
  ["cni/plugin/x.ts", "@kubernetes/client-node"],
  ["control/release/x.ts", "../server/plane.ts"],
  ["control/server/x.ts", "@kubernetes/client-node"],
  ["lab/x.ts", "../agent/main.ts"],
  ["lab/reachability/x.ts", "../../control/server/model/model.ts"],
  ["core/protocol/xds/x.ts", "node:net"],
  ["core/decision/x.ts", "node:fs"],
];

const allowed: readonly (readonly [file: string, imported: string])[] = [
  ["core/protocol/hbone/x.ts", "../../base/ip.ts"],
  ["core/decision/x.ts", "../protocol/wds/workload.ts"],
  ["control/server/xds/x.ts", "../../sources/source.ts"],
  ["agent/worker/x.ts", "../../core/decision/route.ts"],
  ["agent/x.ts", "../control/client/xds-session.ts"],
  ["cni/daemon/x.ts", "../../control/sources/source.ts"],
  ["lab/reachability/x.ts", "../../core/decision/route.ts"],
  ["cli/commands/x.ts", "../../lab/attach.ts"],
  ["cni/plugin/x.ts", "../../core/protocol/cni/config.ts"],
  ["control/release/x.ts", "../sources/kubernetes/client.ts"],
  ["control/sources/kubernetes/x.ts", "@kubernetes/client-node"],
  ["core/linux/netlink/x.ts", "netlink"],
];

for (const [file, imported] of refused)
  test(`${file} may not import ${imported}`, async () => assert.ok((await importFaults(file, imported)) > 0));

for (const [file, imported] of allowed)
  test(`${file} may import ${imported}`, async () => assert.equal(await importFaults(file, imported), 0));

for (const [name, code] of [
  ["the clock", "export const now = Date.now();"],
  ["chance", "export const chance = Math.random();"],
  ["timers", "setTimeout(() => undefined, 1);"],
] as const)
  test(`the pure rooms may not ask ${name} themselves`, async () => {
    for (const file of ["core/protocol/x.ts", "core/decision/x.ts"]) assert.ok((await faults(file, code)) > 0, file);
    assert.equal(await faults("agent/x.ts", code), 0);
  });

function importFaults(file: string, imported: string): Promise<number> {
  return faults(file, `import { thing } from "${imported}";\nexport const it = thing;`);
}

/** How many faults of the floors' rules the project's own settings for that file find in the code. */
async function faults(file: string, code: string): Promise<number> {
  const { rules = {} } = (await eslint.calculateConfigForFile(join(root, file))) as { rules?: Linter.RulesRecord };
  const names = ["no-restricted-imports", "no-restricted-globals", "no-restricted-properties"];
  const picked = Object.fromEntries(names.flatMap((name) => (rules[name] === undefined ? [] : [[name, rules[name]]])));
  const globals = { setTimeout: false, Date: false, Math: false } as const;
  const languageOptions = { parser: tseslint.parser as Linter.Parser, globals };
  return new Linter().verify(code, { files: ["**/*.ts"], languageOptions, rules: picked }, { filename: file }).length;
}
