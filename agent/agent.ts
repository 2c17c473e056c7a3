/** The node agent's main thread: wires its parts to the workers and to each other, and ends in order. The only wiring of this room. */
import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import process from "node:process";
import { systemClock } from "../core/base/clock.ts";
import { paceOf } from "../core/base/pace.ts";
import { initialLogFilter, logFilter, logSink, setLogFilter, type Log } from "../core/base/log.ts";
import { extendLogFilter, formatLogFilter } from "../core/base/log-filter.ts";
import { messageOf } from "../core/base/errors.ts";
import { systemRandom } from "../core/base/random.ts";
import type { CertificateProvider } from "../control/client/certificates/certificate.ts";
import { CertificateManager } from "../control/client/certificates/manager.ts";
import { paceMessages } from "../control/client/message-framer.ts";
import { MeshCaProvider } from "../control/client/providers/mesh-ca.ts";
import type { PodInfo } from "../core/protocol/zds/messages.ts";
import { parseIdentity, SpiffeError } from "../core/protocol/spiffe/identity.ts";
import { authorizationType } from "../core/protocol/wds/authorization.ts";
import { startXdsSession, type XdsSession } from "../control/client/xds-session.ts";
import { ownNamespace } from "../core/linux/namespace.ts";
import type { DeltaUpdate, Rejection } from "../core/protocol/xds/delta-client.ts";
import { configDump } from "./admin/config-dump.ts";
import { Profiles } from "./admin/profiles.ts";
import { AdminServer, type LogChange } from "./admin/server.ts";
import type { AgentConfig } from "./config.ts";
import { Departure } from "./departure.ts";
import { dnsListenSettings } from "./dns/config.ts";
import { watchClock } from "./clock-watch.ts";
import { FakeCa } from "./fake-ca.ts";
import { collectWithoutHelp } from "./garbage.ts";
import { compileSooner, keepCode } from "./hot-code.ts";
import { IdleMemory } from "./idle-memory.ts";
import { handInPieces } from "./in-pieces.ts";
import { MeshInventory } from "./mesh-inventory.ts";
import { AgentMetrics } from "./metrics/agent-metrics.ts";
import { xdsCounts } from "./metrics/xds-counts.ts";
import { Pods } from "./pods.ts";
import { SelfProxy, selfUid } from "./self-proxy.ts";
import { StoreClient } from "./listeners/store-client.ts";
import { memoryLimit, shareOfMemory, watchDescriptors } from "./process-limits.ts";
import { Readiness } from "./readiness.ts";
import { askToYield, Takeover } from "./takeover.ts";
import { CrlFile } from "./revocation/crl-file.ts";
import type { RevokedSerials } from "./revocation/revocations.ts";
import type { FromWorker, PodDelivery, ToWorker } from "./worker-messages.ts";
import { version } from "./version.ts";
import { Workers } from "./workers.ts";
import { WorkloadCertificates } from "./workload-certificates.ts";
import { xdsNode } from "./xds-node.ts";
import { ZdsClient, type ZdsPhase } from "./zds-client.ts";
import { workerSettings } from "./worker-settings.ts";

export class Agent {
  readonly #config: AgentConfig;
  readonly #log: Log;
  readonly #mesh: MeshInventory;
  readonly #workers: Workers;
  readonly #pods: Pods;
  readonly #provider: CertificateProvider & { close(): void };
  readonly #manager: CertificateManager;
  readonly #certificates: WorkloadCertificates;
  readonly #readiness: Readiness;
  readonly #admin: AdminServer;
  readonly #metrics: AgentMetrics;
  /** Undefined where the agent does not know which pod it is. */
  readonly #self: SelfProxy | undefined;
  readonly #profiles = new Profiles(systemClock, (worker, message) => this.#workers.tell(worker, message));
  /** Undefined under a node daemon that keeps no sockets. */
  readonly #store: StoreClient | undefined;
  #xds: XdsSession | undefined;
  readonly #memory = new IdleMemory();
  /** Of what control sends. */
  readonly #pace = paceOf(systemClock, () => this.#workers.signs.isBusy);
  #zds: ZdsClient | undefined;
  #zdsPhase: ZdsPhase = "disconnected";
  /** Undefined where nobody says what is revoked. */
  readonly #crl: CrlFile | undefined;
  readonly #departure: Departure;
  readonly #takeover: Takeover;
  /** The ports that only one agent of a network namespace has are another one's. */
  #hasYielded = false;

