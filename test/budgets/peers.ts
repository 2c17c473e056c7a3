/** A process beside the one that is counted in: clients and an application, so that what is counted there is the mesh's alone. */
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** How the application is reached: an address that is captured, and the port by which the mesh knows what is meant. */
interface Way {
  readonly address: string;
  readonly port: number;
}

export type Order =
  /** An application that sends back what it reads, and ends when its client does. Answered with its port; all others with how many were answered. */
  | { readonly kind: "listen"; readonly address: string }
  /** So many messages of 1 KiB on one connection, each sent when the answer to the last one is there. */
  | ({ readonly kind: "messages"; readonly count: number } & Way)
  /** So many connections, one after the other, each for one message of 1 KiB. */
  | ({ readonly kind: "connections"; readonly count: number } & Way)
  /** So many connections with one message each, that then stay. */
  | ({ readonly kind: "keep"; readonly count: number } & Way);

const message = Buffer.alloc(1_024, "x");
let used: Socket | undefined;

process.on("message", (order: Order) => void obey(order).then((answer) => process.send?.(answer)));
process.on("disconnect", () => process.exit());

async function obey(order: Order): Promise<number> {
  switch (order.kind) {
    case "listen":
      return listen(order.address);
    case "messages":
      used ??= connection(order);
      return exchanged(used, order.count);
    case "connections":
      return oneAfterTheOther(order, order.count);
    case "keep":
      return keep(order, order.count);
  }
}

async function listen(address: string): Promise<number> {
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    socket.pipe(socket);
  });
  server.listen(0, address, 1_024);
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

async function oneAfterTheOther(way: Way, count: number): Promise<number> {
  for (let done = 0; done < count; done++) {
    const socket = connection(way);
    await exchanged(socket, 1);
    socket.end();
    await once(socket, "close");
  }
  return count;
}

async function keep(way: Way, count: number): Promise<number> {
  for (let left = count; left > 0; left -= inOneGo) {
    await Promise.all(Array.from({ length: Math.min(left, inOneGo) }, () => exchanged(connection(way), 1)));
  }
  return count;
}

/** From the address that it goes to: what asks and what captures are in one network namespace. */
function connection({ address, port }: Way): Socket {
  return connect({ host: address, port, localAddress: address, noDelay: true });
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

const inOneGo = 50;
