/** A control plane over folders: manifests to read, overlays to write, a root and tokens of its own in files. Always its own leader. */
import type { Clock } from "../../core/base/clock.ts";
import type { Log } from "../../core/base/log.ts";
import { systemRandom } from "../../core/base/random.ts";
import { DirectorySource } from "../sources/directory.ts";
import type { Source } from "../sources/source.ts";
import { LocalTokenReviewer } from "./ca/authenticate.ts";
import { openAuthority } from "./ca/authority.ts";
import { MeshAuthority, rootOnly } from "./ca/mesh-authority.ts";
import { agentAccount, NodeTokens, openTokenKey, publicHalf } from "./ca/node-tokens.ts";
import type { FolderConfig } from "./config.ts";
import type { ListenError } from "./grpc-server.ts";
import { defaultMeshConfig } from "./model/inputs.ts";
import { startPlane, type Plane } from "./plane.ts";
import { FileError, privateDirectory, replaceFile } from "./private-files.ts";
import { StatusReporter } from "./statuses.ts";

export interface FolderPlaneModules {
  readonly clock: Clock;
  readonly log: Log;
  /** Where objects come from, closed by the caller. Default: the folders of the configuration. */
  readonly source?: Source;
}

/** Opens the port, or says what is in the way. */
export async function startFolderPlane(
  config: FolderConfig,
  modules: FolderPlaneModules,
): Promise<Plane | FileError | ListenError> {
  const { clock, log } = modules;
  const { trustDomain } = config;
  const unusable = privateDirectory(config.data);
  if (unusable !== undefined) return unusable;
  const issuer = openAuthority({ directory: config.data, trustDomain, wallMs: clock.wallMs() });
  if (issuer instanceof FileError) return issuer;
  const key = openTokenKey(config.data);
  if (key instanceof FileError) return key;
  const unpublished = replaceFile(config.publishRoot, issuer.certificatePem, 0o644);
  if (unpublished !== undefined) return unpublished;

  const source = modules.source ?? openFolders(config, modules);
  const tokens = new NodeTokens({ directory: config.tokens, key, clock, log: log.child({ part: "tokens" }) });
  const statuses = new StatusReporter({
    source,
    writer: "control",
    outlivesObjects: true,
    clock,
    random: systemRandom,
    log,
  });
  statuses.lead(true);
  const close = (): void => {
    if (modules.source === undefined) source.close();
    tokens.close();
    statuses.close();
  };
  const plane = await startPlane(config, {
    source,
    authority: new MeshAuthority(rootOnly(issuer)),
    reviewer: new LocalTokenReviewer({ key: publicHalf(key), trustDomain, clock }),
    trustedAgents: new Set([`${agentAccount.namespace}/${agentAccount.name}`]),
    rootNamespace: defaultMeshConfig.rootNamespace,
    names: inClusterNames,
    statuses,
    followers: [tokens],
    clock,
    log,
  });
  if (plane instanceof Error) {
    close();
    return plane;
  }
  return {
    ...plane,
    async close() {
      close();
      await plane.close();
    },
  };
}

function openFolders({ manifests, status }: FolderConfig, { clock, log }: FolderPlaneModules): Source {
  return new DirectorySource({ manifests, status, clock, log: log.child({ part: "source" }) });
}

/** As istiod's own certificate has them. */
const inClusterNames = ["istiod.istio-system.svc", "istiod.istio-system.svc.cluster.local"];
