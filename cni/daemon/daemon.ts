/** The node daemon, put together: objects → desired rows → reconciler → kernel, agents and annotations, with sockets to ask it. */
import { closeSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Clock } from "../../core/base/clock.ts";
import type { ErrorData } from "../../core/base/errors.ts";
import type { Log } from "../../core/base/log.ts";
import type { Random } from "../../core/base/random.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { listenSeqpacket, type SeqpacketListener } from "../../core/linux/seqpacket.ts";
import type { ObjectDelta, Source } from "../../control/sources/source.ts";
import { admitByName, admitByUid } from "./admission.ts";
import { AnnotationWriter } from "./annotations.ts";
import { AskedObjects, type AskForObject } from "./asked-objects.ts";
import type { DaemonConfig } from "./config.ts";
import { desiredPods, type DesiredPod, type NodeSettings, type ToldAddress } from "./desired.ts";
import { CniError } from "./errors.ts";
import { HostProbes } from "./host-probes.ts";
import { kubeletUser } from "./host-processes.ts";
import { ListenerStore } from "./listener-store.ts";
import { NodeNamespaces } from "./node-namespaces.ts";
import type { PodNotice } from "./not-captured.ts";
import { Notices } from "./notices.ts";
import { pluginHandler } from "./plugin-server.ts";
import { NamespaceKernel } from "./pod-kernel.ts";
import { namespacesInFolder, PodNamespaces } from "./pod-namespaces.ts";
import type { PodStatus } from "./pod-status.ts";
import { Reconciler } from "./reconcile.ts";
import {
  defaultReconcilerOptions,
  type PodKernel,
  type ReconcilerOptions,
  type ReleaseLimits,
} from "./reconciler-ports.ts";
import { countByStatus, statusHandler } from "./status-server.ts";
import { closeServer, serveUnix } from "./unix-http.ts";
import { ZdsServer, type OfferedPod } from "./zds-server.ts";

export interface DaemonModules {
  readonly source: Source;
  /** In a cluster: what the watch doesn't show yet can be asked for. */
  readonly ask?: AskForObject;
  /** Says on a pod why it isn't captured. */
  readonly say?: (pod: PodStatus, notice: PodNotice) => void;
  /** The node is given up from the beginning: captured pods leave, others pass. */
  readonly released?: boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** For tests that want to stand between the daemon and the kernel. */
  readonly wrapKernel?: (kernel: PodKernel) => PodKernel;
  readonly reconcilerOptions?: ReconcilerOptions;
}

export interface Daemon {
  readonly reconciler: Reconciler;
  /** Gives the node up: every pod leaves alive, and nothing of ours stays in pods or node. Pods that come later pass. */
  release(limits: ReleaseLimits): Promise<void>;
  /** Leaves the pods as they are: captured ones stay captured, and the next daemon takes over. */
  close(): Promise<void>;
}

