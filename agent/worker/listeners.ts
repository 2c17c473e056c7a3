/** A worker's share of a pod's three listening sockets: its own duplicates of descriptors that every worker accepts from. */
import { createServer, Socket, type Server, type SocketConstructorOpts } from "node:net";
import { LinuxError } from "../../core/linux/errno.ts";
import { BareSocket } from "../../core/linux/bare-socket.ts";
import { BareStream } from "../../core/linux/bare-stream.ts";
import { lendingSocket, withLentReads } from "../../core/linux/lent-reads.ts";
import { closeDescriptor, descriptorOf, duplicateDescriptor, setNoDelay } from "../../core/linux/sockets.ts";
import { acceptHandles, type TcpHandle } from "../../core/linux/tcp-handle.ts";
import type { EndSocket } from "../relay/tcp-end.ts";
import type { AcceptedSocket } from "../tunnel/tls-engine.ts";
import { listenBacklog, noDescriptor, type PodDescriptors } from "../worker-messages.ts";

export interface AcceptHandlers {
  readonly outbound: (socket: EndSocket) => void;
  readonly plaintext: (socket: EndSocket) => void;
  readonly hbone: (socket: AcceptedSocket) => void;
}

/** What is made of an accepted connection, as Node gives it, and as a handle: undefined where handles are not to be relied upon. */
interface Accepted {
  readonly socket: (socket: Socket) => void;
  readonly handle: ((handle: TcpHandle) => void) | undefined;
}

export interface ListenersOptions {
  /** Whose sockets are without net.Socket: applications' are core/linux/bare-socket.ts then, tunnels' core/linux/bare-stream.ts. */
  readonly bare: "none" | "applications" | "all";
  /** Nothing is accepted before it settles: what comes waits in the kernel, or is another agent's. Undefined: at once. */
  readonly opening?: Promise<void> | undefined;
  /** Nothing is accepted before `resume`. */
  readonly paused?: boolean;
}

export class Listeners {
  /** Settles when all three are accepted from, or never will be. */
  readonly listening: Promise<void>;
  readonly #accepted: Readonly<Record<keyof AcceptHandlers, Accepted>>;
  #captures: Servers;
  #hbone: Servers;
  /** What comes waits in the kernel meanwhile. */
  #paused: boolean;
  #mayOpen = false;

  /** @param descriptors owned from now on. */
  constructor(descriptors: PodDescriptors, handlers: AcceptHandlers, options: ListenersOptions) {
    const { outbound, plaintext, hbone } = descriptors;
    const { bare, opening, paused = false } = options;
    this.#paused = paused;
    this.#accepted = {
      outbound: bare === "none" ? ordinary(handlers.outbound) : asBare(handlers.outbound),
      plaintext: bare === "none" ? ordinary(handlers.plaintext) : asBare(handlers.plaintext),
      hbone: forTunnels[bare](handlers.hbone),
    };
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
    const { outbound, plaintext, hbone } = this.#accepted;
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

function ordinary(accepted: (socket: Socket) => void): Accepted {
  return { socket: (socket) => accepted(withLentReads(socket)), handle: undefined };
}

/** @param make what a handle becomes, where handles are to be relied upon. */
function byHandle<S>(make: (handle: TcpHandle) => S): (accepted: (socket: S | Socket) => void) => Accepted {
  return (accepted) => ({ ...ordinary(accepted), handle: (handle) => accepted(make(handle)) });
}

const lending = byHandle((handle) => lendingSocket({ handle }));
const asBare = byHandle((handle) => new BareSocket(handle));
const asBareStream = byHandle((handle) => new BareStream(new BareSocket(handle)));
const forTunnels = { none: ordinary, applications: lending, all: asBareStream } as const;

function listen(fd: number, accepted: Accepted): { server: Server; listening: Promise<void> } {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, accepted.socket);
  const listening = new Promise<void>((resolve, reject) => {
    server.once("listening", resolve);
    server.once("error", reject);
  });
  // What is accepted has it from there.
  const isInherited = setNoDelay(fd) === undefined;
  server.listen({ fd }, listenBacklog);
  if (isInherited && accepted.handle !== undefined) acceptHandles(server, accepted.handle);
  return { server, listening };
}
