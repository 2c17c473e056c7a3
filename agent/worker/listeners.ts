/** A worker's share of a pod's three listening sockets: its own duplicates of descriptors that every worker accepts from. */
import { createServer, type Server, type Socket } from "node:net";
import { listenBacklog, type PodDescriptors } from "../worker-messages.ts";

export interface AcceptHandlers {
  readonly outbound: (socket: Socket) => void;
  readonly plaintext: (socket: Socket) => void;
  readonly hbone: (socket: Socket) => void;
}

export class Listeners {
  /** Settles when all three listen. */
  readonly listening: Promise<void>;
  readonly #captures: readonly Server[];
  readonly #hbone: Server;

  /** @param descriptors owned from now on. */
  constructor(descriptors: PodDescriptors, handlers: AcceptHandlers) {
    const outbound = listen(descriptors.outbound, handlers.outbound);
    const plaintext = listen(descriptors.plaintext, handlers.plaintext);
    const hbone = listen(descriptors.hbone, handlers.hbone);
    this.#captures = [outbound.server, plaintext.server];
    this.#hbone = hbone.server;
    this.listening = Promise.all([outbound.listening, plaintext.listening, hbone.listening]).then(() => {});
  }

  /** Accepts what is queued on 15001 and 15006, then closes both. */
  async closeCaptures(): Promise<void> {
    await acceptQueued();
    await Promise.all(this.#captures.map(closed));
  }

  async closeHbone(): Promise<void> {
    await acceptQueued();
    await closed(this.#hbone);
  }
}

/** libuv accepts until there is nothing left each time it polls: after two turns of the loop the queue has been empty once. */
async function acceptQueued(): Promise<void> {
  for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
}

function listen(fd: number, accepted: (socket: Socket) => void): { server: Server; listening: Promise<void> } {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, accepted);
  const listening = new Promise<void>((resolve, reject) => {
    server.once("listening", resolve);
    server.once("error", reject);
  });
  server.listen({ fd }, listenBacklog);
  return { server, listening };
}

/** Not `close()`'s own callback: that waits for the connections, too. */
function closed(server: Server): Promise<void> {
  server.close();
  return Promise.resolve();
}
