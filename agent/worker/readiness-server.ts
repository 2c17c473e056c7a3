/** 15021: readiness as named gates (agent-wire 9.4), answered by a data-plane worker, so that a worker that is stuck is not ready. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Gate, ReadinessAddress } from "../worker-messages.ts";

export class ReadinessServer {
  readonly #server: Server;
  #gates: readonly Gate[] = [{ name: "start", pending: "the main thread has not said anything yet" }];

  /** @param onFailed the port could not be had; everything else goes on. */
  constructor({ port, address }: ReadinessAddress, onFailed: (error: Error) => void) {
    this.#server = createServer((request, response) => this.#answer(request, response));
    this.#server.on("error", onFailed);
    // Without an address: IPv6 and IPv4, or IPv4 alone where the kernel has nothing else.
    this.#server.listen({ port, ...(address !== undefined && { host: address }) });
    this.#server.unref();
  }

  set gates(gates: readonly Gate[]) {
    this.#gates = gates;
  }

  close(): void {
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
