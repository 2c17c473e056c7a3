/** A data-plane worker without its thread: what it does with each message. worker/main.ts gives it a port; tests call it directly. */
import type { Clock } from "../../core/base/clock.ts";
import { logSink, setLogFilter, type Log } from "../../core/base/log.ts";
import { defaultLogFilter, extendLogFilter, levelOf } from "../../core/base/log-filter.ts";
import { messageOf } from "../../core/base/errors.ts";
import { takeProfile } from "../admin/profile.ts";
import { systemRandom } from "../../core/base/random.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { specimens } from "../../core/base/specimens.ts";
import { canBeBare } from "../../core/linux/bare-socket.ts";
import { originalDestination } from "../../core/linux/original-destination.ts";
import { closeDescriptor, connectBare, connectTcp, type ConnectOptions } from "../../core/linux/sockets.ts";
import { CountingDnsObserver } from "../dns/observer.ts";
import { workerDnsHost } from "../dns/worker-host.ts";
import type { AccessLog } from "../access-log/access-log.ts";
import { ConnectionRegistry } from "../connection/registry.ts";
import type { Counters } from "../metrics/counters.ts";
import type { GaugeRow } from "../metrics/rows.ts";
import { reporterOf } from "../metrics/traffic-labels.ts";
import { WorkerMetrics } from "../metrics/worker-metrics.ts";
import {
  descriptorsOf,
  type FromWorker,
  type PodDelivery,
  type ToWorker,
  type TunnelCounts,
  type WorkerDump,
  type WorkerStart,
} from "../worker-messages.ts";
import { Revocations, type RevokedSerials } from "../revocation/revocations.ts";
import { ResetWatch } from "../relay/reset-watch.ts";
import { HeldMemory } from "../tunnel/held-memory.ts";
import { Sniffer } from "../sniff/sniffer.ts";
import { stillness, VitalSigns } from "../vital-signs.ts";
import { MemoryWatch } from "./memory-watch.ts";
import { AcceptGate, type GateReason } from "./accept-gate.ts";
import { WorkerCertificates } from "./certificates.ts";
import type { ConnectRequest, WorkerContext } from "./context.ts";
import { Ejections } from "./ejections.ts";
import { MeshTurns } from "./mesh-turns.ts";
import { WorkerMesh } from "./mesh.ts";
import { ServedPod } from "./pod.ts";
import { ReadinessServer } from "./readiness-server.ts";
import { dnsLookup, HostResolver } from "./resolver.ts";
import { SourcePorts } from "./source-ports.ts";
import { ThreadLoad } from "./thread-load.ts";

export interface WorkerModules {
  /** Default: `log`. */
  readonly dnsLog?: Log;
  readonly clock: Clock;
  readonly log: Log;
  /** For verdicts of policies; `log` when missing. */
  readonly policyLog?: Log;
  readonly accessLog: AccessLog;
  readonly send: (message: FromWorker) => void;
  /** What a large push took on its way is nobody's any more. */
  readonly onPushOver?: () => void;
  /** Where tests have no namespaces to connect in. */
  readonly overrides?: Partial<Pick<WorkerContext, "connect" | "connectBare" | "originalDestination" | "resolver">>;
  /** Applications' sockets are net.Sockets. So they are with the engine `node`, of which all is the reference. */
  readonly plainSockets?: boolean;
}

export class DataPlaneWorker {
  readonly #index: number;
  readonly #modules: WorkerModules;
  readonly #context: WorkerContext;
  readonly #meshTurns: MeshTurns;
  readonly #signs: VitalSigns | undefined;
  readonly #load: ThreadLoad;
  /** Until then it goes without saying that accepting is paused. */
  #gateUntoldMs = 0;
  readonly #metrics: WorkerMetrics;
  readonly #pods = new Map<string, ServedPod>();
  /** Pods that are going, and may come back under the same uid meanwhile. */
  readonly #leaving = new Set<ServedPod>();
  readonly #readiness: ReadinessServer | undefined;
  /** What of counters that others keep has been reported. */
  readonly #reported = { outbound: 0, inbound: 0, dropped: 0 };
  #phase: "serving" | "draining" = "serving";
  /** While draining: looks whether that was the last one. */
  #onDeparture: (() => void) | undefined;

