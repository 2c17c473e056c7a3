/**
 * A control plane over a cluster: objects, tokens, root and leadership from its API server. Any replica serves any agent;
 * only the one that holds the Lease writes statuses and publishes the root.
 */
import { Backoff } from "../../core/base/backoff.ts";
import type { Clock } from "../../core/base/clock.ts";
import type { Log } from "../../core/base/log.ts";
import { systemRandom } from "../../core/base/random.ts";
import type { KubernetesClient } from "../sources/kubernetes/client.ts";
import { KubeError, mayPass } from "../sources/kubernetes/errors.ts";
import { LeaderElection } from "../sources/kubernetes/leader.ts";
import { Reflector } from "../sources/kubernetes/reflector.ts";
import { KubernetesSource } from "../sources/kubernetes/source.ts";
import { MeshAuthority } from "./ca/mesh-authority.ts";
import { takeRootChange } from "./ca/root-changes.ts";
import type { RootError } from "./ca/root-secret.ts";
import { openRootSecret, type OpenedRoot, type Secret } from "./ca/root-secret.ts";
import { KubernetesTokenReviewer } from "./ca/token-review.ts";
import type { KubernetesConfig } from "./config.ts";
import { debugAnswers } from "./debug.ts";
import { ListenError } from "./grpc-server.ts";
import { healthAnswers } from "./health.ts";
import { listenHttp, type HttpListener } from "./http-listener.ts";
import { startPlane, type Plane } from "./plane.ts";
import { rootConfigMapName, RootConfigMaps } from "./root-config-maps.ts";
import { sourceKinds } from "./source-kinds.ts";
import { StatusReporter } from "./statuses.ts";

export interface ClusterPlaneModules {
  readonly client: KubernetesClient;
  readonly clock: Clock;
  readonly log: Log;
}

export interface ClusterPlane extends Plane {
  /** Where health and debug questions are answered, if they are. */
  readonly healthPort: number;
  readonly debugPort: number;
  leads(): boolean;
}

export type ClusterPlaneError = RootError | KubeError | ListenError;

/** Serves, or says what is in the way. An API server that can't be reached yet is waited for. */
export async function startClusterPlane(
  config: KubernetesConfig,
  modules: ClusterPlaneModules,
): Promise<ClusterPlane | ClusterPlaneError> {
  const closers: (() => void | Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const one of closers.splice(0).reverse()) await one();
  };
  let stage: () => string | undefined = () => "the root is not read yet";
  const health = await listenOptional(
    config.health,
    healthAnswers(() => stage()),
  );
  if (health instanceof ListenError) return health;
  closers.push(() => health?.close());
  const started = await assemble(config, modules, closers);
  if (started instanceof Error) {
    await close();
    return started;
  }
  const { plane, isLeading, about } = started;
  stage = () => (plane.isReady() ? undefined : "not every object is known yet");
  const debug = await listenOptional(config.debug, debugAnswers({ plane, about }), true);
  if (debug instanceof ListenError) {
    await close();
    return debug;
  }
  closers.push(() => debug?.close());
  closers.push(() => void (stage = () => "closing"));
  return { ...plane, healthPort: health?.port ?? 0, debugPort: debug?.port ?? 0, leads: isLeading, close };
}

