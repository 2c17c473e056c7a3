/** The control plane put together: a folder of objects in, certificates and delta discovery out. */
import type { Clock } from "../../core/base/clock.ts";
import type { Log } from "../../core/base/log.ts";
import { ResourceLog } from "../../core/protocol/xds/resource-log.ts";
import { ConditionWriter } from "../sources/conditions.ts";
import { DirectorySource } from "../sources/directory.ts";
import type { ObjectDelta, Source } from "../sources/source.ts";
import { LocalTokenReviewer } from "./ca/authenticate.ts";
import { openAuthority } from "./ca/authority.ts";
import { CertificateService } from "./ca/certificate-service.ts";
import { LivePods } from "./ca/live-pods.ts";
import { agentAccount, NodeTokens, openTokenKey, publicHalf } from "./ca/node-tokens.ts";
import { mostTtlSeconds, type ControlConfig } from "./config.ts";
import { GrpcServer, ListenError } from "./grpc-server.ts";
import { defaultMeshConfig } from "./model/inputs.ts";
import { Model, type ModelChange } from "./model/model.ts";
import { FileError, privateDirectory, replaceFile } from "./private-files.ts";
import { ServingCredentials } from "./serving-credentials.ts";
import { Debounce } from "./xds/debounce.ts";
import { pushOrder } from "./xds/push-order.ts";
import { XdsServer } from "./xds/server.ts";

export interface PlaneModules {
  readonly clock: Clock;
  readonly log: Log;
  /** Where objects come from, closed by the caller. Default: the folders of the configuration. */
  readonly source?: Source;
}

export interface Plane {
  /** The one it listens on, also where that was left open with 0. */
  readonly port: number;
  readonly xds: XdsServer;
  /** Settles once every object is known and every node's token is written. Until then all callers are told to come back. */
  readonly synced: Promise<void>;
  close(): Promise<void>;
}

/** Opens the port, or says what is in the way. */
export async function startPlane(
  config: ControlConfig,
  modules: PlaneModules,
): Promise<Plane | FileError | ListenError> {
  const { clock, log } = modules;
  const unusable = privateDirectory(config.data);
  if (unusable !== undefined) return unusable;
  const issuer = openAuthority({ directory: config.data, trustDomain: config.trustDomain, wallMs: clock.wallMs() });
  if (issuer instanceof FileError) return issuer;
  const tokenKey = openTokenKey(config.data);
  if (tokenKey instanceof FileError) return tokenKey;
  const unpublished = replaceFile(config.publishRoot, issuer.certificatePem, 0o644);
  if (unpublished !== undefined) return unpublished;

  const logs = new Map(pushOrder.map((typeUrl) => [typeUrl, new ResourceLog()]));
  const pods = new LivePods();
  let inSync = false;
  const reviewer = new LocalTokenReviewer({ key: publicHalf(tokenKey), trustDomain: config.trustDomain, clock });
  const account = `${agentAccount.namespace}/${agentAccount.name}`;
  const rules = { trustDomain: config.trustDomain, trustedNodeAccounts: new Set([account]), pods };
  const admission = { reviewer, rules, isReady: () => inSync, clock };
  const xds = new XdsServer({ ...admission, logs, log: log.child({ part: "xds" }) });
  const ca = new CertificateService({
    ...admission,
    issuer,
    policy: issuePolicy(config),
    log: log.child({ part: "ca" }),
  });
  const names = [...new Set([...config.advertise, ...inClusterNames])];
  const credentials = new ServingCredentials({ issuer, names, clock, log });
  const server = new GrpcServer({ xds, ca, credentials, log });
  const port = await server.listen(config.listen);
  if (port instanceof ListenError) {
    credentials.close();
    return port;
  }

  const source = modules.source ?? openFolders(config, modules);
  const model = new Model({ ...defaultMeshConfig, trustDomain: config.trustDomain, clusterId: config.clusterId });
  const tokens = new NodeTokens({
    directory: config.tokens,
    key: tokenKey,
    clock,
    log: log.child({ part: "tokens" }),
  });
  const conditions = new ConditionWriter({ source, writer: "control", clock, log });
  const push = new Debounce({ clock, quietMs: 20, atMostMs: 500, flush: () => xds.push() });
  const take = (deltas: readonly ObjectDelta[]): void => {
    pods.apply(deltas);
    const change = model.apply(deltas);
    if (record(logs, change)) push.touch();
    // A status that can't be written is logged there, and said again when it changes.
    void conditions.write(change.statuses).then(() => conditions.forget(deltas));
  };
  let isClosing = false;
  let unsubscribe = (): void => undefined;
  return { port, xds, synced: follow(), close };

  async function follow(): Promise<void> {
    await source.synced;
    if (isClosing) return;
    const snapshot = source.list();
    const objects = [...snapshot.objects()];
    take(objects.map((object) => ({ op: "put", object })));
    tokens.load(snapshot);
    unsubscribe = source.subscribe((deltas) => {
      tokens.apply(deltas);
      take(deltas);
    });
    inSync = true;
    log.info({ port, objects: objects.length }, "control serves");
  }

  async function close(): Promise<void> {
    isClosing = true;
    unsubscribe();
    if (modules.source === undefined) source.close();
    push.close();
    tokens.close();
    xds.close();
    await server.close(closeWithinMs);
  }
}

function openFolders({ manifests, status }: ControlConfig, { clock, log }: PlaneModules): Source {
  return new DirectorySource({ manifests, status, clock, log: log.child({ part: "source" }) });
}

/** @returns whether anything that agents hold became different. */
function record(logs: ReadonlyMap<string, ResourceLog>, { resources }: ModelChange): boolean {
  let changed = false;
  for (const [typeUrl, change] of resources) {
    if (logs.get(typeUrl)?.apply(change.changed, change.removed) === true) changed = true;
  }
  return changed;
}

function issuePolicy({ certTtlSeconds }: ControlConfig) {
  const defaultSeconds = Math.min(86_400, certTtlSeconds ?? 86_400);
  return {
    defaultSeconds,
    maxSeconds: mostTtlSeconds,
    ...(certTtlSeconds === undefined ? {} : { clampSeconds: certTtlSeconds }),
  };
}

/** As istiod's own certificate has them. */
const inClusterNames = ["istiod.istio-system.svc", "istiod.istio-system.svc.cluster.local"];
const closeWithinMs = 1_000;
