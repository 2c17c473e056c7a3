/** The daemon as a pod of a cluster: objects from the API server, the plugin installed on the node, health for the kubelet, and an end
 *  that tells an upgrade, which leaves everything in place, from a removal, which leaves nothing. */
import type { Server } from "node:http";
import { dirname } from "node:path";
import { systemClock } from "../../core/base/clock.ts";
import { TypedError } from "../../core/base/errors.ts";
import type { Log } from "../../core/base/log.ts";
import { systemRandom } from "../../core/base/random.ts";
import { KubernetesClient } from "../../control/sources/kubernetes/client.ts";
import { loadConnection } from "../../control/sources/kubernetes/connection.ts";
import { explainKubeError, isNotFound, KubeError, statusOf } from "../../control/sources/kubernetes/errors.ts";
import { EventRecorder } from "../../control/sources/kubernetes/events.ts";
import { apiVersionOf, objectPath } from "../../control/sources/kubernetes/paths.ts";
import type { RawObject } from "../../control/sources/kubernetes/raw-object.ts";
import { KubernetesSource } from "../../control/sources/kubernetes/source.ts";
import { watchObject } from "../../control/sources/kubernetes/watch-one.ts";
import { isRecord } from "../../control/sources/fields.ts";
import { parseObject } from "../../control/sources/object-parsers.ts";
import { Installer } from "../install/installer.ts";
import { preflight } from "../install/preflight.ts";
import type { AskForObject } from "./asked-objects.ts";
import type { ClusterConfig } from "./config.ts";
import { startDaemon, type Daemon } from "./daemon.ts";
import { serveHealth } from "./health.ts";
import { NodeRelease } from "./node-release.ts";
import { releasedAnnotation, standingOf, type Standing } from "./own-daemonset.ts";
import type { ReleaseLimits } from "./reconciler-ports.ts";
import { RelievedAgents } from "./relieved-agents.ts";
import { removeRunFolders } from "./run-folders.ts";

/** What a test replaces. */
export interface ClusterModules {
  readonly client?: KubernetesClient;
  readonly preflight?: typeof preflight;
}

/** @returns the exit code. */
export async function runInCluster(
  config: ClusterConfig,
  ended: Promise<NodeJS.Signals>,
  log: Log,
  modules: ClusterModules = {},
): Promise<number> {
  const client = modules.client ?? (await connect(config, log));
  if (client instanceof KubeError) {
    log.fatal({ error: client.type }, explainKubeError(client));
    return 1;
  }
  const run = new ClusterRun(config, client, modules.preflight ?? preflight, log);
  const code = await Promise.race([run.start(), ended.then(() => undefined)]);
  const outcome = code ?? (await Promise.race([ended, run.over]));
  const result = typeof outcome === "number" ? outcome : await run.end(outcome);
  if (modules.client === undefined) client.close();
  return result;
}

async function connect({ kubeconfig }: ClusterConfig, log: Log): Promise<KubernetesClient | KubeError> {
  const connection = await loadConnection(kubeconfig === undefined ? { inCluster: true } : { kubeconfig });
  return connection instanceof KubeError
    ? connection
    : new KubernetesClient({ connection, log, userAgent: "ambientd-cni" });
}

class ClusterRun {
  readonly #config: ClusterConfig;
  readonly #client: KubernetesClient;
  readonly #preflight: typeof preflight;
  readonly #log: Log;
  readonly #over = Promise.withResolvers<number>();
  readonly #release: NodeRelease;
  readonly #events: EventRecorder;
  #standing: Standing = "stays";
  /** What /readyz says is missing. */
  #missing: readonly string[] = ["the daemon has just begun"];
  #source: KubernetesSource | undefined;
  #daemon: Daemon | undefined;
  #installer: Installer | undefined;
  #relieved: RelievedAgents | undefined;
  #health: Server | undefined;
  #closeWatch: (() => void) | undefined;
  #isEnding = false;

