import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { enterNamespaces } from "../test/support/namespaced.ts";

const skip = enterNamespaces() ?? false;

/** What the agent says when it is started with these capabilities and no others. */
function saidWith(capabilities: string): string {
  const script = `
    const { missingPrivilege } = await import(${JSON.stringify(join(import.meta.dirname, "privileges.ts"))});
    process.stdout.write(String(missingPrivilege(1337)));`;
  const drop = ["--bounding-set", `-all${capabilities}`, "--inh-caps", "-all", "--"];
  const node = [process.execPath, "--input-type=module", "-e", script];
  const { stdout, stderr } = spawnSync("setpriv", [...drop, ...node], { encoding: "utf8" });
  return stdout + stderr;
}

test("F-027 CAP_SYS_ADMIN and CAP_NET_RAW are enough, and CAP_NET_ADMIN does for the second", { skip }, () => {
  assert.equal(saidWith(",+sys_admin,+net_raw"), "undefined");
  assert.equal(saidWith(",+sys_admin,+net_admin"), "undefined");
});

test("F-027 a capability that is missing is named, with what it is for and where to add it", { skip }, () => {
  assert.match(saidWith(",+net_raw,+net_admin"), /enters pods' network namespaces.*CAP_SYS_ADMIN.*securityContext/);
  assert.match(saidWith(",+sys_admin"), /marks its own packets.*EPERM.*CAP_NET_RAW.*securityContext/);
});
