/** `ambientd control`: flags in, a control plane that serves until it is told to end. */
import { systemClock } from "../../core/base/clock.ts";
import { createLog } from "../../core/base/log.ts";
import { ConfigError, parseFlags, usage } from "./config.ts";
import { startFolderPlane } from "./folder-plane.ts";

export async function main(argv: string[]): Promise<void> {
  if (argv.includes("--help")) return void process.stdout.write(usage());
  const config = parseFlags(argv);
  if (config instanceof ConfigError) {
    process.stderr.write(`${config.sentence()}\n`);
    process.exitCode = 2;
    return;
  }
  const log = createLog("control");
  if (config.source === "kubernetes") throw new Error("not yet");
  const plane = await startFolderPlane(config, { clock: systemClock, log });
  if (plane instanceof Error) {
    log.fatal({ error: plane.type }, "control can't start");
    process.exitCode = 1;
    return;
  }
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info({ signal }, "control ends");
      void plane.close().then(() => process.exit(0));
    });
  }
}
