/** An agent for one workload, `shop/web`, as a process in this namespace, with a test's own authority; and peers of the same root. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";
import { FakeCa } from "../../agent/fake-ca.ts";
import { CertificateError } from "../../control/client/certificates/certificate.ts";
import { systemClock } from "../../core/base/clock.ts";
import { TunnelClient } from "./tunnel-client.ts";

/** Where {@link DedicatedAgent} serves. */
export const webAddress = "10.99.0.3";

/** What starts an agent, without settings. */
export const agentProgram = ["--disable-sigusr1", join(import.meta.dirname, "../../bin/ambientd.ts"), "agent"];

export class DedicatedAgent {
  /** Of a test that may leave files in it. */
  readonly folder = mkdtempSync(join(tmpdir(), "dedicated-"));
  readonly lines: string[] = [];
  #end: () => Promise<void> = () => Promise.resolve();

  constructor(t: TestContext) {
    t.after(async () => {
      await this.#end();
      rmSync(this.folder, { recursive: true });
    });
  }

  /** @param settings where its mesh comes from. */
  start(settings: Readonly<Record<string, string>>): ReturnType<typeof spawn> {
    const child = spawn(process.execPath, [...agentProgram, "proxy", "whatever"], {
      env: {
        PATH: process.env["PATH"] ?? "/bin",
        PROXY_MODE: "dedicated",
        PROXY_WORKLOAD_INFO: "shop/web/web",
        CA_ADDRESS: "",
        FAKE_CA: "true",
        AMBIENTD_FAKE_CA_DIR: join(this.folder, "ca"),
        NODE_ENV: "test",
        IPV6_ENABLED: "false",
        ZTUNNEL_WORKER_THREADS: "1",
        // As the downward API has it: this agent is a pod, too, and must not take the workload's port for itself.
        POD_NAME: "web",
        POD_NAMESPACE: "shop",
        SERVICE_ACCOUNT: "web",
        ...settings,
      },
      stdio: ["ignore", "pipe", "inherit"],
    });
    createInterface({ input: child.stdout }).on("line", (line) => this.lines.push(line));
    const exited = once(child, "exit");
    this.#end = async () => {
      child.kill("SIGKILL");
      await exited;
    };
    return child;
  }

  says(message: string): boolean {
    return this.lines.some((line) => line.includes(`"${message}"`));
  }

  /** A tunnel to it from another workload of `shop`. */
  async peer(serviceAccount: string): Promise<TunnelClient> {
    const ca = new FakeCa({ folder: join(this.folder, "ca"), validitySeconds: 3_600, clock: systemClock });
    const identity = { trustDomain: "cluster.local", namespace: "shop", serviceAccount };
    const issued = await ca.fetch(identity);
    assert.ok(!(issued instanceof CertificateError));
    const { chainPem, key, rootsPem, notAfter } = issued;
    const pem = key.export({ type: "pkcs8", format: "pem" }) as string;
    const tls = { identity, chain: chainPem.join(""), key: pem, roots: rootsPem, notAfter };
    return new TunnelClient({ address: webAddress, port: 15_008 }, tls, "10.99.0.2");
  }
}
