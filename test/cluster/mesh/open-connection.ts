/** A connection to an echo that stays open in a pod's own network, watched from here: it lives, or was cut, and when. */
import type { Socket } from "node:net";
import type { Endpoint } from "../../../core/base/ip.ts";
import { LinuxError } from "../../../core/linux/errno.ts";
import { openNamespace } from "../../../core/linux/namespace.ts";
import { closeDescriptor, connectTcp } from "../../../core/linux/sockets.ts";
import type { Cluster } from "../cluster.ts";
import { until } from "../../support/until.ts";

export class OpenConnection {
  readonly #socket: Socket;
  #heard = "";
  #ended: { readonly atMs: number; readonly how: string } | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    const end = (how: string): void => void (this.#ended ??= { atMs: performance.now(), how });
    socket.setEncoding("utf8").on("data", (text: string) => (this.#heard += text));
    socket.on("error", ({ message }) => end(message)).on("end", () => end("closed"));
    socket.on("close", () => end("closed"));
  }

  /** Settles when the echo has answered. */
  static async open(cluster: Cluster, namespace: string, pod: string, remote: Endpoint): Promise<OpenConnection> {
    const { netns: path } = await cluster.podProcess(namespace, pod);
    const netns = openNamespace(path);
    if (netns instanceof LinuxError) throw netns;
    const opened = new OpenConnection(connectTcp({ netns, remote }));
    closeDescriptor(netns);
    await opened.lives();
    return opened;
  }

  /** There and back, now. @throws when it was cut. */
  async lives(): Promise<void> {
    const line = `line ${performance.now()}\n`;
    this.#socket.write(line);
    await until("the echo of a line", 5_000, () => {
      if (this.#ended !== undefined) throw new Error(`the connection ended: ${this.#ended.how}`);
      return this.#heard.includes(line);
    });
    this.#heard = "";
  }

  /** Settles when the other side has ended it. @returns the time, as of `performance.now()`. */
  async cut(deadlineMs = 10_000): Promise<number> {
    const { atMs } = await until("the connection is cut", deadlineMs, () => this.#ended);
    return atMs;
  }

  close(): void {
    this.#socket.destroy();
  }
}
