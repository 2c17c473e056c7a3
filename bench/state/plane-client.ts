/** Telling plane.ts what to say. */
import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PlaneAnswer, PlaneOrder } from "./plane.ts";

export class PlaneClient {
  readonly #socket: Socket;
  readonly #answers: AsyncIterator<string>;
  readonly #folder: string;

  private constructor(socket: Socket, folder: string) {
    this.#socket = socket;
    this.#folder = folder;
    socket.on("error", () => undefined); // an answer is missing then
    this.#answers = createInterface({ input: socket })[Symbol.asyncIterator]();
  }

  /** Tries until the process listens. @param folder where pushes are written. @throws Error where it doesn't in time. */
  static async connect(path: string, folder: string): Promise<PlaneClient> {
    for (const end = performance.now() + connectMs; ; await pause()) {
      const socket = connect(path);
      const isThere = await new Promise<boolean>((resolve) => {
        socket.once("connect", () => resolve(true));
        socket.once("error", () => resolve(false));
      });
      if (isThere) return new PlaneClient(socket, folder);
      if (performance.now() > end) throw new Error("the benchmark's control plane does not start");
    }
  }

  /** Hands a push over, to be sent later. */
  async load(name: string, push: Uint8Array): Promise<void> {
    const file = join(this.#folder, `${name}.push`);
    writeFileSync(file, push);
    await this.#ask({ kind: "load", name, file });
  }

  /** @returns seconds from the first byte to the acknowledgement, which an agent sends when all its threads have it. */
  async push(name: string, node: string): Promise<number> {
    const answer = await this.#ask({ kind: "push", name, node });
    return "seconds" in answer ? answer.seconds : Number.NaN;
  }

  /** Waits until the agents of these nodes have what there is. */
  async agentsOf(nodes: readonly string[]): Promise<void> {
    for (const end = performance.now() + agentsMs; ; await pause()) {
      const answer = await this.#ask({ kind: "agents" });
      if ("nodes" in answer && nodes.every((node) => answer.nodes.includes(node))) return;
      if (performance.now() > end) throw new Error(`not all agents of ${nodes.join(", ")} came to the control plane`);
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  async #ask(order: PlaneOrder): Promise<PlaneAnswer> {
    this.#socket.write(`${JSON.stringify(order)}\n`);
    const next = await this.#answers.next();
    if (next.done === true) throw new Error("the benchmark's control plane ended");
    const answer = JSON.parse(next.value) as PlaneAnswer;
    if ("error" in answer) throw new Error(`${order.kind}: ${answer.error}`);
    return answer;
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 50));
}

const connectMs = 15_000;
const agentsMs = 30_000;
