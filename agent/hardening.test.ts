import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { until } from "../test/support/until.ts";
import { environmentProblem } from "./hardening.ts";

test("H100 an environment that would undo the agent's promises is refused by name, with the fix", () => {
  assert.equal(environmentProblem({ PATH: "/bin", NODE_OPTIONS: "" }, ["--disable-sigusr1"]), undefined);
  for (const variable of ["NODE_OPTIONS", "NODE_TLS_REJECT_UNAUTHORIZED", "NODE_EXTRA_CA_CERTS", "OPENSSL_CONF"]) {
    assert.match(environmentProblem({ [variable]: "x" }, []) ?? "", new RegExp(`: ${variable} is set.*leave it out`));
  }
  for (const flag of ["--tls-keylog=/tmp/x", "--inspect=0.0.0.0:9229", "--tls-min-v1.0", "--openssl-config=/x"]) {
    assert.match(environmentProblem({}, [flag]) ?? "", /Node runs with --.*leave it out/);
  }
});

test("H100 a process that protects its memory has no core files, opens no debugger, and goes on", async (t) => {
  const script = `
    const { protectMemory } = await import(${JSON.stringify(join(import.meta.dirname, "hardening.ts"))});
    const { createLog } = await import(${JSON.stringify(join(import.meta.dirname, "../core/base/log.ts"))});
    protectMemory(createLog("agent"));
    process.stdout.write("protected\\n");
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "pipe"] });
  t.after(() => child.kill("SIGKILL"));
  let [out, err] = ["", ""];
  child.stdout.on("data", (chunk) => (out += String(chunk)));
  child.stderr.on("data", (chunk) => (err += String(chunk)));
  await until("it is protected", 10_000, () => out.includes("protected"));
  assert.match(readFileSync(`/proc/${child.pid}/limits`, "utf8"), /^Max core file size\s+0\s+0\s/m);
  child.kill("SIGUSR1");
  await until("it says that it ignores the signal", 10_000, () => out.includes("SIGUSR1 is ignored"));
  assert.ok(!err.includes("Debugger listening"), err);
  child.kill("SIGTERM");
  await once(child, "exit");
});
