/** `ambientd cni daemon`: flags in, a running daemon out, SIGTERM ends it. Pods stay as they are. */
import { systemClock } from "../../core/base/clock.ts";
import { TypedError } from "../../core/base/errors.ts";
import { FlagError } from "../../core/base/flag-error.ts";
import { createLog } from "../../core/base/log.ts";
import { systemRandom } from "../../core/base/random.ts";
import { DirectorySource } from "../../control/sources/directory.ts";
import { parseFlags, usage } from "./config.ts";
import { startDaemon } from "./daemon.ts";

export async function main(argv: string[]): Promise<void> {
  if (argv.includes("--help")) {
    process.stdout.write(usage);
    return;
  }
  const config = parseFlags(argv);
  if (config instanceof FlagError) {
    process.stderr.write(`${config.sentence()}\n`);
    process.exitCode = 2;
    return;
  }
  const log = createLog("cni");
  const ended = endSignal();
  if (config.source === "kubernetes") {
    // Loaded here: the lab's daemon needs none of it.
    const { runInCluster } = await import("./cluster.ts");
    process.exitCode = await runInCluster(config, ended, log);
    // What is still under way then, e.g. a request to an API server that doesn't answer, must not hold up the pod's end.
    systemClock.after(2000, () => process.exit());
    return;
  }
  const source = new DirectorySource({ manifests: config.manifests, status: config.status, log });
  const modules = { source, clock: systemClock, random: systemRandom, log };
  const daemon = await startDaemon(config.daemon, modules);
  if (daemon instanceof TypedError) {
    const { zds } = config.daemon;
    log.fatal({ error: daemon.type }, `cannot listen for agents beside ${zds}; is another daemon running there?`);
    source.close();
    process.exitCode = 1;
    return;
  }
  const signal = await ended;
  log.info({ signal }, "ending; captured pods stay captured");
  await daemon.close();
  source.close();
}

function endSignal(): Promise<NodeJS.Signals> {
  const { promise, resolve } = Promise.withResolvers<NodeJS.Signals>();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, resolve);
  return promise;
}
