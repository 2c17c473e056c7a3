/** `ambientd control`: flags in, a control plane that serves until it is told to end. */
import { systemClock } from "../../core/base/clock.ts";
import { FlagError } from "../../core/base/flag-error.ts";
import { createLog, type Log } from "../../core/base/log.ts";
import { KubernetesClient } from "../sources/kubernetes/client.ts";
import { loadConnection } from "../sources/kubernetes/connection.ts";
import { explainKubeError, KubeError } from "../sources/kubernetes/errors.ts";
import { RootError } from "./ca/root-secret.ts";
import { startClusterPlane, type ClusterPlaneError } from "./cluster-plane.ts";
import { parseFlags, usage, type KubernetesConfig } from "./config.ts";
import { startFolderPlane } from "./folder-plane.ts";
import type { ListenError } from "./grpc-server.ts";
import type { Plane } from "./plane.ts";
import type { FileError } from "./private-files.ts";

export async function main(argv: string[]): Promise<void> {
  if (argv.includes("--help")) return void process.stdout.write(usage());
  const config = parseFlags(argv);
  if (config instanceof FlagError) {
    process.stderr.write(`${config.sentence()}\n`);
    process.exitCode = 2;
    return;
  }
  const log = createLog("control");
  let close = (): Promise<void> => Promise.resolve();
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info({ signal }, "control ends");
      void close().then(() => process.exit(0));
    });
  }
  const started = await (config.source === "kubernetes"
    ? startInCluster(config, log)
    : startFolderPlane(config, { clock: systemClock, log }));
  if (started instanceof Error) {
    log.fatal({ error: started.type, ...advice(started) }, "control can't start");
    process.exit(1);
  }
  close = () => started.close();
}

async function startInCluster(config: KubernetesConfig, log: Log): Promise<Plane | ClusterPlaneError> {
  const { kubeconfig, context } = config;
  const connection = await loadConnection({
    ...(kubeconfig === undefined ? {} : { kubeconfig }),
    ...(context === undefined ? {} : { context }),
  });
  if (connection instanceof KubeError) return connection;
  const client = new KubernetesClient({ connection, log, userAgent: "ambientd-control" });
  // While an API server is waited for, nothing else keeps the process alive.
  const alive = setInterval(() => undefined, 60_000);
  try {
    return await startClusterPlane(config, { client, clock: systemClock, log });
  } finally {
    clearInterval(alive);
  }
}

/** What to do about it, where that can be said. */
function advice(error: ClusterPlaneError | FileError | ListenError): { readonly fix?: string } {
  if (error instanceof RootError) return { fix: error.sentence() };
  return error instanceof KubeError ? { fix: explainKubeError(error) } : {};
}
