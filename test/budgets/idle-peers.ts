/** A process beside the one that is weighed: clients and an application, so that what is counted there is the mesh's alone. */
import { connect, createServer, type AddressInfo } from "node:net";

export type Order =
  /** Answered with the port. */
  | { readonly kind: "listen"; readonly address: string }
  /** Answered when each of them has had an answer through the mesh; they then stay. */
  | {
      readonly kind: "connect";
      readonly count: number;
      readonly address: string;
      readonly port: number;
      readonly from: string;
    };

process.on("message", (order: Order) => {
  if (order.kind === "listen") listen(order.address);
  else void connectAll(order).then(() => process.send?.(order.count));
});
process.on("disconnect", () => process.exit());

function listen(address: string): void {
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => {});
    socket.pipe(socket);
  });
  server.listen(0, address, 1_024, () => process.send?.((server.address() as AddressInfo).port));
}

async function connectAll({ count, address, port, from }: Order & { kind: "connect" }): Promise<void> {
  for (let left = count; left > 0; left -= inOneGo) {
    await Promise.all(Array.from({ length: Math.min(left, inOneGo) }, () => answered(address, port, from)));
  }
}

function answered(host: string, port: number, localAddress: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, localAddress, noDelay: true });
    socket.on("error", reject);
    socket.once("data", () => resolve());
    socket.write(Buffer.alloc(1_024, "x"));
  });
}

const inOneGo = 50;