/** Everything but health. What is to be closed is put in `closers`, in the order it was opened. */
async function assemble(
  config: KubernetesConfig,
  { client, clock, log }: ClusterPlaneModules,
  closers: (() => void | Promise<void>)[],
): Promise<Assembled | ClusterPlaneError> {
  const { namespace, trustDomain } = config;
  const root = await waitForRoot(config, { client, clock, log });
  if (root instanceof Error) return root;
  const authority = new MeshAuthority(root.chain);
  const source = new KubernetesSource({
    client,
    kinds: sourceKinds,
    clock,
    log: log.child({ part: "source" }),
  });
  closers.push(() => source.close());
  const random = systemRandom;
  const writing = { clock, random, log: log.child({ part: "writer" }) };
  const statuses = new StatusReporter({ source, writer: "control", outlivesObjects: false, ...writing });
  const maps = new RootConfigMaps({ client, authority, ...writing });
  closers.push(() => {
    statuses.close();
    maps.close();
  });
  const plane = await startPlane(config, {
    source,
    authority,
    reviewer: new KubernetesTokenReviewer({ client, trustDomain, clock }),
    trustedAgents: new Set(config.trustedAgents),
    rootNamespace: config.rootNamespace,
    names: serviceNames(namespace),
    statuses,
    followers: [maps],
    clock,
    log,
  });
  if (plane instanceof ListenError) return plane;
  closers.push(() => plane.close());

  let isLeading = false;
  let knowsMaps = false;
  const lead = (): void => {
    statuses.lead(isLeading);
    maps.lead(isLeading && knowsMaps);
  };
  const mapsWatch = new Reflector({
    client,
    selection: { kind: "ConfigMap", fieldSelector: `metadata.name=${rootConfigMapName}` },
    log,
    clock,
    onDeltas(deltas) {
      for (const delta of deltas)
        maps.observe(delta.key.split("/")[0] ?? "", delta.op === "put" ? delta.object : undefined);
    },
    onState() {
      if (knowsMaps || !mapsWatch.isSynced) return;
      knowsMaps = true;
      lead();
    },
  });
  const rootWatch = new Reflector({
    client,
    selection: { kind: "Secret", namespace, fieldSelector: `metadata.name=${root.name}` },
    log,
    clock,
    onDeltas([last]) {
      const secret = last?.op === "put" ? (last.object as Secret) : undefined;
      takeRootChange(secret, { authority, namespace, name: root.name, wallMs: () => clock.wallMs(), log });
    },
  });
  const election = new LeaderElection({
    client,
    namespace,
    name: leaseName,
    identity: config.podName,
    clock,
    log: log.child({ part: "leader" }),
    onStarted() {
      isLeading = true;
      lead();
    },
    onStopped() {
      isLeading = false;
      lead();
    },
  });
  closers.push(() => {
    mapsWatch.close();
    rootWatch.close();
  });
  closers.push(() => election.close());
  rootWatch.start();
  mapsWatch.start();
  // Who knows half the objects must not lead.
  void plane.synced.then(() => election.start());
  const about = (): object => ({
    replica: config.podName,
    leads: isLeading,
    root: { secret: `${namespace}/${root.name}`, notAfter: new Date(authority.chain.issuer.notAfterMs).toISOString() },
    problems: source.problems(),
    watches: [...source.stats(), mapsWatch.stats(), rootWatch.stats()],
  });
  return { plane, isLeading: () => isLeading, about };
}

interface Assembled {
  readonly plane: Plane;
  readonly isLeading: () => boolean;
  readonly about: () => object;
}

async function waitForRoot(
  { namespace, trustDomain }: KubernetesConfig,
  { client, clock, log }: ClusterPlaneModules,
): Promise<OpenedRoot | RootError | KubeError> {
  const backoff = new Backoff({ firstMs: 250, capMs: 5_000, jitter: 0.2 }, systemRandom);
  for (;;) {
    const root = await openRootSecret({ client, namespace, trustDomain, wallMs: () => clock.wallMs() });
    if (!(root instanceof KubeError) || !mayPass(root)) return root;
    log.warn({ error: root.type }, "the root can't be read yet; tried again");
    await new Promise<void>((resolve) => clock.after(backoff.next(), resolve));
  }
}

async function listenOptional(
  where: Parameters<typeof listenHttp>[0] | undefined,
  answer: Parameters<typeof listenHttp>[1],
  onlyLocal = false,
): Promise<HttpListener | ListenError | undefined> {
  return where === undefined ? undefined : listenHttp(where, answer, { onlyLocal });
}

/** By which control is reached inside the cluster, and istiod was. */
function serviceNames(namespace: string): string[] {
  return ["ambientd-control", "istiod"].flatMap((name) => [
    `${name}.${namespace}`,
    `${name}.${namespace}.svc`,
    `${name}.${namespace}.svc.cluster.local`,
  ]);
}

const leaseName = "ambientd-control";
