/**
 * The control plane put together: objects in; certificates, delta discovery and statuses out. Where objects come from,
 * who reviews tokens, what signs and who may write is handed in: folder-plane.ts and cluster-plane.ts.
 */
import type { Clock } from "../../core/base/clock.ts";
import type { Log } from "../../core/base/log.ts";
import { ResourceLog } from "../../core/protocol/xds/resource-log.ts";
import type { ObjectDelta, Source } from "../sources/source.ts";
import type { TokenReviewer } from "./ca/authenticate.ts";
import { CertificateService } from "./ca/certificate-service.ts";
import { LivePods } from "./ca/live-pods.ts";
import type { MeshAuthority } from "./ca/mesh-authority.ts";
import { mostTtlSeconds, type CommonConfig } from "./config.ts";
import { GrpcServer, ListenError } from "./grpc-server.ts";
import { defaultMeshConfig } from "./model/inputs.ts";
import { Model, type ModelChange } from "./model/model.ts";
import type { Resource } from "./model/resources.ts";
import { ServingCredentials } from "./serving-credentials.ts";
import type { StatusReporter } from "./statuses.ts";
import { Debounce } from "./xds/debounce.ts";
import { pushOrder } from "./xds/push-order.ts";
import { XdsServer } from "./xds/server.ts";

export interface PlaneModules {
  readonly source: Source;
  readonly authority: MeshAuthority;
  readonly reviewer: TokenReviewer;
  /** `namespace/service account` of those that act for the node they run on. */
  readonly trustedAgents: ReadonlySet<string>;
  /** Where policies for the whole mesh live. */
  readonly rootNamespace: string;
  /** Names control is reached by, beside those of the configuration. */
  readonly names: readonly string[];
  readonly statuses: StatusReporter;
  /** Hear of objects before the plane acts on them: at first of all there are, then of each change. */
  readonly followers: readonly ObjectFollower[];
  readonly clock: Clock;
  readonly log: Log;
}

export interface ObjectFollower {
  apply(deltas: readonly ObjectDelta[]): void;
}

export interface Plane {
  /** The one it listens on, also where that was left open with 0. */
  readonly port: number;
  readonly xds: XdsServer;
  /** Settles once every object is known and every follower has heard of it. Until then all callers are told to come back. */
  readonly synced: Promise<void>;
  isReady(): boolean;
  /** What agents are told of one type, by name. */
  resources(typeUrl: string): ReadonlyMap<string, Resource>;
  /** Sends every subscriber away and closes the port. What was handed in is closed by whoever handed it in. */
  close(): Promise<void>;
}

/** Opens the port, or says what is in the way. */
export async function startPlane(config: CommonConfig, modules: PlaneModules): Promise<Plane | ListenError> {
  const { source, authority, reviewer, statuses, clock, log } = modules;
  const { trustDomain, clusterId, danglingWaypoints = defaultMeshConfig.danglingWaypoints } = config;
  const logs = new Map(pushOrder.map((typeUrl) => [typeUrl, new ResourceLog()]));
  const pods = new LivePods();
  let inSync = false;
  const rules = { trustDomain, trustedNodeAccounts: modules.trustedAgents, pods };
  const admission = { reviewer, clusterId, rules, isReady: () => inSync, clock };
  const xds = new XdsServer({ ...admission, logs, log: log.child({ part: "xds" }) });
  const ca = new CertificateService({
    ...admission,
    authority,
    policy: issuePolicy(config),
    log: log.child({ part: "ca" }),
  });
  const names = [...new Set([...config.advertise, ...modules.names])];
  const credentials = new ServingCredentials({ authority, names, clock, log });
  const server = new GrpcServer({ xds, ca, credentials, log });
  const port = await server.listen(config.listen);
  if (port instanceof ListenError) {
    credentials.close();
    return port;
  }

  const { rootNamespace } = modules;
  const model = new Model({ ...defaultMeshConfig, trustDomain, clusterId, rootNamespace, danglingWaypoints });
  const push = new Debounce({ clock, quietMs: 20, atMostMs: 500, flush: () => xds.push() });
  const take = (deltas: readonly ObjectDelta[]): void => {
    for (const follower of modules.followers) follower.apply(deltas);
    pods.apply(deltas);
    const change = model.apply(deltas);
    if (record(logs, change)) push.touch();
    statuses.report(change.statuses, deltas);
  };
  let isClosing = false;
  let unsubscribe = (): void => undefined;
  const resources = (typeUrl: string): ReadonlyMap<string, Resource> => model.resources(typeUrl);
  return { port, xds, synced: follow(), isReady: () => inSync && !isClosing, resources, close };

  async function follow(): Promise<void> {
    await source.synced;
    if (isClosing) return;
    const objects = [...source.list().objects()];
    take(objects.map((object) => ({ op: "put", object })));
    unsubscribe = source.subscribe(take);
    inSync = true;
    log.info({ port, objects: objects.length }, "control serves");
  }

  async function close(): Promise<void> {
    isClosing = true;
    unsubscribe();
    push.close();
    xds.close();
    await server.close(closeWithinMs);
  }
}

/** @returns whether anything that agents hold became different. */
function record(logs: ReadonlyMap<string, ResourceLog>, { resources }: ModelChange): boolean {
  let changed = false;
  for (const [typeUrl, change] of resources) {
    if (logs.get(typeUrl)?.apply(change.changed, change.removed) === true) changed = true;
  }
  return changed;
}

function issuePolicy({ certTtlSeconds }: CommonConfig) {
  const defaultSeconds = Math.min(86_400, certTtlSeconds ?? 86_400);
  return {
    defaultSeconds,
    maxSeconds: mostTtlSeconds,
    ...(certTtlSeconds === undefined ? {} : { clampSeconds: certTtlSeconds }),
  };
}

const closeWithinMs = 1_000;
