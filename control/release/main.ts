/** `ambientd release`: what Helm runs before it deletes anything. */
import { systemClock } from "../../core/base/clock.ts";
import { FlagError } from "../../core/base/flag-error.ts";
import { createLog } from "../../core/base/log.ts";
import { KubernetesClient } from "../sources/kubernetes/client.ts";
import { loadConnection } from "../sources/kubernetes/connection.ts";
import { explainKubeError, KubeError } from "../sources/kubernetes/errors.ts";
import { parseFlags, usage } from "./config.ts";
import { explainOutcome, release } from "./release.ts";

export async function main(argv: string[]): Promise<void> {
  if (argv.includes("--help")) return void process.stdout.write(usage);
  const config = parseFlags(argv);
  if (config instanceof FlagError) return end(2, config.sentence());
  const { kubeconfig, context } = config;
  const connection = await loadConnection({
    ...(kubeconfig === undefined ? {} : { kubeconfig }),
    ...(context === undefined ? {} : { context }),
  });
  if (connection instanceof KubeError) return end(1, explainKubeError(connection));
  const log = createLog("release");
  const client = new KubernetesClient({ connection, log, userAgent: "ambientd-release" });
  // Timers of the clock keep no process alive, and between two questions there is nothing else.
  const alive = setInterval(() => undefined, 60_000);
  const outcome = await release(config, { client, clock: systemClock, log });
  clearInterval(alive);
  client.close();
  end(outcome.kind === "released" ? 0 : 1, explainOutcome(outcome, config.namespace));
}

/** The last line is what Kubernetes keeps of a container that failed. */
function end(code: number, sentence: string): void {
  (code === 0 ? process.stdout : process.stderr).write(`${sentence}\n`);
  process.exitCode = code;
}
