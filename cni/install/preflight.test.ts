import assert from "node:assert/strict";
import { test } from "node:test";
import { InstallError } from "./errors.ts";
import { preflight, type Probes } from "./preflight.ts";

const options = { binDir: "/opt/cni/bin", confDir: "/etc/cni/net.d", procDir: "/host/proc" };
const fine: Probes = {
  setns: () => undefined,
  nfTables: async () => undefined,
  writable: async () => undefined,
  firstProcess: async () => "net:[4026531840]",
};

test("a node that has everything passes", async () => {
  assert.equal(await preflight(options, fine), undefined);
});

test("each thing that is missing is a sentence with its fix, and all are named at once", async () => {
  const failing = (errno: string) => async () => Promise.reject(Object.assign(new Error(errno), { code: errno }));
  assert.match(await sentence({ setns: () => "EPERM" }), /can't be entered \(EPERM\); give .* SYS_ADMIN/);
  assert.match(await sentence({ nfTables: async () => "EOPNOTSUPP" }), /no nf_tables .*; load it/);
  assert.match(
    await sentence({ writable: failing("EROFS") }),
    /\/opt\/cni\/bin can't be written; .*read-only.*net\.d can't be written/,
  );
  assert.match(await sentence({ firstProcess: failing("ENOENT") }), /below \/host\/proc .*; mount the node's \/proc/);
  assert.match(await sentence({ firstProcess: failing("EACCES") }), /SYS_PTRACE/);
});

test("without a namespace nothing is said of nf_tables", async () => {
  assert.doesNotMatch(await sentence({ setns: () => "EPERM", nfTables: async () => "unknown" }), /nf_tables/);
});

async function sentence(broken: Partial<Probes>): Promise<string> {
  const error = await preflight(options, { ...fine, ...broken });
  assert.ok(error instanceof InstallError);
  return error.sentence();
}