  constructor(config: ClusterConfig, client: KubernetesClient, check: typeof preflight, log: Log) {
    this.#config = config;
    this.#client = client;
    this.#preflight = check;
    this.#log = log;
    this.#events = new EventRecorder({ client, component: "ambientd-cni", instance: config.podName, log });
    this.#release = new NodeRelease({
      pods: async (limits) => this.#daemon?.release(limits),
      uninstall: async () => this.#installer?.uninstall(),
      confirm: () => this.#confirmRelease(),
      clock: systemClock,
      log,
    });
  }

  /** Settles with an exit code when the daemon has to end by itself: the release was taken back. */
  get over(): Promise<number> {
    return this.#over.promise;
  }

  /** Settles when everything runs, with nothing; or with an exit code. */
  async start(): Promise<number | undefined> {
    const { daemon: settings, health } = this.#config;
    if (health !== undefined) {
      const server = await serveHealth(health, () => this.#lacking());
      if (server instanceof TypedError) {
        this.#log.fatal({ error: server.type }, `cannot listen on port ${health.port}; choose another by --health`);
        return 1;
      }
      this.#health = server;
    }
    await this.#watchOwn();
    if (!(await this.#nodeFits())) return undefined;
    this.#missing = ["the API server has not told yet which pods are on this node"];
    const source = new KubernetesSource({
      client: this.#client,
      kinds: [{ kind: "Pod", fieldSelector: `spec.nodeName=${settings.node}` }, { kind: "Namespace" }],
      log: this.#log,
    });
    this.#source = source;
    const daemon = await startDaemon(settings, {
      source,
      ask: this.#ask,
      say: ({ uid, namespace, name }, { reason, message }) =>
        void this.#events.say({ ref: { kind: "Pod", namespace, name, uid }, type: "Warning", reason, message }),
      released: this.#standing === "release",
      clock: systemClock,
      random: systemRandom,
      log: this.#log,
    });
    if (daemon instanceof TypedError) {
      this.#log.fatal({ error: daemon.type }, `cannot look after this node: ${daemon.message}`);
      return 1;
    }
    // It was told to end meanwhile, and may be on its way out already.
    if (this.#isEnding) {
      await daemon.close();
      return undefined;
    }
    this.#daemon = daemon;
    this.#relieved = new RelievedAgents({
      pods: () => source.list().all("Pod"),
      namespace: this.#config.namespace,
      label: ({ metadata: { namespace, name, uid } }, labels) => this.#patchPod(namespace, name, { uid, labels }),
      clock: systemClock,
      log: this.#log,
    });
    await this.#install();
    this.#missing = [];
    this.#act();
    return undefined;
  }

  /** @returns the exit code. */
  async end(signal: NodeJS.Signals): Promise<number> {
    this.#isEnding = true;
    const wasReleased = this.#release.begun;
    const isRemoved = await this.#isRemoved();
    this.#log.info({ signal, isRemoved }, isRemoved ? "ending for good" : "ending; captured pods stay captured");
    if (isRemoved || this.#release.begun) {
      const late = new Promise<void>((resolve) => systemClock.after(graceMs, resolve));
      await Promise.race([this.#release.run(lastLimits, lastTotalMs), late]);
    }
    await this.#close();
    const { host, runDir, zds } = this.#config.daemon;
    // With the DaemonSet alone gone, agents run on: they would not see a folder of the same name that is made later.
    if (wasReleased && isRemoved && host !== undefined)
      removeRunFolders({ proc: host.proc, runDir, zdsDir: dirname(zds) });
    return 0;
  }

  async #close(): Promise<void> {
    this.#closeWatch?.();
    this.#relieved?.close();
    await this.#installer?.close();
    await this.#daemon?.close();
    this.#source?.close();
    this.#health?.close();
    this.#health?.closeAllConnections();
  }

  #lacking(): readonly string[] {
    if (this.#release.begun) return [];
    const installed = this.#installer?.status();
    if (this.#missing.length > 0 || installed === undefined || installed.kind === "ready") return this.#missing;
    return [installed.kind === "waiting" ? `the plugin: ${installed.reason}` : installed.error.sentence()];
  }

  async #watchOwn(): Promise<void> {
    const { namespace, daemonset } = this.#config;
    const watch = watchObject({
      client: this.#client,
      kind: "DaemonSet",
      namespace,
      name: daemonset,
      log: this.#log,
      onChange: (object) => {
        this.#standing = standingOf(object);
        this.#act();
      },
    });
    this.#closeWatch = () => watch.close();
    await watch.synced;
  }

  /** As the DaemonSet says now, once there is something to act on. */
  #act(): void {
    if (this.#daemon === undefined || this.#isEnding) return;
    if (this.#standing === "release" && !this.#release.begun) void this.#release.run(limits, totalMs);
    if (this.#standing === "stays" && this.#release.begun) {
      this.#log.info("the release was taken back: starting anew");
      void this.#close().then(() => this.#over.resolve(0));
      this.#isEnding = true;
    }
  }

  /** Until the node can do what it must, nothing on it is changed. False: the process is to end meanwhile. */
  async #nodeFits(): Promise<boolean> {
    const { plugin, daemon } = this.#config;
    if (plugin === undefined) return true;
    const { binDir, confDir } = plugin;
    for (;;) {
      const error = await this.#preflight({ binDir, confDir, procDir: daemon.host?.proc ?? "/proc" });
      if (error === undefined) return true;
      const sentence = error.sentence();
      this.#missing = [sentence];
      this.#log.error({ error: error.type, node: daemon.node }, `this node can't take part: ${sentence}`);
      await this.#sayOfOwnPod("NodeUnfit", `Node ${daemon.node} can't take part: ${sentence}`);
      await new Promise<void>((resolve) => setTimeout(resolve, unfitPauseMs).unref());
      if (this.#isEnding) return false;
    }
  }

  async #install(): Promise<void> {
    const { plugin, daemon } = this.#config;
    if (plugin === undefined || this.#standing !== "stays") {
      // What an earlier life of this daemon has installed must go nevertheless.
      if (plugin !== undefined) this.#installer = this.#makeInstaller(plugin);
      return;
    }
    const installer = this.#makeInstaller(plugin);
    this.#installer = installer;
    const error = await installer.start();
    if (error !== undefined) await this.#sayOfOwnPod("PluginNotInstalled", `Node ${daemon.node}: ${error.sentence()}`);
  }

  #makeInstaller({ binDir, confDir, file, confName }: NonNullable<ClusterConfig["plugin"]>): Installer {
    const { runDir, selection } = this.#config.daemon;
    return new Installer({
      binDir,
      confDir,
      pluginSource: file,
      ...(confName === undefined ? {} : { confName }),
      config: {
        runDir,
        // Our own always: else nothing could start the daemon after a reboot.
        excludeNamespaces: [...new Set([...selection.excludeNamespaces, this.#config.namespace])],
        logLevel: "info",
      },
      log: this.#log,
      clock: systemClock,
    });
  }

  readonly #ask: AskForObject = async ({ kind, namespace, name }) => {
    const raw = await this.#client.get<RawObject>(objectPath(kind, namespace, name), { timeoutMs: askTimeoutMs });
    if (isNotFound(raw)) return undefined;
    if (raw instanceof KubeError) throw raw;
    const parsed = parseObject({ ...raw, apiVersion: apiVersionOf(kind), kind });
    if (parsed.result !== "object") throw new Error(`${kind} ${namespace}/${name} can't be understood`);
    return parsed.object;
  };

  /** The pod has been told to end: because its DaemonSet is no more, or to be followed by another? */
  async #isRemoved(): Promise<boolean> {
    const { namespace, daemonset } = this.#config;
    const object = await this.#client.get<RawObject>(objectPath("DaemonSet", namespace, daemonset), {
      timeoutMs: askTimeoutMs,
    });
    if (isNotFound(object)) return true;
    // With the account of the release gone nobody is coming back. All other silence is no proof: what stays, stays closed.
    if (object instanceof KubeError) {
      // Its rights go right after the DaemonSet, and before the word that it is gone may have come.
      const isRightGone = statusOf(object) === 403 && this.#release.begun;
      return statusOf(object) === 401 || isRightGone || this.#standing === "gone";
    }
    return standingOf(object) === "gone";
  }

  #confirmRelease(): Promise<KubeError | undefined> {
    const { namespace, podName } = this.#config;
    return this.#patchPod(namespace, podName, { annotations: { [releasedAnnotation]: "true" } });
  }

  /** Through the pod's status: no right to change pods is needed. Of one that has gone nobody waits for a word. */
  async #patchPod(namespace: string, name: string, metadata: object): Promise<KubeError | undefined> {
    const answer = await this.#client.patch(objectPath("Pod", namespace, name, "status"), { metadata }, "merge");
    return answer instanceof KubeError && !isNotFound(answer) ? answer : undefined;
  }

  async #sayOfOwnPod(reason: string, message: string): Promise<void> {
    const { namespace, podName: name } = this.#config;
    const own = await this.#client.get<RawObject>(objectPath("Pod", namespace, name), { timeoutMs: askTimeoutMs });
    const metadata = own instanceof KubeError ? undefined : own["metadata"];
    const uid = isRecord(metadata) && typeof metadata["uid"] === "string" ? metadata["uid"] : "";
    await this.#events.say({ ref: { kind: "Pod", namespace, name, uid }, type: "Warning", reason, message });
  }
}

/** The job that asks waits for two minutes. */
const limits: ReleaseLimits = { annotationMs: 20_000, drainMs: 20_000 };
const totalMs = 90_000;
/** Of the 30 s that a pod gets to end. */
const graceMs = 25_000;
const lastLimits: ReleaseLimits = { annotationMs: 2000, drainMs: 8000 };
const lastTotalMs = 15_000;
const askTimeoutMs = 2000;
const unfitPauseMs = 10_000;
