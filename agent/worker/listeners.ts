/** A worker's share of a pod's three listening sockets: its own duplicates of descriptors that every worker accepts from. */
import { createServer, Socket, type Server, type SocketConstructorOpts } from "node:net";
import { LinuxError } from "../../core/linux/errno.ts";
import { withLentReads } from "../../core/linux/lent-reads.ts";
import { closeDescriptor, descriptorOf, duplicateDescriptor } from "../../core/linux/sockets.ts";
import { listenBacklog, noDescriptor, type PodDescriptors } from "../worker-messages.ts";

export interface AcceptHandlers {
  readonly outbound: (socket: Socket) => void;
  readonly plaintext: (socket: Socket) => void;
  readonly hbone: (socket: Socket) => void;
}

type Accepted = (socket: Socket) => void;

export class Listeners {
  /** Settles when all three are accepted from, or never will be. */
  readonly listening: Promise<void>;
  readonly #handlers: AcceptHandlers;
  #captures: Servers;
  #hbone: Servers;
  /** What comes waits in the kernel meanwhile. */
  #paused: boolean;
  #mayOpen = false;

  /**
   * @param descriptors owned from now on.
   * @param opening nothing is accepted before it settles: what comes waits in the kernel, or is another agent's. Undefined: at once.
   * @param paused nothing is accepted before `resume`.
   */
  constructor(descriptors: PodDescriptors, handlers: AcceptHandlers, opening?: Promise<void>, paused = false) {
    const { outbound, plaintext, hbone } = descriptors;
    this.#handlers = handlers;
    this.#paused = paused;
    const captures = [outbound, plaintext].filter((fd) => fd !== noDescriptor);
    // The agent's own pod captures nothing.
    this.#captures = captures.length === 0 ? { kind: "closed" } : hold(captures);
    this.#hbone = hold([hbone]);
    this.listening = (opening === undefined ? this.#open() : opening.then(() => this.#open())).then(() => {});
  }

  /** Whether this worker accepts from them now. */
  get isAccepting(): boolean {
    return this.#hbone.kind === "open";
  }

  /** Accepts no more for now. The sockets stay open: other workers may accept from them, and what nobody accepts waits. */
  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#captures = held(this.#captures);
    this.#hbone = held(this.#hbone);
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#mayOpen) this.#open().catch(ignore);
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

  #open(): Promise<unknown> {
    this.#mayOpen = true;
    if (this.#paused) return Promise.resolve();
    const { outbound, plaintext, hbone } = this.#handlers;
    const captures = accept(this.#captures, [outbound, plaintext]);
    const tunnels = accept(this.#hbone, [hbone]);
    this.#captures = captures.servers;
    this.#hbone = tunnels.servers;
    return Promise.all([...captures.listening, ...tunnels.listening]);
  }
}

function ignore(): void {}

type Servers =
  | { readonly kind: "held"; readonly holders: readonly Socket[] }
  | { readonly kind: "open"; readonly servers: readonly Server[] }
  | { readonly kind: "closed" };

interface Accepting {
  readonly servers: Servers;
  readonly listening: readonly Promise<void>[];
}

/** What is closed by now stays closed. */
function accept(servers: Servers, handlers: readonly Accepted[]): Accepting {
  if (servers.kind !== "held") return { servers, listening: [] };
  const descriptors = copies(servers.holders);
  if (descriptors instanceof LinuxError) return { servers, listening: [Promise.reject(descriptors)] };
  for (const holder of servers.holders) holder.destroy();
  const opened = descriptors.map((fd, index) => listen(fd, handlers[index]!));
  return {
    servers: { kind: "open", servers: opened.map(({ server }) => server) },
    listening: opened.map(({ listening }) => listening),
  };
}

/** Without accepting: each server closes its descriptor, so another one is kept. */
function held(servers: Servers): Servers {
  if (servers.kind !== "open") return servers;
  const descriptors = copies(servers.servers);
  // Not one descriptor left: then it goes on accepting, as there is nothing that could end that and be undone.
  if (descriptors instanceof LinuxError) return servers;
  for (const server of servers.servers) server.close();
  return hold(descriptors);
}

/** Never as a bare number: what a thread holds as a handle is closed with it, however it ends. */
function hold(descriptors: readonly number[]): Servers {
  const options: SocketConstructorOpts & { readonly manualStart: true } = { manualStart: true };
  return { kind: "held", holders: descriptors.map((fd) => new Socket({ ...options, fd })) };
}

function closed(servers: Servers): Servers {
  if (servers.kind === "held") for (const holder of servers.holders) holder.destroy();
  // Not with `close()`'s own callback: that waits for the connections, too.
  if (servers.kind === "open") for (const server of servers.servers) server.close();
  return { kind: "closed" };
}

function copies(of: readonly (Server | Socket)[]): number[] | LinuxError {
  const descriptors: number[] = [];
  for (const one of of) {
    const copy = duplicateDescriptor(descriptorOf(one) ?? -1);
    if (copy instanceof LinuxError) {
      descriptors.forEach(closeDescriptor);
      return copy;
    }
    descriptors.push(copy);
  }
  return descriptors;
}

/** libuv accepts until there is nothing left each time it polls: after two turns of the loop the queue has been empty once. */
export async function acceptQueued(): Promise<void> {
  for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
}

function listen(fd: number, accepted: Accepted): { server: Server; listening: Promise<void> } {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (socket) =>
    accepted(withLentReads(socket)),
  );
  const listening = new Promise<void>((resolve, reject) => {
    server.once("listening", resolve);
    server.once("error", reject);
  });
  server.listen({ fd }, listenBacklog);
  return { server, listening };
}
