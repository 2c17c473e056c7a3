/** One pod as one worker serves it: its listeners, its tunnels both ways, its connections, and its going. */
import { formatIdentity, type Identity } from "../../core/protocol/spiffe/identity.ts";
import type { MeshWorkload } from "../../core/protocol/wds/workload.ts";
import type { PodInfo } from "../../core/protocol/zds/messages.ts";
import type { CloseRecord, ConnectionFacts } from "../connection/close-record.ts";
import { Connection, type ConnectionHost } from "../connection/connection.ts";
import { PodDns } from "../dns/pod-dns.ts";
import { takesBareStreams } from "../tunnel/engine.ts";
import { HboneServer } from "../tunnel/hbone-server.ts";
import { TunnelPool } from "../tunnel/pool.ts";
import { PodConnections } from "../pod-connections.ts";
import type { EndSocket } from "../relay/tcp-end.ts";
import type { AcceptedSocket } from "../tunnel/tls-engine.ts";
import type { TunnelError } from "../tunnel/tunnel.ts";
import type { PodDelivery } from "../worker-messages.ts";
import type { WorkerCertificate } from "./certificates.ts";
import type { WorkerContext } from "./context.ts";
import { handleInboundHbone } from "./inbound-hbone.ts";
import { handleInboundPlaintext } from "./inbound-plaintext.ts";
import { Listeners } from "./listeners.ts";
import { handleOutbound } from "./outbound.ts";
import { PodHome } from "./pod-home.ts";
import { tunnelFailure } from "./socket-errors.ts";
import { nextTraceContext } from "./trace-ids.ts";

/** How far a pod's going has come. */
type PodPhase = "serving" | "accepting-the-last" | "finishing" | "gone";

