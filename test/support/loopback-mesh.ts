/**
 * Data-plane workers joined on loopback, without namespaces for pods: each pod has an address of 10.99.0.0/16 (the
 * file's own network namespace has it all), what would be redirected is
 * said by the test, and connects to a pod's port 15008 are led to where its worker listens.
 */
import { createPrivateKey } from "node:crypto";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { AccessLog } from "../../agent/access-log/access-log.ts";
import type { TlsIdentity } from "../../agent/tunnel/tls.ts";
import { podConnectionCells } from "../../agent/pod-connections.ts";
import type { FromWorker, ToWorker } from "../../agent/worker-messages.ts";
import type { ConnectRequest, WorkerSettings } from "../../agent/worker/context.ts";
import type { HostResolver } from "../../agent/worker/resolver.ts";
import { DataPlaneWorker } from "../../agent/worker/worker.ts";
import { systemClock, type Clock } from "../../core/base/clock.ts";
import { formatEndpoint, isLoopback, type Endpoint } from "../../core/base/ip.ts";
import { silentLog, type Log } from "../../core/base/log.ts";
import { localOf } from "../../core/linux/socket-ends.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { setUp } from "../../core/linux/netlink/links.ts";
import { addRoute } from "../../core/linux/netlink/routes.ts";
import { connectBare, listenTcp } from "../../core/linux/sockets.ts";
import type { MeshUpdate } from "../../core/decision/mesh-state.ts";
import { testIdentity } from "./identities.ts";
import { root } from "./hbone-pair.ts";
import { tested } from "./socket-kinds.ts";
import { until } from "./until.ts";
import { workerSettings } from "./worker-settings.ts";

export type LogLine = Readonly<Record<string, string | number | undefined>>;

export interface LoopbackPod {
  readonly uid: string;
  readonly address: string;
  /** Where a captured connection is sent to; `target` is what SO_ORIGINAL_DST would say. */
  readonly connectOut: (target: Endpoint) => Socket;
  /** Where another process can connect to as often as it is to be led there. */
  readonly portOut: (target: Endpoint, times: number) => number;
  /** The same for a plaintext connection that reached the pod. */
  readonly connectIn: (target: Endpoint, from?: string) => Socket;
  /** TCP to the pod's 15001 or 15006 itself, which nobody has redirected: SO_ORIGINAL_DST then says what was connected to. */
  readonly connectTo: (own: 15_001 | 15_006, from: string) => Socket;
  /** The same where the kernel cannot say where it was going. */
  readonly connectLost: (own: 15_001 | 15_006, from: string) => Socket;
  readonly hbonePort: number;
}

export class LoopbackMesh {
  readonly worker: DataPlaneWorker;
  readonly messages: FromWorker[] = [];
  readonly lines: LogLine[] = [];
  /** Called with what the worker says. */
  heard: ((message: FromWorker) => void) | undefined;
  /** TCP connects to tunnels. */
  tunnelsOpened = 0;
  /** TCP connects to whatever the worker chose. */
  connects = 0;
  readonly #hbonePorts = new Map<string, number>();
  /** By listening port, in the order in which the connections will be accepted. */
  readonly #targets = new Map<number, (Endpoint | undefined)[]>();
  /** Pods' addresses by what stands for their namespaces here. */
  readonly #addresses: string[] = [];
  readonly #closers: (() => void)[] = [];
  #sequence = 0;

  constructor(
    options: {
      clock?: Clock;
      deadlineMs?: number;
      settings?: Partial<WorkerSettings>;
      policyLog?: Log;
      resolver?: HostResolver;
      /** Policies are complete only when the test says so. */
      awaitsPolicies?: boolean;
    } = {},
  ) {
    const clock = options.clock ?? systemClock;
    const deadlineMs = options.deadlineMs ?? 5_000;
    const accessLog = new AccessLog({
      clock: systemClock,
      worker: 0,
      node: "node1",
      write: (text) => {
        for (const line of text.trim().split("\n")) this.lines.push(JSON.parse(line) as LogLine);
        return true;
      },
    });
    this.worker = new DataPlaneWorker(
      {
        index: 0,
        settings: {
          ...workerSettings,
          connectDeadlineMs: deadlineMs,
          workloadDeadlineMs: deadlineMs,
          ...options.settings,
        },
      },
      {
        clock,
        log: silentLog,
        ...(options.policyLog && { policyLog: options.policyLog }),
        accessLog,
        send: (message) => {
          this.messages.push(message);
          this.heard?.(message);
        },
        overrides: {
          connect: (request) => {
            const { remote, from } = this.#onLoopback(request);
            const { address: host, port } = remote;
            return connect({ host, port, allowHalfOpen: true, noDelay: true, localAddress: from });
          },
          ...(tested.kind === "bare" &&
            options.settings?.engine !== "node" && {
              connectBare: (request, connected) => {
                const { remote, from } = this.#onLoopback(request);
                return connectBare({ remote, ...(from !== undefined && { local: { address: from } }) }, connected);
              },
            }),
          originalDestination: (socket) => this.#targets.get(localOf(socket)?.port ?? 0)?.shift(),
          ...(options.resolver && { resolver: options.resolver }),
        },
      },
    );
    accessLog.flush();
    if (options.awaitsPolicies !== true) this.apply({ policiesComplete: true });
  }

