/** The node daemon, put together: objects → desired rows → reconciler → kernel, agents and annotations, with two sockets to ask it. */
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Clock } from "../../core/base/clock.ts";
import type { Log } from "../../core/base/log.ts";
import type { Random } from "../../core/base/random.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { listenSeqpacket } from "../../core/linux/seqpacket.ts";
import type { ObjectDelta, Source } from "../../control/sources/source.ts";
import { AnnotationWriter } from "./annotations.ts";
import type { DaemonConfig } from "./config.ts";
import { desiredPods, type DesiredPod, type NodeSettings } from "./desired.ts";
import { pluginHandler, type PluginEvent, type PluginView } from "./plugin-server.ts";
import { NamespaceKernel } from "./pod-kernel.ts";
import { namespacesInFolder, PodNamespaces } from "./pod-namespaces.ts";
import type { PodStatus } from "./pod-status.ts";
import { defaultReconcilerOptions, Reconciler, type PodKernel, type ReconcilerOptions } from "./reconcile.ts";
import { defaultSelectionRules } from "./selectors.ts";
import { countByStatus, statusHandler } from "./status-server.ts";
import { closeServer, serveUnix } from "./unix-http.ts";
import { ZdsServer, type OfferedPod } from "./zds-server.ts";

export interface DaemonModules {
  readonly source: Source;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** For tests that want to stand between the daemon and the kernel. */
  readonly wrapKernel?: (kernel: PodKernel) => PodKernel;
  readonly reconcilerOptions?: ReconcilerOptions;
}

export interface Daemon {
  readonly reconciler: Reconciler;
  /** Leaves the pods as they are: captured ones stay captured, and the next daemon takes over. */
  close(): Promise<void>;
}

/** Settles when it is ready: every pod has been looked at and agents may connect. */
export async function startDaemon(config: DaemonConfig, modules: DaemonModules): Promise<Daemon | LinuxError> {
  const { source, clock, random, log } = modules;
  await source.synced;
  const settings: NodeSettings = {
    node: config.node,
    dnsCapture: config.dnsCapture,
    selection: defaultSelectionRules,
  };
  const namespaces = new PodNamespaces(namespacesInFolder(config.netnsDir));
  const kernel = new NamespaceKernel(namespaces);
  const agents = new ZdsServer({
    descriptorOf: (uid) => namespaces.held(uid)?.fd,
    onServed: (uid) => reconciler.served(uid),
    onRefused: (uid, error) => reconciler.refused(uid, error),
    clock,
    log,
    ownUid: process.getuid?.() ?? -1,
  });
  const annotations = new AnnotationWriter({
    source,
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
        withdraw: (uid) => agents.withdraw(uid),
        serves: (uid) => agents.serves(uid),
      },
      annotate: ({ uid, ref }, redirection, gone) => annotations.write({ uid, ref, redirection, gone }),
      clock,
      random,
      log,
    },
    modules.reconcilerOptions ?? defaultReconcilerOptions,
  );

  // What changes while the pods are first looked at is seen by the update that follows.
  let started = false;
  const update = (): void => reconciler.update(desiredPods(source.list(), settings));
  const unsubscribe = source.subscribe((deltas) => {
    if (started && deltas.some(matters)) update();
  });
  await reconciler.start(desiredPods(source.list(), settings));
  started = true;
  update();

  mkdirSync(dirname(config.zds), { recursive: true });
  const listener = listenSeqpacket(config.zds);
  if (listener instanceof LinuxError) {
    unsubscribe();
    reconciler.close();
    namespaces.releaseAll();
    return listener;
  }
  listener.onConnection((connection) => agents.accept(connection));

  const daemonStatus = () => ({
    node: config.node,
    ready: true,
    pods: countByStatus(reconciler.status()),
    agents: agents.links(),
    namespaces: namespaces.size,
    rounds: reconciler.counters.rounds,
    drift: reconciler.counters.driftCount,
  });
  const servers = await Promise.all([
    serveUnix(
      join(config.runDir, "daemon.sock"),
      statusHandler({ pods: () => reconciler.status(), daemon: daemonStatus }),
    ),
    serveUnix(
      join(config.runDir, "pluginevent.sock"),
      pluginHandler({
        viewOf: (event) => pluginView(reconciler, event),
        arrived: (event) => reconciler.nudge(rowOf(reconciler, event)?.uid ?? ""),
        changed: () => reconciler.nextChange(),
        clock,
      }),
    ),
  ]);
  log.info({ node: config.node, pods: countByStatus(reconciler.status()) }, "ready");

  return {
    reconciler,
    close: async () => {
      unsubscribe();
      reconciler.close();
      listener.close();
      agents.close();
      annotations.close();
      await Promise.all(servers.map(closeServer));
      namespaces.releaseAll();
    },
  };
}

function offered({ uid, ref, serviceAccount }: DesiredPod): OfferedPod {
  return { uid, info: { name: ref.name, namespace: ref.namespace, serviceAccount } };
}

function matters({ object }: ObjectDelta): boolean {
  return object.kind === "Pod" || object.kind === "Namespace";
}

function pluginView(reconciler: Reconciler, event: PluginEvent): PluginView {
  const row = rowOf(reconciler, event);
  if (row === undefined) return { kind: "unknown" };
  if (row.want !== "enrol") return { kind: "excluded" };
  if (row.phase === "enrolled") return { kind: "enrolled" };
  return { kind: "waiting", ...(row.reason === undefined ? {} : { reason: row.reason }) };
}

/** A predecessor of that name, which is on its way out, is not meant. */
function rowOf(reconciler: Reconciler, { podName, podNamespace }: PluginEvent): PodStatus | undefined {
  return reconciler
    .status()
    .find(({ name, namespace, because }) => name === podName && namespace === podNamespace && because !== "gone");
}
