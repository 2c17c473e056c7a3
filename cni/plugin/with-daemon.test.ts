/** The plugin as a process and the daemon's own socket: both ends of one wire. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { systemClock } from "../../core/base/clock.ts";
import { pluginHandler, type PluginEvent, type PluginView } from "../daemon/plugin-server.ts";
import { closeServer, serveUnix } from "../daemon/unix-http.ts";
import { callPlugin, environment, fromSource } from "./test-support/call-plugin.ts";

test("the plugin waits until the daemon has enrolled the pod, and brings back why it hasn't", async () => {
  const runDir = mkdtempSync(join(tmpdir(), "ambient-cni-wire-"));
  const events: PluginEvent[] = [];
  let view: PluginView = { kind: "unknown" };
  let change = Promise.withResolvers<void>();
  const handler = pluginHandler({
    open: (event) => {
      events.push(event);
      // The news of the enrolment comes once the plugin waits for it.
      setImmediate(() => {
        if (event.podName === "cart") view = { kind: "enrolled" };
        change.resolve();
        change = Promise.withResolvers();
      });
      return {
        view: () => (event.podName === "cart" ? view : { kind: "waiting", reason: { code: "cni.no-agent" } }),
        close: () => undefined,
      };
    },
    changed: () => change.promise,
    impediment: () => ({ code: "cni.no-agent" }),
    clock: systemClock,
  });
  const server = await serveUnix(join(runDir, "pluginevent.sock"), handler);
  try {
    const prevResult = { cniVersion: "1.1.0", ips: [{ address: "fd00:0::2/64" }, { address: "10.0.0.2/24" }] };
    const stdin = JSON.stringify({
      cniVersion: "1.1.0",
      name: "k8s",
      type: "ambient-cni",
      cni_agent_run_dir: runDir,
      prevResult,
    });
    const call = (verb: string, pod?: string) => {
      const env = environment(verb, pod);
      return callPlugin(fromSource, { env: { ...env, CNI_ARGS: `${env["CNI_ARGS"]};K8S_POD_UID=u-1` }, stdin });
    };
    const [enrolled, held, checked, status] = await Promise.all([
      call("ADD"),
      call("ADD", "shop/slow"),
      call("CHECK"),
      call("STATUS"),
    ]);
    assert.deepEqual([enrolled.code, JSON.parse(enrolled.stdout)], [0, prevResult]);
    assert.deepEqual([checked.code, checked.stdout, status.code], [0, "", 0]);
    const report = JSON.parse(held.stdout) as { code: number; msg: string };
    assert.equal(report.code, 11);
    assert.match(report.msg, /pod shop\/slow is held back: .*no ambientd-agent is connected on this node/);
    assert.deepEqual(
      events.find(({ podName }) => podName === "cart"),
      {
        podName: "cart",
        podNamespace: "shop",
        podUid: "u-1",
        netns: "/var/run/netns/cni-1",
        addresses: ["fd00::2", "10.0.0.2"],
      },
    );
  } finally {
    await closeServer(server);
    rmSync(runDir, { recursive: true, force: true });
  }
});
