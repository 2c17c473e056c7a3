/** 15021: readiness as named gates (agent-wire 9.4), answered by a data-plane worker, so that a worker that is stuck is not ready. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Gate, ReadinessAddress } from "../worker-messages.ts";

export class ReadinessServer {
  readonly #server: Server;
  readonly #listen: () => void;
  #retry: NodeJS.Timeout | undefined;
  #closed = false;
  #gates: readonly Gate[] = [{ name: "start", pending: "the main thread has not said anything yet" }];

  /** @param onFailed the port could not be had, said once; everything else goes on, and the port is tried for until it is free. */
  constructor({ port, address }: ReadinessAddress, onFailed: (error: Error) => void) {
    this.#server = createServer((request, response) => this.#answer(request, response));
    // Without an address: IPv6 and IPv4, or IPv4 alone where the kernel has nothing else.
    this.#listen = () => void this.#server.listen({ port, ...(address !== undefined && { host: address }) });
    let isTold = false;
    this.#server.on("error", (error) => {
      if (!isTold) onFailed(error);
      isTold = true;
      // An agent that ran here before gives it up when this one serves.
      if (!this.#closed) this.#retry = setTimeout(this.#listen, retryMs).unref();
    });
    this.#listen();
    this.#server.unref();
  }

  set gates(gates: readonly Gate[]) {
    this.#gates = gates;
  }

  /** For good. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = request.url?.split("?")[0];
    if (path !== "/healthz/ready") return void response.writeHead(404).end("not found\n");
    if (request.method !== "GET") return void response.writeHead(405, { allow: "GET" }).end("only GET\n");
    const pending = this.#gates.filter((gate) => gate.pending !== undefined);
    if (pending.length === 0) return void response.writeHead(200).end("ready\n");
    const reasons = pending.map(({ name, pending: reason }) => `${name} (${String(reason)})`).join(", ");
    response.writeHead(500).end(`not ready, pending: ${reasons}\n`);
  }
}

const retryMs = 100;