export class ServedPod {
  readonly uid: string;
  readonly info: PodInfo;
  /** Descriptor of the pod's network namespace, the main thread's to close. */
  readonly netns: number | undefined;
  /** Whether applications can be connected to from their clients' addresses. */
  readonly mayImpersonate: boolean;
  readonly pool: TunnelPool;
  readonly #context: WorkerContext;
  readonly #server: HboneServer;
  readonly #listeners: Listeners;
  readonly #dns: PodDns | undefined;
  readonly #connections: PodConnections;
  readonly #home: PodHome;
  readonly #onPodGone: () => void;
  /** What its connections tell: one for all of them. */
  readonly #host: ConnectionHost = {
    nowMs: () => this.#context.clock.nowMs(),
    opened: (opened, client, server) => this.#context.host.opened?.(opened, client, server),
    moved: (moved) => this.#context.host.moved?.(moved),
    closed: (closed, record) => this.#closed(closed, record),
  };
  #phase: PodPhase = "serving";
  /** SPIFFE URI of the certificate in use; undefined until there is one. */
  #uri: string | undefined;
  #awaitsIdentity = false;
  /** As of the last connection. */
  #identity: Identity | undefined;

  /** @param onPodGone called once nothing of the pod is left here, after `leave`. */
  constructor(context: WorkerContext, delivery: PodDelivery, onPodGone: () => void) {
    this.#context = context;
    this.#onPodGone = onPodGone;
    this.uid = delivery.uid;
    this.info = delivery.info;
    this.netns = delivery.netns;
    this.mayImpersonate = delivery.transparent;
    const { clock, settings } = context;
    const onGone = (): void => this.#look();
    this.pool = new TunnelPool({ clock, idleReleaseMs: settings.poolIdleReleaseMs, onGone });
    this.#server = new HboneServer({
      ...context.tunnels,
      revocations: context.revocations,
      deadlineMs: settings.connectDeadlineMs,
      onOpened: () => (context.handshakes.inbound += 1),
      onStream: (stream) => {
        context.gate.accepted();
        this.#guard(handleInboundHbone(context, this, stream));
      },
      onRefused: (error, remote) => this.#tunnelRefused(error, remote),
      onGone,
    });
    const connections = new PodConnections(delivery.connections, context.index);
    this.#connections = connections;
    this.#home = new PodHome({ home: delivery.home, own: context.index, connections, signs: context.signs });
    const handlers = {
      outbound: (socket: EndSocket) => {
        context.gate.accepted();
        this.#guard(handleOutbound(context, this, socket));
      },
      plaintext: (socket: EndSocket) => {
        context.gate.accepted();
        this.#guard(handleInboundPlaintext(context, this, socket));
      },
      hbone: (socket: AcceptedSocket) => {
        context.gate.accepted();
        this.#server.accept(socket);
        this.#seekIdentity();
      },
    };
    const opening = delivery.inherited ? this.#able() : undefined;
    this.#listeners = new Listeners(delivery.descriptors, handlers, {
      bare:
        context.connectBare === undefined ? "none" : takesBareStreams(context.tunnels.engine) ? "all" : "applications",
      opening,
      paused: !this.#home.accepts,
    });
    const { dns = [] } = delivery.descriptors;
    if (context.dns !== undefined && dns.length > 0) this.#dns = new PodDns(context.dns, this, dns, onGone, opening);
    this.#accept(this.#home.accepts);
  }

  /** It holds more connections than one pod may, the one that asks included. */
  get isFull(): boolean {
    return this.#connections.total > this.#context.settings.podConnections;
  }

  /** Control knows it no more, or the node has said that it leaves: an application that refuses now has not just begun. */
  get isGoing(): boolean {
    return this.#phase !== "serving" || this.isWithdrawn;
  }

  /** Control knew it and knows it no more. */
  get isWithdrawn(): boolean {
    return this.#uri !== undefined && this.#context.mesh.workloadOf(this.info) === undefined;
  }

  /** Accepts, or leaves what comes in the kernel or to other workers, as it is this worker's turn. Asked with each of its beats. */
  lookHome(): void {
    this.#accept(this.#home.look());
  }

  /** This worker may accept again, or no more. */
  lookGate(): void {
    this.#accept(this.#home.accepts || this.#phase !== "serving");
  }

  /** Settles when all of them listen. */
  get listening(): Promise<void> {
    return Promise.all([this.#listeners.listening, this.#dns?.listening]).then(() => undefined);
  }

  /** The identity that this pod's certificate must have: its account, in the trust domain that control says. */
  identityOf({ trustDomain }: MeshWorkload): Identity {
    const { namespace, serviceAccount } = this.info;
    if (this.#identity?.trustDomain !== trustDomain) this.#identity = { trustDomain, namespace, serviceAccount };
    return this.#identity;
  }

  /** A new connection of this pod, registered before anything is decided about it. */
  begin(facts: ConnectionFacts): Connection {
    const connection = new Connection(facts, this.#host);
    this.#context.registry.add(connection, this.uid);
    this.#connections.began();
    return connection;
  }

  /** A certificate came: used from now on if it is this pod's. */
  offer(certificate: WorkerCertificate): void {
    if (!this.#isOurs(certificate)) return;
    this.#use(certificate);
    // Tunnels that show the one before take no new streams; those they have go on.
    this.pool.retireAll();
  }

  /** How many tunnels stand in each direction. */
  get tunnels(): { readonly outbound: number; readonly inbound: number } {
    return { outbound: this.pool.tunnels, inbound: this.#server.tunnels };
  }

  tick(nowMs: number): void {
    this.pool.tick(nowMs);
    this.#server.tick(nowMs);
    this.#dns?.tick(nowMs);
    this.#look();
  }

  /**
   * The pod leaves the mesh, or the node. What is queued is accepted, then nothing more is; what is open goes on to its own end.
   * 15008 stays for a moment: peers that have not heard yet still come by tunnel, and the pod is served in both ways meanwhile. So does DNS:
   * the kernel remembers for whom it has redirected queries.
   * @param onClosed nobody listens any more; said before `onPodGone`.
   */
  async leave(lingerMs: number, onClosed: () => void): Promise<void> {
    if (this.#phase !== "serving") return;
    this.#phase = "accepting-the-last";
    this.#accept(true);
    await this.#listeners.closeCaptures();
    if (lingerMs > 0 && !this.#isHurried) {
      await new Promise<void>((resolve) => {
        this.#endLinger = resolve;
        this.#context.clock.after(lingerMs, resolve);
      });
    }
    await Promise.all([this.#listeners.closeHbone(), this.#dns?.close()]);
    this.#phase = "finishing";
    this.#server.retire();
    this.pool.retire();
    onClosed();
    this.#look();
  }

  /** No more patience: everything is closed, with this reason for what is still open. */
  end(reason: "DRAINED" | "POD_REMOVED"): void {
    for (const connection of [...this.#context.registry.ofPod(this.uid)]) connection.close(reason);
    this.#server.destroy();
    this.pool.destroy();
    this.#dns?.destroy();
  }

  /** The thread ends: what belongs to no handle of Node's is given back by hand. */
  lost(): void {
    this.#dns?.destroy();
  }

  /** Ends the linger of `leave`: the pod comes back and needs its ports. */
  hurry(): void {
    this.#isHurried = true;
    this.#endLinger?.();
  }

  #accept(isOurTurn: boolean): void {
    if (isOurTurn && this.#context.gate.closed === undefined) this.#listeners.resume();
    else this.#listeners.pause();
    this.#connections.accepts = this.#phase === "serving" && this.#listeners.isAccepting;
  }

  #isHurried = false;
  #endLinger: (() => void) | undefined;

  /** Settles when connections can be served: pod and policies are known and its certificate is there. Not for ever: a reason is better than silence. */
  async #able(): Promise<void> {
    const { mesh, certificates, settings } = this.#context;
    const workload = await mesh.waitUntilDecidable(this.info, handOverMs);
    if (workload !== undefined) await certificates.wait(this.identityOf(workload), settings.workloadDeadlineMs);
  }

  /** Sees to it that somebody brings the certificate that a handshake waits for. */
  #seekIdentity(): void {
    if (this.#uri !== undefined || this.#awaitsIdentity) return;
    this.#awaitsIdentity = true;
    const { mesh, certificates, settings } = this.#context;
    void mesh.waitForWorkload(this.info, settings.workloadDeadlineMs).then(async (workload) => {
      if (workload !== undefined) {
        const certificate = await certificates.wait(this.identityOf(workload), settings.connectDeadlineMs);
        if ("uri" in certificate && this.#uri === undefined && this.#isOurs(certificate)) this.#use(certificate);
      }
      this.#awaitsIdentity = false;
    });
  }

  /** While control does not know the pod, what was its own still is. */
  #isOurs({ uri }: WorkerCertificate): boolean {
    const workload = this.#context.mesh.workloadOf(this.info);
    return uri === (workload === undefined ? this.#uri : formatIdentity(this.identityOf(workload)));
  }

  #use({ uri, tls }: WorkerCertificate): void {
    this.#uri = uri;
    this.#server.useIdentity(tls);
  }

  #tunnelRefused(error: TunnelError, remote: ConnectionFacts["source"] | undefined): void {
    if (remote === undefined) return;
    const connection = this.begin({
      direction: "inbound",
      protocol: "hbone",
      trace: nextTraceContext().traceId,
      source: remote,
      destinationWorkload: this.#context.mesh.workloadOf(this.info),
    });
    const { reason, details } = tunnelFailure(error);
    connection.close(reason, details);
  }

  #closed(connection: Connection, record: CloseRecord): void {
    this.#context.registry.remove(connection);
    this.#connections.ended();
    this.#context.host.closed(connection, record);
    this.#look();
  }

  /** A rejected promise here is our own bug, which has ended its connection already: it is told, without an uncaught rejection. */
  #guard(work: Promise<void>): void {
    work.catch((thrown: unknown) => {
      this.#context.log.error({ err: thrown, pod: this.uid }, "internal bug while serving a connection");
    });
  }

  #look(): void {
    if (this.#phase !== "finishing") return;
    const tunnels = this.#server.tunnels + this.#server.handshakes + this.pool.tunnels;
    const busy = this.#context.registry.ofPod(this.uid).size + tunnels + (this.#dns?.size ?? 0);
    if (busy > 0) return;
    this.#phase = "gone";
    this.#server.destroy();
    this.#onPodGone();
  }
}

/** How long an agent that was started without its control plane leaves inherited sockets to its predecessor. */
const handOverMs = 30_000;
