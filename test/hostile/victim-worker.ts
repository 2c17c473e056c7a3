/** The calls to a victim that is a whole worker: pods on loopback addresses, their applications, and its access log. */
import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import type { TlsIdentity } from "../../agent/tunnel/tls.ts";
import { ManualClock, systemClock } from "../../core/base/clock.ts";
import { LoopbackMesh, type LogLine, type LoopbackPod } from "../support/loopback-mesh.ts";
import type { WorkerSettings } from "../../agent/worker/context.ts";
import type { MeshUpdate } from "../../core/decision/mesh-state.ts";
import { engineOf, type EngineName } from "../support/engines.ts";

export interface TlsMaterial {
  /** Instead of the usual one; made by the test, whose root everybody trusts. */
  readonly identity?: TlsIdentity;
}

/** How an application's connection went: `open` while it stands. */
export interface Dialled {
  readonly state: "open" | "end" | "reset";
  /** The first kilobyte of what it received. */
  readonly text: string;
  readonly length: number;
  /** SHA-256 of all that it received, in hex. */
  readonly digest: string;
}

/** Which of a pod's three captured ways a connection takes. */
export type Way =
  | { readonly kind: "outbound"; readonly pod: string; readonly to: string; readonly port: number }
  | { readonly kind: "plaintext"; readonly pod: string; readonly from: string; readonly port: number }
  /** To 15001 or 15006, where the kernel cannot say where it was going. */
  | { readonly kind: "lost"; readonly pod: string; readonly by: "outbound" | "plaintext" };

let mesh: LoopbackMesh | undefined;
let manual: ManualClock | undefined;
const pods = new Map<string, LoopbackPod>();
const dialled: Dialling[] = [];

export const workerCalls = {
  async startMesh(options: {
    engine: EngineName;
    deadlineMs?: number;
    manualClock?: boolean;
    settings?: Partial<WorkerSettings>;
  }): Promise<void> {
    manual = options.manualClock === true ? new ManualClock(Date.now()) : undefined;
    const { settings } = engineOf(options.engine).meshOptions;
    const made = new LoopbackMesh({
      settings: { ...settings, ...options.settings },
      ...(options.deadlineMs !== undefined && { deadlineMs: options.deadlineMs }),
      ...(manual && { clock: manual }),
    });
    mesh = made;
    if (manual === undefined) setInterval(() => made.worker.tick(systemClock.nowMs()), 1_000).unref();
    setInterval(() => made.worker.beat(), 100).unref();
  },

  async applyMesh(options: { update: MeshUpdate }): Promise<void> {
    theMesh().apply(options.update);
  },

  /** @returns the port at which the pod's 15008 is to be reached. */
  async servePod(options: { path: string; address: string } & TlsMaterial): Promise<number> {
    const pod = await theMesh().serve(options.path, options.address, options.identity ?? "none");
    pods.set(options.address, pod);
    return pod.hbonePort;
  },

  /** A connection, with a few words at once; `dialled` says how it went. @returns its number. */
  async dial(options: { way: Way; text?: string }): Promise<number> {
    const { way, text } = options;
    const pod = pods.get(way.pod);
    if (pod === undefined) throw new Error(`no pod at ${way.pod}`);
    const one = new Dialling(socketOf(pod, way));
    if (text !== undefined) one.socket.write(text);
    return dialled.push(one) - 1;
  },

  /** Connections to 15001 or 15006 that are reset before anybody can look at them. */
  async resetAtAccept(options: { pod: string; by: "outbound" | "plaintext"; count: number }): Promise<void> {
    const pod = pods.get(options.pod);
    if (pod === undefined) throw new Error(`no pod at ${options.pod}`);
    for (let index = 0; index < options.count; index++) {
      const socket = pod.connectLost(options.by === "outbound" ? 15_001 : 15_006, "10.99.0.9");
      socket.once("connect", () => socket.resetAndDestroy());
      if (index % 20 === 19) await new Promise((resolve) => socket.once("close", resolve));
    }
  },

  async dialled(options: { number: number }): Promise<Dialled> {
    return dialling(options.number).report();
  },

  /** More words on a connection, or its end. */
  async write(options: { number: number; text: string }): Promise<void> {
    dialling(options.number).socket.write(options.text);
  },

  async end(options: { number: number }): Promise<void> {
    dialling(options.number).socket.end();
  },

  /** How often the main thread was asked for a certificate. */
  async certificatesWanted(): Promise<number> {
    return theMesh().messages.filter(({ kind }) => kind === "certificate-wanted").length;
  },

  async certify(options: { identity: TlsIdentity }): Promise<void> {
    theMesh().certify(options.identity);
  },

  async hangUp(): Promise<void> {
    for (const { socket } of dialled) socket.destroy();
  },

  /** The access log so far: all of it, or the lines whose fields are these. */
  async log(options: { where?: LogLine }): Promise<readonly LogLine[]> {
    const wanted = Object.entries(options.where ?? {});
    return theMesh().lines.filter((line) => wanted.every(([field, value]) => line[field] === value));
  },

  /** TCP connects to tunnels, and open tunnels and connections now. */
  async meshCounts(): Promise<{ tunnels: number; connections: number; tunnelsOpened: number; connects: number }> {
    const { messages, tunnelsOpened, connects } = theMesh();
    theMesh().send({ kind: "dump", id: 1 });
    const dumped = messages.findLast((message) => message.kind === "dumped");
    if (dumped?.kind !== "dumped") throw new Error("no dump");
    const { tunnels, connections } = dumped.dump;
    return {
      tunnels: tunnels.inbound.open + tunnels.outbound.open,
      connections: connections.length,
      tunnelsOpened,
      connects,
    };
  },

  /** Moves the manual clock on, and ticks as a worker does each second. */
  async advanceMesh(options: { ms: number }): Promise<void> {
    manual?.advance(options.ms);
    theMesh().worker.tick(manual?.nowMs() ?? 0);
  },
};

class Dialling {
  readonly socket: Socket;
  #state: Dialled["state"] = "open";
  #text = "";
  #length = 0;
  readonly #hash = createHash("sha256");

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => {
      if (this.#length < 1_024) this.#text += chunk.toString("latin1", 0, 1_024 - this.#length);
      this.#length += chunk.length;
      this.#hash.update(chunk);
    });
    socket.once("end", () => (this.#state = this.#state === "open" ? "end" : this.#state));
    socket.on("error", () => (this.#state = "reset"));
  }

  report(): Dialled {
    const digest = this.#hash.copy().digest("hex");
    return { state: this.#state, text: this.#text, length: this.#length, digest };
  }
}

function socketOf(pod: LoopbackPod, way: Way): Socket {
  switch (way.kind) {
    case "outbound":
      return pod.connectOut({ address: way.to, port: way.port });
    case "plaintext":
      return pod.connectIn({ address: way.pod, port: way.port }, way.from);
    case "lost":
      return pod.connectLost(way.by === "outbound" ? 15_001 : 15_006, "10.99.0.9");
  }
}

function dialling(number: number): Dialling {
  const one = dialled[number];
  if (one === undefined) throw new Error("never dialled");
  return one;
}

function theMesh(): LoopbackMesh {
  if (mesh === undefined) throw new Error("no mesh");
  return mesh;
}