  constructor(start: WorkerStart, modules: WorkerModules) {
    const { clock, log, send, accessLog, overrides } = modules;
    const { index, settings, readiness } = start;
    this.#index = index;
    this.#modules = modules;
    const ejections = new Ejections(clock);
    const mesh = new WorkerMesh(clock, (change, left) => {
      ejections.forget(change.workloads);
      if (left.size > 0) for (const pod of this.#pods.values()) pod.pool.retireTo(left);
      registry.judgeAgain(change);
    });
    specimens.immediate = setImmediate(() => {});
    specimens.timer = setTimeout(() => {}, 0x7fff_ffff).unref();
    const registry = new ConnectionRegistry(mesh.state, { nowMs: () => clock.nowMs(), later: setImmediate });
    this.#meshTurns = new MeshTurns({
      apply: (slice) => mesh.apply(slice),
      isBusy: () => registry.size > 0 && !mesh.isAwaited,
      clock,
      later: setImmediate,
    });
    const certificates = new WorkerCertificates({
      clock,
      onWanted: (identity) => send({ kind: "certificate-wanted", identity }),
      policy: settings.tls,
      engine: settings.engine,
    });
    certificates.onChange((certificate) => {
      this.#forEachPod((pod) => pod.offer(certificate));
    });
    this.#metrics = new WorkerMetrics({ clock, worker: index, send, look: (counters) => this.#look(counters) });
    const { counters, requests } = this.#metrics;
    const sniffer = settings.sniff && new Sniffer({ clock, log, counters, requests });
    const { vitalSigns } = start;
    this.#load = new ThreadLoad(clock);
    this.#signs = vitalSigns === undefined ? undefined : new VitalSigns(vitalSigns);
    const gate = new AcceptGate({
      index,
      signs: this.#signs,
      memory: new MemoryWatch(settings.memory),
      onChange: (reason) => this.#gateChanged(reason),
    });
    const optionsOf = ({ netns, remote, from, lendsReads }: ConnectRequest): ConnectOptions => ({
      netns,
      remote,
      ...(lendsReads && { lendsReads }),
      ...(from !== undefined && { local: from, transparent: true }),
      ...(settings.packetMark !== undefined && { mark: settings.packetMark }),
      ...(settings.keepAlive && { keepAlive: settings.keepAlive }),
    });
    const connect: WorkerContext["connect"] = (request) => connectTcp(optionsOf(request));
    const isBare =
      modules.plainSockets !== true && settings.engine !== "node" && canBeBare() && overrides?.connect === undefined;
    const destinationOf: WorkerContext["originalDestination"] = (socket) => {
      const destination = originalDestination(socket);
      return destination instanceof LinuxError ? undefined : destination;
    };
    const heldMemory = new HeldMemory(settings.memory.buffers);
    this.#context = {
      index,
      settings,
      gate,
      signs: this.#signs,
      heldMemory,
      tunnels: { clock, engine: settings.engine, limits: settings.limits, memory: heldMemory },
      clock,
      random: systemRandom,
      log,
      policyLog: modules.policyLog ?? log,
      mesh,
      certificates,
      revocations: settings.revocation === true ? new Revocations() : undefined,
      registry,
      ejections,
      resets: new ResetWatch(),
      handshakes: { outbound: 0, inbound: 0 },
      counters: this.#metrics.counters,
      host: {
        nowMs: () => clock.nowMs(),
        opened: (connection, client, server) => {
          this.#metrics.opened(connection);
          accessLog.opened(connection.facts);
          sniffer?.watch(connection.facts, client, server);
        },
        moved: (connection) => this.#metrics.moved(connection),
        closed: (connection, record) => {
          this.#metrics.closed(connection, record);
          accessLog.add(record);
        },
      },
      sourcePorts: new SourcePorts(systemRandom),
      resolver: new HostResolver({ clock, lookup: dnsLookup(), deadlineMs: settings.connectDeadlineMs }),
      connect,
      connectBare: isBare ? (request, connected) => connectBare(optionsOf(request), connected) : undefined,
      originalDestination: destinationOf,
      dns:
        settings.dns &&
        workerDnsHost({
          settings: settings.dns,
          workloadDeadlineMs: settings.workloadDeadlineMs,
          packetMark: settings.packetMark,
          clock,
          log: modules.dnsLog ?? log,
          random: systemRandom,
          mesh,
          observer: new CountingDnsObserver(this.#metrics.counters),
          connect,
          originalDestination: destinationOf,
        }),
      ...overrides,
    };
    if (readiness !== undefined) {
      this.#readiness = new ReadinessServer(readiness, (error) =>
        send({ kind: "readiness-failed", detail: messageOf(error) }),
      );
    }
  }

  /** For what is counted by name. */
  get counters(): Counters {
    return this.#metrics.counters;
  }

  receive(message: ToWorker): void {
    switch (message.kind) {
      case "mesh":
        return this.#meshTurns.take([message.update, ...(message.more ?? [])], () =>
          this.#modules.send({ kind: "mesh-applied", sequence: message.sequence }),
        );
      case "push-over":
        return this.#modules.onPushOver?.();
      case "certificate":
        return this.#context.certificates.put(message.delivery);
      case "certificate-dropped":
        return this.#context.certificates.drop(message.uri, message.detail);
      case "certificate-failed":
        return this.#context.certificates.fail(message.uri, message.detail);
      case "revocations":
        return this.#revoke(message.lists);
      case "serve":
        return this.#serve(message.pod);
      case "leave":
        return this.#leave(message.uid, message.lingerMs);
      case "hurry":
        for (const pod of this.#leaving) if (pod.uid === message.uid) pod.hurry();
        return;
      case "pod-dead":
        for (const pod of this.#leaving) if (pod.uid === message.uid) pod.end("POD_REMOVED");
        return;
      case "gates":
        if (this.#readiness !== undefined) this.#readiness.gates = message.gates;
        return;
      case "dump":
        return this.#modules.send({ kind: "dumped", id: message.id, dump: this.#dump() });
      case "profile":
        return void takeProfile(message.request, this.#modules.clock).then(
          (json) => this.#modules.send({ kind: "profile", json }),
          (thrown: unknown) =>
            this.#modules.send({ kind: "profile", json: JSON.stringify({ error: messageOf(thrown) }) }),
        );
      case "metrics":
        return void this.#metrics.report(message.id, message.reset);
      case "log-level":
        return this.#setLogLevels(message.level);
      case "last-orders":
        return void this.#context.registry.presentOnesEnded().then(() => this.#modules.send({ kind: "earlier-ended" }));
      case "drain":
        return this.#drain(message.deadlineMs);
      case "yield":
        return this.#readiness?.close();
    }
  }

  /** Called about once a second. */
  tick(nowMs: number): void {
    this.#context.resets.tick();
    this.#metrics.tick(nowMs);
    this.#forEachPod((pod) => pod.tick(nowMs));
  }

  /**
   * Called a few times a second: whoever does not see it any more ends this thread.
   * @throws where memory has grown beyond what this worker may hold: better one worker's connections than the whole process's.
   */
  beat(): void {
    const { registry, mesh } = this.#context;
    const [connections, load] = [registry.size, this.#load.take()];
    this.#signs?.beat(this.#index, { connections, load, awaitsMesh: mesh.isAwaited });
    for (const pod of this.#pods.values()) pod.lookHome();
    if (this.#context.gate.look() === "hopeless") throw new WorkerMemoryError();
  }

  /** How many connections are open, and how many there have been. */
  get connections(): { readonly open: number; readonly total: number } {
    const { size, total } = this.#context.registry;
    return { open: size, total };
  }

  /** Whether no connection has begun, ended or carried anything since the last call; as of the last tick. */
  isAtRest(): boolean {
    return !this.#metrics.takeMoved();
  }

  /** The thread is about to end by a fault of ours: its connections end with it, and the log says so. */
  lost(): void {
    for (const connection of [...this.#context.registry.all()]) {
      if (connection.state.phase === "open" || connection.state.phase === "deciding") connection.close("WORKER_LOST");
    }
    this.#forEachPod((pod) => pod.lost());
    this.#signs?.beat(this.#index, stillness);
    this.#modules.accessLog.flush();
  }

  /** @param text a whole filter: the main thread has understood it. */
  #setLogLevels(text: string): void {
    const filter = extendLogFilter(defaultLogFilter, text);
    if ("unknown" in filter) return;
    setLogFilter(filter);
    this.#modules.accessLog.level = levelOf(filter, "access");
  }

  #dump(): WorkerDump {
    return {
      worker: this.#index,
      tunnels: { outbound: this.#tunnels("outbound"), inbound: this.#tunnels("inbound") },
      connections: this.#context.registry.dump(),
    };
  }

  #tunnels(direction: "outbound" | "inbound"): TunnelCounts {
    let open = 0;
    this.#forEachPod((pod) => (open += pod.tunnels[direction]));
    return { handshakes: this.#context.handshakes[direction], open };
  }

  /** What a report says beside traffic. */
  #look(counters: Counters): GaugeRow[] {
    const { accessLog } = this.#modules;
    const dropped = accessLog.dropped + logSink.dropped;
    counters.count("ambientd_log_lines_dropped", [], dropped - this.#reported.dropped);
    this.#reported.dropped = dropped;
    const sockets = this.#context.registry.sockets();
    const gauges: GaugeRow[] = [];
    for (const direction of ["outbound", "inbound"] as const) {
      const { handshakes, open } = this.#tunnels(direction);
      counters.count("ambientd_tunnel_handshakes", [direction], handshakes - this.#reported[direction]);
      this.#reported[direction] = handshakes;
      gauges.push({ name: "ambientd_tunnels_open", labels: [direction], value: open });
      const accepted = sockets[direction] + (direction === "inbound" ? open : 0);
      gauges.push({ name: "istio_tcp_sockets_open", labels: [reporterOf(direction)], value: accepted });
    }
    return gauges;
  }

  #gateChanged(reason: GateReason | undefined): void {
    const { log, clock } = this.#modules;
    const nowMs = clock.nowMs();
    // At the edge it opens and closes several times a second.
    if (reason !== undefined && nowMs >= this.#gateUntoldMs) {
      this.#gateUntoldMs = nowMs + gateSilenceMs;
      log.error({ reason }, "connections are accepted only as others end: they wait in the kernel");
    }
    this.#forEachPod((pod) => pod.lookGate());
  }

  /** Those that are served, and those that are going. */
  #forEachPod(act: (pod: ServedPod) => void): void {
    for (const pods of [this.#pods.values(), this.#leaving]) for (const pod of pods) act(pod);
  }

  #revoke(lists: readonly RevokedSerials[]): void {
    const tunnels = this.#context.revocations?.use(lists) ?? 0;
    if (tunnels > 0)
      this.#modules.log.warn({ tunnels }, "tunnels were cut: their other ends' certificates are revoked");
  }

  #serve(delivery: PodDelivery): void {
    const { uid } = delivery;
    if (this.#phase === "draining" || this.#pods.has(uid)) {
      descriptorsOf(delivery.descriptors).forEach(closeDescriptor);
      return this.#modules.send({ kind: "pod-failed", uid, detail: "already served, or the agent is shutting down" });
    }
    const pod: ServedPod = new ServedPod(this.#context, delivery, () => this.#gone(pod));
    this.#pods.set(uid, pod);
    pod.listening.then(
      () => this.#modules.send({ kind: "pod-serving", uid }),
      (error: unknown) => this.#modules.send({ kind: "pod-failed", uid, detail: messageOf(error) }),
    );
  }

  #leave(uid: string, lingerMs: number): void {
    const pod = this.#pods.get(uid);
    if (pod === undefined) {
      this.#modules.send({ kind: "pod-closed", uid });
      return this.#modules.send({ kind: "pod-gone", uid });
    }
    this.#pods.delete(uid);
    this.#leaving.add(pod);
    void pod.leave(lingerMs, () => this.#modules.send({ kind: "pod-closed", uid }));
  }

  #gone(pod: ServedPod): void {
    this.#leaving.delete(pod);
    this.#modules.send({ kind: "pod-gone", uid: pod.uid });
    this.#onDeparture?.();
  }

  #drain(deadlineMs: number | undefined): void {
    if (this.#phase === "draining") return;
    this.#phase = "draining";
    this.#readiness?.close();
    for (const uid of [...this.#pods.keys()]) this.#leave(uid, 0);
    const finish = (): void => {
      if (this.#leaving.size > 0) return;
      cancel();
      this.#modules.accessLog.flush();
      this.#modules.send({ kind: "drained" });
    };
    const end = (): void => {
      for (const pod of [...this.#leaving]) pod.end("DRAINED");
      // Resets are on their way; a socket that does not close must not keep the process.
      this.#modules.clock.after(lastMomentMs, () => {
        this.#modules.accessLog.flush();
        this.#modules.send({ kind: "drained" });
      });
    };
    const cancel = deadlineMs === undefined ? () => {} : this.#modules.clock.after(deadlineMs, end);
    this.#onDeparture = finish;
    finish();
  }
}

/** Its connections are lost on purpose. */
class WorkerMemoryError extends Error {
  override readonly name = "WorkerMemoryError";

  constructor() {
    super("the worker holds more memory than it may (MEM_PRESSURE)");
  }
}

const gateSilenceMs = 10_000;
const lastMomentMs = 200;