/** Settles when it is ready: every pod has been looked at and agents may connect. */
export async function startDaemon(
  config: DaemonConfig,
  modules: DaemonModules,
): Promise<Daemon | LinuxError | CniError> {
  const { source, clock, random, log } = modules;
  await source.synced;
  const { node, dnsCapture, selection } = config;
  let settings: NodeSettings = { node, dnsCapture, selection, released: modules.released === true };
  /** As the plugin told, by pod UID. */
  const told = new Map<string, ToldAddress>();
  const asked = modules.ask === undefined ? undefined : new AskedObjects({ source, ask: modules.ask, clock });
  const desired = (): Map<string, DesiredPod> => desiredPods((asked ?? source).list(), settings, told);

  const { host } = config;
  let known: ReadonlyMap<string, DesiredPod> = new Map();
  const finder =
    host === undefined ? undefined : new NodeNamespaces({ ...host, clueOf: (uid) => known.get(uid), clock });
  const hostNamespace = finder?.openHost();
  if (hostNamespace instanceof CniError) return hostNamespace;
  const namespaces =
    finder === undefined
      ? new PodNamespaces(namespacesInFolder(config.netnsDir))
      : new PodNamespaces((uid) => finder.find(uid), hostNamespace?.identity);
  const probes =
    hostNamespace === undefined || host === undefined
      ? undefined
      : new HostProbes(hostNamespace.fd, () => kubeletUser(host.proc));
  const kernel = new NamespaceKernel(namespaces, log);
  const ownUid = process.getuid?.() ?? -1;
  const agents = new ZdsServer({
    descriptorOf: (uid) => namespaces.held(uid)?.fd,
    onServed: (uid) => reconciler.served(uid),
    onRefused: (uid, error) => reconciler.refused(uid, error),
    clock,
    log,
    ownUid,
  });
  const listeners = new ListenerStore({
    namespaceOf: (uid) => (agents.offers(uid) ? namespaces.held(uid)?.fd : undefined),
    log,
    ownUid,
  });
  const annotations = new AnnotationWriter({
    source,
    namesUid: host !== undefined,
    clock,
    random,
    onWritten: ({ uid, redirection }) => reconciler.annotated(uid, redirection),
    onFailed: ({ uid }, error) => {
      log.warn({ uid, ...error.type }, "the annotation was not written; it is tried again");
      reconciler.annotationFailed(uid, error);
    },
  });
  const reconciler = new Reconciler(
    {
      kernel: modules.wrapKernel?.(kernel) ?? kernel,
      agents: {
        offer: (pod) => agents.offer(offered(pod)),
        withdraw: (uid) => {
          // Else what nobody accepts from any more would go on listening.
          listeners.drop(uid);
          return agents.withdraw(uid);
        },
        serves: (uid) => agents.serves(uid),
      },
      ...(probes === undefined ? {} : { probes }),
      annotate: ({ uid, ref }, redirection, gone) => annotations.write({ uid, ref, redirection, gone }),
      clock,
      random,
      log,
    },
    modules.reconcilerOptions ?? defaultReconcilerOptions,
  );

  // What changes while the pods are first looked at is seen by the update that follows.
  let started = false;
  const update = (): void => {
    known = desired();
    for (const uid of told.keys()) {
      if (known.has(uid)) continue;
      told.delete(uid);
      finder?.forget(uid);
    }
    reconciler.update(known);
  };
  const unsubscribe = source.subscribe((deltas) => {
    if (started && deltas.some(matters)) update();
  });
  const stop = (): void => {
    unsubscribe();
    asked?.close();
    reconciler.close();
    namespaces.releaseAll();
    if (hostNamespace !== undefined) closeSync(hostNamespace.fd);
  };
  known = desired();
  await reconciler.start(known);
  started = true;
  update();

  const sockets = [
    listenFor(config.zds, (connection) => agents.accept(connection)),
    listenFor(join(dirname(config.zds), "listeners.sock"), (connection) => listeners.accept(connection)),
  ];
  const failure = sockets.find((socket) => socket instanceof LinuxError);
  const closeSockets = (): void => {
    for (const socket of sockets) if (!(socket instanceof LinuxError)) socket.close();
  };
  if (failure !== undefined) {
    closeSockets();
    stop();
    return failure;
  }

  const daemonStatus = () => ({
    node: config.node,
    ready: true,
    pods: countByStatus(reconciler.status()),
    agents: agents.links(),
    namespaces: namespaces.size,
    listeners: listeners.size,
    rounds: reconciler.counters.rounds,
    drift: reconciler.counters.driftCount,
  });
  const open =
    finder === undefined || asked === undefined
      ? admitByName(reconciler)
      : admitByUid({
          reconciler,
          namespaces,
          finder,
          objects: asked,
          told: (uid, path, addresses) => {
            finder.tell(uid, path);
            const ref = known.get(uid)?.ref;
            const object = ref === undefined ? undefined : asked.list().get("Pod", ref.namespace, ref.name);
            told.set(uid, { addresses, statusThen: object?.status.podIPs ?? [] });
            update();
          },
          learnt: () => {
            update();
            reconciler.wake();
          },
          clock,
        });
  const impediment = (): ErrorData | undefined =>
    settings.released === true || agents.links().some(({ live }) => live) ? undefined : { code: "cni.no-agent" };
  const servers = await Promise.all([
    serveUnix(
      join(config.runDir, "daemon.sock"),
      statusHandler({ pods: () => reconciler.status(), daemon: daemonStatus }),
    ),
    serveUnix(
      join(config.runDir, "pluginevent.sock"),
      pluginHandler({ open, changed: () => reconciler.nextChange(), impediment, clock }),
    ),
  ]);
  const notices =
    modules.say === undefined ? undefined : new Notices({ rows: () => reconciler.status(), say: modules.say, clock });
  log.info({ node: config.node, pods: countByStatus(reconciler.status()) }, "ready");

  return {
    reconciler,
    release: async (limits) => {
      settings = { ...settings, released: true };
      update();
      await reconciler.release(limits);
      const error = await probes?.remove();
      if (error !== undefined) log.warn({ error: error.type }, "the node's rules for probes could not be removed");
    },
    close: async () => {
      notices?.close();
      closeSockets();
      agents.close();
      listeners.close();
      annotations.close();
      await Promise.all(servers.map(closeServer));
      stop();
    },
  };
}

function listenFor(
  path: string,
  accept: Parameters<SeqpacketListener["onConnection"]>[0],
): SeqpacketListener | LinuxError {
  mkdirSync(dirname(path), { recursive: true });
  const listener = listenSeqpacket(path);
  if (!(listener instanceof LinuxError)) listener.onConnection(accept);
  return listener;
}

function offered({ uid, ref, serviceAccount }: DesiredPod): OfferedPod {
  return { uid, info: { name: ref.name, namespace: ref.namespace, serviceAccount } };
}

function matters({ object }: ObjectDelta): boolean {
  return object.kind === "Pod" || object.kind === "Namespace";
}
