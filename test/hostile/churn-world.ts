/**
 * A node in one process, for seeded runs: an agent's pods, certificates and two workers on a clock that stands still, a few network
 * namespaces that pods of any account come to one after another, and a peer that node:http2 speaks for. Whoever dials says at once
 * which pod's socket it is that will accept, and by which certificates that pod may prove itself.
 */
import { createPublicKey, X509Certificate } from "node:crypto";
import {
  createSecureServer,
  type Http2SecureServer,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import { connect as connectNet, type AddressInfo, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { AccessLog } from "../../agent/access-log/access-log.ts";
import { Pods } from "../../agent/pods.ts";
import { alpn, secureOptions } from "../../agent/tunnel/tls.ts";
import type { ToWorker, WorkerDump } from "../../agent/worker-messages.ts";
import type { ConnectRequest } from "../../agent/worker/context.ts";
import { localOf } from "../../core/linux/socket-ends.ts";
import { DataPlaneWorker } from "../../agent/worker/worker.ts";
import { WorkloadCertificates } from "../../agent/workload-certificates.ts";
import { CertificateManager } from "../../control/client/certificates/manager.ts";
import type { CertificateProvider, WorkloadCertificate } from "../../control/client/certificates/certificate.ts";
import { ManualClock } from "../../core/base/clock.ts";
import { silentLog } from "../../core/base/log.ts";
import type { Random } from "../../core/base/random.ts";
import { MeshState, type MeshUpdate } from "../../core/decision/mesh-state.ts";
import { createNetworkNamespace, namespaceIdentity } from "../../core/linux/namespace.ts";
import { setUp } from "../../core/linux/netlink/links.ts";
import { closeDescriptor, connectTcp, duplicateDescriptor } from "../../core/linux/sockets.ts";
import { formatIdentity, type Identity } from "../../core/protocol/spiffe/identity.ts";
import { issueCertificate } from "../../core/protocol/x509/certificate.ts";
import { createKeyAndCsr } from "../../core/protocol/x509/csr.ts";
import { alice, root } from "../support/hbone-pair.ts";
import { identityOf, testIdentity } from "../support/identities.ts";
import { pod } from "../support/mesh.ts";
import { workerSettings } from "../support/worker-settings.ts";

/** One pod's life: never the same twice, though its name, namespace and account may be. */
export interface Incarnation {
  readonly uid: string;
  readonly name: string;
  readonly account: string;
  /** Index of its network namespace. */
  readonly place: number;
}

/** Of a tunnel that came to be, by whom its end of ours is proven. */
export interface Proof {
  readonly uri: string;
  readonly serial: string;
}

export class ChurnWorld {
  readonly clock = new ManualClock(Date.now());
  readonly pods: Pods;
  /** Each account's certificates in the order in which the workers were told of them. */
  readonly told = new Map<string, string[]>();
  /** Who is, or is becoming, served in each namespace. */
  readonly serving: (Incarnation | undefined)[];
  readonly counts = { issued: 0, tunnels: 0, streams: 0 };
  /** What must never be. */
  readonly faults: string[] = [];
  readonly #random: Random;
  readonly #state = new MeshState();
  readonly #certificates: WorkloadCertificates;
  readonly #manager: CertificateManager;
  readonly #workers: DataPlaneWorker[] = [];
  readonly #namespaces: readonly number[];
  readonly #placeOf: ReadonlyMap<bigint, number>;
  readonly #peer: Http2SecureServer;
  /** By the port that a connection asks for: who hears of its stream. */
  readonly #expected = new Map<number, (proof: Proof, place: number) => void>();
  readonly #sockets = new Set<Socket>();
  readonly #dumps: WorkerDump[] = [];
  #dialled = 0;
  #sequence = 0;

  private constructor(random: Random, namespaces: readonly number[], peer: Http2SecureServer) {
    this.#random = random;
    this.#namespaces = namespaces;
    this.#placeOf = new Map(namespaces.map((fd, place) => [namespaceIdentity(fd).ino, place]));
    this.#peer = peer;
    this.serving = namespaces.map(() => undefined);
    const { clock } = this;
    const log = silentLog;
    const broadcast = (message: ToWorker): void => this.#broadcast(message);
    this.#manager = new CertificateManager({ provider: this.#authority(), clock, random, log });
    this.#certificates = new WorkloadCertificates({
      manager: this.#manager,
      mesh: {
        local: () => [...this.#state.workloads()].filter(({ node }) => node === "node1"),
        workloadOf: (...pod) => this.#state.workloadOf(...pod),
      },
      broadcast,
      log,
    });
    this.pods = new Pods(
      { packetMark: undefined, ipv6: false, originalSource: false, lingerMs: 1_000 },
      {
        clock,
        log,
        workers: () => this.#workers.map((_, index) => index),
        broadcast,
        serve: (worker, delivery) => this.#workers[worker]?.receive({ kind: "serve", pod: delivery }),
        onChange: () => this.#certificates.update(this.pods.infos()),
      },
    );
    for (let index = 0; index < workers; index++) this.#workers.push(this.#startWorker(index));
    this.#tell({ workloads: [pod("mesh/peer", peerAddress)], policiesComplete: true });
    peer.on("stream", (stream, headers) => this.#heard(stream, headers));
    peer.on("session", (session) => session.on("error", () => {}));
  }

  static async open(random: Random, places: number): Promise<ChurnWorld> {
    const namespaces = Array.from({ length: places }, () => createNetworkNamespace());
    await Promise.all([setUp("lo"), ...namespaces.map((netns) => setUp("lo", { netns }))]);
    const options = { ...secureOptions(testIdentity(root, identityOf("peer", "mesh"))), requestCert: true };
    const peer = createSecureServer(options);
    await new Promise<void>((resolve) => peer.listen(0, "127.0.0.1", resolve));
    return new ChurnWorld(random, namespaces, peer);
  }

  /** The node's daemon tells of a pod; control may not have yet. */
  add(incarnation: Incarnation): void {
    const { uid, name, account, place } = incarnation;
    this.serving[place] = incarnation;
    const netns = duplicateDescriptor(this.#namespaces[place] ?? -1);
    if (typeof netns !== "number") throw netns;
    void this.pods.serve(uid, { namespace: "default", name, serviceAccount: account }, netns);
  }

  remove({ uid, place }: Incarnation): void {
    this.serving[place] = undefined;
    this.pods.stop(uid);
  }

  /** Control tells of a pod, or that it is gone. */
  announce({ name, account }: Incarnation): void {
    this.#tell({ workloads: [pod(`default/${name}`, "", { serviceAccount: account })] });
  }

  withdraw({ name }: Incarnation): void {
    this.#tell({ removed: { addresses: [`Kubernetes//Pod/default/${name}`] } });
  }

  /** A worker ends with everything it has, and another one takes its place. */
  replaceWorker(index: number): void {
    this.#workers[index]?.receive({ kind: "drain", deadlineMs: 0 });
    this.pods.workerLost(index);
    const worker = this.#startWorker(index);
    this.#workers[index] = worker;
    for (const message of this.#certificates.greeting()) worker.receive(message);
    const update: MeshUpdate = { workloads: [...this.#state.workloads()], policiesComplete: true };
    worker.receive({ kind: "mesh", sequence: 0, update });
    for (const delivery of this.pods.deliveries()) worker.receive({ kind: "serve", pod: delivery });
  }

  tick(): void {
    for (const worker of this.#workers) worker.tick(this.clock.nowMs());
  }

  /** Whose socket a connection to that namespace reaches at this moment; undefined where it would be nobody's, or a leaving pod's. */
  acceptorAt(place: number): Incarnation | undefined {
    const incarnation = this.serving[place];
    if (incarnation === undefined) return undefined;
    for (const _ of this.pods.held(incarnation.uid)) return incarnation;
    return undefined;
  }

  /** A peer begins a tunnel. @returns how our end proved itself; undefined where no tunnel came to be. */
  async dialIn(place: number): Promise<Proof | undefined> {
    const socket = this.#connect(place, "127.0.0.1", 15_008);
    const tls = connectTls({
      socket,
      ...secureOptions(alice),
      ALPNProtocols: alpn,
      checkServerIdentity: () => undefined,
    });
    const proof = await new Promise<Proof | undefined>((resolve) => {
      tls.on("error", () => resolve(undefined));
      tls.once("close", () => resolve(undefined));
      tls.once("secureConnect", () => resolve(proofOf(tls)));
    });
    tls.destroy();
    if (proof !== undefined) this.counts.tunnels += 1;
    return proof;
  }

  /** An application connects to the peer. @returns how the tunnel that carries it proved itself there. */
  async dialOut(place: number): Promise<Proof | undefined> {
    const id = (this.#dialled += 1);
    const port = 1 + (id % 14_000);
    let heard: Proof | undefined;
    this.#expected.set(port, (proof, from) => {
      heard = proof;
      if (from !== place) this.faults.push(`a connection of namespace ${place} left by namespace ${from}`);
    });
    const socket = this.#connect(place, `127.1.${port >> 8}.${port & 255}`, 15_001);
    socket.resume().once("end", () => socket.end());
    await new Promise<void>((resolve) => socket.once("close", () => resolve()));
    this.#expected.delete(port);
    if (heard !== undefined) this.counts.streams += 1;
    return heard;
  }

  /** Tunnels that stand. */
  get tunnels(): number {
    for (const worker of this.#workers) worker.receive({ kind: "dump", id: 1 });
    const dumps = this.#workers.map((_, index) => this.#dumps[index]?.tunnels);
    return dumps.reduce((sum, one) => sum + (one?.inbound.open ?? 0) + (one?.outbound.open ?? 0), 0);
  }

  close(): void {
    this.pods.stopOthers(new Set());
    for (const worker of this.#workers) worker.receive({ kind: "drain", deadlineMs: 0 });
    this.clock.advance(10_000);
    this.#manager.close();
    for (const socket of this.#sockets) socket.destroy();
    this.#peer.close();
    for (const fd of this.#namespaces) closeDescriptor(fd);
  }

  #startWorker(index: number): DataPlaneWorker {
    const accessLog = new AccessLog({ clock: this.clock, worker: index, node: "node1", write: () => true });
    const settings = { ...workerSettings, connectDeadlineMs: 10_000, workloadDeadlineMs: 10_000 };
    const worker: DataPlaneWorker = new DataPlaneWorker(
      { index, settings },
      {
        clock: this.clock,
        log: silentLog,
        accessLog,
        send: (message) => {
          // What a worker that has been replaced still says is for nobody.
          if (this.#workers[index] !== worker) return;
          if (message.kind === "certificate-wanted") this.#certificates.wanted(message.identity);
          if (message.kind === "dumped") this.#dumps[index] = message.dump;
          if ("uid" in message) this.pods.receive(message, index);
        },
        overrides: {
          connect: (request) => this.#connectTunnel(request),
          originalDestination: (socket) => {
            const [, , high = 0, low = 0] = (localOf(socket)?.address ?? "").split(".").map(Number);
            return { address: peerAddress, port: high * 256 + low };
          },
        },
      },
    );
    return worker;
  }

  #tell(update: MeshUpdate): void {
    this.#state.apply(update);
    for (const worker of this.#workers) worker.receive({ kind: "mesh", sequence: (this.#sequence += 1), update });
    this.#certificates.update(this.pods.infos());
  }

  #broadcast(message: ToWorker): void {
    if (message.kind === "certificate") {
      const uri = formatIdentity(message.delivery.identity);
      const { serialNumber } = new X509Certificate(message.delivery.chainPem[0] ?? "");
      this.told.set(uri, [...(this.told.get(uri) ?? []), serialNumber]);
    }
    for (const worker of this.#workers) worker.receive(message);
  }

  /** Answers late and in any order. What it says of a certificate's life is the simulated clock's; what is in it is OpenSSL's. */
  #authority(): CertificateProvider {
    return {
      fetch: (identity) =>
        new Promise((resolve) => {
          this.clock.after(this.#random() * 500, () => {
            this.counts.issued += 1;
            resolve(issue(identity, this.clock.wallMs()));
          });
        }),
    };
  }

  #connect(place: number, address: string, port: number): Socket {
    const socket = connectTcp({ netns: this.#namespaces[place], remote: { address, port } });
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => this.#sockets.delete(socket));
    return socket;
  }

  /** To the peer, by an address that says from which namespace it would have been. */
  #connectTunnel({ netns, remote }: ConnectRequest): Socket {
    const place = this.#placeOf.get(namespaceIdentity(netns ?? -1).ino);
    if (place === undefined || remote.address !== peerAddress) throw new Error(`connect to ${remote.address}`);
    const { port } = this.#peer.address() as AddressInfo;
    return connectNet({ host: "127.0.0.1", port, localAddress: `127.0.1.${place + 1}`, allowHalfOpen: true });
  }

  #heard(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    stream.on("error", () => {});
    const socket = stream.session?.socket as TLSSocket | undefined;
    const [, port] = (headers[":authority"] ?? "").split(":");
    // Gone meanwhile: then it is nobody's.
    const [, , , place] = (socket?.remoteAddress ?? "").split(".");
    if (socket !== undefined && place !== undefined)
      this.#expected.get(Number(port))?.(proofOf(socket), Number(place) - 1);
    stream.respond({ ":status": 200 });
    stream.end("served");
  }
}

function proofOf(socket: TLSSocket): Proof {
  const { subjectAltName = "", serialNumber = "" } = socket.getPeerX509Certificate() ?? {};
  return { uri: subjectAltName.replace("URI:", ""), serial: serialNumber };
}

function issue(identity: Identity, nowMs: number): WorkloadCertificate {
  const { key } = createKeyAndCsr(identity);
  const validity = { notBeforeMs: Date.now() - 3_600_000, notAfterMs: Date.now() + 3_600_000 };
  const chain = issueCertificate({ issuer: root, publicKey: createPublicKey(key), identity, ...validity });
  const { serialNumber } = new X509Certificate(chain);
  const notAfter = nowMs + lifeMs;
  return { identity, key, chainPem: [chain], rootsPem: root.certificatePem, serialNumber, notBefore: nowMs, notAfter };
}

const workers = 2;
const peerAddress = "10.99.200.1";
/** Of a certificate, by the simulated clock. */
const lifeMs = 600_000;
