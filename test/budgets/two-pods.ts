/** One pod that asks a Service of another, through both ends of a mesh in this process; what they run is a process of its own. */
import assert from "node:assert/strict";
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { LoopbackMesh, ownAddresses, type LoopbackPod } from "../support/loopback-mesh.ts";
import { backs, pod, port, service } from "../support/mesh.ts";
import type { Order } from "./peers.ts";

type Exchange = Exclude<Order, { readonly kind: "listen" }>["kind"];

const destination = { address: "10.96.0.1", port: 80 };
const [asking, answering] = ["10.99.0.2", "10.99.0.3"];

export class TwoPods {
  readonly #peers: ChildProcess;
  readonly #mesh: LoopbackMesh;
  readonly #client: LoopbackPod;

  private constructor(peers: ChildProcess, mesh: LoopbackMesh, client: LoopbackPod) {
    this.#peers = peers;
    this.#mesh = mesh;
    this.#client = client;
  }

  static async start(): Promise<TwoPods> {
    await ownAddresses();
    const peers = fork(join(import.meta.dirname, "peers.ts"));
    const application = await ask(peers, { kind: "listen", address: answering });
    const mesh = new LoopbackMesh();
    const web = service("default/web", destination.address, [port(destination.port, application)]);
    const services = backs([web, port(destination.port, application)]);
    mesh.apply({
      services: [web],
      workloads: [pod("default/alice", asking), pod("default/bob", answering, { services })],
    });
    const client = await mesh.serve("default/alice", asking);
    await mesh.serve("default/bob", answering);
    return new TwoPods(peers, mesh, client);
  }

  /** Resolves when all of them have been answered. */
  async exchange(kind: Exchange, count: number): Promise<void> {
    const { address } = this.#client;
    const at = this.#client.portOut(destination, kind === "messages" ? 1 : count);
    assert.equal(await ask(this.#peers, { kind, count, address, port: at }), count);
  }

  close(): void {
    this.#peers.disconnect();
    this.#mesh.close();
  }
}

async function ask(peers: ChildProcess, order: Order): Promise<number> {
  peers.send(order);
  const [answer] = (await once(peers, "message")) as [number];
  return answer;
}
