/** A worker's share of a pod's three listening sockets: its own duplicates of descriptors that every worker accepts from. */
import { createServer, type Server, type Socket } from "node:net";
import { closeDescriptor } from "../../core/linux/sockets.ts";
import { listenBacklog, type PodDescriptors } from "../worker-messages.ts";

export interface AcceptHandlers {
  readonly outbound: (socket: Socket) => void;
  readonly plaintext: (socket: Socket) => void;
  readonly hbone: (socket: Socket) => void;
}

export class Listeners {
  /** Settles when all three are accepted from, or never will be. */
  readonly listening: Promise<void>;
  #captures: Servers;
  #hbone: Servers;

  /**
   * @param descriptors owned from now on.
   * @param opening nothing is accepted before it settles: what comes waits in the kernel, or is another agent's. Undefined: at once.
   */
  constructor(descriptors: PodDescriptors, handlers: AcceptHandlers, opening?: Promise<void>) {
    const { outbound, plaintext, hbone } = descriptors;
    this.#captures = { kind: "held", descriptors: [outbound, plaintext] };
    this.#hbone = { kind: "held", descriptors: [hbone] };
    const open = (): Promise<unknown> => {
      const captures = accept(this.#captures, [handlers.outbound, handlers.plaintext]);
      const tunnels = accept(this.#hbone, [handlers.hbone]);
      this.#captures = captures.servers;
      this.#hbone = tunnels.servers;
      return Promise.all([...captures.listening, ...tunnels.listening]);
    };
    this.listening = (opening === undefined ? open() : opening.then(open)).then(() => {});
  }

  /** Accepts what is queued on 15001 and 15006, then closes both. */
  async closeCaptures(): Promise<void> {
    await acceptQueued();
    this.#captures = closed(this.#captures);
  }

  async closeHbone(): Promise<void> {
    await acceptQueued();
    this.#hbone = closed(this.#hbone);
  }
}

type Servers =
  | { readonly kind: "held"; readonly descriptors: readonly number[] }
  | { readonly kind: "open"; readonly servers: readonly Server[] }
  | { readonly kind: "closed" };

interface Accepting {
  readonly servers: Servers;
  readonly listening: readonly Promise<void>[];
}

/** What is closed by now stays closed. */
function accept(servers: Servers, handlers: readonly ((socket: Socket) => void)[]): Accepting {
  if (servers.kind !== "held") return { servers, listening: [] };
  const opened = servers.descriptors.map((fd, index) => listen(fd, handlers[index]!));
  return {
    servers: { kind: "open", servers: opened.map(({ server }) => server) },
    listening: opened.map(({ listening }) => listening),
  };
}

function closed(servers: Servers): Servers {
  if (servers.kind === "held") servers.descriptors.forEach(closeDescriptor);
  // Not with `close()`'s own callback: that waits for the connections, too.
  if (servers.kind === "open") for (const server of servers.servers) server.close();
  return { kind: "closed" };
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