  /** Counted, and with what stands for it here. */
  #onLoopback({ netns, remote, from }: ConnectRequest): { remote: Endpoint; from: string | undefined } {
    const tunnel = this.#hbonePorts.get(formatEndpoint(remote));
    this.connects += 1;
    if (tunnel !== undefined) this.tunnelsOpened += 1;
    return {
      remote: { address: remote.address, port: tunnel ?? remote.port },
      // Left to the kernel, connections to loopback come from loopback.
      from: from?.address ?? (isLoopback(remote.address) ? undefined : this.#addresses[netns ?? -1]),
    };
  }

  apply(update: MeshUpdate): void {
    this.#sequence += 1;
    this.worker.receive({ kind: "mesh", sequence: this.#sequence, update });
  }

  send(message: ToWorker): void {
    this.worker.receive(message);
  }

  /** Serves `namespace/name` (its account is its name) at an address of 10.99.0.0/16. */
  async serve(
    path: string,
    address: string,
    identity?: TlsIdentity | "none",
    { inherited = false } = {},
  ): Promise<LoopbackPod> {
    const [namespace = "", name = ""] = path.split("/");
    const uid = `uid-${name}`;
    if (identity === undefined) this.certifyPod(path);
    else if (identity !== "none") this.certify(identity);
    const [outbound, plaintext, hbone] = [listenOn(address), listenOn(address), listenOn(address)];
    this.#hbonePorts.set(`${address}:15008`, hbone.port);
    this.send({
      kind: "serve",
      pod: {
        uid,
        info: { namespace, name, serviceAccount: name },
        netns: this.#addresses.push(address) - 1,
        transparent: true,
        inherited,
        connections: podConnectionCells(),
        descriptors: { outbound: outbound.fd, plaintext: plaintext.fd, hbone: hbone.fd },
      },
    });
    // What is inherited is served when it can be, not before.
    if (!inherited)
      await until(`${path} is served`, 5_000, () =>
        this.messages.some((message) => message.kind === "pod-serving" && message.uid === uid),
      );
    this.#closers.push(() => this.send({ kind: "leave", uid, lingerMs: 0 }));
    return {
      uid,
      address,
      hbonePort: hbone.port,
      connectOut: (target) => this.#captured(address, outbound.port, target, address),
      portOut: (target, times) => {
        this.#expect(outbound.port, Array<Endpoint>(times).fill(target));
        return outbound.port;
      },
      connectIn: (target, from = "10.99.0.9") => this.#captured(address, plaintext.port, target, from),
      connectTo: (own, from) => {
        const { port } = own === 15_001 ? outbound : plaintext;
        return this.#captured(address, port, { address, port: own }, from);
      },
      connectLost: (own, from) => {
        const { port } = own === 15_001 ? outbound : plaintext;
        return this.#captured(address, port, undefined, from);
      },
    };
  }

  /** Of the pod's own account. */
  certifyPod(path: string): void {
    const [namespace = "", name = ""] = path.split("/");
    this.certify(testIdentity(root, { trustDomain: "cluster.local", namespace, serviceAccount: name }));
  }

  certify(leaf: TlsIdentity): void {
    const { identity, chain, key, roots, notAfter } = leaf;
    this.send({
      kind: "certificate",
      delivery: { identity, key: createPrivateKey(key), chainPem: [chain], rootsPem: roots, notAfter },
    });
  }

  /** The one line about the connection of that client socket's port, once it is there. */
  async line(direction: "outbound" | "inbound", match: (line: LogLine) => boolean = () => true): Promise<LogLine> {
    return until(`a line ${direction}`, 5_000, () =>
      this.lines.find((line) => line["direction"] === direction && match(line)),
    );
  }

  close(): void {
    this.send({ kind: "drain", deadlineMs: 0 });
    for (const close of this.#closers) close();
  }

  #expect(port: number, targets: readonly (Endpoint | undefined)[]): void {
    this.#targets.set(port, [...(this.#targets.get(port) ?? []), ...targets]);
  }

  #captured(address: string, port: number, target: Endpoint | undefined, from: string): Socket {
    const socket = connect({ host: address, port, localAddress: from, allowHalfOpen: true, noDelay: true });
    this.#expect(port, [target]);
    socket.on("error", () => {});
    this.#closers.push(() => socket.destroy());
    return socket;
  }
}

/** Makes 10.99.0.0/16 this host's own. Inside enterNamespaces() only. */
export async function ownAddresses(): Promise<void> {
  const failed =
    (await setUp("lo")) ??
    (await addRoute({ destination: { address: "10.99.0.0", prefix: 16 }, interface: "lo", type: "local", table: 255 }));
  if (failed !== undefined) throw failed;
}

/** An application at an address; what it accepts is handed to the test. @param port 0: any that is free. */
export async function application(
  address: string,
  accepted: (socket: Socket) => void,
  port = 0,
): Promise<{ port: number; close: () => void }> {
  const sockets = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    accepted(socket);
  });
  await new Promise<void>((resolve) => server.listen(port, address, resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

function listenOn(address: string): { fd: number; port: number } {
  for (let attempt = 0; attempt < 50; attempt++) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const listener = listenTcp({ address, port, backlog: 1024 });
    if (!(listener instanceof LinuxError)) return { fd: listener.fd, port };
  }
  throw new Error(`no free port at ${address}`);
}
