/** A pod in a namespace of its own, with a neighbour in another: a veth pair between, an echo server at each end. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { LinuxError } from "../../../core/linux/errno.ts";
import { bindNamespace, createNetworkNamespace, inNamespace, unbindNamespace } from "../../../core/linux/namespace.ts";
import { addAddress } from "../../../core/linux/netlink/addresses.ts";
import { createVeth, setUp } from "../../../core/linux/netlink/links.ts";
import { closeDescriptor, connectTcp, listenTcp } from "../../../core/linux/sockets.ts";
import { until } from "../../../test/support/until.ts";

export const addresses = {
  ipv4: { pod: "10.77.0.2", neighbour: "10.77.0.1" },
  ipv6: { pod: "fd00:77::2", neighbour: "fd00:77::1" },
} as const;
export const echoPort = 9000;

export type Side = "pod" | "neighbour";

export class PodPair {
  readonly uid: string;
  /** Holds the pod's namespace by its uid, and has room for sockets. */
  readonly folder: string;
  readonly netns: Readonly<Record<Side, number>>;
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();

  private constructor(uid: string) {
    this.uid = uid;
    this.folder = mkdtempSync(join(tmpdir(), "ambientd-cni-"));
    this.netns = { pod: createNetworkNamespace(), neighbour: createNetworkNamespace() };
    expectDone(bindNamespace(this.netns.pod, join(this.folder, uid)));
  }

  static async make(uid: string): Promise<PodPair> {
    const pair = new PodPair(uid);
    const { pod, neighbour } = pair.netns;
    expectDone(await createVeth({ name: "eth0", netns: pod, peer: { name: "eth0", netns: neighbour } }));
    for (const side of ["pod", "neighbour"] as const) {
      const netns = pair.netns[side];
      expectDone(await addAddress({ interface: "eth0", address: addresses.ipv4[side], prefix: 24, netns }));
      expectDone(await addAddress({ interface: "eth0", address: addresses.ipv6[side], prefix: 64, netns }));
      for (const name of ["lo", "eth0"]) expectDone(await setUp(name, { netns }));
      await pair.#echo(netns);
    }
    // A fresh link drops what is sent until the kernel has noticed its carrier; a lost SYN comes again only after a second.
    for (const netns of Object.values(pair.netns))
      await until("the link", 5000, () => inNamespace(netns, networkInterfaces)["eth0"] !== undefined);
    return pair;
  }

  /** A connection from one side to the other side's echo server, from a port of one's choice. */
  connect(from: Side, family: "ipv4" | "ipv6" = "ipv4", port?: number): Conversation {
    const to = from === "pod" ? "neighbour" : "pod";
    const remote = { address: addresses[family][to], port: echoPort };
    const local = port === undefined ? {} : { local: { address: addresses[family][from], port } };
    const socket = connectTcp({ netns: this.netns[from], remote, ...local });
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    return new Conversation(socket);
  }

  close(): void {
    for (const server of this.#servers) server.close();
    for (const socket of this.#sockets) socket.destroy();
    for (const fd of Object.values(this.netns)) closeDescriptor(fd);
    expectDone(unbindNamespace(join(this.folder, this.uid)));
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #echo(netns: number): Promise<void> {
    const listener = listenTcp({ netns, address: "::", port: echoPort });
    if (listener instanceof LinuxError) throw listener;
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
      socket.on("error", () => socket.destroy());
      // Who it thinks it talks to, then whatever it hears.
      socket.write(`${socket.remoteAddress?.replace(/^::ffff:/, "")}\n`);
      socket.pipe(socket);
    });
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen({ fd: listener.fd }, resolve));
  }
}

/** One connection to an echo server, a line at a time. */
export class Conversation {
  readonly #socket: Socket;
  readonly #lines: string[] = [];
  #rest = "";
  #waiting: { resolve: (line: string) => void; reject: (error: Error) => void } | undefined;
  #failure: Error | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => this.#heard(text));
    socket.on("error", (error) => this.#failed(error));
    socket.on("end", () => this.#failed(new Error("ended by the other side")));
    socket.resume();
  }

  /** The address that the server sees; it is the first thing said. */
  readLine(): Promise<string> {
    const line = this.#lines.shift();
    if (line !== undefined) return Promise.resolve(line);
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => (this.#waiting = { resolve, reject }));
  }

  /** Says it and waits for the echo. */
  async say(line: string): Promise<string> {
    this.#socket.write(`${line}\n`);
    return this.readLine();
  }

  /** Ends it in order, and waits until it has ended. */
  async end(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#socket.once("close", () => resolve()));
    this.#socket.end();
    await closed;
  }

  /** Resets it: its port is free at once. */
  async reset(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#socket.once("close", () => resolve()));
    this.#socket.resetAndDestroy();
    await closed;
  }

  #heard(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    this.#lines.push(...lines);
    const next = this.#waiting === undefined ? undefined : this.#lines.shift();
    if (next === undefined) return;
    this.#waiting?.resolve(next);
    this.#waiting = undefined;
  }

  #failed(error: Error): void {
    this.#failure ??= error;
    this.#waiting?.reject(this.#failure);
    this.#waiting = undefined;
  }
}

function expectDone(failure: LinuxError | undefined): void {
  if (failure !== undefined) throw failure;
}
