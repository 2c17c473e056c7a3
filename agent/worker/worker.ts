/** A data-plane worker without its thread: what it does with each message. worker/main.ts gives it a port; tests call it directly. */
import type { Clock } from "../../core/base/clock.ts";
import type { Log } from "../../core/base/log.ts";
import { messageOf } from "../../core/base/errors.ts";
import { systemRandom } from "../../core/base/random.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { originalDestination } from "../../core/linux/original-destination.ts";
import { closeDescriptor, connectTcp } from "../../core/linux/sockets.ts";
import type { AccessLog } from "../access-log/access-log.ts";
import { ConnectionRegistry } from "../connection/registry.ts";
import type { FromWorker, PodDelivery, ToWorker, TunnelCounts, WorkerDump, WorkerStart } from "../worker-messages.ts";
import { ResetWatch } from "../relay/reset-watch.ts";
import { WorkerCertificates } from "./certificates.ts";
import type { WorkerContext } from "./context.ts";
import { WorkerMesh } from "./mesh.ts";
import { ServedPod } from "./pod.ts";
import { ReadinessServer } from "./readiness-server.ts";
import { dnsLookup, HostResolver } from "./resolver.ts";
import { SourcePorts } from "./source-ports.ts";

export interface WorkerModules {
  readonly clock: Clock;
  readonly log: Log;
  readonly accessLog: AccessLog;
  readonly send: (message: FromWorker) => void;
  /** Where tests have no namespaces to connect in. */
  readonly overrides?: Partial<Pick<WorkerContext, "connect" | "originalDestination" | "resolver">>;
}

export class DataPlaneWorker {
  readonly #index: number;
  readonly #modules: WorkerModules;
  readonly #context: WorkerContext;
  readonly #pods = new Map<string, ServedPod>();
  /** Pods that are going, and may come back under the same uid meanwhile. */
  readonly #leaving = new Set<ServedPod>();
  readonly #readiness: ReadinessServer | undefined;
  #phase: "serving" | "draining" = "serving";
  /** While draining: looks whether that was the last one. */
  #onDeparture: (() => void) | undefined;

  constructor(start: WorkerStart, modules: WorkerModules) {
    const { clock, log, send, accessLog, overrides } = modules;
    const { index, settings, readiness } = start;
    this.#index = index;
    this.#modules = modules;
    const registry = new ConnectionRegistry();
    const mesh = new WorkerMesh(clock, (change) => registry.judgeAgain(change, mesh.state));
    const certificates = new WorkerCertificates({
      clock,
      onWanted: (identity) => send({ kind: "certificate-wanted", identity }),
    });
    certificates.onChange((certificate) => {
      for (const pod of [...this.#pods.values(), ...this.#leaving]) pod.offer(certificate);
    });
    this.#context = {
      settings,
      clock,
      random: systemRandom,
      log,
      mesh,
      certificates,
      registry,
      resets: new ResetWatch(),
      handshakes: { outbound: 0, inbound: 0 },
      host: { nowMs: () => clock.nowMs(), closed: (_connection, record) => accessLog.add(record) },
      sourcePorts: new SourcePorts(systemRandom),
      resolver: new HostResolver({ clock, lookup: dnsLookup(), deadlineMs: settings.connectDeadlineMs }),
      connect: ({ netns, remote, from }) =>
        connectTcp({
          netns,
          remote,
          ...(from !== undefined && { local: from, transparent: true }),
          ...(settings.packetMark !== undefined && { mark: settings.packetMark }),
          ...(settings.keepAlive && { keepAlive: settings.keepAlive }),
        }),
      originalDestination: (socket) => {
        const destination = originalDestination(socket);
        return destination instanceof LinuxError ? undefined : destination;
      },
      ...overrides,
    };
    if (readiness !== undefined) {
      this.#readiness = new ReadinessServer(readiness, (error) =>
        send({ kind: "readiness-failed", detail: messageOf(error) }),
      );
    }
  }

  receive(message: ToWorker): void {
    switch (message.kind) {
      case "mesh":
        this.#context.mesh.apply(message.update);
        return this.#modules.send({ kind: "mesh-applied", sequence: message.sequence });
      case "certificate":
        return this.#context.certificates.put(message.delivery);
      case "certificate-dropped":
        return this.#context.certificates.drop(message.uri, message.detail);
      case "certificate-failed":
        return this.#context.certificates.fail(message.uri, message.detail);
      case "serve":
        return this.#serve(message.pod);
      case "leave":
        return this.#leave(message.uid, message.lingerMs);
      case "hurry":
        for (const pod of this.#leaving) if (pod.uid === message.uid) pod.hurry();
        return;
      case "gates":
        if (this.#readiness !== undefined) this.#readiness.gates = message.gates;
        return;
      case "dump":
        return this.#modules.send({ kind: "dumped", id: message.id, dump: this.#dump() });
      case "log-level":
        this.#modules.log.level = message.level;
        return;
      case "last-orders":
        return void this.#context.registry.presentOnesEnded().then(() => this.#modules.send({ kind: "earlier-ended" }));
      case "drain":
        return this.#drain(message.deadlineMs);
    }
  }

  /** Called about once a second. */
  tick(nowMs: number): void {
    this.#context.resets.tick();
    for (const pod of this.#pods.values()) pod.tick(nowMs);
    for (const pod of this.#leaving) pod.tick(nowMs);
  }

  /** The thread is about to end by a fault of ours: its connections end with it, and the log says so. */
  lost(): void {
    for (const connection of [...this.#context.registry.all()]) {
      if (connection.state.phase === "open" || connection.state.phase === "deciding") connection.close("WORKER_LOST");
    }
    this.#modules.accessLog.flush();
  }

  #dump(): WorkerDump {
    const { handshakes, registry } = this.#context;
    const pods = [...this.#pods.values(), ...this.#leaving].map((pod) => pod.tunnels);
    const countsOf = (direction: "outbound" | "inbound"): TunnelCounts => ({
      handshakes: handshakes[direction],
      open: pods.reduce((sum, tunnels) => sum + tunnels[direction], 0),
    });
    return {
      worker: this.#index,
      tunnels: { outbound: countsOf("outbound"), inbound: countsOf("inbound") },
      connections: registry.dump(),
    };
  }

  #serve(delivery: PodDelivery): void {
    const { uid } = delivery;
    if (this.#phase === "draining" || this.#pods.has(uid)) {
      for (const descriptor of Object.values(delivery.descriptors) as number[]) closeDescriptor(descriptor);
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

  #drain(deadlineMs: number): void {
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
    const cancel = this.#modules.clock.after(deadlineMs, () => {
      for (const pod of [...this.#leaving]) pod.end("DRAINED");
      // Resets are on their way; a socket that does not close must not keep the process.
      this.#modules.clock.after(lastMomentMs, () => {
        this.#modules.accessLog.flush();
        this.#modules.send({ kind: "drained" });
      });
    });
    this.#onDeparture = finish;
    finish();
  }
}

const lastMomentMs = 200;
