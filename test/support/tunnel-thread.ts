/**
 * A thread of its own that speaks HBONE to an agent in this process, while the main thread may stand still: an application, and a
 * client of it by tunnel. It says in a shared cell how far it came.
 */
import { once } from "node:events";
import { workerData } from "node:worker_threads";
import type { TlsIdentity } from "../../agent/tunnel/tls.ts";
import { application } from "./loopback-mesh.ts";
import { TunnelClient } from "./tunnel-client.ts";

export interface TunnelThreadData {
  readonly identity: TlsIdentity;
  readonly address: string;
  readonly hbonePort: number;
  readonly readinessPort: number;
  readonly tunnels: number;
  readonly roundTripsEach: number;
  /** One int32: round trips so far, and their number plus one at the end. */
  readonly cell: SharedArrayBuffer;
}

const { identity, address, hbonePort, readinessPort, tunnels, roundTripsEach, cell } = workerData as TunnelThreadData;
const done = new Int32Array(cell);
const app = await application(address, (socket) => socket.pipe(socket));

for (let tunnel = 0; tunnel < tunnels; tunnel++) {
  const client = new TunnelClient({ address, port: hbonePort }, identity, address);
  const { status, stream } = await client.connect(`${address}:${app.port}`);
  if (status !== 200) throw new Error(`answered ${status}`);
  for (let i = 0; i < roundTripsEach; i++) {
    stream.write("ping");
    await once(stream, "data");
    Atomics.add(done, 0, 1);
  }
  client.close();
  const ready = await fetch(`http://${address}:${readinessPort}/healthz/ready`);
  if (ready.status !== 200) throw new Error(`readiness says ${ready.status}`);
}
app.close();
Atomics.add(done, 0, 1);
Atomics.notify(done, 0);
