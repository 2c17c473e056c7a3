/** A stock Envoy that runs for a test, from a static configuration. */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "../support/until.ts";

/** `static_resources` of Envoy's bootstrap. */
export interface StaticResources {
  readonly listeners: readonly object[];
  readonly clusters: readonly object[];
}

/** How long Envoy lets what is open go on, once told to drain. */
export const envoyDrainSeconds = 5;

export class Envoy {
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #adminPath: string;
  #log = "";

  private constructor(program: string, resources: StaticResources) {
    this.#folder = mkdtempSync(join(tmpdir(), "envoy-"));
    this.#adminPath = join(this.#folder, "admin.sock");
    const bootstrap = join(this.#folder, "bootstrap.json");
    const admin = { address: { pipe: { path: this.#adminPath, mode: 0o600 } } };
    writeFileSync(bootstrap, JSON.stringify({ admin, static_resources: resources }));
    const argv = ["--config-path", bootstrap, "--concurrency", "1", "--disable-hot-restart"];
    const drain = ["--drain-time-s", String(envoyDrainSeconds), "--drain-strategy", "immediate"];
    const log = ["--log-level", "warning", "--file-flush-interval-msec", "50"];
    // It must not stay when the test's process was killed.
    this.#child = spawn("setpriv", ["--pdeathsig", "KILL", program, ...argv, ...drain, ...log], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.on("data", (chunk) => (this.#log += String(chunk)));
  }

  /** Settles when it listens. */
  static async start(program: string, resources: StaticResources): Promise<Envoy> {
    const envoy = new Envoy(program, resources);
    await until("Envoy is ready", 20_000, async () => {
      if (envoy.#child.exitCode !== null) throw new Error(envoy.#log);
      return (await envoy.admin("GET", "/ready")).startsWith("LIVE");
    });
    return envoy;
  }

  /** What it wrote: warnings, and the access log as its configuration has it. */
  get log(): string {
    return this.#log;
  }

  admin(method: "GET" | "POST", path: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const asked = request({ socketPath: this.#adminPath, method, path, agent: false }, (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        response.on("end", () => resolve(text));
      });
      asked.on("error", reject);
      asked.end();
    });
  }

  /** A counter or gauge: `cluster.hbone.upstream_cx_total`. */
  async stat(name: string): Promise<number> {
    const line = (await this.admin("GET", `/stats?filter=^${name}$`)).trim();
    return Number(line.slice(line.lastIndexOf(":") + 1));
  }

  async close(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill("SIGKILL");
      await new Promise((resolve) => this.#child.once("close", resolve));
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
