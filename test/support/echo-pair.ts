/** The smallest mesh there is something to see in: a client, and a server that sends back what it reads. */
import { application, LoopbackMesh, ownAddresses, type LoopbackPod } from "./loopback-mesh.ts";
import { pod } from "./mesh.ts";

export interface EchoPair {
  readonly mesh: LoopbackMesh;
  /** default/alice, 10.99.0.2 */
  readonly client: LoopbackPod;
  /** default/bob, 10.99.0.3 */
  readonly server: LoopbackPod;
  /** bob's. */
  readonly port: number;
  readonly close: () => void;
}

/** Inside enterNamespaces() only. */
export async function openEchoPair(options?: ConstructorParameters<typeof LoopbackMesh>[0]): Promise<EchoPair> {
  await ownAddresses();
  const app = await application("10.99.0.3", (socket) => socket.pipe(socket));
  const mesh = new LoopbackMesh(options);
  mesh.apply({ workloads: [pod("default/alice", "10.99.0.2"), pod("default/bob", "10.99.0.3")] });
  const client = await mesh.serve("default/alice", "10.99.0.2");
  const server = await mesh.serve("default/bob", "10.99.0.3");
  const close = (): void => {
    app.close();
    mesh.close();
  };
  return { mesh, client, server, port: app.port, close };
}
