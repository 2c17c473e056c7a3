/** A process beside the one that is counted in: a client and an application, so that what is counted there is the mesh's alone. */
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

export type Order =
  /** An application that sends back what it reads, and ends when its client does. Answered with its port. */
  | { readonly kind: "listen"; readonly address: string }
  /** So many messages of 1 KiB on one connection, each sent when the answer to the last one is there. Answered with how many came back. */
  | { readonly kind: "messages"; readonly count: number; readonly address: string; readonly port: number }
  /** So many connections, one after the other, each for one message of 1 KiB. */
  | { readonly kind: "connections"; readonly count: number; readonly address: string; readonly port: number };

const message = Buffer.alloc(1_024, "x");
let kept: Socket | undefined;

process.on("message", (order: Order) => void obey(order).then((answer) => process.send?.(answer)));
process.on("disconnect", () => process.exit());

async function obey(order: Order): Promise<number> {
  if (order.kind === "listen") {
    const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
      socket.on("error", () => {});
      socket.pipe(socket);
    });
    server.listen(0, order.address);
    await once(server, "listening");
    return (server.address() as AddressInfo).port;
  }
  if (order.kind === "messages") {
    kept ??= connect({ host: order.address, port: order.port, noDelay: true });
    return exchanged(kept, order.count);
  }
  for (let done = 0; done < order.count; done++) {
    const socket = connect({ host: order.address, port: order.port, noDelay: true });
    await exchanged(socket, 1);
    socket.end();
    await once(socket, "close");
  }
  return order.count;
}

function exchanged(socket: Socket, count: number): Promise<number> {
  return new Promise((resolve, reject) => {
    let [octets, done] = [0, 0];
    const heard = (chunk: Uint8Array): void => {
      octets += chunk.length;
      if (octets < message.length) return;
      octets -= message.length;
      done += 1;
      if (done < count) return void socket.write(message);
      socket.off("data", heard).off("error", reject);
      resolve(done);
    };
    socket.on("data", heard);
    socket.on("error", reject);
    socket.write(message);
  });
}
