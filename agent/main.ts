/** `ambientd agent`: its command line and its settings, as they are or as a sentence that says what is wrong. */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import process from "node:process";
import { createLog } from "../core/base/log.ts";
import { messageOf } from "../core/base/errors.ts";
import type { DeltaUpdate } from "../core/protocol/xds/delta-client.ts";
import { ConfigError, parseConfig } from "./config.ts";
import { environmentProblem, protectMemory } from "./hardening.ts";
import { LocalMeshError } from "./local-mesh/fields.ts";
import { localMesh } from "./local-mesh/local-mesh.ts";
import { missingPrivilege } from "./privileges.ts";
import type { LocalMeshSource } from "./run-mode.ts";
import { version } from "./version.ts";
import { Agent } from "./agent.ts";

/** Runs until SIGTERM, SIGINT or POST /quitquitquit. Exit code 2: a setting is wrong, or a port or socket can't be had. */
export async function main(argv: string[]): Promise<void> {
  // What follows the first word is not looked at, as in the field.
  const [command = "proxy"] = argv;
  if (command === "version") return void process.stdout.write(`${version()}\n`);
  if (command !== "proxy") {
    const asked = command === "help" || command === "--help";
    (asked ? process.stdout : process.stderr).write(usage);
    process.exitCode = asked ? 0 : 1;
    return;
  }
  const unsafe = environmentProblem(process.env, process.execArgv);
  if (unsafe !== undefined) {
    process.stderr.write(`${unsafe}\n`);
    process.exitCode = 2;
    return;
  }
  const config = parseConfig(process.env, availableParallelism(), meshFile());
  if (config instanceof ConfigError) {
    process.stderr.write(`${config.sentence()}\n`);
    process.exitCode = 2;
    return;
  }
  const missing = missingPrivilege(config.packetMark);
  if (missing !== undefined) {
    process.stderr.write(`${missing}\n`);
    process.exitCode = 2;
    return;
  }
  const local = localUpdates(config.localMesh);
  if (typeof local === "string") {
    process.stderr.write(`ambientd agent: ${local}\n`);
    process.exitCode = 2;
    return;
  }
  const log = createLog("agent");
  protectMemory(log);
  await new Agent(config, log).run(local);
}

/** YAML of the mesh's own settings, where somebody has mounted it. */
function meshFile(): string | undefined {
  try {
    return readFileSync("./etc/istio/config/mesh", "utf8");
  } catch {
    return undefined;
  }
}

/** @returns what is wrong with it, where something is. */
function localUpdates(source: LocalMeshSource | undefined): readonly DeltaUpdate[] | string {
  if (source === undefined) return [];
  const name = source.kind === "file" ? `LOCAL_XDS_PATH=${source.path}` : "LOCAL_XDS";
  try {
    const updates = localMesh(source.kind === "file" ? readFileSync(source.path, "utf8") : source.yaml);
    return updates instanceof LocalMeshError ? `${name}: ${updates.sentence()}` : updates;
  } catch (thrown) {
    return `${name} cannot be read: ${messageOf(thrown)}`;
  }
}

const usage = `usage: ambientd agent [proxy | version | help]
Configured by its environment: XDS_ADDRESS, CA_ADDRESS, XDS_ROOT_CA, CA_ROOT_CA, AUTH_TOKEN, INPOD_UDS, NODE_NAME, CLUSTER_ID,
SECRET_TTL, ZTUNNEL_WORKER_THREADS, AMBIENTD_ADMIN_SOCKET and more: docs/agent.md.
`;