  constructor(config: AgentConfig, log: Log) {
    this.#config = config;
    this.#log = log;
    this.#mesh = new MeshInventory(config.nodeName);
    this.#readiness = new Readiness(() => {
      const { gates } = this.#readiness;
      this.#workers.broadcast({ kind: "gates", gates });
      if (this.#departure.phase !== "serving" || gates.some(({ pending }) => pending !== undefined)) return;
      this.#log.info("agent is ready");
      compileSooner();
      this.#store?.sayServing(true);
      void this.#takeover.serving();
    });
    this.#takeover = new Takeover(systemClock, log, () => askToYield(config.adminPort));
    const share = shareOfMemory(memoryLimit(), config.workers);
    this.#workers = new Workers({
      count: config.workers,
      heapMb: share.heap / 1_048_576,
      readiness: { port: 15_021, address: ownAddress(config.instanceIp) },
      settings: workerSettings(config, share, log),
      clock: systemClock,
      log,
      snapshot: () => this.#mesh.snapshot(),
      greeting: () => [
        ...this.#revocationGreeting(),
        ...this.#certificates.greeting(),
        { kind: "gates", gates: this.#readiness.gates },
        { kind: "log-level", level: formatLogFilter(logFilter()) },
        ...(this.#hasYielded ? [{ kind: "yield" } as const] : []),
      ],
      deliveries: () => [...this.#pods.deliveries(), ...this.#ownDelivery()],
      onMessage: (message, index) => this.#hear(message, index),
      onLost: (index) => {
        this.#metrics.workerLost(index);
        this.#self?.workerLost(index);
        this.#profiles.lost(index);
        this.#pods.workerLost(index);
        this.#departure.workerLost(index);
      },
    });
    const { listenerStore } = config;
    if (listenerStore !== undefined) {
      this.#store = new StoreClient({
        path: listenerStore,
        clock: systemClock,
        log,
        held: (uid) => this.#pods.held(uid),
        onConnected: () => this.#pods.retryPending(),
      });
    }
    this.#pods = new Pods(
      {
        packetMark: config.packetMark,
        keepAlive: config.keepAlive,
        ipv6: config.ipv6,
        originalSource: config.originalSource,
        sharePorts: config.sharePorts,
        dns: config.dns && dnsListenSettings(config.dns, config),
        lingerMs: 3_000,
      },
      {
        clock: systemClock,
        log,
        workers: () => this.#workers.serving,
        broadcast: (message) => this.#workers.broadcast(message),
        serve: (worker, pod) => this.#workers.serve(worker, pod),
        onChange: () => this.#podsChanged(),
        store: this.#store,
      },
    );
    const token = (): string => readToken(config.authToken);
    const { clusterId } = config;
    const validitySeconds = config.secretTtlSeconds;
    const impersonates = config.mode.kind === "shared";
    this.#provider =
      config.fakeCa === undefined
        ? new MeshCaProvider({ ...config.ca, token, clusterId, validitySeconds, impersonates, clock: systemClock, log })
        : new FakeCa({ folder: config.fakeCa, validitySeconds, clock: systemClock });
    this.#manager = new CertificateManager({ provider: this.#provider, clock: systemClock, random: systemRandom, log });
    const { crlPath: path } = config;
    if (path !== undefined) {
      const onLists = (lists: readonly RevokedSerials[]): void =>
        this.#workers.broadcast({ kind: "revocations", lists });
      const crl = new CrlFile({ path, clock: systemClock, log, onLists });
      this.#crl = crl;
      this.#manager.onChange((change) => {
        if (change.kind === "issued") crl.learn([...change.certificate.chainPem.slice(1), change.certificate.rootsPem]);
      });
    }
    this.#certificates = new WorkloadCertificates({
      manager: this.#manager,
      mesh: this.#mesh,
      broadcast: (message) => this.#workers.broadcast(message),
      log,
    });
    this.#admin = new AdminServer(
      {
        dump: () => this.#dump(),
        resources: () => this.#mesh.held(),
        logLevel: (change) => this.#logLevel(change),
        profile: (thread, request) => this.#profiles.take(thread, request),
        quit: () => void this.#quit("quitquitquit"),
        yield: () => void this.#yield(),
      },
      log,
    );
    const { podName: name, podNamespace: namespace, serviceAccount } = config;
    // An agent of one workload has that workload's 15008, in the same namespace.
    if (config.mode.kind === "shared" && name !== "" && namespace !== "" && serviceAccount !== "") {
      this.#self = new SelfProxy({
        info: { name, namespace, serviceAccount },
        ipv6: config.ipv6,
        clock: systemClock,
        log,
        onOpen: () => this.#serveSelf(),
      });
    }
    this.#metrics = new AgentMetrics({
      port: config.statsPort,
      tag: config.metadata["ISTIO_VERSION"] ?? version(),
      clock: systemClock,
      log,
      broadcast: (message) => this.#workers.broadcast(message),
      sources: {
        workers: () => this.#workers.count,
        restarts: () => this.#workers.losses,
        pods: () => this.#pods.rows(),
        certificates: () => this.#manager.dump(),
        gates: () => this.#readiness.gates,
        revocation: () => this.#crl?.status,
        xds: () => this.#xds?.status(),
        workloads: () => this.#mesh.workloads(),
        droppedLines: () => logSink.dropped,
      },
    });
    this.#departure = new Departure({
      clock: systemClock,
      log,
      deadlines: config.termination,
      workers: () => this.#workers.count,
      broadcast: (message) => this.#workers.broadcast(message),
      store: this.#store,
      sharesPorts: config.sharePorts,
      letGo: () => this.#letGo(),
    });
  }

  /** @param local a mesh that was written down. */
  async run(local: readonly DeltaUpdate[]): Promise<void> {
    const { nodeName, workers, mode } = this.#config;
    process.on("SIGTERM", () => void this.#quit("SIGTERM"));
    process.on("SIGINT", () => {
      if (this.#departure.phase !== "serving") process.exit(0);
      void this.#quit("SIGINT");
    });
    // It ends where it says so, and not because nothing is left to wait for: this keeps it.
    setInterval(() => this.#memory.look(), 1_000);
    this.#log.info({ node: nodeName, workers, pid: process.pid }, "agent starts");
    const failure = await this.#listen();
    if (failure !== undefined) {
      this.#log.fatal({ error: failure }, "agent cannot start");
      process.stderr.write(`ambientd agent: ${failure}\n`);
      process.exit(2);
    }
    watchDescriptors(this.#workers.signs, systemClock);
    watchClock(systemClock, this.#log);
    await this.#crl?.start();
    keepCode();
    paceMessages(this.#pace);
    collectWithoutHelp();
    await this.#workers.start();
    for (const message of this.#revocationGreeting()) this.#workers.broadcast(message);
    this.#self?.open();
    this.#readiness.open("proxy");
    this.#workers.broadcast({ kind: "gates", gates: this.#readiness.gates });
    for (const update of local) {
      for (const one of await this.#take(update))
        this.#log.error({ ...one }, "the local mesh has a resource that is none");
    }
    this.#startXds();
    this.#store?.start();
    if (mode.kind === "dedicated") await this.#serveOne(mode.workload);
    else this.#startZds();
  }

  #startXds(): void {
    const { clusterId, xds } = this.#config;
    if (xds.address === "") {
      void this.#policiesComplete().then(() => this.#readiness.open("state manager"));
      return;
    }
    this.#xds = startXdsSession({
      ...xds,
      token: () => readToken(this.#config.authToken),
      clusterId,
      node: xdsNode(this.#config),
      clock: systemClock,
      pace: this.#pace,
      log: this.#log,
      ...xdsCounts(this.#metrics.counters),
      onUpdate: async (update) => {
        const rejected = await this.#take(update);
        if (update.typeUrl === authorizationType) await this.#policiesComplete();
        return rejected;
      },
    });
    void this.#xds.ready.then(() => this.#readiness.open("state manager"));
  }

  /** Nothing more is waited for before connections are judged. Of what was written down beside a control plane that one may hold more. */
  async #policiesComplete(): Promise<void> {
    const slice = this.#mesh.completePolicies();
    if (slice !== undefined) await this.#workers.apply([slice]);
  }

  async #take(update: DeltaUpdate): Promise<readonly Rejection[]> {
    const pieces = this.#mesh.takeInPieces(update);
    const cancel = systemClock.after(longPushMs, () => {
      this.#log.warn(
        { type: update.typeUrl, workers: this.#workers.behind },
        "an update is not in force yet in all workers",
      );
    });
    const rejected = await handInPieces(pieces, {
      hand: (slice) => this.#workers.apply([slice]),
      room: (most) => this.#workers.room(most),
      pace: this.#pace,
    });
    cancel();
    if (update.resources.length >= largePush) {
      this.#memory.muchIsOver();
      this.#workers.broadcast({ kind: "push-over" });
    }
    this.#certificates.update(this.#podInfos());
    return rejected;
  }

  /** The one workload there is, in this process's own network namespace; tried again like a node's pods. */
  async #serveOne(workload: PodInfo): Promise<void> {
    this.#zdsPhase = "live";
    const failed = await this.#pods.serve("dedicated", workload, ownNamespace());
    if (failed !== undefined) this.#log.error({ error: failed.type }, "the workload is not served yet");
    this.#podsChanged();
  }

  #startZds(): void {
    // The node daemon is listened to from the beginning: pods that wait for an identity or for control wait in their own queue,
    // within a deadline, which is better for them than a port on which nobody listens.
    this.#zds = new ZdsClient({
      path: this.#config.zdsSocket,
      pods: {
        serve: async (uid, info, netns) => (await this.#pods.serve(uid, info, netns))?.message,
        has: (uid) => this.#pods.has(uid),
        stop: (uid) => this.#pods.stop(uid),
        stopOthers: (named) => this.#pods.stopOthers(named),
      },
      clock: systemClock,
      log: this.#log,
      onPhase: (phase) => {
        this.#zdsPhase = phase;
        this.#podsChanged();
      },
    });
  }

  /** @returns why it cannot be: without a listener store there is nobody whom this agent could relieve. */
  async #listen(): Promise<string | undefined> {
    const { adminSocket } = this.#config;
    const local = {
      name: `127.0.0.1:${this.#config.adminPort}`,
      listen: () => this.#admin.listenLocally(this.#config.adminPort),
    };
    const places =
      adminSocket === undefined ? [] : [{ name: adminSocket, listen: () => this.#admin.listenAt(adminSocket) }];
    for (const place of [local, ...places]) {
      const failed = await this.#takeover.have(place);
      if (failed === undefined) continue;
      if (this.#store === undefined) return failed;
      this.#log.info({ place: place.name }, "another agent has this port; it is asked for it when this one serves");
    }
    return undefined;
  }

  /** Another agent takes the ports over; this one can still be asked, by its process id. */
  async #yield(): Promise<void> {
    const { adminSocket } = this.#config;
    this.#log.info("another agent of this network namespace serves, and has the ports from now on");
    this.#hasYielded = true;
    this.#takeover.close();
    this.#admin.close();
    this.#metrics.close();
    this.#self?.close();
    this.#workers.broadcast({ kind: "leave", uid: selfUid, lingerMs: 0 });
    this.#workers.broadcast({ kind: "yield" });
    if (adminSocket === undefined) return;
    const failed = await this.#admin.listenAt(`${adminSocket}.${process.pid}`);
    if (failed !== undefined) this.#log.warn({ error: failed.type }, "this agent can no longer be asked");
  }

  #revocationGreeting(): ToWorker[] {
    const lists = this.#crl?.lists;
    return lists === undefined ? [] : [{ kind: "revocations", lists }];
  }

  #serveSelf(): void {
    for (const worker of this.#workers.serving) {
      for (const delivery of this.#ownDelivery()) this.#workers.serve(worker, delivery);
    }
  }

  #ownDelivery(): PodDelivery[] {
    const delivery = this.#self?.delivery();
    return delivery === undefined ? [] : [delivery];
  }

  /** Whom certificates are needed for, in any case. */
  #podInfos(): PodInfo[] {
    return [...this.#pods.infos(), ...(this.#self === undefined ? [] : [this.#self.info])];
  }

  #hear(message: FromWorker, index: number): void {
    switch (message.kind) {
      case "certificate-wanted":
        return this.#certificates.wanted(message.identity);
      case "pod-serving":
      case "pod-failed":
      case "pod-closed":
      case "pod-gone":
        return this.#pods.receive(message, index);
      case "readiness-failed":
        return this.#log.error({ port: 15_021, problem: message.detail }, "readiness cannot be asked for");
      case "earlier-ended":
      case "drained":
        return this.#departure.heard(message.kind, index);
      case "profile":
        return this.#profiles.taken(index, message.json);
      case "metrics":
        return this.#metrics.receive(index, message);
      case "started":
      case "mesh-applied":
      case "dumped":
        return;
    }
  }

  #podsChanged(): void {
    this.#metrics.podsChanged();
    if (this.#departure.phase === "draining") return;
    this.#readiness.podsAre(this.#zdsPhase, this.#pods.pending());
    this.#certificates.update(this.#podInfos());
  }

  #logLevel({ reset, level }: LogChange): string | { readonly unknown: string } {
    const filter = extendLogFilter(reset ? initialLogFilter(process.env) : logFilter(), level);
    if ("unknown" in filter) return filter;
    setLogFilter(filter);
    const text = formatLogFilter(filter);
    this.#workers.broadcast({ kind: "log-level", level: text });
    return text;
  }

  async #dump(): Promise<Record<string, unknown>> {
    const workers = await this.#workers.dump();
    return configDump({
      state: this.#mesh.state,
      policies: this.#mesh.policies(),
      certificates: this.#manager.dump(),
      chainOf: (uri) => {
        const identity = parseIdentity(uri);
        return identity instanceof SpiffeError ? undefined : this.#manager.current(identity);
      },
      pods: this.#pods.rows(),
      connections: workers.flatMap(({ connections }) => connections),
      config: this.#config,
      xds: this.#xds?.status() ?? { phase: "connecting", sinceMs: 0, types: [] },
      gates: this.#readiness.gates,
      workers: {
        count: this.#workers.count,
        losses: this.#workers.losses,
        tunnels: workers.map(({ worker, tunnels }) => ({ worker, ...tunnels })),
      },
    });
  }

  async #quit(cause: string): Promise<void> {
    const departed = this.#departure.begin(cause);
    if (departed === undefined) return;
    // The clock's timers keep nothing alive, and by the end nothing else may.
    const alive = setInterval(() => undefined, 1_000);
    await departed;
    this.#xds?.close();
    this.#manager.close();
    this.#provider.close();
    this.#takeover.close();
    this.#admin.close();
    await this.#workers.terminate();
    clearInterval(alive);
    this.#log.info({ cause }, "agent ends");
    process.exit(0);
  }

  /** Nothing is accepted any more: pods and their sockets are another agent's. Control is still listened to: its policies hold to the end. */
  #letGo(): void {
    this.#hasYielded = true;
    this.#zds?.close();
    this.#pods.letGo();
    this.#self?.close();
    this.#store?.close();
  }
}

/** The pod's address, where it is one: who asks for readiness asks there. undefined: any. */
function ownAddress(instanceIp: string): string | undefined {
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return own.some(({ address }) => address === instanceIp) ? instanceIp : undefined;
}

/** A literal token, or the content of the file, read anew each time: tokens are rotated. */
function readToken(source: string): string {
  if (!source.includes("/")) return source;
  try {
    return readFileSync(source, "utf8");
  } catch (thrown) {
    throw new Error(`the token cannot be read: ${messageOf(thrown)}`);
  }
}

/** Resources of one update. On the wire it takes tens of megabytes, several times, of which nothing is needed once it is acknowledged. */
const largePush = 10_000;
/** Twice what fifty thousand workloads take where everybody is short of processors. */
const longPushMs = 30_000;
